"""Text to tokens and pictures to pixels, the same way for teaching and for asking.

    Otter         <image>User:{question} GPT:<answer>{answer}<|endofchunk|>User:{question} GPT:<answer> …
    OpenFlamingo  <image>{caption}<|endofchunk|><image>{caption}<|endofchunk|><image> …

A turn that shows media begins with one `<image>` for each; later turns without any go on seeing the last. In a conversation
special tokens are placed by id, so a question that contains the characters `<answer>` stays a question. A finished text given
to the processor itself is a template: in it the characters `<image>` are the token.

A picture is squashed to a square without regard to its proportions, as the published Otter weights were taught: nothing at its
edges is lost. OpenFlamingo's were taught on the middle square (`crop`).

Letters: B rows, T tokens, N media of a row, F frames of a medium, C H W a frame.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from .pictures import Geometry, evenly, squared
from .turns import Medium, Turn, turns_of

END, IMAGE, ANSWER, PAD = "<|endofchunk|>", "<image>", "<answer>", "<PAD>"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
ROUNDED_MEAN = (0.481, 0.458, 0.408)
"""With ROUNDED_STD, what the published Otter weights were taught with; they were asked with CLIP's own."""
ROUNDED_STD = (0.269, 0.261, 0.276)
UNLIMITED = 10**9
"""Tokenizers that know no limit name a larger one."""
PADDINGS = ("longest", "max_length", "do_not_pad")
"""As transformers calls them."""

Layout = Literal["otter", "flamingo"]


