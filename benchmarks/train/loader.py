"""Batches of a dataset folder for training, beside the way of the published loader (data/reference.py): records a second through a
DataLoader with two workers, start, and the memory that is each worker's own; over an epoch of 5,000 records with a JPEG each, forked and
spawned. Each way is a process of its own, in turns, and ends with what a model takes: ours scales bytes to floats in the process that
trains, which is counted. Processor time of all processes tells more than records a second where others use the machine, too.

    python benchmarks/train/loader.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "data"), str(HERE.parent), str(HERE.parent.parent)]

from common import save  # noqa: E402

BATCH, WORKERS, SIDE, MAX_TOKENS = 32, 2, 224, 128
QUESTION = "What does the picture show?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records, one round")
    parser.add_argument("--client", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        way, method, folder, count = options.client
        print(json.dumps(CLIENTS[way](Path(folder), method, int(count))))
        return
    count, rounds = (640, 1) if options.quick else (5_000, 3)
    with tempfile.TemporaryDirectory(prefix="loader-") as folder:
        write(Path(folder), count)
        table = []
        for method in ("fork", "spawn"):
            # Spawned workers have no bar: once is enough.
            turn = rounds if method == "fork" else 1
            theirs, ours = turns(turn, ("reference", "ours"), method, folder, count)
            table += [
                row(method, "records a second", theirs["rate"], ours["rate"], ">= 2.3x" if method == "fork" else "", more=True),
                row(method, "processor time a record, ms", theirs["cpu_ms"], ours["cpu_ms"]),
                row(method, "start to the first batch, s", theirs["start"], ours["start"], ">= 5x" if method == "fork" else ""),
                row(method, "own memory of a worker above imports, MB, after 10 batches", theirs["first_mb"], ours["first_mb"], "<= 60 MB"),
                row(method, "the same, most of the second half", theirs["last_mb"], ours["last_mb"], "<= 60 MB"),
            ]  # fmt: skip
    for one in table:
        print(json.dumps(one))
    if not options.quick:
        save("train_loader", table)


def row(
    method: str, what: str, theirs: float, ours: float, must: str = "", *, more: bool = False
) -> dict[str, object]:
    """Return a row of the table; `more` is better, else less is."""
    above, below = (ours, theirs) if more else (theirs, ours)
    return {
        "workers": method,
        "what": what,
        "reference": f"{theirs:.4g}",
        "ours": f"{ours:.4g}",
        "ratio": f"{above / below:.2f}x" if above > 0 < below else "",
        "must": must,
    }


def turns(
    rounds: int, ways: tuple[str, ...], method: str, folder: str, count: int
) -> list[dict[str, float]]:
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            found[way].append(child(way, method, folder, count))
    return [
        {name: median(one[name] for one in found[way]) for name in found[way][0]} for way in ways
    ]


def child(way: str, method: str, folder: str, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--client", way, method, folder, str(count)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{way} failed:\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def write(folder: Path, count: int) -> None:
    """Write the same records as the published files and as a dataset folder, and freeze that."""
    from reference import write_pictures

    from mimicit.schema import Instruction
    from mimicit.store import Store

    write_pictures(count, folder / "pictures.parquet", folder / "dataset")
    records = [
        Instruction(
            id=f"LA_INS_{n:012d}",
            task="loader",
            instruction=QUESTION,
            answer=f"It is number {n}, " + "and so on, " * (n % 12),
            image_ids=(f"LA_IMG_{n:012d}",),
        )
        for n in range(count)
    ]
    store = Store.open(folder / "dataset")
    store.add(records)
    data = {
        one.id: {"instruction": one.instruction, "answer": one.answer, "image_ids": one.image_ids, "rel_ins_ids": []}
        for one in records
    }  # fmt: skip
    (folder / "instructions.json").write_text(json.dumps({"meta": {}, "data": data}))
    mix = mix_of(folder)  # which freezes
    from trainer.models.otter_processor import OtterProcessor
    from trainer.tokenizer import make_tokenizer

    tokenizer = make_tokenizer("train", mix.texts, vocab_size=600)
    OtterProcessor.add_special_tokens(tokenizer)
    OtterProcessor(tokenizer, image_size=SIDE).save_pretrained(folder / "processor")


# In the child


def mix_of(folder: Path) -> Any:
    from trainer.config import Data
    from trainer.sources.opening import open_mix

    return open_mix(Data(), folder / "dataset")


def own_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def imports_mb(method: str, modules: list[str]) -> float:
    """Return the own memory of a worker that only imports what the others import, as this process has already."""
    from torch.utils.data import DataLoader

    for module in modules:
        __import__(module)
    loader = DataLoader(Importing(modules), num_workers=1, multiprocessing_context=method)
    return float(next(iter(loader))[0])


class Importing:
    def __init__(self, modules: list[str]) -> None:
        self.modules = modules

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> float:
        for module in self.modules:
            __import__(module)
        return own_mb(os.getpid())


def run(
    loader: Any, take: Callable[[Any], Any], started: float, count: int, before: float
) -> dict[str, float]:
    """Go through an epoch; `take` makes of a batch what a model takes."""
    cpu = cpu_s()
    batches = iter(loader)
    take(next(batches))
    first = time.perf_counter()
    workers = [one.pid for one in multiprocessing.active_children()]
    total = count // BATCH
    memory: list[float] = []
    for taken, batch in enumerate(batches, 2):
        take(batch)
        # Not at the very end, when a worker may be gone.
        if taken == 10 or (total // 2 < taken < total - 2 * WORKERS and taken % 4 == 0):
            memory.append(max(own_mb(pid) for pid in workers if pid))
    over = time.perf_counter()
    del batches  # ends the workers, whose time counts then
    return {
        "start": first - started,
        "rate": (total - 1) * BATCH / (over - first),
        "cpu_ms": (cpu_s() - cpu) / count * 1e3,
        "first_mb": memory[0] - before,
        "last_mb": max(memory[1:]) - before,
    }


def cpu_s() -> float:
    """Return processor time of this process and of its children that ended."""
    return sum(os.times()[:4])


def ours(folder: Path, method: str, count: int) -> dict[str, float]:
    import trainer  # noqa: F401 - before torch

    # isort: split
    import torch
    from torch.utils.data import DataLoader

    from trainer.config import Data
    from trainer.data import Examples, Told, laid
    from trainer.families.otter import OtterEncoder
    from trainer.models.otter_processor import OtterProcessor
    from trainer.plan import MicroBatches, Plan

    torch.set_num_threads(1)
    data = Data(max_tokens=MAX_TOKENS)
    ours = ["families.otter", "data", "sources.opening", "sources.snapshot"]
    modules = [*(f"trainer.{name}" for name in ours), "mimicit.freezing", "pyarrow.ipc"]
    before = imports_mb(method, [*modules, "simplejpeg"])
    started = time.perf_counter()
    mix = mix_of(folder)
    encoder = OtterEncoder(OtterProcessor.from_pretrained(folder / "processor"), data)
    plan = Plan(len(mix), BATCH, BATCH, 0, shares=mix.shares, lengths=mix.lengths)
    loader = DataLoader(
        Told(Examples(mix, encoder, cache_bytes=data.picture_cache_mb << 20)),
        batch_sampler=MicroBatches(plan, 0, count // BATCH),
        collate_fn=partial(laid, encoder=encoder),
        num_workers=WORKERS,
        multiprocessing_context=method,
    )
    return run(loader, lambda rows: [one.inputs() for one in rows], started, count, before)


def reference(folder: Path, method: str, count: int) -> dict[str, float]:
    import torch
    from reference import load_pictures, load_text
    from torch.utils.data import DataLoader, RandomSampler
    from transformers import AutoTokenizer

    torch.set_num_threads(1)
    before = imports_mb(
        method, ["reference", "pandas", "pyarrow.parquet", "PIL.Image", "transformers"]
    )
    started = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(folder / "processor")
    published = Published(
        load_text([folder / "instructions.json"]), load_pictures([folder / "pictures.parquet"]), tokenizer
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(
        published,
        batch_size=BATCH,
        sampler=RandomSampler(published, replacement=True, generator=generator),
        collate_fn=published.collate,
        num_workers=WORKERS,
        multiprocessing_context=method,
        drop_last=True,
    )
    return run(loader, lambda batch: batch, started, count, before)


class Published:
    """What the published loader does with a record that has a picture."""

    def __init__(self, texts: dict[str, Any], frame: Any, tokenizer: Any) -> None:
        self.texts, self.frame, self.tokenizer = texts, frame, tokenizer
        self.ids = list(texts)
        self.answer = tokenizer.convert_tokens_to_ids("<answer>")
        self.end = tokenizer.convert_tokens_to_ids("<|endofchunk|>")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        import torch
        from reference import picture, tensor

        one = self.texts[self.ids[index]]
        mean, std = (
            torch.tensor(v).view(3, 1, 1) for v in ((0.481, 0.458, 0.408), (0.269, 0.261, 0.276))
        )
        shown = torch.stack(
            [(tensor(picture(self.frame, id), SIDE) - mean) / std for id in one["image_ids"]]
        )
        text = f"<image>User:{one['instruction']} GPT:<answer>{one['answer'].strip()}<|endofchunk|>"
        ids = self.tokenizer(text, add_special_tokens=False, truncation=True, max_length=MAX_TOKENS)
        return torch.tensor(ids["input_ids"]), shown[None]

    def collate(self, samples: list[tuple[Any, Any]]) -> dict[str, Any]:
        import torch
        from torch.nn.utils.rnn import pad_sequence

        ids = pad_sequence([one for one, _ in samples], batch_first=True, padding_value=0)
        labels = torch.full_like(ids, -100)
        for row, tokens in enumerate(ids):
            opens = (tokens == self.answer).nonzero().flatten().tolist()
            ends = (tokens == self.end).nonzero().flatten().tolist()
            for a, e in zip(opens, ends, strict=False):
                labels[row, a + 1 : e + 1] = tokens[a + 1 : e + 1]
        return {
            "ids": ids,
            "labels": labels,
            "pixels": torch.stack([shown for _, shown in samples]),
        }


CLIENTS = {"ours": ours, "reference": reference}

if __name__ == "__main__":
    main()
