"""Curation: opinions about records, written beside them; nothing is deleted.

    records ─► measures (made once for each, `measures`) ─► filters in the order of the recipe ─► verdicts ─► the funnel

A filter sees what the ones before it let through, so of two duplicates the good one stays. A record is accepted when no verdict
of any recipe speaks against it. What filters of one record say is remembered by recipe and asked only of new records; what
filters of many records say is asked again, from measures:

    curation/starter/judged/<digest>/j-00000.parquet   each record that was looked at, and the first filter of one record that drops it
    curation/starter/funnel.json                       the last funnel, and the digest of the recipe that was asked
    curation/starter/settled.json                      which verdicts were there when it was done: what has not changed since is not asked again
    curation/starter/next/                             a change that is being made; whoever was killed is finished by the next command
    curation/starter/before/1/                         the verdicts as they were before, for --undo
"""

from __future__ import annotations

from mimicit.curate.curating import curate
from mimicit.curate.explaining import Said, explain
from mimicit.curate.history import undo
from mimicit.curate.stages import Funnel, Stage

__all__ = ["Funnel", "Said", "Stage", "curate", "explain", "undo"]
