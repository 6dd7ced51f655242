"""How a language model sees: before some of its layers, each token looks at the medium that was shown to it last.

The rule is `media_mask`. The media and the mask arrive as arguments of every layer and nothing is kept on a module, so a
forward pass is a function of its inputs: several requests may share a model, and a layer recomputed in the backward pass
(gradient checkpointing) sees what it saw before. While an answer is written the media stay the same, so their keys and values
can be computed once and handed in (`media_kv`).

Letters: B rows, T tokens, N media, L latents of a medium, S = N·L, D width of the text, V width of the media, E = 2 · heads ·
dim_head (keys and values side by side), X layers that look.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .layers import attend, feed_forward, reset


def media_mask(text_time_BT: Tensor, *, media: int, latents: int) -> Tensor:
    """Say which latents each token may look at (mask_BTS): those of the last medium before it.

        text        Look : <image> What ? <image> And this ?
        text_time     0  0    1     1   1    2     2   2   2
        looks at      -  -    1     1   1    2     2   2   2

    A token before the first medium, or after more `<image>` than there are media, looks at nothing.
    """
    media_time_N = torch.arange(1, media + 1, device=text_time_BT.device)
    mask_BTN = text_time_BT[:, :, None] == media_time_N
    return mask_BTN.repeat_interleave(latents, dim=-1)


class MediaAttention(nn.Module):
    def __init__(self, width: int, media_width: int, *, heads: int, dim_head: int) -> None:
        super().__init__()
        inner = heads * dim_head
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(media_width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(
        self, text_BTD: Tensor, kv_BSE: Tensor, mask_BTS: Tensor, even_BT: Tensor | None = None
    ) -> Tensor:
        """Return what each token sees of media whose keys and values `to_kv` made.

        A token of `even_BT` sees all of them, each as much as any other.
        """
        # Softmax over nothing is NaN: a blind token looks at everything, and what it saw is then dropped.
        sees_BT1 = mask_BTS.any(dim=-1, keepdim=True)
        q_BTE = self.to_q(self.norm(text_BTD))
        if even_BT is not None:
            # A query of zeros finds all keys alike.
            q_BTE = q_BTE * ~even_BT[..., None]
        seen = attend(q_BTE, kv_BSE, heads=self.heads, mask=(mask_BTS | ~sees_BT1)[:, None])
        if even_BT is not None:
            sees_BT1 = sees_BT1 | even_BT[..., None]
        told: Tensor = self.to_out(seen * sees_BT1)
        return told


class GatedCrossAttention(GradientCheckpointingLayer):
    """Add what a token sees to what it knows, through two gates.

    With gates of 0, as published, a fresh block changes nothing, which protects a trained language model; a model that
    starts from random weights has nothing to protect and learns to look sooner with open gates.
    """

    def __init__(
        self,
        width: int,
        media_width: int,
        *,
        heads: int = 8,
        dim_head: int = 64,
        ff_mult: int = 4,
        gate_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.gate_init = gate_init
        self.attn = MediaAttention(width, media_width, heads=heads, dim_head=dim_head)
        self.attn_gate = nn.Parameter(torch.empty(1))
        self.feed_forward = feed_forward(width, mult=ff_mult)
        self.ff_gate = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        reset(self)
        init.constant_(self.attn_gate, self.gate_init)
        init.constant_(self.ff_gate, self.gate_init)

    def forward(
        self,
        text_BTD: Tensor,
        media_BSV: Tensor | None,
        mask_BTS: Tensor | None,
        kv_BSE: Tensor | None = None,
        even_BT: Tensor | None = None,
    ) -> Tensor:
        """Return the text, told what it sees; `kv_BSE` may stand for the media that it was made of."""
        if mask_BTS is not None:
            if kv_BSE is None:
                kv_BSE = self.attn.to_kv(media_BSV)
            told = self.attn(text_BTD, kv_BSE, mask_BTS, even_BT)
            text_BTD = text_BTD + self.attn_gate.tanh() * told
        thought: Tensor = self.feed_forward(text_BTD)
        return text_BTD + self.ff_gate.tanh() * thought


class SeeingLayer(nn.Module):
    """A decoder layer of any causal language model that hands keyword arguments on to its layers, made to look first."""

    def __init__(
        self, decoder_layer: nn.Module, cross_attention: GatedCrossAttention | None, *, nth: int
    ) -> None:
        """Wrap a layer.

        Args:
            decoder_layer: Of the language model.
            cross_attention: What looks before it, or None.
            nth: How many layers before this one look.
        """
        super().__init__()
        self.gated_cross_attn_layer = cross_attention
        self.decoder_layer = decoder_layer
        self.nth = nth

    def __getattr__(self, name: str) -> Any:
        """Answer for the layer: its model may ask which kind of attention it has."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("decoder_layer"), name)

    def forward(
        self,
        hidden_BTD: Tensor,
        *args: Any,
        media: Tensor | None = None,
        media_kv: Tensor | None = None,
        media_mask: Tensor | None = None,
        media_even: Tensor | None = None,
        reached: list[bool] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Look, then do what the layer does.

        Args:
            hidden_BTD: The text so far.
            args: Of the layer.
            media: (B, S, V)
            media_kv: (B, X, S, E), in place of `media`.
            media_mask: (B, T, S), true where a token looks.
            media_even: (B, T), true for tokens that see all media evenly.
            reached: Gets an entry, which tells the caller that its arguments came here.
            kwargs: Of the layer.
        """
        if self.gated_cross_attn_layer is not None:
            if reached is not None:
                reached.append(True)
            kv_BSE = None if media_kv is None else media_kv[:, self.nth]
            hidden_BTD = self.gated_cross_attn_layer(
                hidden_BTD, media, media_mask, kv_BSE, media_even
            )
        return self.decoder_layer(hidden_BTD, *args, **kwargs)


def decoder_layers(lang_encoder: Any) -> nn.ModuleList:
    """Return the list of a language model's layers.

    Raises:
        ValueError: it keeps them where nobody looks for them.
    """
    decoder = lang_encoder.get_decoder()
    for name in ("layers", "blocks", "h"):
        found = getattr(decoder, name, None)
        if isinstance(found, nn.ModuleList):
            return found
    raise ValueError(f"the layers of {type(lang_encoder).__name__} are not found")
