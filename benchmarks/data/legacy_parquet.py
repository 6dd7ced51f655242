"""Import of a picture file as pandas and dask write it: base64 text, all of it in one row group.

Beside it what the published loader does with such a file before it can show a picture (reference.py): it reads it into a pandas frame. Each
is a process of its own. Pictures per second are those between the short and the long run, so that the start of the process is not in it.

    python benchmarks/data/legacy_parquet.py [--quick]
"""

from __future__ import annotations

import argparse
import base64
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

from common import Run, measure, middle, save  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer pictures, one round")
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        name, source, out = options.client
        if name.isdigit():
            write(int(name), Path(source))
        else:
            CLIENTS[name](Path(source), Path(out))
        return
    counts, rounds = ((2_000, 6_000), 1) if options.quick else ((5_000, 20_000), 3)
    runs: dict[str, list[Run]] = {name: [] for name in CLIENTS}
    with tempfile.TemporaryDirectory(prefix="legacy-") as folder:
        for count in counts:
            source = Path(folder) / f"LA{count}.parquet"
            # In a process of its own: a child's peak is not less than its parent's.
            measure([sys.executable, __file__, "--client", str(count), str(source), "-"])
            for name, found in turns(source, Path(folder), rounds).items():
                runs[name].append(found)
            source.unlink()
    save("data_legacy_parquet", [row(name, counts, *found) for name, found in runs.items()])


def turns(source: Path, folder: Path, rounds: int) -> dict[str, Run]:
    runs: dict[str, list[Run]] = {name: [] for name in CLIENTS}
    for number in range(rounds):
        for name in runs:
            out = folder / f"{name}{number}"
            command = [sys.executable, __file__, "--client", name, str(source), str(out)]
            # The command `syphus` sets this for itself.
            pool = {"ARROW_DEFAULT_MEMORY_POOL": "system"} if name == "ours" else {}
            runs[name].append(measure(command, **pool))
            shutil.rmtree(out, ignore_errors=True)
    return {name: middle(one) for name, one in runs.items()}


def row(name: str, counts: tuple[int, int], short: Run, long: Run) -> dict[str, object]:
    rate = (counts[1] - counts[0]) / (long.cpu - short.cpu)
    ours = name == "ours"
    return {
        "what": "syphus data import" if ours else "the published loader: into a pandas frame",
        "pictures": counts[1],
        "wall_s": round(long.wall, 1),
        "cpu_s": round(long.cpu, 1),
        "pictures_per_cpu_s": round(rate),
        f"peak_mb_at_{counts[0]}": round(short.peak_mb),
        f"peak_mb_at_{counts[1]}": round(long.peak_mb),
        "growth_mb": round(long.peak_mb - short.peak_mb),
        "bar": ">= 1,500 a CPU second, growth <= 50 MB" if ours else "",
    }


def write(count: int, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from reference import pictures

    ids, texts = [], []
    for id_, data in pictures(count):
        ids.append(id_)
        texts.append(base64.b64encode(data).decode())
    table = pa.table({"base64": pa.array(texts, pa.large_string()), "__null_dask_index__": ids})
    pq.write_table(table, path, row_group_size=count)


def ours(source: Path, out: Path) -> None:
    from mimicit.exchange import import_files
    from mimicit.store import Store

    done = import_files([source], Store.open(out, create=True))
    assert done.images
    assert not done.bad_count


def published(source: Path, out: Path) -> None:
    from reference import load_pictures

    assert len(load_pictures([source]))


CLIENTS = {"published": published, "ours": ours}

if __name__ == "__main__":
    main()
