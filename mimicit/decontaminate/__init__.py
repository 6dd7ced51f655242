"""Which records hold what a benchmark asks.

`reading` brings benchmark files of many kinds to items (`items`): a question, its options, an answer, pictures. `matching` compares
them with records: pictures by bytes, looks and name (`seen`), texts by runs of words (`grams`). The filter `in_benchmark` drops
what is found, `reporting` says it.

Nothing here imports `mimicit.curate` while it is loaded: the table of filters loads this package.
"""
