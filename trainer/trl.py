"""Otter in the trainers of TRL, for what `syphus train` does not do: rewards that are computed (GRPO), and what comes after it.

    model, processor = for_trl(Otter.from_pretrained(FOLDER)), TrlProcessor.of(OtterProcessor.from_pretrained(FOLDER))
    DPOTrainer(model, ref_model=for_trl(Otter.from_pretrained(FOLDER)), processing_class=processor, …)

TRL computes what it needs from a model's last states and its output layer; `for_trl` shows it the states. It takes prompts as lists without
padding; `TrlProcessor` gives them. Nothing here imports trl.
"""

import copy
from types import MethodType
from typing import Any

from trainer.models.otter import Otter
from trainer.models.otter_processor import END, OtterProcessor


def for_trl(model: Otter) -> Otter:
    """Let TRL find the last layer's states: before the model is given to a trainer, or to peft.

    Raises:
        ValueError: the language model does something to its logits that TRL knows nothing of.
    """
    text = model.config.text_config
    if text.model_type == "mpt" and getattr(text, "logit_scale", None) is not None:
        raise ValueError("this MPT scales its logits, which TRL does not do; use `syphus train`")
    # What TRL asks for is `base_model`, which transformers looks up by this name.
    model.base_model_prefix = "states"
    model.states = MethodType(_states, model)  # type: ignore[assignment]
    return model


def _states(model: Any, *args: Any, **inputs: Any) -> Any:
    return model.forward(*args, only_states=True, **inputs)


class TrlProcessor(OtterProcessor):
    """Takes the end of an answer for the end of a text, as TRL does; saves itself as the processor that it was made of."""

    plain: OtterProcessor

    @classmethod
    def of(cls, processor: OtterProcessor) -> "TrlProcessor":
        tokenizer = copy.deepcopy(processor.tokenizer)
        tokenizer.eos_token = END
        names = ("image_size", "geometry", "layout", "max_frames", "image_mean", "image_std")
        made = cls(tokenizer, **{name: getattr(processor, name) for name in names})
        made.plain = processor
        return made

    def apply_chat_template(self, conversation: Any, *, tools: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """Do as OtterProcessor; tokens are lists, without padding."""
        if tools:
            raise ValueError("Otter calls no tools")
        made = super().apply_chat_template(conversation, **options)
        if not (options.get("tokenize") and options.get("return_dict")):
            return made
        masks = made["attention_mask"].bool()
        for name in ("input_ids", "attention_mask"):
            rows = zip(made[name], masks, strict=True)
            made[name] = [row[mask].tolist() for row, mask in rows]
        return made

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> Any:
        return self.plain.save_pretrained(save_directory, *args, **kwargs)
