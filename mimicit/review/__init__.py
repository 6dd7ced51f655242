"""The review room: people look at records and say what they think of them.

    page ──► room ──► journal (a line a decision, on disk before the page hears "saved")
                         │ in batches, and when the room opens and closes
                         ▼
                      verdicts/  text/     through the store, as every other writer

A reviewer's journal `reviews/NAME.jsonl` is the truth of what that reviewer said; verdicts follow from all of it, so bringing it in
twice, or after a kill, changes nothing. Reviewing needs no lock: a journal waits while another process writes to the dataset.

Decisions are opinions. An accept is stored and overrules nobody: what a filter rejects stays rejected until its recipe changes.
An edit makes a new record `ID~2` beside the old one, which the editor then rejects. Undo takes decisions back, the last one first.
"""
