"""What can be wrong with a user's files, as sentences.

    MimicitError            base of the three packages; the command prints it in one line and exits with 1
    ├── DatasetError        a dataset folder that cannot be opened, or is of a newer version
    │   └── LockedError     another process is writing to it
    ├── PictureError        a picture that cannot be read
    ├── FormatError         an import or export file that is not what it should be
    ├── RecipeError         a recipe (curation or training) with an unknown or impossible setting
    ├── QueryError          SQL that is refused, wrong, or overran its limits
    └── MissingExtraError   a part of the toolkit whose packages are not installed

Each message says what is wrong, with the value, and what to do about it. A bug is not in this tree: it keeps
its traceback.
"""


class MimicitError(Exception):
    """Say in one sentence what is wrong and what to do."""


class DatasetError(MimicitError):
    pass


class LockedError(DatasetError):
    pass


class PictureError(MimicitError):
    pass


class FormatError(MimicitError):
    pass


class RecipeError(MimicitError):
    pass


class QueryError(MimicitError):
    pass


class MissingExtraError(MimicitError):
    """Name the missing package and the command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package {package!r}, which is not installed; "
            f'install it with: pip install "mimicit[{extra}]"'
        )
