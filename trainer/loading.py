"""A folder with a model, ready to be asked: one of ours or a published one, whatever its family.

Only safetensors are read, and no code that lies in the folder is run: a model that came from somewhere can do no harm. A model of
another family, a weight that is missing and one that the model does not have are refused by name.

A family is one line of FAMILIES.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from mimicit.inline import short
from trainer.errors import RunFolderError
from trainer.quiet import quiet
from trainer.run_folder import RunFolder

Message = Mapping[str, Any]
"""In transformers' form: {"role": "user" or "assistant", "content": parts of type text, image or video}."""
SHOWN = 5
"""Names of weights that an error lists."""
LONGEST = 300
"""Letters of what a library or a file says, in an error."""
CONVERTED = "A published checkpoint of another layout is converted by `syphus checkpoint convert`"


@dataclass(frozen=True, slots=True)
class Family:
    """How models of one `model_type` are made and asked."""

    classes: Callable[[], tuple[Any, Any]]
    """Import the model's class and the processor's."""
    inputs: Callable[[Any, Sequence[Message]], Mapping[str, Any]]
    """What `generate` takes, from a processor and a conversation."""
    has_clips: bool
    """A medium may have several frames; else they are pictures one after the other."""
    unwritten: tuple[str, ...]
    """Names of the processor's tokens that stand for pictures, and mean nothing in an answer."""


def _otter() -> tuple[Any, Any]:
    from trainer.models.otter import Otter
    from trainer.models.otter_processor import OtterProcessor

    return Otter, OtterProcessor


def _idefics() -> tuple[Any, Any]:
    from trainer.models.idefics import Idefics
    from trainer.models.idefics_processor import IdeficsChatProcessor

    return Idefics, IdeficsChatProcessor


def _fuyu() -> tuple[Any, Any]:
    from trainer.models.fuyu import Fuyu
    from trainer.models.fuyu_processor import FuyuProcessor

    return Fuyu, FuyuProcessor


def _templated(processor: Any, messages: Sequence[Message]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = processor.apply_chat_template(
        messages, tokenize=True, return_dict=True
    )
    return found


def _called(processor: Any, messages: Sequence[Message]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = processor(messages)
    return found


def _sampled(processor: Any, messages: Sequence[Message]) -> Mapping[str, Any]:
    from trainer.models.fuyu_batch import padded
    from trainer.models.turns import turns_of

    turns = [([*turn.media, turn.question], turn.answer) for turn in turns_of(messages)]
    batch = padded([processor.sample(turns)], pad_id=processor.pad_id, side="left")
    return {name: batch[name] for name in processor.model_input_names if name in batch}


FAMILIES = {
    "fuyu": Family(_fuyu, _sampled, False, ("patch_id", "row_end_id", "start_id", "answer_id")),
    "idefics": Family(_idefics, _called, False, ("image_id", "fake_id")),
    "otter": Family(_otter, _templated, True, ("image_id",)),
}


def load(path: Path, *, device: str | None = None) -> tuple[Any, Any]:
    """Return the model and the processor of a training run, or of a folder that `save_pretrained` wrote.

    `device` None is a GPU, where there is one.

    Raises:
        RunFolderError: there is no model (yet), it is of another family or incomplete, or its weights are a pickle.
    """
    folder = model_folder(path)
    family = FAMILIES[_model_type(folder)]
    _need_safetensors(folder)
    transformers_logging.disable_progress_bar()
    model_class, processor_class = family.classes()
    try:
        with quiet():
            model, found = model_class.from_pretrained(
                folder,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                local_files_only=True,
            )
            processor = processor_class.from_pretrained(
                folder, trust_remote_code=False, local_files_only=True
            )
    except Exception as error:  # values of wrong types raise whatever they meet
        said = short(str(error) or type(error).__name__, LONGEST)
        raise RunFolderError(f"the model in {str(path)!r} cannot be read: {said}") from error
    for kind in ("mismatched", "missing", "unexpected"):
        if keys := sorted(map(_named, found[f"{kind}_keys"])):
            more = f" and {len(keys) - SHOWN:,} more" if len(keys) > SHOWN else ""
            raise RunFolderError(
                f"the weights in {str(path)!r} do not fit its config.json: {kind} are {', '.join(keys[:SHOWN])}{more}. "
                f"{CONVERTED}"
            )
    # Folders of older runs do not say it beside the processor.
    if getattr(processor, "max_frames", 0) is None:
        processor.max_frames = model.config.max_num_frames
    return model.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu")), processor


def model_folder(path: Path) -> Path:
    """Return where the model of a run is, or the folder itself if it is a model's.

    Raises:
        RunFolderError: neither.
    """
    run = RunFolder(path)
    for folder in (run.model, path):
        if (folder / "config.json").is_file():
            return folder
    if run.settings.exists():
        raise RunFolderError(
            f"{str(path)!r} has not finished training; train it with `syphus train … -o {path}`"
        )
    raise RunFolderError(
        f"{str(path)!r} is not a training run, nor a folder with a model (config.json); train one with "
        f"`syphus train … -o {path}`"
    )


def _model_type(folder: Path) -> str:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        found = config.get("model_type")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise RunFolderError(
            f"{str(folder / 'config.json')!r} is no model's config: {error}"
        ) from None
    if not isinstance(found, str) or found not in FAMILIES:
        raise RunFolderError(
            f"the model in {str(folder)!r} is of the family {found!r}, which is not asked here; families are {', '.join(FAMILIES)}. "
            f"{CONVERTED}"
        )
    return found


def _named(key: Any) -> str:
    """Name a weight, and its shapes where there are two."""
    name, *shapes = [key] if isinstance(key, str) else key
    sizes = " and not ".join("×".join(map(str, shape)) for shape in shapes)
    return short(name, LONGEST) + (f" ({sizes})" if sizes else "")


def _need_safetensors(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(
        path.name for suffix in ("bin", "pt", "pth", "ckpt") for path in folder.glob(f"*.{suffix}")
    )
    if pickles:
        raise RunFolderError(
            f"the weights in {str(folder)!r} are a pickle ({pickles[0]}), which can run any program when it is read; "
            f"make safetensors of them with `syphus checkpoint convert {folder} -o …`"
        )
    raise RunFolderError(f"{str(folder)!r} has a config.json but no weights (*.safetensors)")
