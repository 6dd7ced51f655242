"""The Perceiver resampler: however many patches and frames a medium has, it leaves as a fixed number of latents.

Letters: B rows, N media of a row (a picture or a clip), F frames of a medium, P patches of a frame, L latents,
V width; M = B·N media, S = F·P patches of a medium.
"""

import torch
from torch import Tensor, nn
from transformers import initialization as init

from .layers import attend, feed_forward, reset


class PerceiverLayer(nn.Module):
    """One round: the latents look at the patches and at themselves, then think."""

    def __init__(self, width: int, *, heads: int, dim_head: int, ff_mult: int) -> None:
        super().__init__()
        inner = heads * dim_head
        self.heads = heads
        self.norm_media = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)
        self.feed_forward = feed_forward(width, mult=ff_mult)

    def forward(self, latents_MLV: Tensor, patches_MSV: Tensor, mask: Tensor | None) -> Tensor:
        queries = self.norm_latents(latents_MLV)
        keys = torch.cat([self.norm_media(patches_MSV), queries], dim=1)
        seen = attend(self.to_q(queries), self.to_kv(keys), heads=self.heads, mask=mask)
        latents_MLV = latents_MLV + self.to_out(seen)
        thought: Tensor = self.feed_forward(latents_MLV)
        return latents_MLV + thought


class PerceiverResampler(nn.Module):
    def __init__(
        self,
        width: int,
        *,
        depth: int = 6,
        heads: int = 8,
        dim_head: int = 64,
        num_latents: int = 64,
        ff_mult: int = 4,
        max_num_frames: int | None = None,
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.empty(num_latents, width))
        # Without frame embeddings the order of the frames is lost; still pictures do not need them.
        frames = torch.empty(max_num_frames, width) if max_num_frames else None
        self.frame_embs = None if frames is None else nn.Parameter(frames)
        self.layers = nn.ModuleList(
            PerceiverLayer(width, heads=heads, dim_head=dim_head, ff_mult=ff_mult)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        reset(self)
        init.normal_(self.latents)
        if self.frame_embs is not None:
            init.normal_(self.frame_embs)

    def forward(self, patches_BNFPV: Tensor, frame_mask_BNF: Tensor | None = None) -> Tensor:
        """Return latents_BNLV. The mask is false for frames that only fill up a batch; None where there are none."""
        B, N, F, P, _ = patches_BNFPV.shape
        if self.frame_embs is not None:
            patches_BNFPV = patches_BNFPV + self.frame_embs[:F, None]
        patches_MSV = patches_BNFPV.flatten(2, 3).flatten(0, 1)
        latents_MLV = self.latents.expand(B * N, -1, -1)

        mask = None
        if frame_mask_BNF is not None:
            shown = frame_mask_BNF.flatten(0, 1).repeat_interleave(P, dim=-1)
            itself = shown.new_ones(B * N, self.latents.shape[0])
            mask = torch.cat([shown, itself], dim=-1)[:, None, None]

        for layer in self.layers:
            latents_MLV = layer(latents_MLV, patches_MSV, mask)
        normed: Tensor = self.norm(latents_MLV)
        return normed.view(B, N, *normed.shape[1:])
