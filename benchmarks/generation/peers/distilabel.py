"""distilabel; runs in its own environment: URL QUESTIONS AT_ONCE FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# This file has the package's name, and its folder comes first.
sys.path = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).parent]

from distilabel.models import OpenAILLM  # noqa: E402
from distilabel.pipeline import Pipeline  # noqa: E402
from distilabel.steps import LoadDataFromDicts  # noqa: E402
from distilabel.steps.tasks import ChatGeneration  # noqa: E402

if __name__ == "__main__":
    url, asked, at_once, folder = sys.argv[1:]
    questions: dict[str, Any] = json.loads(Path(asked).read_text())
    rows = [
        {"messages": [*questions["prefix"], {"role": "user", "content": query}]}
        for query in questions["queries"]
    ]
    with Pipeline(name="speed", cache_dir=Path(folder)) as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=int(at_once))
        chat = ChatGeneration(
            llm=OpenAILLM(
                model=questions["model"],
                base_url=url,
                api_key="sk-none",
                generation_kwargs={"max_new_tokens": 400, "temperature": 0.0},
            ),
            input_batch_size=int(at_once),
        )
        load >> chat
    made = pipeline.run(use_cache=False)
    sys.stdout.write(f"\n{len(made['default']['train'])} rows\n")
