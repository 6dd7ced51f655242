"""What is lost on answers that people compared, as functions of how much likelier the trained model finds them than its reference.

A *ratio* is log π(y | x, m) - log ref(y | x, m): the log-probability of an answer y to a question x about a picture m, summed over
the answer's taught tokens, under the trained model and under the one that it started from. β times a ratio is the answer's *reward*.

Each function returns the loss of every pair, or answer, so that a step can take the mean however it is cut.

Letters: P pairs.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def sigmoid(
    chosen_P: Tensor, rejected_P: Tensor, *, beta: float, label_smoothing: float = 0.0
) -> Tensor:
    """Return -log σ(β (chosen - rejected)): DPO (Rafailov et al. 2023, arXiv 2305.18290, equation 7).

    With label_smoothing ε, the chance that people's choice was noted the wrong way round, it is (1 - ε) of this and ε of the same
    with the two exchanged: conservative DPO (Mitchell 2023, "A note on DPO with noisy preferences").
    """
    margin_P = beta * (chosen_P - rejected_P)
    loss_P = -F.logsigmoid(margin_P) * (1 - label_smoothing)
    return loss_P - F.logsigmoid(-margin_P) * label_smoothing if label_smoothing else loss_P


def hinge(chosen_P: Tensor, rejected_P: Tensor, *, beta: float) -> Tensor:
    """Return max(0, 1 - β (chosen - rejected)): SLiC (Zhao et al. 2023, arXiv 2305.10425) on DPO's rewards."""
    return torch.relu(1 - beta * (chosen_P - rejected_P))


def ipo(
    chosen_P: Tensor, rejected_P: Tensor, *, beta: float, chosen_tokens_P: Tensor, rejected_tokens_P: Tensor
) -> Tensor:  # fmt: skip
    """Return (chosen/|chosen| - rejected/|rejected| - 1/(2β))²: IPO (Azar et al. 2023, arXiv 2310.12036, equation 17).

    The ratios are per token, as in TRL, where the paper says nothing of lengths: else long answers would count by their square.
    """
    margin_P = chosen_P / chosen_tokens_P - rejected_P / rejected_tokens_P
    return (margin_P - 1 / (2 * beta)) ** 2


def anchor(chosen_P: Tensor, *, beta: float, margin: float = 0.0) -> Tensor:
    """Return -log σ(β chosen - δ): the chosen answer itself must not become less likely (mDPO, arXiv 2406.11839, equation 5)."""
    return -F.logsigmoid(beta * chosen_P - margin)


def mdpo(
    chosen_P: Tensor, rejected_P: Tensor, blind_P: Tensor, *, shown_P: Tensor, beta: float, margin: float = 0.0
) -> Tensor:  # fmt: skip
    """Return the sum of three: mDPO (Wang et al. 2024, arXiv 2406.11839).

        -log σ(β (chosen - rejected))      DPO
        -log σ(β (chosen - blind))         the same answer is better for its own picture than for a fragment of it
        -log σ(β chosen - δ)               the anchor

    Args:
        chosen_P: Ratios of the chosen answers.
        rejected_P: Of the rejected ones.
        blind_P: Of the chosen answers where hardly anything of their picture is shown.
        shown_P: 1 where a record has a picture; without one the second term is 0.
        beta: β.
        margin: δ.
    """
    conditional_P = sigmoid(chosen_P, blind_P, beta=beta) * shown_P
    preferred_P = sigmoid(chosen_P, rejected_P, beta=beta)
    return preferred_P + conditional_P + anchor(chosen_P, beta=beta, margin=margin)


def bco(chosen_P: Tensor, rejected_P: Tensor, *, beta: float, shift: float = 0.0) -> Tensor:
    """Return -log σ(β chosen - δ) - log σ(δ - β rejected): BCO on pairs (Jung et al. 2024, arXiv 2404.04656).

    The shift δ is a running mean of rewards: what is above it counts as good in itself.
    """
    return -F.logsigmoid(beta * chosen_P - shift) - F.logsigmoid(shift - beta * rejected_P)


def mpo(
    chosen_P: Tensor,
    rejected_P: Tensor,
    *,
    chosen_log_prob_P: Tensor,
    chosen_tokens_P: Tensor,
    beta: float,
    shift: float = 0.0,
    weights: tuple[float, float, float] = (0.8, 0.2, 1.0),
) -> Tensor:
    """Return w₁ preference + w₂ quality + w₃ generation: MPO (Wang et al. 2024, arXiv 2411.10442, equation 1).

    preference   -log σ(β (chosen - rejected))                          DPO
    quality      -log σ(β chosen - δ) - log σ(δ - β rejected)           BCO
    generation   -log π(chosen) / |chosen|                              as in instruction tuning, of each answer per token
    """
    preference, quality, generation = weights
    return (
        preference * sigmoid(chosen_P, rejected_P, beta=beta)
        + quality * bco(chosen_P, rejected_P, beta=beta, shift=shift)
        - generation * chosen_log_prob_P / chosen_tokens_P
    )


def kto(
    ratio_A: Tensor,
    liked_A: Tensor,
    *,
    kl: Tensor | float,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Return λ (1 - σ(±(β ratio - β z))) of each answer: KTO (Ethayarajh et al. 2024, arXiv 2402.01306, equations 7 and 8).

    Liked answers (+, λ desirable) should be above the reference point z, disliked ones (-, λ undesirable) below it. z is an estimate of
    the distance KL(π ‖ ref), at least 0: the mean ratio of answers that belong to other questions; no gradient goes through it.

    Letters: A answers.

    Args:
        ratio_A: Of each answer.
        liked_A: True for those that people liked.
        kl: z.
        beta: β.
        desirable_weight: λ of liked answers.
        undesirable_weight: λ of the others.
    """
    distance_A = beta * (ratio_A - kl)
    sign_A = torch.where(liked_A, 1.0, -1.0)
    weight_A = torch.where(liked_A, desirable_weight, undesirable_weight)
    return weight_A * (1 - torch.sigmoid(sign_A * distance_A))
