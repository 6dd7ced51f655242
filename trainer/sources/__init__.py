"""Where records come from. A source is a length and records by number; adding one is adding a file here.

    base.py       what a record is before it is encoded, and what a source must be able to do
    snapshot.py   a frozen selection of a dataset folder
    pairs.py      pictures with captions in tar shards
    documents.py  pages of MMC4; pages.py decides what of one is shown
    shards.py     which files these are, and one index of their samples; tars.py, unpacking.py: what the files are made of
    mix.py        several sources as one, each with its share and its weight
    opening.py    from a recipe and a dataset folder to the mix of a run

Records are counted, never streamed: so an epoch's order is a function of the seed, a stopped run goes on from one number, and any
number of devices and workers meets the same.
"""
