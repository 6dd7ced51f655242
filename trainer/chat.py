"""Ask a trained model about pictures or a video, in one question or several.

    chat = start(Path("runs/demo"), [Path("cat.png")])[0]
    chat.ask("What is it?").answer                  "A cat."
    chat.ask("And what does it do?").answer         "It sleeps."      the picture is still seen

A video is shown as frames from its first to its last, evenly. Greedy answers are the default; those that are drawn are the same
for the same seed.
"""

import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from mimicit.errors import PictureError
from mimicit.media import video as videos
from mimicit.media.picture import MAX_BYTES, decode
from trainer.errors import TrainingError
from trainer.loading import FAMILIES, Message, load

FRAMES = 8
"""Of a video, where neither the caller nor the model says how many."""
Write = Callable[[str], object]
_DRAWING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the words of an answer are chosen."""

    max_new_tokens: int = 128
    """Tokens of an answer, at most."""
    temperature: float = 0.0
    """0: always the likeliest word; else words are drawn, the more freely the higher."""
    top_p: float = 1.0
    """Draw only from the likeliest words that together are so likely."""
    beams: int = 1
    """Beginnings of an answer that are gone on with side by side."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, is_right in (
            ("max_new_tokens", self.max_new_tokens, self.max_new_tokens >= 1),
            ("temperature", self.temperature, 0 <= self.temperature <= 100),
            ("top_p", self.top_p, 0 < self.top_p <= 1),
            ("beams", self.beams, self.beams >= 1),
        ):
            if not is_right:
                raise TrainingError(f"{name} cannot be {value}")
        if self.top_p < 1 and not self.temperature:
            raise TrainingError(f"top_p {self.top_p} draws words, and needs a temperature above 0")

    def options(self) -> dict[str, Any]:
        """Return the arguments of `generate`."""
        drawn = {"temperature": self.temperature, "top_p": self.top_p, "top_k": 0}
        return {"num_beams": self.beams, "do_sample": bool(self.temperature)} | (
            drawn if self.temperature else {}
        )


@dataclass(frozen=True, slots=True)
class Reply:
    question: str
    answer: str
    media: tuple[str, ...]
    """Files that the conversation shows."""
    prompt_tokens: int
    new_tokens: int

    def json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self), ensure_ascii=False)


@dataclass
class Chat:
    """A conversation with a model: what was said, and what is shown."""

    model: Any
    processor: Any
    sampling: Sampling = field(default_factory=Sampling)
    messages: list[Message] = field(default_factory=list)
    names: tuple[str, ...] = ()
    shown: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._generator = torch.Generator().manual_seed(self.sampling.seed)

    def show(self, frames: Sequence[Image.Image], names: Sequence[str]) -> None:
        """Show a medium before the next question: a picture, or the frames of a clip.

        Raises:
            TrainingError: more frames than the model takes.
        """
        most = getattr(self.model.config, "max_num_frames", None)
        if most and len(frames) > most:
            raise TrainingError(f"this model takes {most} pictures at once, not {len(frames)}")
        if len(frames) > 1 and FAMILIES[self.model.config.model_type].has_clips:
            self.shown.append({"type": "video", "video": list(frames)})
        else:
            self.shown += [{"type": "image", "image": frame} for frame in frames]
        self.names += tuple(names)

    @torch.inference_mode()
    def ask(self, question: str, write: Write | None = None) -> Reply:
        """Answer, and remember both.

        Args:
            question: Goes on with what was said before.
            write: Called with each piece of the answer as it comes; together they are the answer. Several beams come as one piece.

        Raises:
            TrainingError: the conversation is longer than the model reads, or the question is no text.
        """
        if not _is_whole(question):
            raise TrainingError(f"the question {question!r} has bytes in it that are no UTF-8")
        content = [*self.shown, {"type": "text", "text": question}]
        asked = [*self.messages, {"role": "user", "content": content}]
        try:
            inputs = FAMILIES[self.model.config.model_type].inputs(self.processor, asked)
        except ValueError as error:
            raise TrainingError(f"the question cannot be asked: {error}") from error
        answer, new = self.written(inputs, write)
        self.messages = [*asked, {"role": "assistant", "content": answer}]
        self.shown = []
        return Reply(question, answer, self.names, inputs["input_ids"].shape[1], new)

    def written(self, inputs: Any, write: Write | None = None) -> tuple[str, int]:
        """Return the answer to what a family's `inputs` gave, and how many tokens it has."""
        tokens = inputs["input_ids"].shape[1]
        context = context_of(self.model)
        if tokens >= context:
            raise TrainingError(
                f"the conversation has {tokens:,} tokens, but the model reads {context:,} with the answer; "
                "begin a new one, or show less"
            )
        family = FAMILIES[self.model.config.model_type]
        piecewise = write is not None and self.sampling.beams == 1
        device = self.model.device
        with self._seeded(device) if self.sampling.temperature else nullcontext():
            written_1T = self.model.generate(
                **{
                    name: value.to(device) if isinstance(value, Tensor) else value
                    for name, value in inputs.items()
                },
                max_new_tokens=min(self.sampling.max_new_tokens, context - tokens),
                eos_token_id=self.processor.end_id,
                pad_token_id=self.processor.pad_id,
                suppress_tokens=[getattr(self.processor, name) for name in family.unwritten],
                streamer=Pieces(self.processor, write) if write and piecewise else None,
                **self.sampling.options(),
            )
        new = written_1T[0, tokens:].tolist()
        answer = str(self.processor.decode(new, skip_special_tokens=True)).strip()
        if write and not piecewise:
            write(answer)
        return answer, len(new)

    @contextmanager
    def _seeded(self, device: torch.device) -> Iterator[None]:
        """Draw by this conversation's seed; its second answer is not drawn as its first.

        `generate` draws by torch's own numbers, which all threads share: so one draws at a time.
        """
        with _DRAWING, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(torch.randint(2**62, (), generator=self._generator)))
            yield


