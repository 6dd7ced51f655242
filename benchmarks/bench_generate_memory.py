"""Peak memory and speed of `generate` as the annotations grow; the model is scripted, all else is real.

The peer is the shape of the ancestor's generator: all queries in a list, all replies in memory, one file at the end.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from common import measure, save

COUNTS = (10_000, 40_000, 160_000)

OURS = """
import sys
from pathlib import Path
from mimicit.store import Store
from syphus.annotations import read
from syphus.generate import Job, generate
from syphus.providers.scripted import ScriptedModel
from syphus.task import load_task

class Forgetful(list):  # the scripted model's memory is not what is measured
    def append(self, item): pass

def script(request):
    return "\\n\\n".join(f"Question: What is {n}?\\nAnswer: {request.query}" for n in range(3))

model = ScriptedModel(script)
model.seen = Forgetful()
store = Store.open(Path(sys.argv[2]), create=True)
job = Job(load_task("la_conversation"), read([Path(sys.argv[1])]), None, "x/y")
report = generate(job, store, model, concurrency=64)
assert report.contexts == int(sys.argv[3]), report
"""

PEER = """
import json, sys
from pathlib import Path
from concurrent.futures import ThreadPoolExecutor
from syphus.annotations import read
from syphus.render import render_prompt, render_request
from syphus.task import load_task

task = load_task("la_conversation")
prompt = render_prompt(task)
def ask(request):
    text = "\\n\\n".join(f"Question: What is {n}?\\nAnswer: {request.query}" for n in range(3))
    return {"id": request.context_id, "messages": [m.content for m in request.messages], "results": text}
queries = [render_request(task, prompt, c, model="x", seed=0) for c in read([Path(sys.argv[1])])]
results = []
for start in range(0, len(queries), 64):
    with ThreadPoolExecutor(64) as pool:
        results += pool.map(ask, queries[start:start + 64])
Path(sys.argv[2]).mkdir()
(Path(sys.argv[2]) / "valid_output.json").write_text(json.dumps(results, indent=4))
"""


def annotations(path: Path, count: int) -> None:
    captions = (
        "A cat sleeps on a red sofa beside a window.",
        "The room has a wooden floor and two chairs.",
    )
    content = {
        "images": [
            {"id": n, "file_name": f"{n:07d}.jpg", "width": 640, "height": 480}
            for n in range(count)
        ],
        "annotations": [
            {"image_id": n, "caption": f"{text} Number {n}."}
            for n in range(count)
            for text in captions
        ],
        "categories": [],
    }
    path.write_text(json.dumps(content))


def main() -> None:
    rows = []
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.json"
            annotations(path, count)
            for name, code in (("generate", OURS), ("all in memory, one file", PEER)):
                out = Path(folder) / name.replace(" ", "_")
                run = measure([sys.executable, "-c", code, str(path), str(out), str(count)])
                rows.append(
                    {
                        "contexts": count,
                        "what": name,
                        "peak_mb": round(run.peak_mb),
                        "wall_s": round(run.wall, 1),
                        "contexts_per_s": round(count / run.wall),
                    }
                )
    save("generate_memory", rows)


if __name__ == "__main__":
    main()
