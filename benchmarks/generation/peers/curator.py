"""bespokelabs-curator, its OpenAI lane; runs in its own environment: URL QUESTIONS AT_ONCE FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bespokelabs import curator

url, asked, at_once, folder = sys.argv[1:]
questions: dict[str, Any] = json.loads(Path(asked).read_text())


class Pairs(curator.LLM):
    def prompt(self, row: dict[str, str]) -> list[dict[str, str]]:
        return [*questions["prefix"], {"role": "user", "content": row["query"]}]

    def parse(self, row: dict[str, str], response: str) -> dict[str, str]:
        return {"query": row["query"], "reply": response}


pairs = Pairs(
    model_name=questions["model"],
    backend="openai",
    generation_params={
        n: questions["parameters"][n] for n in ("temperature", "max_tokens", "seed")
    },
    backend_params={
        "base_url": url,
        "max_requests_per_minute": 10_000_000,  # limits out of the way: none is met here
        "max_tokens_per_minute": 10_000_000_000,
        "max_concurrent_requests": int(at_once),
    },
)
rows = [{"query": query} for query in questions["queries"]]
made = pairs(rows, working_dir=folder)
found = getattr(made, "dataset", made)
sys.stdout.write(f"\n{len(found)} rows\n")
