"""Learning from two answers to one question, of which people liked one more: DPO, mDPO, MPO, KTO.

    records, numbered ─► answers as rows (compared.py) ─► log-probabilities, beside the reference's (reference.py)
                                                                 └─► losses of pairs (preference_losses.py) ─► mean over the step

A step's loss is the mean over the pairs of the whole step (KTO: over its answers), on all devices, however they are cut into forwards.
What crosses from one step to the next (MPO's shift) is a function of the log, and what crosses from one forward to another (KTO's
distance) is measured before the first of them; so a resumed run, and one on more devices, learns the same.

Letters: P records of a forward, R answers of each.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

import trainer.objectives.preference_losses as losses
from trainer.config import TrainConfig
from trainer.families import Encoder
from trainer.objectives.base import Beginning, Loss
from trainer.objectives.compared import ComparedEncoder, ComparedRows, NumberedMix, Role
from trainer.objectives.reference import (
    Reference,
    WithoutAdapters,
    log_probs,
    only_looking,
    stored,
)
from trainer.plan import Plan
from trainer.rows import Rows
from trainer.sources.mix import Mix


class Preference:
    """What the four have in common. Each says what is lost on the pairs of a forward."""

    roles: ClassVar[tuple[Role, ...]] = ("chosen", "rejected")
    needs_both: ClassVar[bool] = True
    """A record without a rejected answer is refused."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.settings = config.objective
        self.reference: Reference

    def mix(self, mix: Mix) -> NumberedMix:
        return NumberedMix(mix, strangers="stranger" in self.roles)

    def encoder(self, encoder: Encoder) -> ComparedEncoder:
        return ComparedEncoder(
            encoder,
            self.roles,
            needs_both=self.needs_both,
            kind=self.settings.kind,
            crop=self.settings.crop,
            seed=self.config.run.seed,
            max_row_tokens=self.config.data.max_row_tokens,
            processor=encoder.processor,
        )

    def prepare(self, run: Beginning) -> None:
        """Find the reference: the model without its adapters, or what it says now of all records that the run will meet."""
        for entry in run.log:
            self.learned(entry.figures)
        if self.config.lora.r and not self.config.trainable.parts:
            self.reference = WithoutAdapters()
            return
        self.reference = stored(
            run, numbers=lambda: _met(run.plan, run.config.run.steps, len(run.mix))
        )

    def begin(self, accelerator: Any, model: nn.Module, group: Sequence[Rows]) -> None:
        pass

    def amount(self, rows: Rows) -> float:
        return rows.weight * len(cast(ComparedRows, rows).numbers)

    def loss(self, model: nn.Module, rows: Rows, *, whole: float) -> Loss:
        compared = cast(ComparedRows, rows)
        said_PR = log_probs(model, compared)
        ratios_PR = said_PR - self.reference(model, compared)
        lost_P, figures = self.lost(compared, said_PR, ratios_PR)
        share = rows.weight / whole
        return Loss(lost_P.sum() * share, {name: f.sum() * share for name, f in figures.items()})

    def lost(
        self, rows: ComparedRows, said_PR: Tensor, ratios_PR: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each record, and figures for the log.

        Args:
            rows: What was asked.
            said_PR: Log-probabilities of the answers under the trained model.
            ratios_PR: The same less the reference's.
        """
        raise NotImplementedError

    def learned(self, figures: Mapping[str, float]) -> None:
        pass

    def _rewards(self, chosen_P: Tensor, rejected_P: Tensor) -> dict[str, Tensor]:
        chosen_P, rejected_P = (self.settings.beta * one.detach() for one in (chosen_P, rejected_P))
        return {
            "rewards/chosen": chosen_P,
            "rewards/rejected": rejected_P,
            "rewards/margin": chosen_P - rejected_P,
            "rewards/accuracy": (chosen_P > rejected_P).float(),
        }


class Dpo(Preference):
    def lost(
        self, rows: ComparedRows, said_PR: Tensor, ratios_PR: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        chosen_P, rejected_P = ratios_PR.unbind(1)
        beta = self.settings.beta
        if self.settings.loss == "hinge":
            lost_P = losses.hinge(chosen_P, rejected_P, beta=beta)
        elif self.settings.loss == "ipo":
            tokens = dict(
                zip(("chosen_tokens_P", "rejected_tokens_P"), rows.counts_PR.unbind(1), strict=True)
            )
            lost_P = losses.ipo(chosen_P, rejected_P, beta=beta, **tokens)
        else:
            smoothing = self.settings.label_smoothing
            lost_P = losses.sigmoid(chosen_P, rejected_P, beta=beta, label_smoothing=smoothing)
        return lost_P, self._rewards(chosen_P, rejected_P)


class Mdpo(Preference):
    roles: ClassVar[tuple[Role, ...]] = ("chosen", "rejected", "blind")

    def lost(
        self, rows: ComparedRows, said_PR: Tensor, ratios_PR: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        chosen_P, rejected_P, blind_P = ratios_PR.unbind(1)
        shown_P = (rows.counts_PR[:, 2] > 0).to(chosen_P.dtype)
        lost_P = losses.mdpo(
            chosen_P,
            rejected_P,
            blind_P,
            shown_P=shown_P,
            beta=self.settings.beta,
            margin=self.settings.anchor_margin,
        )
        blind = {"rewards/blind": self.settings.beta * blind_P.detach()}
        return lost_P, self._rewards(chosen_P, rejected_P) | blind


class Mpo(Preference):
    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self._steps, self._rewards_sum = 0, 0.0

    @property
    def shift(self) -> float:
        """BCO's δ: the mean reward of the steps before this one, of chosen and rejected answers alike."""
        return self._rewards_sum / self._steps if self._steps else 0.0

    def lost(
        self, rows: ComparedRows, said_PR: Tensor, ratios_PR: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        chosen_P, rejected_P = ratios_PR.unbind(1)
        settings = self.settings
        lost_P = losses.mpo(
            chosen_P,
            rejected_P,
            chosen_log_prob_P=said_PR[:, 0],
            chosen_tokens_P=rows.counts_PR[:, 0],
            beta=settings.beta,
            shift=self.shift,
            weights=(
                settings.preference_weight,
                settings.quality_weight,
                settings.generation_weight,
            ),
        )
        shift = {"shift": torch.full_like(chosen_P.detach(), self.shift)}
        return lost_P, self._rewards(chosen_P, rejected_P) | shift

    def learned(self, figures: Mapping[str, float]) -> None:
        self._steps += 1
        self._rewards_sum += (figures["rewards/chosen"] + figures["rewards/rejected"]) / 2


class Kto(Preference):
    """Each answer for itself: a record's own is liked, its rejected one, if it has any, is not."""

    roles: ClassVar[tuple[Role, ...]] = ("chosen", "rejected", "stranger")
    needs_both: ClassVar[bool] = False

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self._kl, self._liked, self._disliked = 0.0, 1.0, 1.0

    def amount(self, rows: Rows) -> float:
        return rows.weight * cast(ComparedRows, rows).answers

    def begin(self, accelerator: Any, model: nn.Module, group: Sequence[Rows]) -> None:
        """Measure how far the model is from its reference by now, on answers that belong to other questions."""
        rows = cast(Sequence[ComparedRows], group)
        asked = [one for each in rows for one in each.strangers]
        here = torch.tensor([len(asked)], device=accelerator.device)
        most = int(accelerator.gather(here).max())
        asked += [rows[0].untaught()] * (most - len(asked))
        sums = torch.zeros(4, dtype=torch.float64, device=accelerator.device)
        for one in asked:
            moved = one.to(accelerator.device)
            with only_looking(model):
                ratios_PR = log_probs(model, moved) - self.reference(model, moved)
            sums[0] += ratios_PR.double().sum()
            sums[1] += len(one.numbers)
        sums[2] = sum(each.weight * len(each.numbers) for each in rows)
        sums[3] = sum(self.amount(each) for each in rows) - sums[2]
        total, answers, self._liked, self._disliked = accelerator.reduce(sums).tolist()
        self._kl = max(0.0, total / max(1.0, answers))

    def lost(
        self, rows: ComparedRows, said_PR: Tensor, ratios_PR: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        settings = self.settings
        is_there_PR = rows.counts_PR > 0
        liked_PR = torch.tensor([True, False], device=ratios_PR.device).expand_as(ratios_PR)
        lost_PR = losses.kto(
            ratios_PR,
            liked_PR,
            kl=self._kl,
            beta=settings.beta,
            desirable_weight=settings.desirable_weight,
            undesirable_weight=settings.undesirable_weight,
        )
        lost_P = (lost_PR * is_there_PR).sum(1)
        return lost_P, self._measured(rows, ratios_PR.detach(), is_there_PR)

    def _measured(
        self, rows: ComparedRows, ratios_PR: Tensor, is_there_PR: Tensor
    ) -> dict[str, Tensor]:
        """Return figures that are means over the liked answers, the disliked ones, and all: `loss` divides by all."""
        whole = self._liked + self._disliked
        chosen_P, rejected_P = (self.settings.beta * ratios_PR).unbind(1)
        liked, disliked = (whole / max(1e-9, one) for one in (self._liked, self._disliked))
        is_right_P = (chosen_P > rejected_P).float() * is_there_PR[:, 1]
        return {
            "rewards/chosen": chosen_P * liked,
            "rewards/rejected": rejected_P * disliked,
            "rewards/margin": chosen_P * liked - rejected_P * disliked,
            "rewards/accuracy": is_right_P * disliked,
            "kl": self._kl * is_there_PR.sum(1).to(ratios_PR.dtype),
        }


def _met(plan: Plan, steps: int, records: int) -> np.ndarray:
    """Return the numbers of the records that a run meets."""
    if steps >= plan.steps_per_epoch and all(draws >= size for size, draws in plan.shares):
        return np.arange(records)
    met = np.zeros(records, dtype=bool)
    each = plan.steps_per_epoch
    for start in range(0, steps, each):
        met[plan.steps(start, min(start + each, steps))[0]] = True
    return np.flatnonzero(met)
