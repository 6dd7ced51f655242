"""When a request is sent, where, and how often.

endpoints.py   the models and keys that share the work: whose turn it is, who is out
pace.py        when the next request to one of them may leave
buckets.py     token buckets: the user's ceilings, and the provider's as its headers show it
climb.py       rates and windows that are found by goodput
breaker.py     stop where nothing is answered
retries.py     ask again when it is worth it
headers.py     what headers say of limits
models.py      what `-m` means
"""
