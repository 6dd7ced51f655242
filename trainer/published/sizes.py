"""What the shapes of an Otter's tensors tell about it: more than most published config.json files do.

Letters: D width of the text, V width of the media, I = heads · dim_head.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from trainer.errors import CheckpointError
from trainer.published.reading import Stored

PUBLISHED_INNER, PUBLISHED_HEADS = 512, 8
"""heads · dim_head, which shapes show, and heads, which they do not, of every published perceiver and cross-attention."""


@dataclass(frozen=True, slots=True)
class Sizes:
    text_width: int
    looking_layers: tuple[int, ...]
    """Indices of the layers that have a gated cross-attention block."""
    latents: int
    depth: int
    """Rounds of the perceiver."""
    perceiver_inner: int
    perceiver_ff_mult: int
    cross_inner: int
    cross_ff_mult: int
    frames: int | None
    """Frames that have embeddings."""

    @property
    def every(self) -> int:
        """Before every how many layers there is a block."""
        return self.looking_layers[0] + 1


def sizes_of(ours: Mapping[str, Stored], where: str) -> Sizes:
    """Tell the sizes of an Otter from tensors under our names.

    Raises:
        CheckpointError: a tensor that they show in is missing or of no use, or blocks are not before every k-th layer.
    """
    blocks = {
        int(match[1]): name.removesuffix("to_q.weight")
        for name in ours
        if (match := re.search(r"\.(\d+)\.gated_cross_attn_layer\.attn\.to_q\.weight$", name))
    }
    if not blocks:
        raise CheckpointError(
            f"{where} holds no gated cross-attention (….gated_cross_attn_layer.attn.to_q.weight), so it is no Otter"
        )
    looking = tuple(sorted(blocks))
    if looking != tuple(range(looking[0], looking[-1] + 1, looking[0] + 1)):
        raise CheckpointError(
            f"{where} has cross-attention before the layers {list(looking)}, which is not every k-th"
        )

    def side(name: str, axis: int) -> int:
        if name not in ours or len(ours[name].shape) <= axis or not ours[name].shape[axis]:
            raise CheckpointError(f"{where} lacks a usable {name!r}, which shows its sizes")
        return ours[name].shape[axis]

    first = blocks[looking[0]]
    ff = first.removesuffix("attn.") + "feed_forward.1.weight"
    rounds = {int(m[1]) for name in ours if (m := re.match(r"perceiver\.layers\.(\d+)\.", name))}
    frames = "perceiver.frame_embs"
    return Sizes(
        text_width=side(first + "to_q.weight", 1),
        looking_layers=looking,
        latents=side("perceiver.latents", 0),
        depth=max(rounds, default=-1) + 1,
        perceiver_inner=side("perceiver.layers.0.to_q.weight", 0),
        perceiver_ff_mult=side("perceiver.layers.0.feed_forward.1.weight", 0)
        // side("perceiver.layers.0.feed_forward.1.weight", 1),
        cross_inner=side(first + "to_q.weight", 0),
        cross_ff_mult=side(ff, 0) // side(ff, 1),
        frames=side(frames, 0) if frames in ours else None,
    )


def heads(part: str, inner: int, said: Mapping[str, int]) -> dict[str, int]:
    """Return `heads` and `dim_head` of the perceiver or the cross-attention.

    `said` is what a config says, if it says anything; the published ones are silent.

    Raises:
        CheckpointError: the shapes contradict the config, or leave open how many heads there are.
    """
    count, width = said.get("heads"), said.get("dim_head")
    if count is None and width is None:
        if inner != PUBLISHED_INNER:
            raise CheckpointError(
                f"the weights do not show how many heads the {part} has, only that heads · dim_head is {inner}: "
                f"say it with --set {part}.heads=N"
            )
        count = PUBLISHED_HEADS
    count = count or inner // (width or inner)
    width = width or inner // count
    if count * width != inner:
        raise CheckpointError(
            f"{count} heads that are {width} wide were asked of the {part}, but its weights are made for {inner} in all"
        )
    return {"heads": count, "dim_head": width}
