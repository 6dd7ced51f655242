"""Pictures with captions in tar shards."""

import base64
import gzip
import io
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import textwrap
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mimicit.errors import FormatError, PictureError, RecipeError
from tests.trainer.made_shards import pair, picture, write_pairs, write_tar
from trainer.errors import TrainingError
from trainer.group_config import Group
from trainer.sources import pairs as module
from trainer.sources import shards
from trainer.sources.base import Shown
from trainer.sources.pairs import ROW, Pairs, open_pairs
from trainer.sources.shards import Index


def opened(base, pattern="*.tar", **options):
    group = Group(shards=pattern, **options)
    return open_pairs(group, name="pairs", base=base, cache=base.parent / "cache")


def contents(source):
    """Return of each pair its name, its caption and its picture's bytes."""
    found = []
    for number in range(len(source)):
        document = source[number]
        shown, caption = document.parts
        assert isinstance(shown, Shown)
        assert document.is_pair
        found.append((document.id, caption, shown.read()))
    return found


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "shards"
    path.mkdir()
    return path


def test_img2dataset_shards_are_read_in_their_order_and_failed_rows_are_not_there(folder):
    write_pairs(folder, 40, shards=3)

    source = opened(folder)

    assert len(source) == 40
    found = contents(source)
    assert [name for name, _, _ in found[:2]] == ["00000.tar/000000000", "00000.tar/000000001"]
    assert not any(name.endswith("0016") for name, _, _ in found)
    assert found[13][1] == "a green square on a light ground"
    assert found[39][2] == picture("black", "square", seed=39)
    assert source.notes == ("pairs · 40 pairs in 3 files",)
    assert source.names([39, 0]) == [(found[39][0],), (found[0][0],)]


