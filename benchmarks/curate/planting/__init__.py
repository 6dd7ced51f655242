"""A dataset whose faults are known: good records first (`good`, `tongues`), then faults at chosen ones (`words`, `breaking`, `looks`, `copies`).

A `Draft` is a record with what each filter should make of it: `labels` are the filters that must drop it, `may` those of which neither would be
wrong. Whoever plants a fault writes both down, also for the filters that a fault of another kind gives reason to: a copy is also a repeated question.
"""
