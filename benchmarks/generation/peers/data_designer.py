"""NeMo Data Designer; runs in its own environment: URL QUESTIONS AT_ONCE FOLDER.

It takes a prompt and a system prompt, no list of messages: the examples are part of the prompt, and the size is the same.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# This file has the package's name, and its folder comes first.
sys.path = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).parent]

import data_designer.config as dd  # noqa: E402
import pandas as pd  # noqa: E402
from data_designer.interface import DataDesigner  # noqa: E402

url, asked, at_once, folder = sys.argv[1:]
questions: dict[str, Any] = json.loads(Path(asked).read_text())
system, *examples = (message["content"] for message in questions["prefix"])
before = "\n\n".join(examples)
seed = Path(folder) / "seed.parquet"
seed.parent.mkdir(parents=True, exist_ok=True)
pd.DataFrame({"query": [f"{before}\n\n{q}" for q in questions["queries"]]}).to_parquet(seed)

provider = dd.ModelProvider(name="here", endpoint=url, provider_type="openai", api_key="sk-none")
model = dd.ModelConfig(
    alias="model",
    model=questions["model"],
    provider="here",
    skip_health_check=True,
    inference_parameters=dd.ChatCompletionInferenceParams(
        temperature=questions["parameters"]["temperature"],
        max_tokens=questions["parameters"]["max_tokens"],
        max_parallel_requests=int(at_once),
    ),
)
config = dd.DataDesignerConfigBuilder(model_configs=[model])
config.with_seed_dataset(dd.LocalFileSeedSource(path=str(seed)))
config.add_column(
    dd.LLMTextColumnConfig(
        name="reply", model_alias="model", system_prompt=system, prompt="{{ query }}"
    )
)
designer = DataDesigner(artifact_path=Path(folder) / "artifacts", model_providers=[provider])
made = designer.create(config, num_records=len(questions["queries"]))
sys.stdout.write(f"\n{len(made.load_dataset())} rows\n")
