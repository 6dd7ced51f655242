"""The ids that each source gives, on folders that look like the published ones."""

import json
import os
from fractions import Fraction
from pathlib import Path

import pytest

from mimicit.errors import FormatError
from mimicit.formats.base import BadRow
from mimicit.sources import SOURCES, source_named
from mimicit.sources.base import Film, FindOptions, Other, Remote, Still, walk
from mimicit.sources.tvc import chosen


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def find(source: str, path: Path, **options: object) -> list:
    return list(source_named(source).find(path, FindOptions(**options)))


def ids(found: list) -> list[str]:
    return [item.id for item in found if isinstance(item, Still | Film | Remote)]


def bad(found: list) -> list[tuple[str, str]]:
    return [(item.where, item.reason) for item in found if isinstance(item, BadRow)]


@pytest.mark.parametrize(("source", "prefix"), [("la", "LA"), ("cgd", "CGD")])
def test_coco(tmp_path, source, prefix):
    touch(tmp_path, "000000377944.jpg", "000000000042.jpg", "readme.txt", "a.b.JPEG")
    found = find(source, tmp_path)
    assert ids(found) == [f"{prefix}_IMG_{k}" for k in ("000000000042", "000000377944", "a.b")]
    assert [item.name for item in found if isinstance(item, Other)] == ["readme.txt"]


def test_spot_the_difference(tmp_path):
    touch(tmp_path, "42.png", "42_2.png", "42_diff.png", "7.jpg", "7_2.jpg", "9.png", "11_2.png")
    found = find("sd", tmp_path)
    assert ids(found) == ["SD_IMG_00007_1", "SD_IMG_00007_2", "SD_IMG_00042_1", "SD_IMG_00042_2"]
    assert bad(found) == [
        ("9.png", "its pair is incomplete: there is no picture '9_2'"),
        ("11_2.png", "its pair is incomplete: there is no picture '11'"),
    ]
    assert [item.name for item in found if isinstance(item, Other)] == ["42_diff.png"]


def test_spot_the_difference_with_a_picture_in_two_formats(tmp_path):
    touch(tmp_path, "1.png", "1.jpg", "1_2.png")
    found = find("sd", tmp_path)
    assert ids(found) == ["SD_IMG_00001_1", "SD_IMG_00001_2"]
    assert bad(found) == [("1.png", "'1.jpg' is the same picture of the same pair")]


def test_rooms(tmp_path):
    touch(
        tmp_path,
        "scene0000_00/color/000000.jpg",
        "scene0000_00/color/000100.jpg",
        "scene0000_00/depth/000000.png",
        "scene0000_01/color/000000.jpg",
        "scene0010_00/pose/000000.txt",
    )
    found = find("sn", tmp_path)
    assert ids(found) == [f"SN_IMG_scene0000_00_color_{n}" for n in ("000000", "000100")]
    assert bad(found) == [("scene0010_00", "has no folder 'color'")]
    with pytest.raises(FormatError, match="scene…_00"):
        find("sn", tmp_path / "scene0000_00")


@pytest.mark.parametrize(("source", "prefix", "digits"), [("dc", "DC", 4), ("e4d", "E4D", 8)])
def test_videos_of_a_source(tmp_path, source, prefix, digits):
    touch(tmp_path, "v_N1c3C_Npr-E.mp4", "v_a.webm", "notes.json")
    found = find(source, tmp_path)
    assert ids(found) == [f"{prefix}_IMG_v_N1c3C_Npr-E", f"{prefix}_IMG_v_a"]
    assert {item.digits for item in found if isinstance(item, Film)} == {digits}


def test_clips(tmp_path):
    frames = [f"{n:05d}.jpg" for n in range(1, 49)]
    touch(tmp_path, *(f"castle_frames/castle_s01e01_seg02_clip_00/{name}" for name in frames))
    touch(tmp_path, *(f"bbt_frames/s01e01_seg02_clip_00/{name}" for name in frames[:5]))
    (tmp_path / "bbt_frames" / "s01e01_seg02_clip_01").mkdir()
    found = find("tvc", tmp_path)
    assert ids(found)[:2] == [f"TVC_IMG_bbt_s01e01_seg02_clip_00_0000{n}" for n in (1, 2)]
    assert ids(found)[5:7] == [f"TVC_IMG_castle_s01e01_seg02_clip_00_000{n:02d}" for n in (2, 5)]
    assert len(ids(found)) == 5 + 16
    assert [item.time for item in found if isinstance(item, Still)][:3] == [0, 1 / 3, 2 / 3]
    assert bad(found) == [("bbt_frames/s01e01_seg02_clip_01", "holds no frames")]


