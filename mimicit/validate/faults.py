"""What can be wrong with a dataset folder: stable names, how to put it right, and what `--repair` does about it.

row       the row goes into quarantine; a turn takes its conversation along, a picture the records about it
mend      the row goes into quarantine as it is, and stays without what is wrong
group     the file goes into quarantine whole, and a part of the rows that can be read stands for it
file      the file goes into quarantine whole
snapshot  the snapshot goes into quarantine whole
leftover  it is no part of the dataset; the next writer clears it up
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Fault(NamedTuple):
    title: str
    fix: str
    repair: Literal["row", "mend", "group", "file", "snapshot", "leftover"]


FAULTS: dict[str, Fault] = {
    "unreadable-file": Fault(
        "files that are no readable Parquet",
        "restore the file from a copy; --repair moves it into quarantine",
        "file",
    ),
    "wrong-columns": Fault(
        "files whose columns are not those of the format",
        "write it again with the columns of docs/format.md; --repair moves it into quarantine",
        "file",
    ),
    "wrong-layout": Fault(
        "picture files from which a picture cannot be read by its place",
        "import it with `syphus data import`; --repair moves it into quarantine",
        "file",
    ),
    "unreadable-rows": Fault(
        "row groups that cannot be read",
        "restore the file from a copy; --repair keeps the other rows and moves the file into quarantine",
        "group",
    ),
    "bad-id": Fault(
        "ids that break the rule",
        "give it an id of 1 to 512 characters, none of them a control character",
        "row",
    ),
    "duplicate-record": Fault(
        "records whose id is taken",
        "give it another id, or remove it; --repair keeps the first that is sound",
        "row",
    ),
    "duplicate-picture": Fault(
        "pictures whose id is taken",
        "give it another id, or remove it; --repair keeps the first that is sound",
        "row",
    ),
    "empty-text": Fault("records without a text", "write the text, or remove the record", "row"),
    "dangling-picture": Fault(
        "records that name pictures which are not there",
        "import the pictures with `syphus data import`, or remove the record",
        "row",
    ),
    "picture-count": Fault(
        "records whose number of pictures is not their task's",
        "name all pictures in image_ids, or give the record another task",
        "row",
    ),
    "placeholder-count": Fault(
        "records whose text has more <image> than they have pictures",
        "name all pictures in image_ids, or take the <image> out of the text",
        "row",
    ),
    "conversation-turns": Fault(
        "conversations whose turns are not 0, 1, 2, …, each once",
        "import the conversation again; --repair moves all of its turns",
        "row",
    ),
    "conversation-pictures": Fault(
        "conversations whose turns name different pictures",
        "name in every turn all pictures of the conversation; --repair moves all of its turns",
        "row",
    ),
    "dangling-relation": Fault(
        "rows that relate to records which are not there",
        "import the records, or run `syphus data relate` again; --repair takes the names out",
        "mend",
    ),
    "dangling-translation": Fault(
        "translations of records that are not there",
        "import the original; --repair empties translation_of",
        "mend",
    ),
    "checksum-mismatch": Fault(
        "pictures whose bytes are not those that were stored",
        "import the picture again; --repair moves it and the records about it",
        "row",
    ),
    "undecodable-picture": Fault(
        "pictures that cannot be decoded",
        "import a sound copy; --repair moves it and the records about it",
        "row",
    ),
    "wrong-mime": Fault(
        "pictures of another format than is noted", "--repair notes what it is", "mend"
    ),
    "wrong-size": Fault(
        "pictures of another width or height than is noted", "--repair notes what it is", "mend"
    ),
    "broken-snapshot": Fault(
        "snapshots that cannot be opened or whose pictures are gone",
        "restore the files, or freeze again; --repair moves the snapshot into quarantine",
        "snapshot",
    ),
    "leftover": Fault(
        "files that a killed writer left behind",
        "nothing is lost: the next command that writes clears it up",
        "leftover",
    ),
}
"""In the order of the report."""
