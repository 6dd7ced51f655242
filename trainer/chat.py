"""Ask a trained model about a picture."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from mimicit.errors import PictureError
from mimicit.media.picture import decode
from trainer.errors import RunFolderError, TrainingError
from trainer.models.otter import Otter, OtterProcessor
from trainer.run_folder import RunFolder


def answer(
    run: Path, image: Path | Sequence[Path], question: str, *, max_new_tokens: int = 128
) -> str:
    """Answer a question about a picture, or about several as the frames of one clip.

    Raises:
        RunFolderError: the run has no model (yet).
        PictureError: a picture is missing or damaged.
    """
    model, processor = load(run)
    paths = [image] if isinstance(image, Path) else list(image)
    return ask(model, processor, paths, question, max_new_tokens=max_new_tokens)


def load(run: Path) -> tuple[Otter, OtterProcessor]:
    """Load a run's model; only safetensors are read, so nothing in the folder can run code."""
    folder = RunFolder(run)
    if not (folder.model / "config.json").exists():
        state = "has not finished training" if folder.settings.exists() else "is not a training run"
        raise RunFolderError(f"{str(run)!r} {state}; train it with `syphus train … -o {run}`")
    transformers_logging.disable_progress_bar()
    try:
        model = Otter.from_pretrained(folder.model, use_safetensors=True)
        processor = OtterProcessor.from_pretrained(folder.model)
    except (OSError, ValueError, KeyError) as error:
        raise RunFolderError(f"the model in {str(run)!r} cannot be read: {error}") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device), processor  # type: ignore[arg-type]


@torch.inference_mode()
def ask(
    model: Otter,
    processor: OtterProcessor,
    images: Sequence[Path],
    question: str,
    *,
    max_new_tokens: int = 128,
) -> str:
    """Answer with the likeliest words."""
    frames = model.config.max_num_frames
    if frames and len(images) > frames:
        raise TrainingError(f"this model takes {frames} pictures at once, not {len(images)}")
    pixels_BNFCHW = None
    if images:
        pictures = [processor.pixels(decode(_read(path), name=str(path))) for path in images]
        pixels_BNFCHW = torch.stack(pictures)[None, None].to(model.device)
    ids_BT = torch.tensor([processor.prompt(question, picture=bool(images))], device=model.device)
    written_BT = model.generate(
        ids_BT,
        pixel_values=pixels_BNFCHW,
        attention_mask=torch.ones_like(ids_BT),
        do_sample=False,
        max_new_tokens=max_new_tokens,
    )
    return processor.decode(written_BT[0, ids_BT.shape[1] :].tolist())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"the picture {str(path)!r} cannot be read: {error.strerror}") from None