@pytest.mark.parametrize(
    ("count", "taken"), [(5, 5), (15, 15), (16, 16), (31, 31), (47, 23), (48, 16)]
)
def test_the_published_choice_of_a_clips_frames(count, taken):
    assert len(chosen(count, FindOptions())) == taken


def test_other_choices_of_a_clips_frames():
    assert list(chosen(30, FindOptions(frames=4))) == [0, 10, 19, 29]
    assert list(chosen(30, FindOptions(fps=Fraction(1)))) == list(range(0, 30, 3))
    assert list(chosen(30, FindOptions(fps=Fraction(30)))) == list(range(30))


def story(path: Path, images: list) -> Path:
    path.write_text(json.dumps({"albums": [], "images": images, "annotations": []}))
    return path


def test_photos_of_stories(tmp_path):
    path = story(
        tmp_path / "train.story-in-sequence.json",
        [
            {"id": "99", "url_o": "https://h/99_o.jpg", "url_m": "https://h/99.jpg"},
            {"id": 98, "url_m": "https://h/98.jpg"},
            {"id": "99", "url_o": "https://h/99_o.jpg"},
            {"id": "97"},
            "text",
        ],
    )
    found = find("vst", path)
    assert found[0].urls == ("https://h/99_o.jpg", "https://h/99.jpg")
    assert ids(found) == ["VST_IMG_99", "VST_IMG_98"]
    assert [where for where, _ in bad(found)] == [f"{path.name}#3", f"{path.name}#4"]
    touch(tmp_path / "here", "train/99.jpg", "98.png")
    found = find("vst", tmp_path, images=tmp_path / "here")
    assert [item.name for item in found if isinstance(item, Still)] == ["train/99.jpg", "98.png"]
    assert "no photo '97'" in bad(found)[0][1]


def test_stories_that_break_off(tmp_path):
    path = story(tmp_path / "a.json", [{"id": "1", "url_m": "https://h/1.jpg"}] * 3)
    path.write_text(path.read_text()[:60])
    with pytest.raises(FormatError, match="broken JSON"):
        find("vst", path)
    path.write_text("{}")
    with pytest.raises(FormatError, match="no list 'images'"):
        find("vst", path)


def test_any_folder(tmp_path):
    touch(tmp_path, "b/10.jpg", "b/9.jpg", "a.png", "c/d/ä 1.webp", "x.txt")
    assert ids(find("folder", tmp_path)) == [
        "PIC_IMG_a", "PIC_IMG_b/9", "PIC_IMG_b/10", "PIC_IMG_c/d/ä 1",
    ]  # fmt: skip
    assert ids(find("folder", tmp_path / "a.png", prefix="XY")) == ["XY_IMG_a"]
    touch(tmp_path, "f/1.mp4", "2.mkv")
    assert ids(find("videos", tmp_path)) == ["VID_IMG_2", "VID_IMG_f_1"]
    assert ids(find("videos", tmp_path / "2.mkv")) == ["VID_IMG_2"]


def test_a_list(tmp_path):
    names = tmp_path / "names.txt"
    names.write_bytes(
        "\ufeffcats/1.jpg\r\n\n# a remark\nMY_IMG_7\tcats/2.jpg\nfilms/m.mp4\n\tx\n".encode()
        + b"\xff\xfe.jpg\n" + b"y" * 20_000 + b"\n#1.jpg"
    )  # fmt: skip
    found = find("list", names)
    assert ids(found) == ["PIC_IMG_cats/1", "MY_IMG_7", "PIC_IMG_films_m", "PIC_IMG_#1"]
    assert [where for where, _ in bad(found)] == [f"names.txt:{n}" for n in (6, 7, 8)]


def test_links_and_devices_are_told(tmp_path):
    touch(tmp_path / "in", "1.jpg", "sub/2.jpg")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in" / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    os.mkfifo(tmp_path / "in" / "pipe.jpg")
    found = find("folder", tmp_path / "in")
    assert ids(found) == ["PIC_IMG_1", "PIC_IMG_sub/2"]
    assert sorted(where for where, _ in bad(found)) == ["gone.jpg", "loop", "pipe.jpg"]


def test_the_order_is_that_of_people(tmp_path):
    touch(tmp_path, "a10.jpg", "a9.jpg", "a1000000000000000000000.jpg", "b.jpg", "١.jpg")
    assert list(walk(tmp_path))[:2] == ["a9.jpg", "a10.jpg"]


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_has_a_title_and_refuses_what_is_not_there(source, tmp_path):
    assert source == source_named(source.upper()).NAME
    assert source_named(source).TITLE
    with pytest.raises(FormatError, match="nowhere"):
        find(source, tmp_path / "nowhere")


def test_an_unknown_source_is_a_sentence():
    with pytest.raises(FormatError, match="no source 'coco'; there are la, sd"):
        source_named("coco")
