"""Examples for a task that has none yet, or needs better ones.

    annotations ─sample─► contexts ─ask without examples─► replies ─score─► candidates
    candidates ─a person (or a least score)─► accepted ─freeze─► examples/NN.yaml and a version more

A model imitates its examples in all that it writes later, so they are worth a person's minutes. Everything is kept in a work folder:

    <task>.coldstart/
      coldstart.json      which task it is for
      ledger.sqlite       requests and replies (`syphus.ledger`)
      candidates.jsonl    one per readable reply
      decisions.jsonl     what a person decided, in order; only appended to

Killed at any moment, the same command goes on where it was, and nothing is paid twice.
"""
