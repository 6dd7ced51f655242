"""Requests on their way into batches come back from the disk as they were."""

from __future__ import annotations

from dataclasses import replace

from syphus.batch.spill import Framing, Spill
from syphus.request import Message, Sampling, SeenPicture, Shape
from tests.syphus.batch.running import make


def odd_request():
    """A request with everything that a request can have."""
    request = make(1, "openai/gpt-4o-mini", "猫 \u2028 \x1f \n")
    return replace(
        request,
        sampling=Sampling(0.7, 0.9, 64, seed=5),
        shape=Shape(2, 9, rounds=3, options=4, sentences=2),
        form="choices",
        schema='{"type": "object"}',
        sample=2,
        pictures=(SeenPicture("ab" * 32, "image/jpeg", b"\xff\xd8" * 500),),
        repair=(Message("assistant", "No."), Message("user", "Write it again.")),
    )


def spilled(tmp_path, requests, *, most_requests=100, most_bytes=10**6, framing=None):
    spill = Spill(tmp_path, "batch-", framing or Framing(), most_requests, most_bytes)
    for request in requests:
        spill.add(request, request.query.encode("ascii", "replace").replace(b"\n", b" "))
    spill.close()
    return spill.full


def test_a_request_comes_back_with_the_same_key_and_without_the_pictures_bytes(tmp_path):
    request = odd_request()
    [chunk] = spilled(tmp_path, [request])
    [back] = chunk.read()
    assert back.key == request.key
    without_bytes = replace(request.pictures[0], data=b"")
    assert back == replace(request, pictures=(without_bytes,))
    assert chunk.notes.stat().st_size < 1_000


def test_a_chunk_never_passes_the_limit_on_bytes_by_a_single_one(tmp_path):
    """Whatever its limit, each chunk is as large as it says, and no larger than it may be."""
    framing = Framing(b"<<", b",\n", b">")
    requests = [make(n, "m", "x" * (n % 7)) for n in range(30)]
    lines = [request.query.encode() for request in requests]
    for limit in range(max(map(len, lines)) + 3, 200, 9):
        folder = tmp_path / str(limit)
        folder.mkdir()
        chunks = spilled(folder, requests, most_bytes=limit, framing=framing)
        for chunk in chunks:
            assert chunk.path.stat().st_size == chunk.size <= limit
        content = b"".join(chunk.path.read_bytes()[2:-1] + b",\n" for chunk in chunks)
        assert content == b"".join(line + b",\n" for line in lines)
        assert sum(chunk.requests for chunk in chunks) == 30


def test_what_was_not_sent_is_removed(tmp_path):
    spill = Spill(tmp_path, "batch-", Framing(), 2, 10**6)
    for number in range(5):
        spill.add(make(number, "m"), b"{}")
    assert len(list(tmp_path.iterdir())) == 6
    spill.discard()
    assert list(tmp_path.iterdir()) == []