class Pieces(BaseStreamer):  # type: ignore[misc, unused-ignore]
    """Hands an answer on as it is written, in whole letters."""

    def __init__(self, processor: Any, write: Write) -> None:
        self._processor = processor
        self._write = write
        self._ids: list[int] = []
        self._written = ""
        self._is_prompt = True

    def put(self, value: Tensor) -> None:
        if self._is_prompt:
            self._is_prompt = False
            return
        self._ids += value.flatten().tolist()
        self._hand_on(self._text().rstrip("\ufffd").rstrip())

    def end(self) -> None:
        self._hand_on(self._text())

    def _text(self) -> str:
        return str(self._processor.decode(self._ids, skip_special_tokens=True)).strip()

    def _hand_on(self, text: str) -> None:
        # A tokenizer may still change what stands at the end; then it is written when it has come to rest.
        if text.startswith(self._written) and len(text) > len(self._written):
            self._write(text[len(self._written) :])
            self._written = text


def start(
    run: Path,
    images: Sequence[Path] = (),
    *,
    video: Path | None = None,
    frames: int | None = None,
    each: bool = False,
    sampling: Sampling | None = None,
) -> list[Chat]:
    """Load a model and show it what is to be asked about: one conversation, or one for each picture.

    Args:
        run: Folder of a training run, or of a model.
        images: Pictures; several are the frames of one clip, for a model that knows clips.
        video: A file, instead of pictures.
        frames: Of the video; as many as the model takes, or else 8, if None.
        each: Begin a conversation for each picture.
        sampling: How words are chosen.

    Raises:
        RunFolderError: there is no model that could be asked.
        PictureError: a picture or the video is missing or damaged.
        TrainingError: more frames than the model takes; pictures and a video.
    """
    if video and images:
        raise TrainingError("give pictures or a video, not both")
    model, processor = load(run)
    sampling = sampling or Sampling()
    if video:
        wanted = frames or getattr(model.config, "max_num_frames", None) or FRAMES
        media = [(evenly_of(video, wanted), [str(video)])]
    else:
        pictures = [(decode(_read(path), name=str(path)), str(path)) for path in images]
        if each:
            media = [([picture], [name]) for picture, name in pictures]
        else:
            media = [([picture for picture, _ in pictures], [name for _, name in pictures])]
    chats = []
    for shown, names in media:
        chat = Chat(model, processor, sampling)
        if shown:
            chat.show(shown, names)
        chats.append(chat)
    return chats or [Chat(model, processor, sampling)]


def answer(
    run: Path, image: Path | Sequence[Path], question: str, *, max_new_tokens: int = 128
) -> str:
    """Answer a question about a picture, or about several as the frames of one clip.

    Raises:
        RunFolderError: the run has no model (yet).
        PictureError: a picture is missing or damaged.
    """
    images = [image] if isinstance(image, Path) else list(image)
    [chat] = start(run, images, sampling=Sampling(max_new_tokens=max_new_tokens))
    return chat.ask(question).answer


def context_of(model: Any) -> int:
    """Return how many tokens a model reads, the answer included."""
    text = model.config.get_text_config()
    for name in ("max_seq_len", "max_position_embeddings"):
        if limit := getattr(text, name, None):
            return int(limit)
    return 2048


def evenly_of(path: Path, frames: int) -> list[Image.Image]:
    """Return frames of a video, evenly from its first to its last; all of them where it has fewer.

    Raises:
        PictureError: not a video, or damaged.
        MissingExtraError: PyAV is not installed.
    """
    if frames < 1:
        raise TrainingError(f"a video is shown as 1 frame or more, not {frames}")
    times = _times(path)
    chosen = np.unique(np.linspace(0, len(times) - 1, frames).astype(int))
    found = videos.frames(path, [times[number] for number in chosen])
    return [Image.open(io.BytesIO(data)).convert("RGB") for _, data in found]


def _times(path: Path) -> list[float]:
    """Return when each frame of a video is shown, in seconds from the first.

    They are read from the packets, without decoding a picture: a length that the file claims may be that of its sound.
    """
    with videos.opened(path) as container:
        stream = videos.video_stream(container, path)
        stamps = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
        if not stamps:
            raise PictureError(f"{path.name!r} has no frame that can be decoded")
        first = stream.start_time if stream.start_time is not None else min(stamps)
        times = {float((stamp - first) * stream.time_base) for stamp in stamps}
        return sorted(time for time in times if time >= 0)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # what has no end, as a device, says no size either
    except OSError as error:
        raise PictureError(f"the picture {str(path)!r} cannot be read: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise PictureError(f"the picture {str(path)!r} is larger than {MAX_BYTES >> 20} MiB")
    return data


def _is_whole(text: str) -> bool:
    """Say whether a text is one: Python keeps bytes that are none as halves of letters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
