"""The parts of a mix that a recipe names: the sections `[data.groups.NAME]`.

A group is of one of three kinds: records of a dataset folder, pictures with captions in shards, or documents.
"""

from dataclasses import dataclass, fields
from typing import Literal

from mimicit.errors import RecipeError
from trainer.model_config import at_least

_OF_RECORDS = ("where", "pictures", "frames", "in_context", "turns", "task_description")
_OF_SHARDS = ("max_tokens", "min_similarity")
_OF_DOCUMENTS = ("images", "max_pictures", "min_picture_bytes", "matching", "keep_lone")
"""Settings of groups of one kind, or, those of shards, of pairs and documents."""
MOST_PICTURES = 1_000
"""Of one document; each takes four bytes in the index of every other one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One part of what is learned, under a name of its own: `[data.groups.NAME]`."""

    where: str = "true"
    """SQL over the view `accepted` of the dataset folder."""
    dataset: str | None = None
    """Another dataset folder than the command's."""
    shards: str | None = None
    """Instead of a dataset: pictures with captions in tar files (WebDataset, img2dataset), as a path with `*` or `{00000..00099}`."""
    documents: str | None = None
    """Instead of a dataset: pages of MMC4, as JSON lines or tar files, as a path with `*` or `{0..9}`."""
    images: str | None = None
    """Of documents that do not hold them: the folder in which pictures lie by `image_name`."""
    weight: float = 1.0
    """How many times an epoch meets this group's records; 0.5: every other epoch."""
    num_samples: int | None = None
    """Records that an epoch takes of this group, in place of `weight`."""
    loss_weight: float = 1.0
    """How much each of its taught tokens counts in the loss; with `data.loss_mean = "groups"`, how much their mean does."""
    pictures: Literal["frames", "media"] | None = None
    """As `data.pictures`, which it replaces here."""
    frames: int | None = None
    """Frames that are shown of a record's pictures, evenly from the first to the last, some twice where there are fewer; absent: all."""
    in_context: int = 0
    """Records named by `rel_ins_ids` that come before the question as examples, with their own pictures, at most. Their answers are
    taught, too. A name that no accepted record has is passed over."""
    turns: Literal["single", "conversation"] = "single"
    """`conversation`: the turns of one conversation that `where` selects are one example."""
    task_description: tuple[str, ...] = ()
    """One of these comes before the first question, on a line of its own, drawn for each record; the same in each epoch."""
    max_tokens: int | None = None
    """Of pairs and documents: tokens of one example, at most, where these are fewer than `data.max_tokens`."""
    min_similarity: float | None = None
    """Pictures less like their text are left out; absent: 0.24 for documents, nothing for pairs, whose JSON may say `similarity`."""
    max_pictures: int = 6
    """Of one document: the first ones of those that are left."""
    min_picture_bytes: int = 11_000
    """Of documents: smaller files are left out, as icons and buttons; published runs took 11 kB and more."""
    matching: Literal["stated", "assigned"] = "stated"
    """Of documents: which sentence is a picture's. `stated`: the one that its `matched_text_index` names. `assigned`: as OpenFlamingo
    did, each another one, so that `similarity_matrix` has the largest sum; needs scipy."""
    keep_lone: float = 1.0
    """Of documents: the share of those with a single picture that stays; published runs kept 0.5."""

    def __post_init__(self) -> None:
        at_least(0, self, "data.groups", "weight", "loss_weight", "in_context")
        at_least(1, self, "data.groups", "num_samples", "frames", "max_pictures", "max_tokens")
        at_least(0, self, "data.groups", "min_picture_bytes", "keep_lone")
        if self.keep_lone > 1:
            raise RecipeError(
                f"data.groups.keep_lone is {self.keep_lone}, but must be at most 1, for it is a share"
            )
        if self.max_pictures > MOST_PICTURES:
            raise RecipeError(
                f"data.groups.max_pictures is {self.max_pictures}, but must be at most {MOST_PICTURES:,}"
            )
        given = [name for name in ("dataset", "shards", "documents") if getattr(self, name)]
        if len(given) > 1:
            raise RecipeError(f"a group is of one kind, but this one has {' and '.join(given)}")
        kind = "documents" if self.documents else "shards" if self.shards else "records"
        strangers = {
            "documents": _OF_RECORDS,
            "shards": (*_OF_RECORDS, *_OF_DOCUMENTS),
            "records": (*_OF_SHARDS, *_OF_DOCUMENTS),
        }
        for one in fields(self):
            if one.name in strangers[kind] and getattr(self, one.name) != one.default:
                raise RecipeError(
                    f"data.groups.{one.name} says nothing about {kind}; leave it out of their group"
                )
        if self.frames and self.pictures == "media":
            raise RecipeError(
                'frames are those of one clip, but pictures = "media" makes each picture a medium of its own'
            )
        if self.in_context and self.turns == "conversation":
            raise RecipeError(
                'in_context puts records before a single one; leave it out, or turns = "conversation"'
            )
