"""DeepSpeed's ZeRO: optimizer state in pieces (1), gradients, too (2), weights, too (3). Needs the package deepspeed, 0.19.8 or newer.

Its engine is driven here and not through accelerate, which updates the weights within the last way back: before anyone knows
whether the step's loss is finite.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from packaging.version import Version
from torch import Tensor, nn
from transformers import PreTrainedModel

from mimicit.errors import MissingExtraError
from trainer.config import TrainConfig
from trainer.errors import TrainingError
from trainer.optim import make_optimizer
from trainer.state import NOTHING, Frozen, State, kept
from trainer.strategy import Strategy, emptied, with_parameters
from trainer.trainable import taught_rows

AVERAGES = ("exp_avg", "exp_avg_sq")
OLDEST = "0.19.8"
"""Of DeepSpeed. Older ones (0.19.4) do not look whether a norm is finite where weights have 32 bits, so one gradient could spoil all."""


class Zero(Strategy):
    def __init__(self, accelerator: Accelerator, *, stage: int) -> None:
        super().__init__(accelerator)
        self.name = f"zero{stage}"
        self.stage = stage
        self._empty: PreTrainedModel | None = None
        self.deepspeed = import_deepspeed()

    def place(self, model: PreTrainedModel, config: TrainConfig) -> tuple[nn.Module, Any]:
        if any(taught_rows(weight) is not None for weight in model.parameters()):
            raise TrainingError(
                f"trainable.parts names new_tokens, which {self.name} cannot train alone: DeepSpeed takes gradients before the other rows' "
                "are set to 0; use run.strategy = ddp or fsdp2"
            )
        if self.accelerator.is_main_process:
            self._empty = emptied(model)
        optimizer = make_optimizer(model, config.optim)
        optimizer.param_groups = [group for group in optimizer.param_groups if group["params"]]
        engine, *_ = self.deepspeed.initialize(
            model=model.to(self.accelerator.device),
            optimizer=optimizer,
            config=settings(
                self.stage, self.accelerator.mixed_precision, config.optim.max_grad_norm
            ),
            dist_init_required=False,
        )
        self._begin_averages(engine.optimizer)
        return engine, engine.optimizer

    def share(self, model: Any, *, last: bool) -> AbstractContextManager[None]:
        model.set_gradient_accumulation_boundary(is_boundary=last)
        return nullcontext()

    def back(self, model: Any, loss: Tensor, *, last: bool) -> None:
        model.backward(loss * self.accelerator.num_processes)

    def update(self, model: Any, optimizer: Any, *, lr: float, longest: float) -> float:
        """As with the others: DeepSpeed leaves a step out whose norm is not finite."""
        for group in optimizer.param_groups:
            group["lr"] = lr
        model.step()
        return float(model.get_global_grad_norm())

    def skip(self, model: Any, optimizer: Any) -> None:
        optimizer.zero_grad()

    def bare(self, model: nn.Module) -> PreTrainedModel:
        bare: PreTrainedModel = model.module  # type: ignore[assignment]
        return bare

    def whole(self, model: nn.Module) -> PreTrainedModel | None:
        weights = [self._gathered(weight) for weight in self.bare(model).parameters()]
        if self._empty is None:
            return None
        return with_parameters(
            self._empty, dict(zip(self._empty.parameters(), weights, strict=True))
        )

    def state(self, model: nn.Module, optimizer: Any, frozen: Frozen = NOTHING) -> State:
        bare, leads = self.bare(model), self.accelerator.is_main_process
        names = kept(bare, without=frozen.names)
        weights: dict[str, Tensor] = {}
        averages: dict[str, Any] = {}
        for name, tensor in bare.state_dict(keep_vars=True).items():
            if name in names:
                whole = self._gathered(tensor)
                weights |= {name: whole} if leads else {}
        steps = next(iter(optimizer.optimizer.state.values()))["step"]
        for name, weight in self._trained(bare):
            held = {key: self._average(weight, key).cpu().clone() for key in AVERAGES}
            averages |= {name: held | {"step": steps.clone()}} if leads else {}
        return State(weights, {"optimizer": {"averages": averages}} if leads else {}, frozen)

    def load_optimizer(self, model: nn.Module, optimizer: Any, state: Mapping[str, Any]) -> None:
        averages = state["averages"]
        for name, weight in self._trained(self.bare(model)):
            for key in AVERAGES:
                self._set_average(weight, averages[name][key].to(self.accelerator.device), key)
        for held in optimizer.optimizer.state.values():
            held["step"].fill_(float(next(iter(averages.values()))["step"]))

    def _trained(self, bare: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, one) for name, one in bare.named_parameters() if one.requires_grad)

    def _gathered(self, weight: Tensor) -> Tensor:
        if not hasattr(weight, "ds_id"):
            return weight.detach().cpu().clone()
        with self.deepspeed.zero.GatheredParameters([weight]):
            return weight.detach().cpu().clone()

    def _average(self, weight: nn.Parameter, key: str) -> Tensor:
        from deepspeed.utils import safe_get_full_optimizer_state

        found: Tensor = safe_get_full_optimizer_state(weight, key)
        return found

    def _set_average(self, weight: Any, value: Tensor, key: str) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        if self.stage < 3:
            safe_set_full_optimizer_state(weight, value, key)
            return
        # What sets the whole fails where a weight has fewer numbers than there are processes.
        size = weight.ds_tensor.numel()
        padded = value.new_zeros(size * self.accelerator.num_processes)
        padded[: value.numel()] = value.flatten()
        piece = padded.narrow(0, size * self.accelerator.process_index, size)
        safe_set_local_optimizer_state(weight, piece, key)

    def _begin_averages(self, optimizer: Any) -> None:
        """Make AdamW's averages now and not in the first step, in which DeepSpeed would find those of the first group only."""
        name = (
            "single_partition_of_fp32_groups" if self.stage < 3 else "fp32_partitioned_groups_flat"
        )
        for piece in getattr(optimizer, name):
            optimizer.optimizer.state[piece] = {
                "step": torch.tensor(0.0),
                **{key: torch.zeros_like(piece) for key in AVERAGES},
            }
        if self.stage < 3:
            optimizer._lazy_init_hp_params_optimizer_state()


def settings(stage: int, precision: str, longest: float) -> dict[str, Any]:
    """Return DeepSpeed's settings; weights and averages stay in float32, as with the other strategies."""
    return {
        "train_micro_batch_size_per_gpu": 1,  # rows come in as they are; this is only for its own counters
        "gradient_accumulation_steps": 1,
        "gradient_clipping": longest,
        "zero_optimization": {
            "stage": stage,
            "overlap_comm": stage > 0 and torch.cuda.is_available(),
            "contiguous_gradients": True,
        },
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "torch_autocast": {
            "enabled": precision != "no",
            "dtype": "float16" if precision == "fp16" else "bfloat16",
        },
        "steps_per_print": 1 << 30,
        "wall_clock_breakdown": False,
    }


def import_deepspeed() -> Any:
    """Import it.

    Raises:
        MissingExtraError: it is not installed.
        TrainingError: it is too old.
    """
    try:
        import deepspeed
    except ModuleNotFoundError:
        raise MissingExtraError("deepspeed", "deepspeed") from None
    if Version(deepspeed.__version__) < Version(OLDEST):
        raise TrainingError(
            f"DeepSpeed {deepspeed.__version__} may spoil the weights in silence where a gradient is not finite; "
            f'pip install "deepspeed>={OLDEST}"'
        )
    return deepspeed
