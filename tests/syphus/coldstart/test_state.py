"""The work folder."""

import pytest

from mimicit.errors import DatasetError, LockedError
from syphus.coldstart.state import Candidate, Decision, State


def test_a_work_folder_is_one_tasks_and_one_process_at_a_time(tmp_path):
    folder = tmp_path / "w"
    with (
        State.open(folder, "a"),
        pytest.raises(LockedError, match="wait until"),
        State.open(folder, "a"),
    ):
        pass
    with (
        pytest.raises(DatasetError, match="of the task 'a', not of 'b'"),
        State.open(tmp_path / "w", "b"),
    ):
        pass
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    with pytest.raises(DatasetError, match="--state"), State.open(tmp_path / "photos", "a"):
        pass


def test_a_damaged_line_is_named(tmp_path):
    state = State(tmp_path)
    state.decide(Decision(action="accept", candidate="a", time="t"))
    with (tmp_path / "decisions.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(DatasetError, match=r"line 2 of .*decisions.jsonl"):
        state.decisions()


def test_candidates_are_written_as_they_are(tmp_path):
    state = State(tmp_path)
    one = Candidate(key="k", request="r", model="m", context={"id": "x"}, pairs=())
    state.add(one)
    assert state.candidates() == {"k": one}
    assert [path.name for path in tmp_path.iterdir()] == ["candidates.jsonl"]
