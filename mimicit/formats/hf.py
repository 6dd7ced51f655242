"""A dataset folder of the Hugging Face Hub.

    data/train-00000-of-00003.parquet        what `trl` writes; configuration `default`
    preference/train-00000-of-00001.parquet  configuration `preference`, where there are worse answers
    README.md                                the card: `hf_card`

`datasets.load_dataset(folder)` reads it, and so does `push_to_hub`'s repository by its name. Read is a folder of such Parquet files, or one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mimicit.errors import DatasetError, FormatError, MissingExtraError
from mimicit.formats import trl
from mimicit.formats.base import ReadOptions, WriteOptions, Written
from mimicit.formats.files import staged
from mimicit.formats.hf_card import Tally, card, made_by
from mimicit.formats.trl_records import Item
from mimicit.store import Store

NAME = "hf"
TITLE = "A Hugging Face dataset folder: Parquet with pictures inside, and a card."

TABLES = ("data/*.parquet", f"{trl.PREFERENCE}/*.parquet")
"""What is uploaded beside the card; such files of the repository that are not uploaded again are deleted from it, or they would be read too."""


def detect(path: Path) -> bool:
    """Recognise a folder; its files by themselves are `trl`'s."""
    return path.is_dir() and any(map(trl.detect, sorted(path.glob("*/*.parquet"))[:1]))


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """Read a folder's Parquet files, or one, as a stream.

    Raises:
        FormatError: one is broken from some place on; what came before it was read.
    """
    files = sorted(path.glob("*/*.parquet")) if path.is_dir() else [path]
    if not files:
        raise FormatError(f"{str(path)!r} has no Parquet files in its folders")
    for file in files:
        yield from trl.read(file, options)


def write(store: Store, folder: Path, options: WriteOptions) -> Sequence[Written]:
    """Write the accepted records that satisfy a predicate, and the card.

    Raises:
        QueryError: the predicate is not valid SQL over the view `accepted`.
        FormatError: the folder holds another export, or a row is too large.
    """
    tally = Tally()
    tables = trl.write_tables(store, folder, options, plain="data", watch=tally.note)
    text = card([table for table, _ in tables], tally, made_by(store, options.where))
    folder.mkdir(parents=True, exist_ok=True)
    with staged(folder / "README.md") as file:
        file.write(text.encode())
    files = [file for _, files in tables for file in files]
    return [*files, Written(folder / "README.md", 0)]


def push_to_hub(
    folder: Path,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str = "Upload the dataset",
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Upload a folder that was written here to a dataset repository, which is made if there is none, and return its address.

    Args:
        folder: Of the export.
        repo: `user/name`.
        private: For a repository that is made.
        revision: A branch; None is the main one.
        message: Of the commit.
        token: None is the environment's HF_TOKEN, or that of `hf auth login`.
        endpoint: Another hub.

    Raises:
        MissingExtraError: `huggingface_hub` is not installed.
        FormatError: the folder was not written here.
        DatasetError: the hub refused, or could not be reached.
    """
    try:
        import huggingface_hub as hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hub") from None
    if not (folder / "README.md").is_file() or not any(folder.glob("*/*.parquet")):
        raise FormatError(
            f"{str(folder)!r} is no dataset folder for the hub; write one with: "
            f"syphus data export -f hf -o {folder}"
        )
    api = hub.HfApi(endpoint=endpoint, token=token)
    refusals: tuple[type[Exception], ...] = (
        HfHubHTTPError,
        HFValidationError,
        OSError,
        ValueError,
        *_of_transport(),
    )
    try:
        made = api.create_repo(repo, repo_type="dataset", private=private or None, exist_ok=True)
        api.upload_folder(
            repo_id=made.repo_id,
            folder_path=folder,
            repo_type="dataset",
            revision=revision,
            commit_message=message,
            allow_patterns=["README.md", *TABLES],
            delete_patterns=list(TABLES),
        )
    except refusals as error:
        raise DatasetError(f"{repo!r} was not uploaded: {_told(error, token)}") from None
    return str(made)


def _of_transport() -> tuple[type[Exception], ...]:
    """Return what is raised where no answer comes: the hub's releases use one HTTP library after another."""
    import sys

    there = [sys.modules[name] for name in ("httpx2", "httpx") if name in sys.modules]
    return tuple(library.HTTPError for library in there)


def _told(error: Exception, token: str | None) -> str:
    """Return the first line of an error, without anybody's token."""
    import os
    import re

    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    for secret in filter(None, (token, os.environ.get("HF_TOKEN"))):
        text = text.replace(secret, "…")
    return re.sub(r"\bhf_\w+", "…", text)
