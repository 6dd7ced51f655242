"""Text and pictures to Fuyu's tokens and patches, the same way for teaching and for asking; needs no torchvision.

    one picture      |SPEAKER| |SPEAKER| |NEWLINE| |SPEAKER| |SPEAKER| |NEWLINE| <s> User:What? Assistant: <0x04> A cat
                     one |SPEAKER| for each patch, one |NEWLINE| for each row of them

That is the published layout. It says nothing of several pictures; here `<s>` ends *every* picture, which then stands where it is meant:
before the text, between two turns, or amid a question. A frame is a picture. A text that begins without one begins with `<s>`.

    interleaved      [picture 1] <s> [picture 2] <s> User:Differences? Assistant: <0x04> ...
    text first       <s> User:Compare [picture 1] <s> with [picture 2] <s> Assistant: <0x04> ...
    turns            [picture] <s> User:q1 Assistant: <0x04> a1 |ENDOFTEXT| User:q2 Assistant: <0x04> a2 |ENDOFTEXT|
    labels               -      -       -       -        -   a1 |ENDOFTEXT|      -       -        -   a2 |ENDOFTEXT|

Of many turns every answer and an end after each is taught, and no question; of one turn this gives the published ids and labels.
(The published training ends only the last answer, and teaches the second question in place of the second answer.)

`<box>top, left, bottom, right</box>` and `<point>x, y</point>` in a text, in pixels of the picture before it as it came, become half the
pixels of it as it is shown, a token for each number; `decode` turns them back.

Letters: B rows, T tokens, P patches, C numbers of one patch.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature, ProcessorMixin

from .fuyu_batch import Sample, normalised, padded
from .fuyu_pictures import PADDING, Patches, cut, from_bytes
from .loss import IGNORED

__all__ = ["FuyuProcessor", "placed"]

PATCH, ROW_END, START, ANSWER = "|SPEAKER|", "|NEWLINE|", "<s>", "<0x04>"
PLACE = "<image>"
"""In a text for `__call__` or `placed`: here stands the next picture."""
FIXED = {
    "do_resize": True,
    "do_pad": True,
    "do_rescale": True,
    "do_normalize": True,
    "resample": Image.Resampling.BILINEAR,
    "padding_mode": "constant",
    "padding_value": PADDING,
    "rescale_factor": 1 / 255,
    "image_mean": 0.5,
    "image_std": 0.5,
}
"""What transformers' settings must say, if they say it: nothing else is done here."""
TAGS = {"box": ("<0x00>", "<0x01>", 4), "point": ("<0x02>", "<0x03>", 2)}
"""The tokens around the numbers of a tag, and how many numbers."""
NUMBER = r"\s*-?\d+(?:\.\d+)?\s*"
TAG = re.compile(
    "|".join(
        f"(<{name}>{','.join([NUMBER] * count)}</{name}>)" for name, (_, _, count) in TAGS.items()
    )
)

Part = str | Image.Image | Patches
Turn = tuple[str | Sequence[Part], str | None]
"""A question, pictures in it where they are meant, and its answer; None: to be written."""