class OtterProcessor(ProcessorMixin):
    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        image_size: int = 224,
        geometry: Geometry = "squash",
        layout: Layout = "otter",
        max_frames: int | None = None,
        image_mean: Sequence[float] = CLIP_MEAN,
        image_std: Sequence[float] = CLIP_STD,
    ) -> None:
        """Take a tokenizer that has the special tokens, and how pictures and texts are laid out.

        Args:
            tokenizer: Any that `add_special_tokens` was called with, or a published one.
            image_size: Pixels, of both sides.
            geometry: `squash` to the square, or `crop` its middle after the shorter side was brought to size.
            layout: Whose texts.
            max_frames: Frames that the model takes of one medium; None: any number.
            image_mean: Of each colour, from 0 to 1; taken away from it.
            image_std: Of each colour; what is left is divided by it.
        """
        super().__init__(tokenizer)  # type: ignore[no-untyped-call]
        _known("geometry", geometry, Geometry)
        _known("layout", layout, Layout)
        self.image_size = image_size
        self.geometry = geometry
        self.layout = layout
        self.max_frames = max_frames
        self.image_mean = list(image_mean)
        self.image_std = list(image_std)
        self.image_token = IMAGE
        self.end_id, self.image_id = self._token(END), self._token(IMAGE)
        if layout == "otter":
            self.answer_id = self._token(ANSWER)
        self.pad_id = self._token(tokenizer.pad_token)

    @staticmethod
    def add_special_tokens(tokenizer: PreTrainedTokenizerBase, *, layout: Layout = "otter") -> None:
        """Add what a model needs, in the published order, so that the ids are those of the published weights."""
        added = [END, IMAGE, ANSWER] if layout == "otter" else [END, IMAGE]
        tokenizer.add_special_tokens({"additional_special_tokens": added})
        if tokenizer.pad_token_id is None:
            tokenizer.add_special_tokens({"pad_token": PAD})

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | None = None,
        *,
        padding: bool | str = True,
        padding_side: Literal["left", "right"] = "left",
        max_length: int | None = None,
        frames: Literal["refuse", "resample"] = "refuse",
        add_special_tokens: bool = True,
        record_ids: Sequence[str] | None = None,
        return_tensors: str | None = "pt",
    ) -> BatchFeature:
        """Return input_ids_BT, attention_mask_BT, and of pictures pixel_values_BNFCHW and where needed frame_mask_BNF, as torch tensors.

        Args:
            images: For each text a list of media; a medium is a picture or a list of frames. For one text, that text's list. Where
                every text has just one, it may stand without a list.
            text: A text or several, with `<image>` where a medium is shown; or tokens, which are taken as they are.
            padding: To the longest text; `"max_length"`; False where all texts have the same length.
            padding_side: Left for prompts, that is, for `generate`; right for teaching.
            max_length: Tokens, at most; else the tokenizer's `model_max_length`.
            frames: Refuse a medium with more frames than the model takes, or take as many, evenly from the first to the last.
            add_special_tokens: Begin each text as the taught ones began. The published demos, with MPT, did not.
            record_ids: Of the texts, for messages.
            return_tensors: `pt`, and nothing else.

        Raises:
            ValueError: the media do not match the `<image>`s, a text is too long, a picture is damaged; the message names the text.
        """
        if text is None or len(text) == 0:
            raise ValueError(
                f"there is no text; where only pictures are shown, the text is {IMAGE!r}"
            )
        if return_tensors not in (None, "pt"):
            raise ValueError(f"only torch tensors are made ('pt'), not {return_tensors!r}")
        texts, media = _rows(text, images)
        names = [f"record {id!r}" for id in record_ids or ()] or [
            f"text {row}" for row in range(len(texts))
        ]
        ids = [self._prepared(text, begins=add_special_tokens) for text in texts]
        limit = max_length or self._limit
        for name, row, shown in zip(names, ids, media, strict=True):
            if row.count(self.image_id) != len(shown):
                raise ValueError(
                    f"{name} has {row.count(self.image_id)} {IMAGE} but {len(shown)} media; each shows one picture, or the frames of one clip"
                )
            if limit and len(row) > limit:
                raise ValueError(
                    f"{name} has {len(row):,} tokens, but the model reads {limit:,}; shorten it, or leave it out"
                )
        longest = self._longest(ids, padding, limit)
        inputs = self._padded(ids, longest, left=padding_side == "left")
        if any(media):
            inputs |= self._pictures(media, names, resample=frames == "resample")
        return BatchFeature(inputs)

    def conversation(
        self, turns: Sequence[Turn], *, marked: bool = False
    ) -> tuple[list[int], list[Medium]]:
        """Return the tokens of a conversation, and the media that they show: what `text` and `images` of a call take.

        Media stand before their question; `marked`: where it has the characters `<image>`, if it has any.

        Several turns are one conversation or several examples, each with media of its own; the two cannot be told apart. Where the
        last has no answer, the tokens end where the model's begins.
        """
        ids, _, media = self.lesson(turns, marked=marked)
        return ids, media

    def lesson(
        self, turns: Sequence[Turn], *, marked: bool = False
    ) -> tuple[list[int], list[bool], list[Medium]]:
        """Return what `conversation` does, and between the two which tokens are taught: those of answers, and their ends."""
        if not turns:
            raise ValueError("a conversation needs a question")
        for number, turn in enumerate(turns[:-1], 1):
            if turn.answer is None:
                raise ValueError(
                    f"turn {number} of {len(turns)} has no answer; only the last may be without"
                )
        ids = self._begin()
        taught = [False] * len(ids)
        for turn in turns:
            asked = self._asked(turn.question, media=len(turn.media), marked=marked)
            said = [] if turn.answer is None else self._said(turn.question, turn.answer)
            ids += asked + said
            taught += [False] * len(asked) + [True] * len(said)
        return ids, taught, [medium for turn in turns for medium in turn.media]

    def apply_chat_template(  # type: ignore[override]
        self,
        conversation: Any,
        chat_template: str | None = None,
        *,
        tokenize: bool = False,
        return_dict: bool = False,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        processor_kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Lay out messages in transformers' form: `{"role": "user", "content": [{"type": "image", "image": …}, {"type": "text", …}]}`.

        Args:
            conversation: Messages of users and assistants in turn, or a list of such conversations.
            chat_template: Must be None: here special tokens are placed by id, which no template of text can do.
            tokenize: Return tokens instead of text.
            return_dict: With the tokens, all that the model takes.
            add_generation_prompt: Of no effect: an answer that is missing at the end is the model's.
            continue_final_message: Must be False: a begun answer is not gone on with.
            processor_kwargs: Of a call, as `options`.
            **options: Of a call.
        """
        if chat_template is not None or continue_final_message:
            raise ValueError(
                "this processor lays out conversations itself: without a template, and with whole answers"
            )
        options |= processor_kwargs or {}
        if not conversation:
            raise ValueError("a conversation needs a question")
        one = isinstance(conversation[0], Mapping)
        laid = [self.conversation(turns_of(m)) for m in ([conversation] if one else conversation)]
        if not tokenize:
            texts = [self.tokenizer.decode(ids, skip_special_tokens=False) for ids, _ in laid]
            return texts[0] if one else texts
        inputs = self(text=[ids for ids, _ in laid], images=[media for _, media in laid], **options)
        return inputs if return_dict else inputs["input_ids"]

    def prompt(self, question: str, *, picture: bool) -> list[int]:
        """Return the tokens up to where an answer begins."""
        return self._begin() + self._asked(question, media=int(picture))

    def reply(self, answer: str) -> list[int]:
        """Return the tokens of an answer, the end included."""
        return [*self._ids(answer.strip().replace("\r\n", "\n")), self.end_id]

    def decode(self, ids: Any, *, skip_special_tokens: bool = True, **kwargs: Any) -> str:
        # Tidying spaces up would take those away that the answer has; old tokenizers ask for it.
        kwargs = {"clean_up_tokenization_spaces": False} | kwargs
        text = self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens, **kwargs)
        return str(text).strip()

    def answer(self, ids: Sequence[int] | Tensor) -> str:
        """Return what a model wrote: after the last `<answer>`, up to the end; the prompt may come before it.

        OpenFlamingo has no such mark: there, leave the prompt away.
        """
        written = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        if self.layout == "otter" and self.answer_id in written:
            written = written[len(written) - written[::-1].index(self.answer_id) :]
        if self.end_id in written:
            written = written[: written.index(self.end_id)]
        return self.decode(written)

    def post_process_image_text_to_text(
        self, generated_outputs: Any, skip_special_tokens: bool = True, **_: Any
    ) -> list[str]:
        """Return the answer in each row of tokens."""
        return [self.answer(ids) for ids in generated_outputs]

    def pixels(self, picture: Image.Image) -> Tensor:
        """Return pixels_CHW, normalised as CLIP expects."""
        return self.normalised(self.resized(picture))

    def resized(self, picture: Image.Image) -> Tensor:
        """Return the bytes of a picture of the right size (bytes_CHW)."""
        return squared(picture, self.image_size, self.geometry)

    def normalised(self, bytes_CHW: Tensor) -> Tensor:
        """Return the bytes of a picture (or several) of the right size as pixels_CHW, normalised as CLIP expects."""
        mean_C11, std_C11 = (
            torch.tensor(values).view(3, 1, 1) for values in (self.image_mean, self.image_std)
        )
        return bytes_CHW.float().div_(255).sub_(mean_C11).div_(std_C11)

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "pixel_values", "frame_mask"]

    @property
    def _limit(self) -> int | None:
        """Tokens, at most; None where the tokenizer knows no limit."""
        limit = int(self.tokenizer.model_max_length)
        return limit if limit < UNLIMITED else None

    def _token(self, token: str | None) -> int:
        found = None if token is None else self.tokenizer.get_vocab().get(str(token))
        if found is None:
            what = "a token for padding" if token is None else repr(str(token))
            raise ValueError(
                f"the tokenizer lacks {what}; call OtterProcessor.add_special_tokens(tokenizer) first"
            )
        return int(found)

    def _ids(self, text: str) -> list[int]:
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return list(encoded["input_ids"])

    def _begin(self) -> list[int]:
        bos = self.tokenizer.bos_token_id
        return [] if bos is None else [int(bos)]

    def _asked(self, question: str, *, media: int, marked: bool = False) -> list[int]:
        """Return the tokens of a turn up to where its answer begins."""
        text = f"User:{question.strip()} GPT:" if self.layout == "otter" else question
        if marked and IMAGE in question:
            pieces = map(self._ids, text.split(IMAGE))
            ids = [token for piece in pieces for token in (*piece, self.image_id)][:-1]
        else:
            ids = [self.image_id] * media + self._ids(text)
        return [*ids, self.answer_id] if self.layout == "otter" else ids

    def _said(self, question: str, answer: str) -> list[int]:
        """Return the tokens of an answer behind those of its question, the end included."""
        if self.layout == "otter":
            return self.reply(answer)
        # A caption is one text, so the words at the seam are those of the whole, unless they would change what was asked.
        asked, whole = self._ids(question), self._ids(question + answer)
        is_whole = whole[: len(asked)] == asked
        return [*(whole[len(asked) :] if is_whole else self._ids(answer)), self.end_id]

    def _prepared(self, text: str | Sequence[int], *, begins: bool) -> list[int]:
        """Return a template's tokens from the beginning of a text, or tokens as they are."""
        if not isinstance(text, str):
            return [int(token) for token in text]
        ids = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        begin = self._begin() if begins else []
        return ids if begin and ids[:1] == begin else begin + ids

    def _longest(self, ids: list[list[int]], padding: bool | str, limit: int | None) -> int:
        lengths = {len(row) for row in ids}
        if padding not in (True, False, *PADDINGS):
            raise ValueError(
                f"padding is True, False or one of {', '.join(PADDINGS)}, not {padding!r}"
            )
        if padding == "max_length":
            if not limit:
                raise ValueError("padding='max_length' needs max_length")
            return limit
        if padding in (False, "do_not_pad") and len(lengths) > 1:
            raise ValueError(f"texts of {sorted(lengths)} tokens fit no tensor without padding")
        return max(lengths)

    def _padded(self, ids: list[list[int]], longest: int, *, left: bool) -> dict[str, Tensor]:
        ids_BT = torch.full((len(ids), longest), self.pad_id)
        attention_BT = torch.zeros_like(ids_BT)
        for row, tokens in enumerate(ids):
            place = slice(longest - len(tokens), None) if left else slice(len(tokens))
            ids_BT[row, place] = torch.tensor(tokens, dtype=torch.long)
            attention_BT[row, place] = 1
        return {"input_ids": ids_BT, "attention_mask": attention_BT}

    def _pictures(
        self, media: list[list[Medium]], names: list[str], *, resample: bool
    ) -> dict[str, Tensor]:
        rows = [
            [self._frames(medium, name, resample=resample) for medium in shown]
            for name, shown in zip(names, media, strict=True)
        ]
        N = max(len(shown) for shown in rows)
        F = max(len(frames) for shown in rows for frames in shown)
        pixels_BNFCHW = torch.zeros(len(rows), N, F, 3, self.image_size, self.image_size)
        frame_mask_BNF = torch.zeros(len(rows), N, F, dtype=torch.bool)
        for row, shown in enumerate(rows):
            for medium, pixels_FCHW in enumerate(shown):
                pixels_BNFCHW[row, medium, : len(pixels_FCHW)] = pixels_FCHW
                frame_mask_BNF[row, medium, : len(pixels_FCHW)] = True
        inputs = {"pixel_values": pixels_BNFCHW}
        return inputs if frame_mask_BNF.all() else inputs | {"frame_mask": frame_mask_BNF}

    def _frames(self, medium: Medium, name: str, *, resample: bool) -> Tensor:
        """Return pixels_FCHW of one medium."""
        frames = [medium] if isinstance(medium, Image.Image) else list(medium)
        if not frames:
            raise ValueError(f"a medium of {name} has no frames")
        if self.max_frames and len(frames) > self.max_frames:
            if not resample:
                raise ValueError(
                    f"a medium of {name} has {len(frames)} frames, but the model takes {self.max_frames}; "
                    "give fewer, or frames='resample'"
                )
            frames = [frames[i] for i in evenly(len(frames), self.max_frames)]
        try:
            return torch.stack([self.pixels(frame) for frame in frames])
        except (OSError, SyntaxError, TypeError, ValueError) as error:
            raise ValueError(f"a picture of {name} cannot be read: {error}") from error


def _rows(text: Any, images: Any) -> tuple[list[Any], list[list[Medium]]]:
    """Return the texts, and the media of each."""
    if hasattr(text, "tolist"):  # a tensor or an array of tokens
        text = text.tolist()
    single = isinstance(text, str) or (len(text) > 0 and isinstance(text[0], int))
    texts = [text] if single else list(text)
    if images is None:
        return texts, [[] for _ in texts]
    if isinstance(images, Image.Image):
        images = [images]
    if isinstance(images, str) or not isinstance(images, Sequence):
        raise ValueError(  # noqa: TRY004 - as all that is wrong with a call
            f"images are PIL.Image, in lists, not {type(images).__name__}"
        )
    given = [images] if single else list(images)
    if len(given) != len(texts):
        raise ValueError(f"there are {len(texts)} texts, but media for {len(given)}")
    return texts, [
        [media] if isinstance(media, Image.Image) else list(media or ()) for media in given
    ]


def _known(name: str, value: str, allowed: Any) -> None:
    names = cast(tuple[str, ...], allowed.__args__)
    if value not in names:
        raise ValueError(f"{name} is {' or '.join(map(repr, names))}, not {value!r}")


OtterProcessor.register_for_auto_class()  # type: ignore[no-untyped-call]
