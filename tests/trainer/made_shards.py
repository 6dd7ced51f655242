"""Shards in the public layouts, of drawn pictures: CC3M as img2dataset writes it, MMC4 with pictures in a folder and in its JSON."""

import base64
import io
import json
import random
import tarfile

from PIL import Image, ImageDraw

COLOURS = {
    "red": (220, 30, 30),
    "green": (20, 160, 60),
    "blue": (30, 60, 210),
    "black": (10, 10, 10),
}
SHAPES = ("square", "disc", "bar")


def picture(colour, shape, *, kind="JPEG", side=32, seed=0):
    """Draw a shape of a colour on a light ground; no two seeds give quite the same."""
    draw = random.Random(seed)
    image = Image.new("RGB", (side, side), tuple(draw.randrange(220, 256) for _ in range(3)))
    pen = ImageDraw.Draw(image)
    left = draw.randrange(2, side // 4)
    box = (left, left, side - left, side - left)
    if shape == "disc":
        pen.ellipse(box, fill=COLOURS[colour])
    elif shape == "bar":
        pen.rectangle((left, side // 3, side - left, side // 2), fill=COLOURS[colour])
    else:
        pen.rectangle(box, fill=COLOURS[colour])
    data = io.BytesIO()
    image.save(data, format=kind)
    return data.getvalue()


def thing(number):
    return list(COLOURS)[number % len(COLOURS)], SHAPES[number // len(COLOURS) % len(SHAPES)]


def write_tar(path, members):
    """Write members (name, bytes), or headers as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            header = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(name, str):
                header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return path


def pair(number, key, **described):
    """Return the members of one pair."""
    colour, shape = thing(number)
    said = f"a {colour} {shape} on a light ground"
    about = {
        "key": key,
        "status": "success",
        "caption": said,
        "width": 32,
        "height": 32,
        **described,
    }
    return [
        (f"{key}.jpg", picture(colour, shape, seed=number)),
        (f"{key}.txt", said.encode()),
        (f"{key}.json", json.dumps(about).encode()),
    ]


def write_pairs(folder, count=200, *, shards=2):
    """Write pairs as img2dataset does: every seventeenth download failed, so its number is missing."""
    each = -(-count // shards)
    for shard in range(shards):
        numbers = range(shard * each, min(count, (shard + 1) * each))
        members = [one for n in numbers for one in pair(n, f"{shard:05d}{n + n // 16:04d}")]
        write_tar(folder / f"{shard:05d}.tar", members)
    return folder


def page(number, *, pictures=2):
    """Return a page and its pictures, which are listed last sentence first."""
    things = [thing(number * 5 + nth * 7) for nth in range(pictures)]
    sentences = [f"This is page {number % 10}."]
    infos = []
    for nth, (colour, shape) in enumerate(things):
        sentences += [f"Here is a {colour} {shape}.", "It stands alone."]
        infos.append(
            {
                "image_name": f"{number:06d}{nth}.jpg",
                "raw_url": f"https://example.org/{number}/{nth}.jpg",
                "matched_text_index": 1 + 2 * nth,
                "matched_sim": 0.25 + 0.01 * nth,
                "face_detections": None,
            }
        )
    matrix = [
        [0.3 if at == info["matched_text_index"] else 0.1 for at in range(len(sentences))]
        for info in infos
    ]
    data = [picture(*one, seed=number * 10 + nth) for nth, one in enumerate(things)]
    body = {
        "text_list": sentences,
        "url": f"https://example.org/{number}",
        "image_info": infos[::-1],
        "similarity_matrix": matrix[::-1],
        "could_have_url_duplicate": 0,
    }
    return body, data[::-1]


def with_base64(body, pictures):
    """Return a page as OpenFlamingo's tars have it."""
    infos = [
        info | {"image_base64": base64.b64encode(data).decode()}
        for info, data in zip(body["image_info"], pictures, strict=True)
    ]
    return body | {"image_info": infos}


def write_document_tars(folder, count=200, *, shards=2):
    each = -(-count // shards)
    for shard in range(shards):
        numbers = range(shard * each, min(count, (shard + 1) * each))
        members = [
            (f"{n:032x}.json", json.dumps(with_base64(*page(n, pictures=1 + n % 3))).encode())
            for n in numbers
        ]
        write_tar(folder / f"{shard:09d}.tar", members)
    return folder


def write_document_lines(folder, count=200, *, shards=2):
    """Write JSON lines, and their pictures into `images`."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    each = -(-count // shards)
    for shard in range(shards):
        lines = []
        for n in range(shard * each, min(count, (shard + 1) * each)):
            body, pictures = page(n, pictures=1 + n % 3)
            lines.append(json.dumps(body) + "\n")
            for info, data in zip(body["image_info"], pictures, strict=True):
                (folder / "images" / info["image_name"]).write_bytes(data)
        (folder / f"docs_shard_{shard}_v2.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder
