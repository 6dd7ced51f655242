"""The data sheet: one HTML page that says what is in a dataset, how it was made, and what was dropped and why.

    catalog ─► facts (aggregates in SQL) ─► plots (SVG by matplotlib) ─► page (one file: no script, no request, a strict policy)
           └─► samples (by a hash of the id, from every task, accepted and dropped) ─► thumbnails

Nothing is held that grows with the dataset: DuckDB counts, names are taken from the most frequent ones, histograms are counted
by value, and the samples are the least hashes. Texts of records are shown as texts, whatever they hold.

    facts.py      records, texts, pictures        opinions.py   funnels, verdicts, scores, duplicates
    making.py     models, prompts, runs, costs    asking.py     what questions ask: verb and object
    samples.py    records with their pictures     sheet.py      questions a reader would ask, answered from the facts
    svg.py        a figure as inline SVG          plots.py      the figures
    page.py       all of it as HTML               writing.py    from a dataset to a file
"""
