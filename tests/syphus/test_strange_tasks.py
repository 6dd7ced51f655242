"""Task folders of strangers: whatever is in them, it ends soon, reaches nothing and is a sentence."""

import json
import os
import shutil

import pytest

from syphus.errors import TaskError
from syphus.scaffolding import write_task
from syphus.task import BUILT_IN, load_task

HEAD = "name='x'\ntitle='x'\nrecord_prefix='X'\npicture_prefix='X'\n"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BUILT_IN / "la_conversation", tmp_path / "mine")


@pytest.fixture
def judge(tmp_path):
    return shutil.copytree(BUILT_IN / "translate", tmp_path / "translate")


def reply_schema(judge, schema):
    (judge / "reply.schema.json").write_text(
        schema if isinstance(schema, str) else json.dumps(schema)
    )


BOMB = {
    "$defs": {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(60)}
    | {"a60": {}},
    "$ref": "#/$defs/a0",
}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "http://localhost:1/x.json"}, "refers to 'http://localhost:1"),
        ({"$ref": "file:///etc/passwd"}, "refers to 'file:"),
        ({"items": [{"$dynamicRef": "https://example.com/#a"}]}, "refers to 'https:"),
        ({"$id": "http://localhost:1/", "$ref": "x.json"}, "refers to 'x.json'"),
        ({"$ref": "#/nowhere"}, "which is not in it"),
        ({"$id": "http://localhost:1/", "$ref": "#nowhere"}, "which is not in it"),
        ({"$ref": "#"}, "in a circle"),
        ({"allOf": [{"$ref": "#"}]}, "in a circle"),
        (BOMB, "too many steps"),
        ({"pattern": "(a+)+$"}, "uses a pattern"),
        ({"properties": {"a": {"patternProperties": {"(a+)+$": {}}}}}, "uses a pattern"),
        ({"x": {"properties": {"pattern": "(a+)+$"}}, "$ref": "#/x/properties"}, "uses a pattern"),
        ({"type": "poem"}, "no JSON schema: 'poem'"),
        ({"type": 3}, "no JSON schema"),
        ({"$schema": ["x"], "type": 3}, "no JSON schema"),
        ({"$schema": "http://localhost:1/x", "type": 3}, "no JSON schema"),
        ({"properties": 3}, "no JSON schema"),
        ({"multipleOf": 0}, "no JSON schema"),
        ({"enum": [1] * 6_000}, "more than 5,000 parts"),
        ("[" * 100_000, "nested too deeply"),
        ('{"not": ' * 300 + "{}" + "}" * 300, "nested more than 50 deep"),
        ('{"const": "\\ud800"}', "half a character"),
        ('{"maximum": NaN}', "NaN is no number"),
        ('{"maximum": 1e999}', "a number that is none: inf"),
        ('{"maximum": ' + "9" * 5_000 + "}", "reply.schema.json' is not valid JSON"),
        ('{"maximum": ' + "9" * 500 + "}", "more than 100 digits"),
        ("[]", "must be an object"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_strange_schema_is_refused_and_nothing_is_fetched(judge, schema, said):
    reply_schema(judge, schema)
    with pytest.raises(TaskError, match=said) as raised:
        load_task(str(judge))
    assert len(str(raised.value)) < 1_000


def test_a_schema_may_refer_to_itself_and_name_a_property_pattern(judge):
    reply_schema(
        judge,
        {
            "$schema": "http://localhost:1/unknown",
            "$defs": {"t": {"items": {"$ref": "#/$defs/one"}}, "one": {"type": "object"}},
            "properties": {"translations": {"$ref": "#/$defs/t"}, "pattern": {"type": "string"}},
        },
    )
    assert load_task(str(judge)).examples


@pytest.mark.parametrize(
    "name",
    ["task.toml", "system.md", "query.md.j2", "examples/01.yaml", "more.txt", "reply.schema.json"],
)
@pytest.mark.parametrize("kind", ["link", "fifo", "zero", "large", "folder", "circle", "secret"])
def test_only_files_of_the_folder_are_read(judge, tmp_path, name, kind):
    path, secret = judge / name, tmp_path / "secret.txt"
    secret.write_bytes(path.read_bytes() if path.exists() else b"secret")
    path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "large":
        path.write_bytes(b"#" * 1_000_001)
    elif kind == "folder":
        path.mkdir()
    elif kind == "circle":
        path.symlink_to(path.name)
    else:
        path.symlink_to(os.path.relpath(secret, path.parent))
    with pytest.raises(TaskError) as raised:
        load_task(str(judge))
    circle_of_the_head = kind == "circle" and name == "task.toml"
    assert "no task" in str(raised.value) if circle_of_the_head else name in str(raised.value)


def test_a_link_within_the_folder_and_one_to_it_are_followed(folder, tmp_path):
    (folder / "examples" / "01.yaml").rename(folder / "first.yaml")
    (folder / "examples" / "01.yaml").symlink_to("../first.yaml")
    (tmp_path / "link").symlink_to(folder)
    assert load_task(str(tmp_path / "link")).examples == load_task("la_conversation").examples


def test_examples_of_another_folder_are_not_read(folder, tmp_path):
    (folder / "examples").rename(tmp_path / "elsewhere")
    (folder / "examples").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TaskError, match="leads out of its task folder"):
        load_task(str(folder))


