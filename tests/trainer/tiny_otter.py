"""An Otter of a few thousand weights, for a 16 by 16 picture."""

from pathlib import Path

import torch

from trainer.models.otter import Otter, OtterConfig

GOLDEN = Path(__file__).parent.parent / "fixtures" / "golden"


def make_model(processor, **text):
    torch.manual_seed(0)
    return Otter(
        OtterConfig(
            vision_config={
                "hidden_size": 32,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 16,
                "patch_size": 8,
            },
            text_config={
                "model_type": "llama",
                "vocab_size": len(processor.tokenizer),
                "hidden_size": 48,
                "intermediate_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "max_position_embeddings": 200,
                "bos_token_id": 0,
                "eos_token_id": processor.end_id,
                "pad_token_id": processor.pad_id,
                **text,
            },
            perceiver={"depth": 1, "heads": 2, "dim_head": 8, "num_latents": 4},
            cross_attention={"heads": 2, "dim_head": 8},
            cross_attn_every_n_layers=1,
            max_num_frames=4,
            gate_init=1.0,
            image_token_id=processor.image_id,
            answer_token_id=processor.answer_id,
            endofchunk_token_id=processor.end_id,
            pad_token_id=processor.pad_id,
        )
    )
