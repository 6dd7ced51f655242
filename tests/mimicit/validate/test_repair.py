"""What a kill in the middle of a repair leaves, and what becomes of snapshots."""

import itertools
import subprocess
import sys
import textwrap

import pytest

from mimicit.shards import places
from mimicit.snapshot import Snapshot, freeze
from mimicit.store import Store
from mimicit.validate import repairing
from tests.mimicit.validate.builders import about, assert_works, damage, everything, found, png
from tests.mimicit.validate.plants import plant_many, plant_unreadable_rows

# Killed in the middle


KILLED = """
    import os, pathlib, sys
    from mimicit.store import Store
    from concurrent.futures import ThreadPoolExecutor
    from mimicit.validate import pictures, repairing

    pictures._pool = ThreadPoolExecutor
    left = int(sys.argv[2])

    def counted(name):
        real = getattr(pathlib.Path, name)

        def step(path, *arguments, **options):
            global left
            # Steps of the repair, not of looking for faults or of the catalog.
            if path.suffix in (".parquet", ".staged", ".arrow") or path.parent.name == "snapshots":
                if left == 0:
                    os.kill(os.getpid(), 9)
                left -= 1
            return real(path, *arguments, **options)

        setattr(pathlib.Path, name, step)

    if __name__ == "__main__":
        for name in ("rename", "unlink"):
            counted(name)
        with repairing(Store.open(pathlib.Path(sys.argv[1]))):
            pass
"""


@pytest.mark.slow
def test_a_repair_that_is_killed_loses_nothing_and_can_be_done_again(sound, tmp_path):
    freeze(sound, where="id < 'LACONV_INS_010'")
    plant_many(sound)
    plant_unreadable_rows(sound)
    shard = sound.path / "images" / "s-00000.parquet"
    damage(shard, places(shard)["offset"][69].as_py() + 20)
    pristine = everything(sound.path)
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    for step in itertools.count():
        copied = tmp_path / f"killed{step}"
        subprocess.run(["cp", "-r", sound.path, copied], check=True)
        ran = subprocess.run([sys.executable, script, copied, str(step)], check=False)
        assert pristine <= everything(copied), step
        if ran.returncode == 0:
            break
        assert ran.returncode == -9
        store = Store.open(copied)
        with repairing(store) as _:
            pass
        assert found(store) == set(), step
        assert pristine <= everything(copied), step
        assert_works(store)
        check_snapshots(store)
    assert step > 8


def check_snapshots(store):
    names = [path.name for path in (store.path / "snapshots").glob("[!.]*")]
    assert len(names) == 1
    snapshot = Snapshot(store.path, names[0], check=True)
    snapshot.check(pictures=True)
    assert len(snapshot) == 9
    for row in map(snapshot.__getitem__, range(len(snapshot))):
        number = int(row.id.split("_")[2])
        assert [snapshot.read(place) for place in row.pictures] == [png(number)]
    snapshot.close()


# Snapshots


def test_a_snapshot_is_pointed_to_where_its_pictures_are_now(sound):
    whole, few = freeze(sound), freeze(sound, where="id < 'LACONV_INS_010'")
    shard = sound.path / "images" / "s-00000.parquet"
    damage(shard, places(shard)["offset"][20].as_py() + 20)
    with repairing(sound) as (report, repaired):
        assert report.counts == {"checksum-mismatch": 1}
        assert repaired.snapshots == 1
    assert [path.name for path in (sound.path / "snapshots").glob("[!.]*")] == [few.digest]
    assert (sound.path / repaired.quarantine / "snapshots" / whole.digest / "text.arrow").exists()
    again = Snapshot(sound.path, few.digest, check=True)
    again.check(pictures=True)
    assert again[5].pictures[0].shard == "images/s-00000-000000000000.parquet"
    assert again[8].id == about(9).id
    assert again.read(again[8].pictures[0]) == png(9)
    assert freeze(sound, where="id < 'LACONV_INS_010'").digest == few.digest
