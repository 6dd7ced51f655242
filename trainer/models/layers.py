"""What the Perceiver and the gated cross-attention share: attention over separate keys, and a feed-forward block.

Parameter names follow the published checkpoints: a feed-forward block is a Sequential whose members 0, 1 and 3 have
weights. Linear maps have no bias.
"""

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init


def feed_forward(width: int, *, mult: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, width * mult, bias=False),
        nn.GELU(),
        nn.Linear(width * mult, width, bias=False),
    )


def attend(q_BTE: Tensor, kv_BSE: Tensor, *, heads: int, mask: Tensor | None = None) -> Tensor:
    """Let T queries look at S keys, in several heads.

    `kv_BSE` holds keys and values side by side, so it is twice as wide as the queries. `mask` is true where a query may
    look at a key, and broadcastable to (B, 1, T, S). What a query finds that may look at nothing is undefined.
    """
    q, k, v = (
        part.view(*part.shape[:2], heads, -1).transpose(1, 2)
        for part in (q_BTE, *kv_BSE.chunk(2, dim=-1))
    )
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def reset(module: nn.Module) -> None:
    """Give fresh weights to every linear map and norm below a module.

    The scale follows the width of each map's input, as PyTorch does it, not one standard deviation for all. Weights that came
    from a checkpoint stay: transformers marks them, and its `initialization` heeds the mark.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            init.kaiming_uniform_(part.weight, a=5**0.5)
        elif isinstance(part, nn.LayerNorm):
            init.ones_(part.weight)
            init.zeros_(part.bias)
