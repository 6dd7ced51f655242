"""Ids of frames are those that were published."""

import pytest

from mimicit.formats.aliases import picture_id
from mimicit.sources.naming import film, film_frame, frame_file, place

CLIP = "castle_s01e01_seg02_clip_00"
BARE = "s01e01_seg02_clip_00"


@pytest.mark.parametrize(
    ("prefix", "key", "number", "named"),
    [
        ("DC", "v_N1c3C_Npr-E", 67, "DC_IMG_v_N1c3C_Npr-E_0067"),
        ("E4D", "0a1b-c", 67, "E4D_IMG_0a1b-c_00000067"),
        ("VID", "a/b", 12_345, "VID_IMG_a_b_12345"),
    ],
)
def test_frames_of_videos(prefix, key, number, named):
    assert film_frame(film(prefix, key), number) == named


@pytest.mark.parametrize(
    ("key", "named"),
    [
        (f"castle_frames/{CLIP}/00012", f"TVC_IMG_{CLIP}_00012"),
        (f"{CLIP}/00012", f"TVC_IMG_{CLIP}_00012"),
        (f"tvqa/castle_frames/{CLIP}/00012", f"TVC_IMG_{CLIP}_00012"),
        (f"bbt_frames/{BARE}/00012", f"TVC_IMG_bbt_{BARE}_00012"),
        (f"{BARE}/00012", f"TVC_IMG_bbt_{BARE}_00012"),
        ("other_frames/x/00012", "TVC_IMG_other_x_00012"),
        ("a/b/00012", "TVC_IMG_a_b_00012"),
        ("00012", "TVC_IMG_00012"),
    ],
)
def test_frames_of_clips(key, named):
    assert frame_file("TVC", key) == named
    assert picture_id(named) == named


@pytest.mark.parametrize(
    ("published", "prefix", "key"),
    [
        (f"TVC_IMG_{CLIP}_{CLIP}_00012", "TVC", f"castle_frames/{CLIP}/00012"),
        (f"TVC_07_IMG_{CLIP}_castle_00012", "TVC", f"{CLIP}/00012"),
        (f"TVC_IMG_{BARE}_bbt_00012", "TVC", f"bbt_frames/{BARE}/00012"),
        (f"TVC_IMG_{BARE}_{BARE}_00012", "TVC", f"{BARE}/00012"),
        ("SN_00_IMG_scene0000_00_color_000100", "SN", "scene0000_00/color/000100"),
    ],
)
def test_published_records_find_them(published, prefix, key):
    assert picture_id(published) == frame_file(prefix, key)


@pytest.mark.parametrize("early", ["E4D_04_IMG", "E4D_08_IMG", "E4D_IMG"])
def test_published_records_of_ego4d_find_them(early):
    assert picture_id(f"{early}_0a1b-c_00000067") == film_frame(film("E4D", "0a1b-c"), 67)


def test_a_clip_lies_below_its_show(tmp_path):
    (tmp_path / "bbt_frames" / BARE).mkdir(parents=True)
    assert place("TVC", tmp_path, BARE) == f"bbt_frames/{BARE}"
    assert place("TVC", tmp_path / "bbt_frames", BARE) == BARE
    assert place("TVC", tmp_path, CLIP) == CLIP  # and is not there
    assert place("DC", tmp_path, BARE) == BARE
    assert place("TVC", tmp_path, f"../{BARE}") == f"../{BARE}"