@pytest.mark.parametrize("kind", ["file", "folder", "circle", "fifo"])
def test_a_copy_of_a_task_takes_nothing_from_elsewhere(folder, tmp_path, kind):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    extra = folder / "examples" / "extra"
    if kind == "fifo":
        os.mkfifo(extra)
    else:
        extra.symlink_to(
            {"file": tmp_path / "secret" / "key", "folder": tmp_path / "secret"}.get(kind, folder)
        )
    with pytest.raises(TaskError, match="extra"):
        write_task("copy", tmp_path / "out", like=str(folder))
    assert not (tmp_path / "out" / "copy").exists()


LAUGHS = "context: {captions: [x]}\nfacts:\n  a0: &a0 [x, x]\n" + "".join(
    f"  a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)
)
FEW = "context:\n  facts:\n    a0: &a0 [" + "x, " * 1_000 + "]\n" + "".join(
    f"    a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 5)
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 2024-13-45", "month must be"),
        ("a: !!int ''", "not valid YAML"),
        ("a: !!timestamp x", "not valid YAML"),
        ("a: !!bool x", "not valid YAML"),
        ("[" * 5_000, "nested too deeply"),
        ("[" * 60 + "]" * 60, "nested more than 50 deep"),
        ("a: &a [*a]", "nested more than 50 deep"),
        ("a: &a {<<: *a}", "'context' is missing"),
        (LAUGHS, "more than 16 aliases"),
        (FEW, "more than 100,000 values"),
        ("context: {captions: ['x', \"\\ud800\"]}", "half a character"),
        ("context: {facts: {\"\\udfff\": 1}}", "half a character"),
        ("a: 1" + ":00" * 100_000, "more than 100 digits"),
        ("a: " + "9" * 5_000, "more than 100 digits"),
        ("a: 0x" + "f" * 5_000, "more than 100 digits"),
        ("a: .nan", "a number that is none"),
        ("a: !!binary aGVsbG8=", "has a bytes"),
        ("a: !!set {b}", "has a set"),
        ("? [a, b]\n: c", "unhashable key"),
        ("a: !!pairs [b: c]", "has a tuple"),
        ("a: 1\n--- \nb: 2", "not valid YAML"),
        ("", "valid dictionary|object"),
        ("\0", "not valid YAML"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_strange_yaml_is_a_sentence(folder, text, said):
    (folder / "examples" / "01.yaml").write_text(text)
    with pytest.raises(TaskError, match=said) as raised:
        load_task(str(folder))
    assert "01.yaml" in str(raised.value)
    assert len(str(raised.value)) < 1_000


def test_a_reply_that_is_no_json_is_a_sentence(judge):
    (judge / "reply.schema.json").write_text("{}")
    (judge / "examples" / "01.yaml").write_text("context: {}\nreply: {a: 2024-01-13}")
    with pytest.raises(TaskError, match=r"01\.yaml.*date"):
        load_task(str(judge))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 5_000, "nested too deeply"),
        ("a = " + "9" * 5_000, "not valid TOML"),
        (HEAD + "[reply]\nmin_pairs = 0x" + "f" * 900, "more than 100 digits"),
        (HEAD + "version = 99999999999999999999\n[reply]", "version"),
        (HEAD + "[reply]\n[context]\nfps = inf", "inf"),
        (HEAD + "[reply]\n[context]\nfps = nan", "nan"),
        (HEAD + "[reply]\n[context]\nfps = 1e9", "fps: Input should be less"),
        (HEAD + "[reply]\n[context]\nsplit_seconds = inf", "inf"),
        (HEAD + "[reply]\n[context]\nframes = 100000", "frames: Input should be less"),
        (HEAD + "[reply]\n[context]\ndraw = {x = 1000000}", "draw, x: Input should be less"),
        (HEAD + "[reply]\n[sampling]\ntemperature = nan", "nan"),
        (HEAD + "[reply]\nrounds = 1000000", "rounds: Input should be less"),
        (HEAD.replace("'X'", "'" + "X" * 101 + "'") + "[reply]", "record_prefix"),
    ],
    ids=lambda value: str(value)[-30:],
)
def test_strange_toml_is_a_sentence(folder, text, said):
    (folder / "task.toml").write_text(text)
    with pytest.raises(TaskError, match=said) as raised:
        load_task(str(folder))
    assert "task.toml" in str(raised.value)


@pytest.mark.parametrize("name", ["a" * 5_000, "a\0b", "/dev/zero", "..", "."])
def test_a_strange_name_is_no_task(name):
    with pytest.raises(TaskError, match="there is no task"):
        load_task(name)
