"""How a context's pictures are found and named."""

import io
import shutil
from itertools import pairwise

import av
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mimicit.errors import PictureError
from mimicit.parts import parts_of
from mimicit.sources import source_named
from mimicit.sources.base import FindOptions
from mimicit.sources.converting import convert
from mimicit.store import Store
from syphus.annotations.context import Context, Picture
from syphus.pictures import SEEN_PIXELS, image_ids, read_pictures, seen, spread
from syphus.task import load_task


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "pictures"
    path.mkdir()
    return path


def film(path, seconds=10, rate=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(seconds * rate):
            frame = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (number % 256,) * 3))
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def test_a_name_without_suffix_is_any_picture_of_that_name(folder, photos):
    shutil.copy(photos / "coffee.png", folder / "12.png")
    shutil.copy(photos / "rocket.jpg", folder / "12_2.jpg")
    pair = Context("12", (Picture("12", key="00012_1"), Picture("12_2", key="00012_2")))
    task = load_task("sd")
    images = read_pictures(task, pair, folder)
    assert [image.id for image in images] == ["SD_IMG_00012_1", "SD_IMG_00012_2"]
    assert [image.mime for image in images] == ["image/png", "image/jpeg"]
    assert image_ids(task, pair) == ("SD_IMG_00012_1", "SD_IMG_00012_2")


def test_without_a_folder_there_are_no_pictures():
    assert read_pictures(load_task("sd"), Context("a", (Picture("a"),)), None) == ()


def test_frames_of_a_video_are_named_by_their_second(folder):
    film(folder / "v_abc.mp4")
    images = read_pictures(load_task("dc"), Context("v_abc", video="v_abc"), folder)
    assert [image.id for image in images] == [f"DC_IMG_v_abc_{n:04d}" for n in range(10)]
    assert [image.time for image in images] == [float(n) for n in range(10)]


def test_a_clip_has_the_frames_of_its_span_and_no_more_than_the_task_wants(folder):
    film(folder / "v.mp4", seconds=60)
    images = read_pictures(
        load_task("dc"), Context("v_clip001", video="v.mp4", span=(20.0, 58.5)), folder
    )
    times = [image.time for image in images]
    assert len(times) == load_task("dc").context.frames
    assert min(times) >= 20
    assert max(times) <= 58
    assert times == sorted(times)
    assert images[0].id.startswith("DC_IMG_v_00")


def test_an_instant_has_a_frame(folder):
    film(folder / "v.mp4")
    [image] = read_pictures(load_task("e4d"), Context("v", video="v", span=(4.6, 4.6)), folder)
    assert image.id == "E4D_IMG_v_00000004"


def test_a_folder_of_frames_is_a_video(folder, photos):
    (folder / "scene0000_00" / "color").mkdir(parents=True)
    for number in (2, 10, 1):
        shutil.copy(photos / "coffee.png", folder / "scene0000_00" / "color" / f"{number}.png")
    images = read_pictures(load_task("sn"), Context("scene0000_00", video="scene0000_00"), folder)
    assert [image.id for image in images] == [
        f"SN_IMG_scene0000_00_color_{number}" for number in (1, 2, 10)
    ]


@pytest.mark.parametrize("shown", ["", "bbt_frames"], ids=["all shows", "one show"])
def test_clips_are_found_below_their_shows_and_named_as_convert_names_them(folder, photos, shown):
    for show, clip in (("castle", "castle_s01e01_seg02_clip_00"), ("bbt", "s01e01_seg02_clip_00")):
        place = folder / f"{show}_frames" / clip
        place.mkdir(parents=True)
        for number in range(1, 4):
            shutil.copy(photos / "rocket.jpg", place / f"{number:05d}.jpg")
    clip = "s01e01_seg02_clip_00"
    found = read_pictures(load_task("tvc"), Context(clip, video=clip), folder / shown)
    converted = [item.id for item in source_named("tvc").find(folder, FindOptions())]
    assert [image.id for image in found] == converted[:3]
    assert converted[0] == "TVC_IMG_bbt_s01e01_seg02_clip_00_00001"


@pytest.mark.parametrize("name", ["e4d", "dc"])
def test_frames_of_a_video_are_those_that_convert_stores(folder, tmp_path, name):
    film(folder / "0a1b-c.mp4", seconds=4)
    found = read_pictures(load_task(name), Context("x", video="0a1b-c"), folder)
    store = Store.open(tmp_path / "ds", create=True)
    convert(source_named(name), folder, store)
    [part] = parts_of(store.path / "images")
    rows = pq.read_table(part, columns=["id", "image"]).to_pylist()
    assert [(image.id, image.image) for image in found] == [(r["id"], r["image"]) for r in rows]


@pytest.mark.parametrize(
    ("context", "said"),
    [
        (Context("v", video="gone"), "no video and no folder of frames 'gone'"),
        (Context("v", video="../../etc"), "leads out"),
        (Context("v", video="empty"), "holds no pictures"),
        (Context("v", (Picture("../x.png"),)), "leads out"),
        (Context("v", (Picture("gone"),)), "'gone' is not in"),
        (Context("v", video="v.mp4", span=(500.0, 510.0)), "ends before second 500"),
    ],
)
def test_what_cannot_be_found_is_a_sentence(folder, context, said):
    (folder / "empty").mkdir()
    film(folder / "v.mp4", seconds=2)
    with pytest.raises(PictureError, match=said):
        read_pictures(load_task("dc"), context, folder)


def test_a_model_is_shown_a_smaller_picture_and_a_small_one_as_it_is(folder, photos):
    Image.effect_noise((3_000, 1_500), 50).save(folder / "large.png")
    shutil.copy(photos / "coffee.png", folder / "small.png")
    large, small = read_pictures(
        load_task("sd"), Context("a", (Picture("large.png"), Picture("small.png"))), folder
    )
    assert seen(small).data == small.image
    shown = seen(large)
    assert shown.mime == "image/jpeg"
    assert len(shown.data) < len(large.image)
    assert shown.sha256 != large.sha256
    assert seen(large) == shown  # the same bytes each time: they are part of the request's key
    assert Image.open(io.BytesIO(shown.data)).size == (SEEN_PIXELS, SEEN_PIXELS // 2)


@pytest.mark.parametrize(
    ("count", "wanted", "chosen"), [(3, 5, [0, 1, 2]), (10, 2, [2, 7]), (31, 16, 16), (47, 16, 16)]
)
def test_items_are_spread_evenly(count, wanted, chosen):
    found = spread(range(count), wanted)
    assert (found if isinstance(chosen, list) else len(found)) == chosen
    gaps = {b - a for a, b in pairwise(found)}
    assert not gaps or max(gaps) - min(gaps) <= 1
