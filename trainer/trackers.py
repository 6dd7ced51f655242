"""Where figures go beside `log.jsonl`, if a recipe wants it (`report.to`): TensorBoard, Weights & Biases, trackio.

A tracker is one class here and a line of TRACKERS. Its package is imported when a run begins with it; one that is not installed is
refused before anything is loaded. A tracker that fails later, because a network is away say, costs one sentence and never the run.

A run keeps its name at a tracker (`trackers.json`), so that it goes on there when it is resumed. Steps that it takes again since its
last checkpoint were told already: TensorBoard is told to forget them, the others do not get them a second time.
"""

import json
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from mimicit.errors import MissingExtraError
from trainer.config import Report
from trainer.report import StepLog
from trainer.run_folder import write_json


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a tracker is told of a run when it begins or goes on."""

    folder: Path
    project: str
    id: str
    """Of the run, at every tracker."""
    settings: Mapping[str, Any]
    start: int
    """Steps that were learned before."""
    told: int
    """The last step that trackers were told, before the run was resumed."""

    @property
    def name(self) -> str:
        return self.folder.resolve().name


class Tracker(Protocol):
    def log(self, step: int, values: Mapping[str, float]) -> None: ...
    def close(self, *, is_finished: bool) -> None: ...


class TensorBoard:
    """Event files in `RUN/tensorboard`."""

    def __init__(self, run: Beginning) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Whoever reads the files leaves out what older ones say of later steps.
        purge = run.start + 1 if run.told else None
        self._writer: Any = SummaryWriter(str(run.folder / "tensorboard"), purge_step=purge)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, *, is_finished: bool) -> None:
        self._writer.close()


class Wandb:
    """A run of Weights & Biases; without a network with WANDB_MODE=offline."""

    def __init__(self, run: Beginning) -> None:
        import wandb  # type: ignore[import-not-found, unused-ignore]

        self._told = run.told
        self._run: Any = wandb.init(
            project=run.project,
            id=run.id,
            name=run.name,
            dir=str(run.folder),
            config=dict(run.settings),
            resume="allow",
            # It would copy the line that renews itself each time.
            settings=wandb.Settings(console="off"),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step > self._told:
            self._run.log(dict(values), step=step)

    def close(self, *, is_finished: bool) -> None:
        self._run.finish(exit_code=0 if is_finished else 1)


class Trackio:
    """A run of trackio, which keeps its files in TRACKIO_DIR."""

    def __init__(self, run: Beginning) -> None:
        import trackio  # type: ignore[import-not-found, unused-ignore]

        self._told = run.told
        name = f"{run.name}-{run.id}"
        settings = dict(run.settings)
        self._run: Any = trackio.init(
            run.project, name=name, config=settings, resume="allow", embed=False
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step > self._told:
            self._run.log(dict(values), step=step)

    def close(self, *, is_finished: bool) -> None:
        self._run.finish()


TRACKERS: dict[str, Callable[[Beginning], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
}


def need(names: Sequence[str]) -> None:
    """Find the packages of trackers, without importing them.

    Raises:
        MissingExtraError: one is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise MissingExtraError(name, "report")


class Trackers:
    """All trackers of a run; none of them can stop it."""

    def __init__(
        self,
        config: Report,
        folder: Path,
        settings: Mapping[str, Any],
        *,
        start: int,
        told: int,
        say: Callable[[str], None],
    ) -> None:
        """Begin or go on.

        Args:
            config: Of the recipe.
            folder: Of the run.
            settings: The recipe with its overrides.
            start: Steps that were learned before.
            told: The last step in the log before it was cut to that.
            say: Takes the sentence on a tracker that fails.
        """
        self._say = say
        self._is_finished = False
        self._open: dict[str, Tracker] = {}
        if not config.to:
            return
        known = _id(folder)
        beginning = Beginning(folder, config.project, known, settings, start, told)
        for name in config.to:
            self._try(name, lambda name=name: self._begin(name, beginning))  # type: ignore[misc]

    def step(self, entry: StepLog) -> None:
        """Tell a step."""
        if not self._open:
            return
        values = {
            "train/loss": entry.loss,
            "train/lr": entry.lr,
            "train/grad_norm": entry.grad_norm,
        }
        values |= {f"train/{name}": value for name, value in entry.figures.items()}
        values |= {f"speed/{name}": value for name, value in entry.rates().items()}
        values |= {"speed/seconds": entry.seconds, "speed/waited": entry.waited}
        values |= {f"aside/{what}": seconds for what, seconds in entry.aside.items()}
        if entry.mfu is not None:
            values["speed/mfu"] = entry.mfu
        if entry.memory is not None:
            values["memory/peak_gb"] = entry.memory / 1e9
        self._log(entry.step, values)

    def held_out(self, step: int, loss: float, figures: Mapping[str, float]) -> None:
        """Tell what a look at held-out records found after a step."""
        values = {"held_out/loss": loss} | {f"held_out/{n}": value for n, value in figures.items()}
        self._log(step, values)

    def finish(self) -> None:
        """Note that the run has reached its end, before this is left."""
        self._is_finished = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name, tracker in list(self._open.items()):
            self._try(name, lambda one=tracker: one.close(is_finished=self._is_finished))  # type: ignore[misc]
        self._open.clear()

    def _begin(self, name: str, beginning: Beginning) -> None:
        self._open[name] = TRACKERS[name](beginning)

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        for name, tracker in list(self._open.items()):
            self._try(name, lambda one=tracker: one.log(step, values))  # type: ignore[misc]

    def _try(self, name: str, do: Callable[[], None]) -> None:
        """Do something with a tracker; the first time that it fails is the last."""
        try:
            with redirect_stdout(sys.stderr):  # which carries results alone
                do()
        except Exception as error:  # noqa: BLE001 - a stranger's package raises what it likes, and the run goes on
            self._open.pop(name, None)
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            self._say(f"{name} gets no more figures ({said}); log.jsonl has all of them")


def _id(folder: Path) -> str:
    """Return the run's name at trackers: another one for another run in a folder of the same name."""
    path = folder / "trackers.json"
    if not path.exists():
        write_json(path, {"id": secrets.token_hex(4)})
    return str(json.loads(path.read_text(encoding="utf-8"))["id"])
