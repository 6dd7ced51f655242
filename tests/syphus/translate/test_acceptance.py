"""Twenty records into seven languages, asked of a real server that makes every mistake once."""

import json
from collections import Counter

import pytest
from typer.testing import CliRunner

from syphus.cli import app
from syphus.pacing import retries
from tests.server import Provider, good, serve
from tests.syphus.translate.corpus import (
    ANSWERS,
    LANGUAGES,
    QUESTIONS,
    RLM,
    Asked,
    records,
    written,
)


class Translator:
    """Translate rightly, but for the first replies: each of these is bad in a way of its own."""

    def __init__(self):
        self.mistakes = {
            0: self.leaves_a_language_out,
            1: self.answers_one_in_english,
            2: self.is_cut_off,
            3: self.breaks_json,
        }
        self.firsts = 0
        self.asked = []
        """Mistake or None, what was asked, and the whole request: in order."""

    def __call__(self, body, before):
        queries = [m["content"] for m in body["messages"] if m["content"].startswith("Languages:")]
        asked, mistake = Asked(queries[-1]), None
        if body["seed"] == 0:  # later rounds and repairs have others
            mistake = self.mistakes.get(self.firsts)
            self.firsts += 1
        self.asked.append((mistake and mistake.__name__, asked, body))
        return mistake(body, asked) if mistake else good(body, written(asked.translations()))

    def leaves_a_language_out(self, body, asked):
        return good(body, written([t for t in asked.translations() if t["language"] != "ko"]))

    def answers_one_in_english(self, body, asked):
        found = asked.translations()
        for one in found:
            if one["language"] == "de":
                one["question"] = asked.records[one["number"] - 1][0].replace("What", "So what")
                one["answer"] = asked.records[one["number"] - 1][1].replace("The", "Every")
        return good(body, written(found))

    def is_cut_off(self, body, asked):
        text = written(asked.translations())
        return good(body, text[: len(text) * 2 // 3], "length")

    def breaks_json(self, body, asked):
        return good(body, '{"translations": [{"number": 1, "language": "zh", "question": "')


@pytest.fixture
def command(store, monkeypatch):
    """Run `syphus translate` against a server."""
    monkeypatch.setattr(retries, "_backoff", lambda failures: 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789abcdef")

    def run(provider, *options):
        with serve(provider):
            monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
            monkeypatch.setenv("OPENAI_API_BASE", provider.url)
            arguments = ["translate", "-d", str(store.path), "-m", "openai/gpt-4o-mini", *options]
            return CliRunner().invoke(app, arguments)

    return run


def after(translator, mistake):
    """Return the cells that were good in a bad reply, and what was asked for because of it."""
    names = [name for name, *_ in translator.asked]
    start = names.index(mistake)
    firsts = [n for n, (*_, body) in enumerate(translator.asked) if body["seed"] == 0]
    end = next((n for n in firsts if n > start), None)
    return translator.asked[start], translator.asked[start + 1 : end]


def test_twenty_records_are_complete_in_seven_languages(store, command):
    store.add(records())
    translator = Translator()
    result = command(Provider(translator), "--to", ",".join(LANGUAGES), "--concurrency", "1")
    assert result.exit_code == 0, result.output
    table = [line.split() for line in result.stdout.splitlines()[1:8]]
    assert [(row[0], *row[-4:]) for row in table] == [(c, "20", "0", "20", "0") for c in LANGUAGES]

    # Every record is right, to the byte.
    with store.reading() as connection:
        found = connection.execute(
            "SELECT s.instruction, s.answer, t.language, t.instruction, t.answer, t.id = s.id || '_' || t.language, "
            "t.image_ids = s.image_ids, t.task = s.task, t.reply IS NOT NULL "
            "FROM accepted AS t JOIN accepted AS s ON s.id = t.translation_of"
        ).fetchall()
    assert len(found) == 140
    for question, answer, language, asked, told, *same in found:
        assert (asked, told) == (QUESTIONS[question][language], ANSWERS[answer][language])
        assert all(same)
    assert any(RLM in row[4] for row in found)

    # Each mistake was made once, and only what it spoiled was asked for again.
    assert Counter(name for name, *_ in translator.asked if name) == dict.fromkeys(
        ["leaves_a_language_out", "answers_one_in_english", "is_cut_off", "breaks_json"], 1
    )
    (_, first, _), [(_, again, _)] = after(translator, "leaves_a_language_out")
    assert (again.records, again.languages) == (first.records, ["ko"])
    assert {problem for *_, problem in again.notes} == {"it was left out"}

    (_, first, _), [(_, again, _)] = after(translator, "answers_one_in_english")
    assert (again.records, again.languages) == (first.records, ["de"])
    assert all(
        "it is in English" in problem or "not translated" in problem for *_, problem in again.notes
    )

    (_, first, body), again = after(translator, "is_cut_off")
    text = translator.is_cut_off(body, first).text
    whole = json.loads(text)["choices"][0]["message"]["content"].count("}")
    assert 0 < whole < len(first.cells)
    spoiled = [cell for _, asked, _ in again for cell in asked.cells]
    assert sorted(spoiled) == sorted(first.cells[whole:])
    assert all(len(asked.cells) <= len(first.cells) // 2 for _, asked, _ in again)

    (_, first, _), [(_, again, body)] = after(translator, "breaks_json")
    assert again.cells == first.cells
    assert "cannot be used" in body["messages"][-1]["content"]

    # No cell beyond those was paid for twice.
    paid = Counter(cell for _, asked, _ in translator.asked for cell in asked.cells)
    assert len(paid) == 140
    print(f"{len(translator.asked)} requests, {paid.total()} cells asked for, 140 wanted")  # noqa: T201

    # And once more, nothing.
    provider = Provider(translator)
    result = command(provider, "--to", ",".join(LANGUAGES), "--json")
    assert (result.exit_code, provider.bodies) == (0, [])
    assert all(row["before"] == 20 for row in json.loads(result.stdout)["languages"])


def test_what_is_missing_in_the_end_is_said_with_its_reason(store, command):
    store.add(records()[:3])

    def behave(body, before):
        asked = Asked(
            [m["content"] for m in body["messages"] if m["content"].startswith("Languages:")][-1]
        )
        found = asked.translations()
        for one in found:
            if one["language"] == "fr":
                one["answer"] += "\nVoilà."
        return good(body, written(found))

    result = command(Provider(behave), "--to", "fr,zh")
    assert result.exit_code == 3
    row = next(line for line in result.stdout.splitlines() if line.startswith("fr"))
    assert row.split()[:6] == ["fr", "French", "3", "0", "0", "3"]
    assert "it must have … line" in row
    assert "LACONV_INS_000_00 in French: the answer: it must have 1 line, not 2" in result.stderr


def test_a_strict_schema_goes_with_each_request(store, command):
    store.add(records()[:1])
    provider = Provider(Translator())
    command(provider, "--to", "zh")
    [body] = provider.bodies
    schema = body["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["properties"]["translations"]["items"]["required"]


def test_a_dry_run_prints_the_first_prompt_and_sends_nothing(store, command):
    store.add(records())
    provider = Provider(Translator())
    result = command(provider, "--to", ",".join(LANGUAGES), "--dry-run")
    assert (result.exit_code, provider.bodies) == (0, [])
    assert "140 translations of 20 records, 0 there already" in result.stdout
    assert "- ko: Korean" in result.stdout
    assert "$" in result.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--to", "jp"], "did you mean ja"),
        (["--to", "zh,en"], "leave it out of --to"),
        (["--to", "zh", "--where", "nonsense"], "the selection 'nonsense' fails"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_sent(store, command, options, said):
    store.add(records()[:1])
    provider = Provider(Translator())
    result = command(provider, *options)
    assert result.exit_code != 0
    assert said in result.output + str(result.exception)
    assert provider.bodies == []
