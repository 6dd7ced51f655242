"""How the devices of a run share its work: each a whole model (ddp), each a piece of it (fsdp2; zero1-3 in zero.py).

    place ─► model and optimizer for training ─► share, back, update: a step ─► state: a checkpoint; whole: the model

Every strategy learns the same, and files do not show which one wrote them. A checkpoint holds whole tensors by the parameters'
names, so it goes on with another strategy and another number of devices:

    weights      loaded into the plain model before `place`; `whole` gives a plain model back, on the leading process
    optimizer    `load_optimizer` takes, after `place`, what `state` gave

What gathers (`place`, `state`, `whole`) must be called on every process, or the others wait for ever.
"""

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel

from trainer.config import TrainConfig
from trainer.optim import make_optimizer
from trainer.state import NOTHING, Frozen, State, kept
from trainer.trainable import choose


class Strategy:
    """One device, or several that each hold the whole model and exchange gradients (ddp)."""

    name = "ddp"

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator

    def place(self, model: PreTrainedModel, config: TrainConfig) -> tuple[nn.Module, Any]:
        """Put a plain model, with what is trained chosen, on the devices, and make its optimizer."""
        placed: tuple[nn.Module, Any] = self.accelerator.prepare(
            model, make_optimizer(model, config.optim)
        )
        return placed

    def share(self, model: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Keep gradients to oneself but in the last forward of a step."""
        return nullcontext() if last else self.accelerator.no_sync(model)

    def back(self, model: nn.Module, loss: Tensor, *, last: bool) -> None:
        # Gradients are averaged over the processes; their number makes that a sum.
        self.accelerator.backward(loss * self.accelerator.num_processes)

    def update(self, model: nn.Module, optimizer: Any, *, lr: float, longest: float) -> float:
        """Clip and step, and return the gradients' norm before clipping; nothing moves where that is not finite."""
        norm = self._clip(model, longest)
        if self.accelerator.scaler is not None or bool(torch.isfinite(norm)):
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()  # with a scaler (fp16) it looks itself
        optimizer.zero_grad()
        return float(norm)

    def _clip(self, model: nn.Module, longest: float) -> Tensor:
        norm: Tensor = self.accelerator.clip_grad_norm_(model.parameters(), longest)
        return norm

    def skip(self, model: nn.Module, optimizer: Any) -> None:
        """Forget the gradients of a step that taught nothing: else weights would decay, and go on as they went."""
        optimizer.zero_grad()

    def whole(self, model: nn.Module) -> PreTrainedModel | None:
        """Return the model as it was before `place`, with what it learned, on the leading process; None on others.

        It shares its weights with the one in training where they are whole anyway.
        """
        return self.bare(model) if self.accelerator.is_main_process else None

    def bare(self, model: nn.Module) -> PreTrainedModel:
        """Return the model below what `place` wrapped around it."""
        bare: PreTrainedModel = self.accelerator.unwrap_model(model)
        return bare

    def state(self, model: nn.Module, optimizer: Any, frozen: Frozen = NOTHING) -> State:
        """Return what a checkpoint holds, on the leading process; nothing on others.

        training: {"optimizer": {"averages": {parameter: {step, exp_avg, exp_avg_sq}}, "scaler": of fp16}}
        """
        bare, leads = self.bare(model), self.accelerator.is_main_process
        names = kept(bare, without=frozen.names)
        weights: dict[str, Tensor] = {}
        for name, weight in bare.state_dict().items():
            if name in names:
                whole = _whole(weight)
                weights |= {name: whole} if leads else {}
        optimizer_state = self._optimizer_state(model, optimizer)
        return State(weights, {"optimizer": optimizer_state} if leads else {}, frozen)

    def _optimizer_state(self, model: nn.Module, optimizer: Any) -> dict[str, Any]:
        averages = {
            name: {key: _whole(value) for key, value in optimizer.state[weight].items()}
            for name, weight in self._learning(model, optimizer)
            if optimizer.state.get(weight)
        }
        scaler = self.accelerator.scaler
        return {"averages": averages} | ({"scaler": scaler.state_dict()} if scaler else {})

    def load_optimizer(self, model: nn.Module, optimizer: Any, state: Mapping[str, Any]) -> None:
        """Go on with a checkpoint's `training["optimizer"]`; each process takes its own piece.

        Raises:
            KeyError, ValueError: it is of other parameters.
        """
        learning = dict(self._learning(model, optimizer))
        if "param_groups" in state:  # of older checkpoints: by number, in the same order
            averages = {list(learning)[number]: held for number, held in state["state"].items()}
        else:
            averages = state["averages"]
        # What has not had a gradient yet has none.
        if odd := sorted(averages.keys() - learning.keys()):
            raise ValueError(f"the optimizer's state is of other parameters, such as {odd[0]!r}")
        for name, held in averages.items():
            weight = learning[name]
            if held["exp_avg"].shape != weight.shape:
                raise ValueError(f"the optimizer's state of {name!r} is of another shape")
            optimizer.state[weight] = {
                # A fused optimizer counts steps where the weights are.
                key: value.to(weight.device) if key == "step" else _piece(value, weight)
                for key, value in held.items()
            }
        if "scaler" in state and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def _learning(self, model: nn.Module, optimizer: Any) -> Iterator[tuple[str, nn.Parameter]]:
        names = {weight: name for name, weight in self.bare(model).named_parameters()}
        for group in optimizer.param_groups:
            for weight in group["params"]:
                yield names[weight], weight


class Sharded(Strategy):
    """Each device holds a piece of each weight, its gradient and its averages, and sees one layer whole at a time (fsdp2).

    By hand and not through accelerate, which shards on GPUs only: so what runs on a cluster is what the tests run.
    """

    name = "fsdp2"

    def __init__(self, accelerator: Accelerator) -> None:
        super().__init__(accelerator)
        self._empty: PreTrainedModel | None = None

    def place(self, model: PreTrainedModel, config: TrainConfig) -> tuple[nn.Module, Any]:
        if self.accelerator.is_main_process:
            self._empty = emptied(model)
        mesh = init_device_mesh(self.accelerator.device.type, (self.accelerator.num_processes,))
        settings: dict[str, Any] = {"mesh": mesh}
        # Set by `accelerate launch` from its config file.
        if os.environ.get("FSDP_OFFLOAD_PARAMS", "false").lower() == "true":
            settings["offload_policy"] = CPUOffloadPolicy()
        for layer in _layers(model):
            fully_shard(layer, **settings, reshard_after_forward=_again())
        # All else, embeddings among it, as one unit that stays whole from the way there to the way back.
        fully_shard(model, **settings)
        # Sharding made other parameters, which know nothing of the rows that are taught.
        choose(model, config.trainable.parts)
        optimizer = self.accelerator.prepare_optimizer(make_optimizer(model, config.optim))
        # Only for autocast around its forward, as with ddp. It must not keep the layers' weights in 16 bits beside the pieces.
        self.accelerator.autocast_handler = AutocastKwargs(cache_enabled=False)
        placed = self.accelerator.prepare_model(model, device_placement=False, evaluation_mode=True)
        return placed, optimizer

    @contextmanager
    def share(self, model: Any, *, last: bool) -> Iterator[None]:
        model.set_requires_gradient_sync(last)
        yield

    def _clip(self, model: nn.Module, longest: float) -> Tensor:
        self.accelerator.unscale_gradients()
        norm = nn.utils.clip_grad_norm_(model.parameters(), longest)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def whole(self, model: nn.Module) -> PreTrainedModel | None:
        weights = [_whole(weight) for weight in _of(self.bare(model))]
        if self._empty is None:
            return None
        return with_parameters(self._empty, dict(zip(_of(self._empty), weights, strict=True)))


def _of(model: nn.Module) -> list[nn.Parameter]:
    """Return each parameter once, in an order that sharding does not change."""
    return [weight for _, weight in model.named_parameters()]


def _layers(model: PreTrainedModel) -> list[nn.Module]:
    """Return what is sharded as a unit: the layers that transformers keeps on one device, inner ones first."""
    names = set(model._no_split_modules or ())
    found = [part for part in model.modules() if type(part).__name__ in names]
    return [part for part in reversed(found) if any(True for _ in part.parameters())]


def _again() -> bool:
    """Tell whether a layer is let go of between the way there and the way back, which is slower and takes less memory."""
    return os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() != "false"


def emptied(model: PreTrainedModel) -> PreTrainedModel:
    """Copy a model without its weights."""
    return with_parameters(
        model, {weight: torch.empty_like(weight, device="meta") for weight in _of(model)}
    )


def with_parameters(
    model: PreTrainedModel, weights: Mapping[nn.Parameter, Tensor]
) -> PreTrainedModel:
    """Copy a model, with other tensors for its parameters; those that were tied still are."""
    memo: dict[int, Any] = {
        id(old): nn.Parameter(new, requires_grad=old.requires_grad) for old, new in weights.items()
    }
    return copy.deepcopy(model, memo)


def _whole(value: Any) -> Any:
    """Return a whole tensor, in memory."""
    if isinstance(value, DTensor):
        value = value.full_tensor()
    return value.detach().cpu() if isinstance(value, Tensor) else value


def _piece(value: Tensor, weight: Tensor) -> Tensor:
    """Return of a whole tensor what lies beside a weight on this process."""
    value = value.to(weight.device)
    if not isinstance(weight, DTensor):
        return value
    # Every process has read the file, so none needs to send.
    return distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None)
