"""A small invented file of each format, in exactly the shape in which it is published."""

from __future__ import annotations

import json
from pathlib import Path

COCO = {
    "info": {"year": 2014},
    "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 50}],
    "annotations": [
        {"id": 1, "image_id": 1, "caption": "A gate."},
        {
            "id": 2,
            "image_id": 1,
            "category_id": 3,
            "bbox": [10, 10, 20, 20],
            "segmentation": [[1, 2]],
        },
    ],
    "categories": [{"id": 3, "name": "gate"}],
}
LLAVA = {
    "id": "000000000001",
    "image": "000000000001.jpg",
    "captions": ["A kite over a field.", " Somebody flies\na kite. "],
    "instances": [{"category": "kite", "bbox": [0.1, 0.2, 0.5, 0.6]}],
}
REFCOCO = {
    "img_id": "COCO_train2014_000000000009_1203",
    "sents": "the left kite",
    "bbox": [64, 48, 128, 96],
    "height": 480,
    "width": 640,
}
LABELME = {
    "version": "4.0.0",
    "flags": {},
    "shapes": [
        {"label": "kite", "points": [[10, 20], [50, 80]], "group_id": None, "shape_type": "rectangle", "flags": {}}
    ],
    "imagePath": "kite.jpg",
    "imageData": None,
    "imageHeight": 100,
    "imageWidth": 200,
}  # fmt: skip
SPOT = [
    {"img_id": "12", "sentences": ["the van has left", "a man has come"]},
    {"img_id": "7", "sentences": ["nothing has changed"]},
    {"img_id": "12", "sentences": ["the van has left", "the gate is open"]},
]
ACTIVITYNET = {
    "v_one": {
        "duration": 30.5,
        "timestamps": [[9.0, 12.5], [0.5, 9.0]],
        "sentences": [" He ties it.", "A man takes a rope."],
    }
}
TVR = [
    {"vid_name": "house_s01e02_seg03_clip_04", "duration": 61.5, "ts": [9.5, 12], "desc": "He waits.", "type": "v", "desc_id": 2},
    {"vid_name": "s02e14_seg02_clip_02", "duration": 60, "ts": [0, 2.5], "desc": "She reads.", "type": "t", "desc_id": 3},
    {"vid_name": "house_s01e02_seg03_clip_04", "duration": 61.5, "ts": [1, 4], "desc": "He comes in.", "type": "vt", "desc_id": 4},
]  # fmt: skip
TVC = [
    {"vid_name": "house_s01e02_seg03_clip_04", "clip_id": 1, "duration": 61.5, "ts": [1, 4],
     "descs": [{"desc": "He comes in.", "type": "v", "from_retrieval": True, "desc_id": 4}, {"desc": "A man enters.", "type": "v"}]},
]  # fmt: skip
PHOTO = {
    "datetaken": "2006-01-01 10:00:00",
    "url_o": "https://…",
    "license": "3",
    "secret": "x",
    "text": "",
    "farm": "1",
}
VIST = {
    "images": [
        {**PHOTO, "id": "501", "album_id": "9", "title": "The boat", "tags": "lake boat"},
        {**PHOTO, "id": "502", "album_id": "9", "title": "Rain", "tags": ""},
        {**PHOTO, "id": "503", "album_id": "9", "title": "unused", "tags": ""},
    ],
    "info": {"version": "1.0"},
    "annotations": [
        [{"original_text": "It rained.", "text": "it rained .", "album_id": "9", "photo_flickr_id": "502", "setting": "first-2-pick-and-tell",
          "worker_id": "w", "story_id": "30", "tier": "test", "worker_arranged_photo_order": 1, "storylet_id": "150"}],
        [{"original_text": "We sailed.", "text": "we sailed .", "album_id": "9", "photo_flickr_id": "501", "setting": "first-2-pick-and-tell",
          "worker_id": "w", "story_id": "30", "tier": "test", "worker_arranged_photo_order": 0, "storylet_id": "151"}],
        [{"original_text": "A boat!", "text": "a boat !", "album_id": "9", "photo_flickr_id": "501", "setting": "last-3-pick-old-and-tell",
          "worker_id": "v", "story_id": "31", "tier": "test", "worker_arranged_photo_order": 0, "storylet_id": "155"}],
    ],
    "type": "story-in-sequence",
    "albums": [{"id": "9", "title": "Lake", "description": "A day out", "farm": "1", "owner": "o", "photos": "3"}],
}  # fmt: skip
SCANREFER = [
    {"scene_id": "scene0001_00", "object_id": "4", "object_name": "trash_can", "ann_id": "0", "description": "The bin by the door.", "token": ["the"]},
    {"scene_id": "scene0001_00", "object_id": "4", "object_name": "trash_can", "ann_id": "1", "description": "A round bin.", "token": ["a"]},
    {"scene_id": "scene0001_00", "object_id": "5", "object_name": "trash_can", "ann_id": "0", "description": "The bin by the door.", "token": ["a"]},
]  # fmt: skip
EGO4D = {
    "version": "1",
    "videos": {
        "uid-1": {
            "status": "complete",
            "narration_pass_1": {
                "narrations": [
                    {"timestamp_sec": 8.5, "timestamp_frame": 255, "narration_text": "#C C Opens a #unsure", "annotation_uid": "x"},
                    {"timestamp_sec": 2, "timestamp_frame": 60, "narration_text": "#O A man Y waves.", "annotation_uid": "y"},
                ],
                "summaries": [],
            },
            "narration_pass_2": {
                "narrations": [{"timestamp_sec": 2, "timestamp_frame": 60, "narration_text": "#O  A man Y waves. ", "annotation_uid": "z"}]
            },
        }
    },
}  # fmt: skip
EGO4D_TABLE = (
    "video_uid\tvideo_dur\tnarration_source\tnarration_ind\tnarration_time\tclip_start\tclip_end\tclip_text\ttag_verb\n"
    "uid-1\t-1\tnarration_pass_2\t0\t0.3\t-0.2\t1.3\t#c c picks unsure\t[]\n"
    "uid-1\t-1\tnarration_pass_2\t1\t5.5\t\t\t#C C #Unsure\t[]\n"
    "uid-1\t-1\tnarration_pass_2\t2\t4.5\t\t\t#Oman X sits down. #unsure\t[]\n"
)
EPIC = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,narration,verb,noun,all_nouns\n"
    "P01_11_1,P01,P01_11,00:01:01.500,00:01:01.25,00:01:03,1,2,take knife,take,knife,\"['knife', 'board:chopping']\"\n"
    "P01_11_0,P01,P01_11,00:00:00.560,00:00:00.00,00:00:01.89,1,113,open bin,open,bin,['bin']\n"
)
FUNQA = [
    {"instruction": "Locate the funny moment in the video.", "visual_input": "H_A_1_2.mp4", "output": "[0, 72]", "task": "H1", "ID": "t_0"},
    {"instruction": "Describe the funny moment of the video.", "visual_input": "H_A_1_2.mp4", "output": "A goose chases a boy.", "task": "H2", "ID": "t_1"},
    {"instruction": "Why is the whole video funny?", "visual_input": "H_A_1_2.mp4", "output": "The boy is larger.", "task": "H3", "ID": "t_2"},
    {"instruction": "Give the video a caption.", "visual_input": "H_A_1_2.mp4", "output": "Who rules here", "task": "H4", "ID": "t_3"},
]  # fmt: skip
OURS = {
    "id": "kite",
    "image": "kite.png",
    "captions": ["A kite."],
    "objects": [{"name": "kite", "box": [0, 0, 0.5, 1]}],
}
TEXTS = {
    "flickr": (
        "captions.token",
        "1.jpg#0\tA dog runs .\n1.jpg#1\tA brown dog .\n2.jpg.1#0\tA cat .\n",
    ),
    "flickr (table)": ("captions.txt", 'image,caption\n1.jpg,"A dog, running ."\n'),
    "ego4d (table)": ("narrations.tsv", EGO4D_TABLE),
    "epic": ("EPIC_100_validation.csv", EPIC),
    "scanrefer (table)": (
        "nr3d.csv",
        "assignmentid,stimulus_id,utterance,correct_guess,scan_id,instance_type,target_id,tokens\n"
        "1,scene0002_00-bed-1-2,The wide bed,True,scene0002_00,bed,2,\"['the']\"\n",
    ),
    "csv": ("mine.csv", "image,captions,colour\na.png,A gate.,red\na.png,A red gate.,blue\n"),
    "csv (tabs)": ("mine.tsv", "name\ttext\na.png\tA gate.\n"),
    "sql": ("mine.sql", "-- all of it\nselect 'a.png' AS image, 'A gate.' AS captions"),
}
DOCUMENTS = {
    "coco": COCO,
    "refcoco": [REFCOCO],
    "labelme": LABELME,
    "spot_the_diff": SPOT,
    "activitynet": ACTIVITYNET,
    "activitynet (list)": [ACTIVITYNET],
    "vist": VIST,
    "vist (albums first)": dict(reversed(VIST.items())),
    "vist (texts)": {"301": "it was late . we went home . all slept .", "302": "a . b ."},
    "vist (stories)": {"type": "sis", "stories": [{"story": "A", "sis": [["77", "we went ."]]}]},
    "scanrefer": SCANREFER,
    "scanrefer (rooms)": {"scene0003_00": [["plant", "A tall one."], ["plant", "By the sofa."]]},
    "scanrefer (descriptions)": {"scene0003_00": {"description": [["plant", "A tall one."]]}},
    "ego4d": EGO4D,
    "ego4d (no videos)": EGO4D["videos"],
    "funqa": FUNQA,
}
LINES = {"llava": [LLAVA], "tvr": TVR, "tvr (tvc)": TVC, "jsonl": [OURS]}


def write(path: Path, content: object) -> Path:
    """Write a text, bytes, or else JSON."""
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def write_lines(path: Path, rows: list) -> Path:
    return write(path, "".join(f"{json.dumps(row)}\n" for row in rows))


def write_all(folder: Path) -> dict[str, Path]:
    """Write a file of each format, and of its variants, "format (variant)"."""
    import pyarrow as pa
    import pyarrow.parquet

    def name(case: str, suffix: str) -> Path:
        return folder / f"{case.replace(' ', '_')}{suffix}"

    table = pa.table({"image": ["a.png"], "captions": [["A gate.", "A red gate."]]})
    pyarrow.parquet.write_table(table, folder / "mine.parquet")
    return {
        **{case: write(name(case, ".json"), content) for case, content in DOCUMENTS.items()},
        **{case: write_lines(name(case, ".jsonl"), rows) for case, rows in LINES.items()},
        **{case: write(folder / file, text) for case, (file, text) in TEXTS.items()},
        "parquet": folder / "mine.parquet",
    }


CASES = [*DOCUMENTS, *LINES, *TEXTS, "parquet"]