class FuyuProcessor(ProcessorMixin):
    """Usable like transformers' own, whose files it reads; beside weights it is saved as code, too (`trust_remote_code`)."""

    def __init__(
        self,
        tokenizer: Any,
        patch_size: int = 30,
        size: dict[str, int] | None = {"height": 1080, "width": 1920},  # noqa: B006
        max_pixels: int | None = None,
    ) -> None:
        """Make a processor.

        Args:
            tokenizer: Fuyu's.
            patch_size: Side of a patch in pixels.
            size: Height and width that a picture may have; larger ones are made to fit, with their aspect. None: any.
            max_pixels: Height times width at most. None: any.

        Raises:
            ValueError: the tokenizer is another family's.
        """
        super().__init__(tokenizer)  # type: ignore[no-untyped-call]
        if isinstance(patch_size, dict):
            patch_size = patch_size["height"]
        self.patch_size = patch_size
        self.size = size
        self.max_pixels = max_pixels
        words = tokenizer.get_vocab()
        marks = [PATCH, ROW_END, START, ANSWER, *(t for tag in TAGS.values() for t in tag[:2])]
        if missing := [mark for mark in marks if mark not in words]:
            raise ValueError(f"this is no tokenizer of Fuyu: it has no token {', '.join(missing)}")
        self.patch_id, self.row_end_id, self.start_id, self.answer_id = (
            words[mark] for mark in marks[:4]
        )
        self.end_id: int = tokenizer.eos_token_id
        self.pad_id: int = tokenizer.pad_token_id or 0
        self._words: dict[str, int] = words

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "pixel_values"]

    def cut(
        self, picture: Any, *, max_pixels: int | None = None, side: int | None = None
    ) -> Patches:
        """Return a picture's patches.

        Args:
            picture: Pillow's, or its bytes_HWC; patches are returned as they are.
            max_pixels: A limit of this picture's own, beside the processor's.
            side: Show it, shrunk or enlarged with its aspect, as large as a square of so many pixels a side, but within the
                processor's limits; None: as it comes.

        Raises:
            ValueError: it is none, or damaged.
        """
        if isinstance(picture, Patches):
            return picture
        if not isinstance(picture, Image.Image):
            picture = from_bytes(picture)
        area = None if side is None else side**2
        limits = [limit for limit in (self.max_pixels, max_pixels, area) if limit is not None]
        return cut(
            picture,
            patch=self.patch_size,
            size=None if self.size is None else (self.size["height"], self.size["width"]),
            max_pixels=min(limits, default=None),
            min_pixels=area,
        )

    def sample(
        self,
        turns: Sequence[Turn],
        *,
        max_tokens: int | None = None,
        side: int | None = None,
        record_id: str | None = None,
    ) -> Sample:
        """Return a conversation with its labels; if the last answer is None, a prompt for it.

        Args:
            turns: Oldest first.
            max_tokens: More are refused.
            side: See `cut`; for dynamic resolution it is drawn for each sample (`fuyu_pictures.drawn_side`).
            record_id: Named in errors.

        Raises:
            ValueError: nothing in it, a text that holds one of the layout's own tokens, a damaged picture, or more than `max_tokens`.
        """
        try:
            return self._conversation(turns, max_tokens, side)
        except ValueError as error:
            if record_id is None:
                raise
            raise ValueError(f"record {record_id!r} cannot be encoded: {error}") from error

    def _conversation(
        self, turns: Sequence[Turn], max_tokens: int | None, side: int | None
    ) -> Sample:
        ids: list[int] = []
        labels: list[int] = []
        shown: list[Patches] = []
        for nth, (question, answer) in enumerate(turns):
            if answer is None and nth < len(turns) - 1:
                raise ValueError(f"turn {nth + 1} of {len(turns)} has no answer")
            new = self._laid_out(_framed(question, answer), shown, is_start=not ids, side=side)
            taught_from = new.index(self.answer_id) + 1
            if answer is not None:
                new.append(self.end_id)
            ids += new
            labels += [IGNORED] * taught_from + new[taught_from:]
        return self._sample(ids, labels, shown, max_tokens)

    def prompt(
        self, parts: Sequence[Part], *, max_tokens: int | None = None, side: int | None = None
    ) -> Sample:
        """Return text and pictures as they stand, followed by the beginning of an answer; `side` as in `cut`."""
        shown: list[Patches] = []
        ids = self._laid_out(parts, shown, is_start=True, side=side, may_answer=True)
        ids.append(self.answer_id)
        return self._sample(ids, [IGNORED] * len(ids), shown, max_tokens)

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        padding_side: str = "left",
        side: int | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Return input_ids and attention_mask (B, T), and pixel_values (P, C) of all rows, for `generate`.

        Args:
            images: A picture, one for each text, or a list of them for each text.
            text: Prompts; `<image>` marks where a picture stands, without it all stand before the text.
            padding_side: Of shorter prompts.
            side: See `cut`.
            kwargs: `return_tensors="pt"`, the only kind there is.

        Raises:
            ValueError: the pictures do not fit the texts.
        """
        if kwargs.pop("return_tensors", "pt") != "pt":
            raise ValueError("FuyuProcessor gives torch tensors only: return_tensors='pt'")
        if kwargs:
            raise ValueError(f"FuyuProcessor knows no {', '.join(map(repr, kwargs))}")
        texts = [text or ""] if text is None or isinstance(text, str) else list(text)
        if images is None:
            images = [[] for _ in texts]
        elif not isinstance(images, list | tuple):
            images = [images]
        if isinstance(text, str) and images and not isinstance(images[0], list | tuple):
            images = [images]
        if len(images) != len(texts):
            raise ValueError(f"{len(images)} pictures (or lists of them) for {len(texts)} texts")
        samples = [
            self.prompt(
                placed(one, list(its) if isinstance(its, list | tuple) else [its]), side=side
            )
            for one, its in zip(texts, images, strict=True)
        ]
        batch = padded(samples, pad_id=self.pad_id, side=padding_side)
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        if len(batch["pixel_values"]):
            inputs["pixel_values"] = normalised(batch["pixel_values"])
        return BatchFeature(inputs)

    def text_ids(self, text: str, *, scale: float = 1.0) -> list[int]:
        """Return the tokens of a bare text about a picture that is shown at `scale`."""
        return self._text(text, scale, may_answer=True)

    def decode(self, ids: Sequence[int] | Tensor, *, scale: float = 1.0, **kwargs: Any) -> str:
        """Return the text of tokens, boxes and points in pixels of the picture as it came, shown at `scale`."""
        left = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        kwargs = {"skip_special_tokens": True} | kwargs
        marks = {self._words[tag[0]]: (name, tag) for name, tag in TAGS.items()}
        text = ""
        plain: list[int] = []
        while left:
            name, (_, close, count) = marks.get(left[0], ("", ("", "", 0)))
            numbers = self.tokenizer.convert_ids_to_tokens(left[1 : 1 + count])
            whole = left[1 + count : 2 + count] == [self._words.get(close)]
            if name and whole and all(map(str.isdecimal, numbers)):
                pixels = ", ".join(str(round(2 * int(number) / scale)) for number in numbers)
                text += self.tokenizer.decode(plain, **kwargs) + f" <{name}>{pixels}</{name}>"
                left, plain = left[2 + count :], []
            else:
                plain.append(left.pop(0))
        return (text + str(self.tokenizer.decode(plain, **kwargs))).strip()

    def batch_decode(self, rows: Sequence[Any], **kwargs: Any) -> list[str]:
        return [self.decode(row, **kwargs) for row in rows]

    def save_pretrained(self, save_directory: Any, push_to_hub: bool = False, **kwargs: Any) -> Any:
        files = super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)
        path = Path(save_directory) / "preprocessor_config.json"
        # For transformers' own FuyuProcessor, where the weights are used without ours; it knows no picture without a limit.
        side = {"height": self.patch_size, "width": self.patch_size}
        size = self.size or {"height": 1080, "width": 1920}
        settings = {"image_processor_type": "FuyuImageProcessor", "patch_size": side, "size": size}
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return [*files, str(path)]

    @classmethod
    def get_processor_dict(  # type: ignore[override]
        cls, name: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the settings: ours, or those that transformers' FuyuProcessor keeps with its image processor."""
        found, rest = super().get_processor_dict(name, **kwargs)
        if "patch_size" not in found:
            path = Path(name) / "preprocessor_config.json"
            theirs: dict[str, Any] = found.get("image_processor") or {}
            if not theirs and path.exists():
                theirs = json.loads(path.read_text(encoding="utf-8"))
            for key, value in FIXED.items():
                if not _is_all(theirs.get(key, value), value):
                    raise ValueError(
                        f"the settings of {str(name)!r} say {key} = {theirs[key]!r}, but Fuyu's pictures are made with {value!r}"
                    )
            found |= {key: theirs[key] for key in ("patch_size", "size") if key in theirs}
        return found, rest

    def _laid_out(
        self,
        parts: Sequence[Part],
        shown: list[Patches],
        *,
        is_start: bool,
        side: int | None,
        may_answer: bool = False,
    ) -> list[int]:
        """Return tokens, and put the pictures to those shown before."""
        ids: list[int] = []
        for part in parts:
            if not isinstance(part, str):
                patches = self.cut(part, side=side)
                shown.append(patches)
                ids += [*[self.patch_id] * patches.columns, self.row_end_id] * patches.rows
                ids.append(self.start_id)
                continue
            if is_start and not ids:
                ids.append(self.start_id)
            ids += self._text(part, shown[-1].scale if shown else 1.0, may_answer)
        return ids

    def _text(self, text: str, scale: float, may_answer: bool) -> list[int]:
        """Return a text's tokens: what stands between tags by itself, as published."""
        ids: list[int] = []
        for piece in filter(None, TAG.split(text)):
            if TAG.fullmatch(piece):
                ids += self._tag(piece, scale)
            else:
                ids += self.tokenizer(piece, add_special_tokens=False)["input_ids"]
        answers = 0 if may_answer else text.count(_MARK)
        forbidden = {self.patch_id, self.row_end_id, self.start_id, self.end_id}
        if bad := forbidden & set(ids):
            names = self.tokenizer.convert_ids_to_tokens(sorted(bad))
            raise ValueError(f"the text holds {names[0]!r}, a token of the layout; take it out")
        if not may_answer and ids.count(self.answer_id) != answers:
            raise ValueError(f"the text holds {ANSWER!r}, where an answer begins; take it out")
        return ids

    def _tag(self, tag: str, scale: float) -> list[int]:
        name = tag[1 : tag.index(">")]
        begin, end, _ = TAGS[name]
        inner = tag[len(name) + 2 : -len(name) - 3]
        # Half the pixels as shown, rounded half to even: the published rule.
        numbers = [str(round(float(number) / 2 * scale)) for number in inner.split(",")]
        if unknown := [number for number in numbers if number not in self._words]:
            raise ValueError(
                f"{tag!r} becomes {', '.join(numbers)}, and the tokenizer has no token {unknown[0]!r}; "
                "use coordinates within the picture, or a smaller `size`"
            )
        return [self._words[word] for word in (begin, *numbers, end)]

    def _sample(
        self, ids: list[int], labels: list[int], shown: list[Patches], max_tokens: int | None
    ) -> Sample:
        if not ids:
            raise ValueError("there is no turn to teach")
        if max_tokens is not None and len(ids) > max_tokens:
            patches = sum(len(picture.bytes_PC) for picture in shown)
            raise ValueError(
                f"{len(ids)} tokens ({patches} of them patches) are more than {max_tokens}; show pictures smaller (max_pixels)"
            )
        ids_T = torch.tensor(ids)
        width = 3 * self.patch_size**2
        return Sample(
            ids_T=ids_T,
            labels_T=torch.tensor(labels),
            patches_PC=torch.cat(
                [torch.empty(0, width, dtype=torch.uint8), *(one.bytes_PC for one in shown)]
            ),
            positions_P=(ids_T == self.patch_id).nonzero().flatten(),
        )


