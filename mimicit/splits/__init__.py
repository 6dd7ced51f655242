"""Splits for training, validation and test that separate nothing that belongs together.

Records are joined by what they have in common (`links`), what is joined directly or through others is a component (`components`),
and a whole component goes into one split (`assigning`). What was assigned stays where it is: records that come later follow what
they are joined to (`splitting`). `checking` looks at a splitting anew, and says what crosses.
"""

from mimicit.splits.checking import Check, check
from mimicit.splits.links import Joins
from mimicit.splits.options import STRATA, SplitOptions
from mimicit.splits.splitting import Splitting, split

__all__ = ["STRATA", "Check", "Joins", "SplitOptions", "Splitting", "check", "split"]
