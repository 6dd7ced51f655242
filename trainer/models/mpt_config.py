"""The options of an MPT decoder, read from the published config.json of MPT and of MosaicGPT (mpt-1b-redpajama).

MosaicGPT is MPT's ancestor: one flat config, other parameter names (`mpt.mosaic_names`), ALiBi slopes in another order. What
an option means is llm-foundry's definition. An option that would change the numbers and is not kept here is refused by name.
"""

from typing import Any

from transformers import PreTrainedConfig

ATTENTION: dict[str, Any] = {
    "attn_type": "multihead_attention",
    "kv_n_heads": None,
    "attn_pdrop": 0.0,
    "clip_qkv": None,
    "qk_ln": False,
    "softmax_scale": None,
    "alibi": True,
    "alibi_bias_max": 8,
    "alibi_interleaved": True,
}
"""Of `attn_config`, with llm-foundry's defaults. `alibi_interleaved` is ours: how slopes go on where the number of heads is no
power of two (MPT: yes; MosaicGPT: no)."""

REFUSED = {
    "prefix_lm": "tokens that look ahead",
    "attn_uses_sequence_id": "sequence ids (pack samples with cu_seq_lens instead)",
    "qk_gn": "q/k norms of single heads",
    "rope": "rotary positions",
    "attn_logit_softcapping": "capped scores",
}
"""Of `attn_config`: what we do not compute, where it is set."""

NORMS = ("layernorm", "low_precision_layernorm", "rmsnorm", "low_precision_rmsnorm")
"""`low_precision` says how they run under autocast, not what they compute."""

MOSAIC = {
    "attn_qk_ln": "qk_ln",
    "attn_clip_qkv": "clip_qkv",
    "attn_pdrop": "attn_pdrop",
    "attn_uses_sequence_id": "attn_uses_sequence_id",
    "attn_impl": "attn_impl",
    "prefix_lm": "prefix_lm",
    "softmax_scale": "softmax_scale",
    "alibi": "alibi",
    "alibi_bias_max": "alibi_bias_max",
}
"""Fields of MosaicGPT that MPT has in `attn_config`."""


class MptConfig(PreTrainedConfig):
    model_type = "mpt"
    attribute_map = {  # noqa: RUF012
        "hidden_size": "d_model",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "max_position_embeddings": "max_seq_len",
    }
    keys_to_ignore_at_inference = ["cache"]  # noqa: RUF012

    d_model: int = 2048
    n_heads: int = 16
    n_layers: int = 24
    expansion_ratio: float = 4
    max_seq_len: int = 2048
    vocab_size: int = 50368
    resid_pdrop: float = 0.0
    emb_pdrop: float = 0.0
    attn_config: Any = None
    """See ATTENTION; what is absent has its default."""
    learned_pos_emb: bool = True
    """Not read, as in the published code: a model has learned positions where it has no ALiBi."""
    logit_scale: float | str | None = None
    """Factor of the logits, or `inv_sqrt_d_model`."""
    no_bias: bool = False
    embedding_fraction: float = 1.0
    """Share of the gradient that reaches the embeddings through the input (GLM-130B, arXiv 2210.02414)."""
    norm_type: str = "low_precision_layernorm"
    layer_norm_epsilon: float = 1e-5
    init_config: Any = None
    """name (of llm-foundry's initialisations), init_std, fan_mode, init_div_is_residual, emb_init_std."""
    use_cache: bool = True
    tie_word_embeddings: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        family = kwargs.pop("model_type", None)
        if family not in (None, "mpt", "mosaic_gpt"):
            raise ValueError(
                f"the config is of the family {family!r}, not of 'mpt' or 'mosaic_gpt'"
            )
        if family == "mosaic_gpt" or "attn_qk_ln" in kwargs:
            self._read_mosaic(kwargs)
        given = self.attn_config or {}
        given = given if isinstance(given, dict) else given.to_dict()
        self._refuse(given)
        self.attn_config = {name: given.get(name, value) for name, value in ATTENTION.items()}
        self.init_config = dict(self.init_config or {})
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        self._check()

    def _read_mosaic(self, kwargs: dict[str, Any]) -> None:
        attention = {ours: kwargs.pop(name) for name, ours in MOSAIC.items() if name in kwargs}
        self.attn_config = {"alibi": False, "alibi_interleaved": False} | attention
        self.expansion_ratio = kwargs.pop("mlp_ratio", self.expansion_ratio)
        started = {
            name: kwargs.pop(name)
            for name in ("fan_mode", "init_std", "init_div_is_residual", "emb_init_std")
            if name in kwargs
        }
        self.init_config = started | {"name": kwargs.pop("param_init_fn", "kaiming_normal_")}

    def _refuse(self, given: dict[str, Any]) -> None:
        for name, what in REFUSED.items():
            if given.get(name):
                raise ValueError(f"attn_config.{name} = {given[name]!r}: {what} are not supported")
        if given.get("sliding_window_size", -1) not in (None, -1):
            raise ValueError(
                f"attn_config.sliding_window_size = {given['sliding_window_size']!r}: sliding windows are not supported"
            )

    def _check(self) -> None:
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model ({self.d_model}) is no multiple of n_heads ({self.n_heads})")
        if self.norm_type.lower() not in NORMS:
            raise ValueError(f"norm_type is {self.norm_type!r}; it may be {', '.join(NORMS)}")
        if isinstance(self.logit_scale, str) and self.logit_scale != "inv_sqrt_d_model":
            raise ValueError(
                f"logit_scale is {self.logit_scale!r}; it may be a number or 'inv_sqrt_d_model'"
            )
        feed_forward = getattr(self, "ffn_config", None) or {}
        if feed_forward.get("ffn_type", "mptmlp") != "mptmlp":
            raise ValueError(
                f"ffn_config.ffn_type is {feed_forward['ffn_type']!r}; it may be 'mptmlp'"
            )
        if self.n_heads % self.kv_heads:
            raise ValueError(
                f"n_heads ({self.n_heads}) is no multiple of kv_n_heads ({self.kv_heads})"
            )

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads

    @property
    def kv_heads(self) -> int:
        """Heads of keys and values; a group of query heads shares one."""
        kind, grouped = self.attn_config["attn_type"], self.attn_config["kv_n_heads"]
        if kind == "grouped_query_attention" and not grouped:
            raise ValueError("attn_type 'grouped_query_attention' needs attn_config.kv_n_heads")
        kinds = {
            "multihead_attention": self.n_heads,
            "multiquery_attention": 1,
            "grouped_query_attention": grouped,
        }
        if kind not in kinds:
            raise ValueError(f"attn_config.attn_type is {kind!r}; it may be {', '.join(kinds)}")
        return int(kinds[kind])

    @property
    def scale(self) -> float:
        """Of the scores."""
        given = self.attn_config["softmax_scale"]
        return float(self.head_dim**-0.5 if given is None else given)

    @property
    def logit_factor(self) -> float:
        if self.logit_scale is None:
            return 1.0
        return self.d_model**-0.5 if isinstance(self.logit_scale, str) else float(self.logit_scale)