_MARK = "\x04"
"""What the tokenizer's byte fallback makes the token of ANSWER from."""


def _framed(question: str | Sequence[Part], answer: str | None) -> list[Part]:
    """Return `User:{question} Assistant:` and the answer around a question's parts; pictures at its beginning stay before it."""
    parts: list[Part] = [question] if isinstance(question, str) else list(question)
    texts = [place for place, part in enumerate(parts) if isinstance(part, str)]
    spoken = [question] if isinstance(question, str) else [parts[place] for place in texts]
    if any(_MARK in str(text) for text in (*spoken, answer or "")):
        raise ValueError(f"the text holds {_MARK!r}, where an answer begins; take it out")
    leading = texts[0] if texts else len(parts)
    pictures, rest = parts[:leading], parts[leading:]
    if not rest:
        rest = [""]
    rest[0] = f"User:{rest[0]}"
    tail = f" Assistant:{_MARK}" + ("" if answer is None else f" {answer}")
    if isinstance(rest[-1], str):
        rest[-1] += tail
    else:
        rest.append(tail)
    return [*pictures, *rest]


def placed(text: str, pictures: Sequence[Any]) -> list[Any]:
    """Return a question's parts for `sample`: the pictures at the text's `<image>` marks, or all before it.

    Raises:
        ValueError: there are some marks, but not one for each picture.
    """
    pieces = text.split(PLACE)
    if len(pieces) == 1:
        return [*pictures, text]
    if len(pieces) - 1 != len(pictures):
        raise ValueError(
            f"the text has {len(pieces) - 1} {PLACE} and {len(pictures)} pictures: {text!r}"
        )
    parts: list[Any] = [pieces[0]]
    for picture, piece in zip(pictures, pieces[1:], strict=True):
        parts += [picture, piece]
    return [part for part in parts if not (isinstance(part, str) and not part)]


def _is_all(said: Any, value: Any) -> bool:
    """Tell whether a setting, of one number or one for each colour, is a value."""
    every = said if isinstance(said, list | tuple) else [said]
    if isinstance(value, str):
        return all(one == value for one in every)
    return all(math.isclose(one, value, rel_tol=1e-6) for one in every)


FuyuProcessor.register_for_auto_class()  # type: ignore[no-untyped-call]