@pytest.mark.parametrize(("ending", "kind"), [("jpg", "JPEG"), ("jpeg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("JPG", "JPEG")])  # fmt: skip
def test_pictures_of_all_endings_are_read(folder, ending, kind):
    data = picture("red", "disc", kind=kind)
    write_tar(folder / "a.tar", [(f"1.{ending}", data), ("1.txt", b" A red disc.\r\n")])
    assert contents(opened(folder)) == [("a.tar/1", "A red disc.", data)]


def test_members_of_a_key_may_stand_in_any_order_and_in_folders(folder):
    members = [one for n in range(6) for one in pair(n, f"part/{n % 2}/00{n}")]
    order = np.random.default_rng(3).permutation(len(members))
    write_tar(folder / "a.tar", [members[at] for at in order])

    found = {name: (caption, data) for name, caption, data in contents(opened(folder))}

    for n in range(6):
        (_, data), (_, caption), _ = pair(n, "")
        assert found[f"a.tar/part/{n % 2}/00{n}"] == (caption.decode(), data)


def test_old_laion_shards_hold_base64_in_their_png_files(folder):
    data = picture("blue", "bar", kind="PNG")
    text = base64.encodebytes(data) if len(data) % 2 else base64.b64encode(data)
    write_tar(folder / "a.tar", [("1.png", text), ("1.txt", b"blue")])
    assert contents(opened(folder)) == [("a.tar/1", "blue", data)]


def test_what_is_no_pair_is_left_out_named_and_counted(folder):
    jpeg = picture("red", "disc")
    members = [
        ("good.jpg", jpeg),
        ("good.txt", b"good"),
        ("empty.jpg", jpeg),
        ("empty.txt", b" \n"),
        ("alone.jpg", jpeg),
        ("words.txt", b"no picture"),
        ("page.jpg", b"<html>404 not found</html>"),
        ("page.txt", b"a page"),
        ("void.jpg", b""),
        ("void.txt", b"nothing"),
        ("twice.jpg", jpeg),
        ("twice.png", jpeg),
        ("twice.txt", b"which?"),
        ("readme.md", b"of no use"),
        ("good.cls", b"3"),
    ]
    write_tar(folder / "a.tar", members)

    source = opened(folder)

    assert [name for name, _, _ in contents(source)] == ["a.tar/good"]
    assert source.index.left_out.counts == {
        "has no caption": 2,
        "has no picture": 1,
        "does not begin as a picture does": 2,
        "comes a second time in its file": 1,
    }
    assert "pairs · left out: 2 × has no caption (a.tar/empty, a.tar/alone)" in source.notes


def test_a_caption_is_taken_from_the_json_where_there_is_no_text(folder):
    jpeg = picture("red", "disc")
    deep = b'{"caption": "deep", "x": ' + b"[" * 5000 + b"]" * 5000 + b"}"
    described = {
        "one": b'{"caption": " caf\\u00e9 \xe2\x98\x95 "}',
        "nan": b'{"caption": "odd", "similarity": NaN}',
        "deep": deep,
        "list": b'["caption"]',
        "number": b'{"caption": 3}',
        "half": b'{"caption": "\\ud800"}',
    }
    members = [
        one
        for key, data in described.items()
        for one in ((f"{key}.json", data), (f"{key}.jpg", jpeg))
    ]
    write_tar(folder / "a.tar", members)
    source = opened(folder)
    assert [(name, said) for name, said, _ in contents(source)] == [
        ("a.tar/one", "café ☕"),
        ("a.tar/nan", "odd"),
    ]
    assert source.index.left_out.counts == {"has no caption": 4}


def test_pairs_less_alike_than_min_similarity_are_left_out(folder):
    said = [0.31, 0.2, float("nan"), None, "0.9", True]
    members = []
    for n, similarity in enumerate(said):
        about = {} if similarity is None else {"similarity": similarity}
        members += pair(n, str(n), **about)
    write_tar(folder / "a.tar", members)

    assert len(opened(folder)) == 6
    source = opened(folder, min_similarity=0.3)

    assert [name for name, _, _ in contents(source)] == ["a.tar/0"]
    assert source.index.left_out.counts == {
        "is less like its caption than min_similarity": 1,
        "says no similarity": 4,
    }


def test_a_torn_shard_keeps_what_comes_before_and_says_so_once(folder):
    write_pairs(folder, 40, shards=2)
    whole = contents(opened(folder))
    torn = folder / "00001.tar"
    with torn.open("r+b") as file:
        file.truncate(torn.stat().st_size * 2 // 3)

    source = opened(folder)

    found = contents(source)
    assert 20 < len(found) < 40
    assert found == whole[: len(found)]
    (about,) = [line for line in source.notes if "broken" in line]
    assert "1 × is broken from some place on; what comes before it is read" in about
    assert "00001.tar" in about


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
def test_compressed_shards_are_refused_with_the_way_out(folder, name):
    plain = write_tar(folder / "b.tar", pair(0, "0"))
    (folder / name).write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(
        FormatError, match=r"compressed by gzip, so no place in it can be read .* unpack it"
    ):
        opened(folder, name)


def member(name, kind, target=""):
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, target
    return header, b""


def test_links_devices_and_paths_are_never_followed(folder, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret")
    jpeg = picture("red", "disc")
    members = [
        ("../../escape.jpg", jpeg),
        ("../../escape.txt", b"up and out"),
        ("/etc/passwd.jpg", jpeg),
        ("/etc/passwd.txt", b"from the root"),
        ("link.jpg", jpeg),
        member("link.txt", tarfile.SYMTYPE, str(secret)),
        ("hard.jpg", jpeg),
        member("hard.txt", tarfile.LNKTYPE, "link.jpg"),
        member("null.jpg", tarfile.CHRTYPE),
        member("pipe.jpg", tarfile.FIFOTYPE),
        member("folder", tarfile.DIRTYPE),
        member("sparse.jpg", tarfile.GNUTYPE_SPARSE),
    ]
    write_tar(folder / "a.tar", members)
    before = sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts)

    source = opened(folder)

    assert [(name, said) for name, said, _ in contents(source)] == [
        ("a.tar/../../escape", "up and out"),
        ("a.tar//etc/passwd", "from the root"),
    ]
    assert source.index.left_out.counts["is a link, or no plain file"] == 5
    assert source.index.left_out.counts["has no caption"] == 2
    assert sorted(p for p in tmp_path.rglob("*") if "cache" not in p.parts) == before


def test_a_size_that_is_only_claimed_ends_the_file_and_takes_no_memory(folder):
    header = tarfile.TarInfo("huge.jpg")
    header.size = 1 << 45
    data = header.tobuf(tarfile.GNU_FORMAT) + b"\xff\xd8\xff"
    path = write_tar(folder / "a.tar", pair(0, "0"))
    body = path.read_bytes().rstrip(b"\0")
    path.write_bytes(body + bytes(-len(body) % 512) + data)

    source = opened(folder)

    assert len(source) == 1
    assert source.index.left_out.counts == {
        "is broken from some place on; what comes before it is read": 1
    }


def test_what_is_no_tar_file_is_named_if_nothing_is_left(folder):
    (folder / "a.tar").write_bytes(os.urandom(4096))
    (folder / "b.tar").write_bytes(b"")
    with pytest.raises(
        TrainingError, match=r"'pairs' has nothing to learn from in 2 files: 1 × is broken"
    ):
        opened(folder)


def test_long_names_and_other_letters_are_read(folder):
    jpeg = picture("red", "disc")
    long = "folder-" * 40 + "ü"
    with tarfile.open(folder / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in ((f"{long}/1.jpg", jpeg), (f"{long}/1.txt", "ein Bär".encode()), ("日本.jpg", jpeg), ("日本.txt", b"\xff\xfe?")):  # fmt: skip
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    found = contents(opened(folder))
    assert [said for _, said, _ in found] == ["ein Bär", "��?"]
    assert [data for _, _, data in found] == [jpeg, jpeg]


# Which files


def test_braces_and_stars_name_files_in_their_order_and_missing_ones_are_said(folder):
    for name in ("a/00001.tar", "a/00002.tar", "b/00002.tar", "a/10000.tar"):
        write_tar(folder / name, pair(0, "0"))

    def names(pattern):
        files, missing = shards.find(pattern, folder, setting="x")
        return [str(file.relative_to(folder)) for file in files], missing

    assert names("a/{00000..00002}.tar") == (["a/00001.tar", "a/00002.tar"], 1)
    assert names("{b,a}/{00002..00003}.tar") == (["b/00002.tar", "a/00002.tar"], 2)
    assert names("*/0*.tar") == (["a/00001.tar", "a/00002.tar", "b/00002.tar"], 0)
    assert names("**/1*.tar") == (["a/10000.tar"], 0)
    assert names(str(folder / "b" / "*.tar")) == (["b/00002.tar"], 0)
    source = opened(folder, "a/{00000..00002}.tar")
    assert "pairs · files of the pattern that are not there: 1" in source.notes


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("none/*.tar", "there is no such file"),
        ("{0..3}.tar", "there is no such file"),
        ("a", r"folder 'a'; name its files, as a/\*\.tar"),
        ("pipe:aws s3 cp s3://x -", "must lie on a disk"),
        ("https://example.org/{00000..00009}.tar", "must lie on a disk"),
        ("{0..999999999999}.tar", "there is no such file"),
        ("a\0.tar", "there is no such file"),
        ("n" * 5000, "cannot be looked at: File name too long"),
    ],
)
def test_a_pattern_that_names_no_files_is_refused(folder, monkeypatch, pattern, says):
    (folder / "a").mkdir()
    monkeypatch.setattr(shards, "MOST_FILES", 1000)
    with pytest.raises(RecipeError, match=rf"data\.groups\.pairs\.shards is .*{says}"):
        opened(folder, pattern)


# The index


@pytest.fixture
def scanned(monkeypatch):
    """Tell which files are looked through."""
    names = []
    real = module.scan

    def scan(path, **options):
        names.append(path.name)
        return real(path, **options)

    monkeypatch.setattr(module, "scan", scan)
    return names


def test_only_new_and_changed_files_are_looked_through_again(folder, scanned):
    write_pairs(folder, 40, shards=2)
    first = contents(opened(folder))
    assert scanned == ["00000.tar", "00001.tar"]

    again = opened(folder)
    assert contents(again) == first
    assert scanned == ["00000.tar", "00001.tar"]

    write_tar(folder / "00002.tar", pair(7, "new"))
    assert len(opened(folder)) == 41
    assert scanned[2:] == ["00002.tar"]

    write_tar(folder / "00001.tar", pair(8, "other"))
    assert [name for name, _, _ in contents(opened(folder))][20:] == ["00001.tar/other", "00002.tar/new"]  # fmt: skip
    assert scanned[3:] == ["00001.tar"]


def test_the_digest_is_of_names_and_texts_and_not_of_the_place(folder, tmp_path):
    write_pairs(folder, 20)
    other = write_pairs(tmp_path / "elsewhere", 20)
    assert opened(folder).digest == opened(other).digest

    write_tar(other / "00001.tar", [("x.jpg", picture("red", "bar")), ("x.txt", b"a red bar")])
    changed = opened(other).digest
    assert changed != opened(folder).digest
    write_tar(other / "00001.tar", [("x.jpg", picture("red", "bar")), ("x.txt", b"a big bar")])
    assert opened(other).digest != changed


def test_a_damaged_part_is_made_again(folder, tmp_path, scanned):
    write_pairs(folder, 20)
    found = contents(opened(folder))
    cache = tmp_path / "cache"
    (index,) = cache.glob("pairs-*/index.json")
    for data in (b"", b"[", index.read_bytes()):  # the last one is right, but its rows are gone
        index.write_bytes(data)
        assert contents(opened(folder)) == found
        (index.parent / "samples.bin").write_bytes(b"")
    index.unlink()
    part = min((cache / "parts").iterdir())
    part.write_bytes(part.read_bytes()[:-5])
    assert contents(opened(folder)) == found
    assert len(scanned) == 3


KILLED = """
    import sys, time
    from pathlib import Path
    from trainer.group_config import Group
    from trainer.sources import pairs, shards
    real = pairs.scan
    def slow(path, **options):
        found = real(path, **options)
        print(path.name, flush=True)
        time.sleep({pause})
        return found
    pairs.scan = slow
    base = Path(sys.argv[1])
    source = pairs.open_pairs(Group(shards="*.tar"), name="pairs", base=base, cache=base.parent / "cache")
    print("pairs", len(source), source.digest, flush=True)
"""


def child(folder, *, pause):
    code = textwrap.dedent(KILLED.format(pause=pause))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_an_index_whose_builder_was_killed_is_finished_by_the_next(folder, scanned):
    write_pairs(folder, 60, shards=6)
    process = child(folder, pause=0.3)
    seen = [process.stdout.readline().strip() for _ in range(3)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert seen == ["00000.tar", "00001.tar", "00002.tar"]

    source = opened(folder)

    assert len(source) == 60
    assert scanned == [f"{n:05d}.tar" for n in range(2, 6)]
    assert contents(source) == contents(Pairs(Index(source.index.path, ROW)))
    clean = write_pairs(folder.parent / "clean" / "shards", 60, shards=6)
    assert opened(clean).digest == source.digest


def test_several_processes_build_an_index_once(folder):
    write_pairs(folder, 40, shards=4)
    processes = [child(folder, pause=0.1) for _ in range(3)]
    said = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    scans = Counter(line for lines in said for line in lines if line.endswith(".tar"))
    assert scans == {f"{n:05d}.tar": 1 for n in range(4)}
    assert len({lines[-1] for lines in said}) == 1
    assert said[0][-1].startswith("pairs 40 ")


def test_a_folder_that_cannot_be_written_is_named(folder):
    write_pairs(folder, 4)
    (folder.parent / "cache").write_text("a file")
    with pytest.raises(TrainingError, match=r"the index of group 'pairs' cannot be made: .*cache"):
        opened(folder)


def test_a_shard_that_shrinks_while_a_run_reads_it_is_named(folder):
    write_pairs(folder, 20, shards=1)
    source = opened(folder)
    source[0]
    with (folder / "00000.tar").open("r+b") as file:
        file.truncate(2048)
    with pytest.raises(PictureError, match=r"00000\.tar' has changed since the run began"):
        source[19]


def test_a_shard_that_was_replaced_before_it_is_read_teaches_nothing(folder):
    """Its pairs are as large as the old ones, so at each place there is a pair: another one."""
    write_tar(folder / "a.tar", [("1.jpg", picture("red", "bar")), ("1.txt", b"red")])
    source = opened(folder)
    write_tar(folder / "a.tar", [("1.jpg", picture("red", "bar")), ("1.txt", b"bad")])
    with pytest.raises(PictureError, match=r"a\.tar' has changed since the run began; the same command looks at it again"):  # fmt: skip
        source[0]
    assert [said for _, said, _ in contents(opened(folder))] == ["bad"]


def read_one(source, number, answers):
    shown, caption = source[number].parts
    answers.put((caption, shown.read()))


def test_a_spawned_process_reads_the_same(folder):
    write_pairs(folder, 20)
    source = opened(folder)
    source[0]
    assert len(pickle.dumps(source)) < 5000
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=read_one, args=(source, 7, answers))
    process.start()
    assert answers.get(timeout=60) == contents(source)[7][1:]
    process.join()


def test_more_shards_than_may_be_open_at_once_are_read(folder, monkeypatch):
    monkeypatch.setattr(shards, "OPEN_FILES", 3)
    write_pairs(folder, 40, shards=10)
    source = opened(folder)
    here = Path("/proc/self/fd")
    before = sum(1 for _ in here.iterdir()) if here.exists() else None
    order = np.random.default_rng(0).permutation(40)
    expected = contents(source)
    for number in order:
        document = source[int(number)]
        assert (document.id, document.parts[1]) == expected[number][:2]
    if before is not None:
        assert sum(1 for _ in here.iterdir()) <= before + 3 + 1  # and the index


MEMORY = """
    import sys, numpy as np
    from pathlib import Path
    from trainer.sources.pairs import ROW, Pairs
    from trainer.sources.shards import Index
    from trainer.plan import Plan
    def private():
        lines = open("/proc/self/smaps_rollup").read().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Dirty", "Anonymous")))
    source = Pairs(Index(Path(sys.argv[1]), ROW))
    plan = Plan(records=len(source), batch_size=256, micro_batch_size=32, seed=0, lengths=source.lengths)
    plan.micro_batches(0)
    before = private()
    for step in range(1, 400):
        plan.micro_batches(step)
    print(len(source), private() - before)
"""


def test_memory_stays_flat_over_ten_million_pairs(tmp_path):
    if not Path("/proc/self/smaps_rollup").exists():
        pytest.skip("no /proc/self/smaps_rollup here")
    records = 10_000_000
    path = tmp_path / "pairs-made"
    path.mkdir()
    with (path / "samples.bin").open("wb") as file:
        file.truncate(records * ROW.itemsize)  # a hole: nothing is written
    names = [f"/data/{n:05d}.tar" for n in range(1000)]
    ends = [10_000 * (n + 1) for n in range(1000)]
    said = {"files": names, "ends": ends, "digest": "", "marks": ends, "left_out": {}, "names": {}}
    (path / "index.json").write_text(json.dumps(said))

    shown = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEMORY), str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    found, grown = map(int, shown.stdout.split())
    assert ROW.itemsize == 20
    assert found == records
    assert grown < 2048  # KiB


def test_lengths_are_those_of_captions(folder):
    write_tar(folder / "a.tar", [("1.jpg", picture("red", "bar")), ("1.txt", "Bär ".encode()), ("2.jpg", picture("red", "bar")), ("2.txt", b"x" * 100_000)])  # fmt: skip
    source = opened(folder)
    assert list(source.lengths([1, 0]) - module.PICTURE_CHARACTERS) == [65535, 3]
    assert len(source.lengths([])) == 0
