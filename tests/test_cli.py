"""The command as a user meets it: real processes, exit codes, sentences."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from mimicit import migrations
from mimicit.store import Store
from tests.builders import coco, record
from tests.server import Provider, refuse, serve

ROOT = Path(__file__).parent.parent
# A shell that runs the tests in the background makes them deaf to Ctrl-C.
HEAR = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
MAIN = HEAR + "from syphus.cli import main; main()"
KEY = "sk-test-0123456789abcdef"


def command(*arguments, **environment):
    # Not the checkout as the working directory: prompts and packages must be found from anywhere.
    return {
        "args": [sys.executable, "-c", MAIN, *map(str, arguments)],
        "env": os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "cwd": "/",
    }


def syphus(*arguments, **environment):
    return subprocess.run(**command(*arguments, **environment), check=False, timeout=120)


def test_the_version_is_the_package_s():
    said = syphus("--version")
    assert (said.returncode, said.stdout) == (0, f"syphus {version('mimicit')}\n")
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] in said.stdout


@pytest.fixture
def filled(store):
    with store.writing("test"):
        store.add([record(n) for n in range(3)])
        store.sync()
    return store


@pytest.fixture
def generate(tmp_path, photos):
    """Arguments of a `generate` that works, to be changed."""

    def arguments(
        names=("chelsea.png",), *, task="la_conversation", model="openai/gpt-4o-mini", **changes
    ):
        options = {
            "-a": coco(tmp_path / "a.json", list(names)),
            "--images": photos,
            "-d": tmp_path / "ds",
            "-m": model,
        }
        options |= {name.replace("_", "-"): value for name, value in changes.items()}
        return ["generate", task, *(str(part) for pair in options.items() for part in pair)]

    return arguments


def wrong(result, *said):
    """Demand one sentence, exit code 1, and nothing on standard output."""
    assert result.returncode == 1, (result.stdout, result.stderr)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("syphus: ")
    for words in said:
        assert words in result.stderr


def test_generate_reports_and_sql_counts(generate, tmp_path):
    with serve(Provider()) as provider:
        ran = syphus(
            *generate(["chelsea.png", "coffee.png"]),
            OPENAI_API_KEY=KEY,
            OPENAI_BASE_URL=provider.url,
        )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("6 pairs about 2 contexts")
    assert "2/2 contexts" in ran.stderr
    counted = syphus(
        "sql", "SELECT count(*) AS n FROM accepted", "-d", tmp_path / "ds", "--format", "json"
    )
    assert json.loads(counted.stdout) == [{"n": 6}]


def test_some_bad_rows_make_exit_code_3_and_are_listed(generate, tmp_path):
    with serve(Provider()) as provider:
        arguments = generate(["chelsea.png", "nowhere.png"])
        extra = {"annotations": [{"image_id": 99, "caption": "Lost."}]}
        coco(tmp_path / "a.json", ["chelsea.png", "nowhere.png"], extra=extra)
        ran = syphus(*arguments, "--json", OPENAI_API_KEY=KEY, OPENAI_BASE_URL=provider.url)
    assert ran.returncode == 3
    report = json.loads(ran.stdout)
    assert (report["pairs"], report["problem_count"]) == (3, 2)
    assert "a.json#1: 'nowhere.png' is not in" in ran.stderr
    assert "a.json#6: annotation of picture 99, which the file does not list" in ran.stderr


def test_a_dry_run_prints_the_prompt_and_makes_no_dataset(generate, tmp_path):
    ran = syphus(*generate(), "--dry-run")
    assert ran.returncode == 0, ran.stderr
    assert "── system ─" in ran.stdout
    assert "A photo of chelsea.png." in ran.stdout
    assert "1 requests to openai/gpt-4o-mini" in ran.stdout
    assert "about $0.0" in ran.stdout
    assert "Nothing was sent." in ran.stdout
    assert not (tmp_path / "ds").exists()


def test_interrupted_it_exits_with_130_and_keeps_what_came(generate, tmp_path):
    with serve(Provider(delay=0.2)) as provider:
        names = ["chelsea.png", "coffee.png", "rocket.jpg", "moon.png", "page.png", "text.png"]
        arguments = generate(names, **{"--concurrency": 1})
        environment = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": provider.url}
        with subprocess.Popen(**command(*arguments, **environment)) as run:
            deadline = time.monotonic() + 60
            while len(provider.bodies) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            run.send_signal(signal.SIGINT)
            _, errors = run.communicate(timeout=30)
        assert (run.returncode, errors.splitlines()[-1]) == (
            130, "syphus: interrupted; the same command goes on from here",
        )  # fmt: skip
        kept = syphus(
            "sql", "SELECT count(*) AS n FROM accepted", "-d", tmp_path / "ds", "--format", "json"
        )
        assert json.loads(kept.stdout)[0]["n"] in (6, 9)
        assert syphus(*arguments, **environment).returncode == 0
    assert 6 <= len(provider.bodies) <= 7


def test_a_missing_annotation_file(generate, tmp_path):
    wrong(
        syphus(*generate(**{"-a": tmp_path / "nothing.json"})), "no annotation file", "nothing.json"
    )


def test_broken_json(generate, tmp_path):
    (tmp_path / "b.json").write_text('{"images": [')
    wrong(syphus(*generate(**{"-a": tmp_path / "b.json"})), "b.json", "not valid JSON")


def test_a_missing_picture_folder(generate, tmp_path):
    wrong(syphus(*generate(**{"--images": tmp_path / "nothing"})), "no picture folder")


def test_an_unknown_task(generate):
    wrong(syphus(*generate(task="la_conversatoin")), "la_conversatoin", "la_conversation")


def test_an_unknown_model(generate):
    wrong(syphus(*generate(model="gpt-99-ultra")), "gpt-99-ultra", "PROVIDER/MODEL")


def test_no_key(generate):
    wrong(syphus(*generate(model="anthropic/claude-sonnet-4-5")), "ANTHROPIC_API_KEY")


def test_a_key_that_is_not_accepted_is_not_printed(generate):
    with serve(
        Provider(lambda body, before: refuse(401, f"Incorrect API key provided: {KEY}"))
    ) as provider:
        ran = syphus(*generate(), OPENAI_API_KEY=KEY, OPENAI_BASE_URL=provider.url)
    assert ran.returncode == 1
    assert KEY not in ran.stderr + ran.stdout
    assert "answered 401" in ran.stderr
    assert "check the key" in ran.stderr


def test_a_dataset_folder_of_a_newer_version(filled):
    (filled.path / migrations.MARKER).write_text('{"version": 99}')
    for arguments in (["data", "stats"], ["sql", "SELECT 1"], ["data", "curate", "starter"]):
        wrong(syphus(*arguments, "-d", filled.path), "version 99", "pip install -U")


def test_no_dataset_folder(tmp_path):
    wrong(syphus("data", "stats", "-d", tmp_path / "nothing"), "no dataset folder")


def test_wrong_sql(filled):
    wrong(syphus("sql", "SELECT nothing FROM accepted", "-d", filled.path), "nothing")


def test_a_missing_extra_names_the_command_that_installs_it(filled, tmp_path):
    """The packages are hidden from the process, as where they are not installed."""
    for hidden, arguments in (
        ("torch", ["train", "otter_tiny", "-d", filled.path, "-o", tmp_path / "run"]),
        ("torch", ["chat", tmp_path / "run", "--image", "x.png", "What?"]),
        ("xllamacpp", ["generate", "la_conversation", "-a", coco(tmp_path / "a.json", ["a.png"]), "-d", tmp_path / "d", "-m", "local"]),
    ):  # fmt: skip
        options = command(*arguments)
        options["args"][2] = f"import sys; sys.modules[{hidden!r}] = None; {MAIN}"
        extra = "local" if hidden == "xllamacpp" else "train"
        wrong(subprocess.run(**options, check=False), f'pip install "mimicit[{extra}]"')


def test_wrong_usage_is_exit_code_2(filled):
    assert syphus("sql", "SELECT 1").returncode == 2
    assert syphus("nonsense").returncode == 2
    assert syphus("sql", "SELECT 1", "-d", filled.path, "--format", "xml").returncode == 2


def test_curate_prints_a_funnel(filled):
    ran = syphus("data", "curate", "starter", "-d", filled.path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[0].split() == ["3", "records"]
    assert "3  accepted by 'starter'" in ran.stdout


def test_stats_as_text_and_json(filled):
    text = syphus("data", "stats", "-d", filled.path)
    assert "la_conversation" in text.stdout
    tables = json.loads(syphus("data", "stats", "-d", filled.path, "--json").stdout)
    assert tables["tasks"][0]["records"] == 3


def test_export_and_import(filled, tmp_path):
    ran = syphus("data", "export", "-d", filled.path, "-f", "mimicit", "-o", tmp_path / "out")
    assert "LACONV_instructions.json  3 rows" in ran.stdout
    back = syphus("data", "import", tmp_path / "out", "-d", tmp_path / "back")
    assert (back.returncode, back.stdout[:13]) == (0, "3 records and")
    bad = tmp_path / "B_instructions.json"
    bad.write_text('{"meta": {}, "data": {"B_INS_1": {"instruction": "q"}}}')
    again = syphus("data", "import", bad, "-d", tmp_path / "back")
    assert again.returncode == 3
    assert "B_INS_1: it has no 'answer'" in again.stderr


def test_parquet_goes_to_a_file(filled, tmp_path):
    out = tmp_path / "x.parquet"
    assert (
        syphus(
            "sql", "FROM accepted", "-d", filled.path, "--format", "parquet", "-o", out
        ).returncode
        == 0
    )
    assert out.read_bytes()[:4] == b"PAR1"


def test_rebuild_makes_the_catalog_again(filled):
    filled.catalog_path.unlink()
    assert syphus("data", "rebuild", "-d", filled.path).returncode == 0
    assert Store.open(filled.path).catalog_path.exists()


def test_a_closed_pipe_is_no_error(filled):
    with subprocess.Popen(
        **command("sql", "FROM range(1000000)", "-d", filled.path, "--format", "csv")
    ) as run:
        run.stdout.readline()
        run.stdout.close()
        assert run.wait(60) == 0
        assert run.stderr.read() == ""
