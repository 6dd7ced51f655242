# Every recipe works on a fresh clone: `python3 -m venv .venv && .venv/bin/pip install -q rust-just && .venv/bin/just RECIPE`
set shell := ["bash", "-euo", "pipefail", "-c"]

python := ".venv/bin/python"
syphus := ".venv/bin/syphus"
photos := "examples/photos"

# Check and test
default: check test

# Install the toolkit and what its recipes need into .venv; seconds when nothing changed
setup:
    #!/usr/bin/env bash
    set -euo pipefail
    [ -d .venv ] || python3 -m venv .venv
    if [ .venv/.ready -nt pyproject.toml ] && [ .venv/.ready -nt constraints.txt ]; then exit 0; fi
    echo "installing into .venv (a few minutes the first time)" >&2
    # torch first: what depends on it then takes the build that is there.
    {{ python }} -m pip install -q --disable-pip-version-check -c constraints.txt torch
    {{ python }} -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[local,train,batch,video,data,hub,translate,ocr,similar,curate,ground,review,dev]'
    touch .venv/.ready

# From annotated photos to a model that answers, with the embedded language model
demo: setup
    {{ python }} {{ photos }}/fetch.py
    # Exit code 3 says that some photos got no readable answer; they are listed, and the rest goes on.
    {{ syphus }} generate la_conversation -a {{ photos }}/annotations.json --images {{ photos }}/images -d demo -m local || [ $? -eq 3 ]
    {{ syphus }} data curate starter -d demo
    {{ syphus }} data stats -d demo
    {{ syphus }} data export -d demo -f mimicit -o runs/mimicit_data
    {{ syphus }} train otter_tiny -d demo -o runs/demo
    @echo; echo "Q: What does the picture show?"
    @for picture in chelsea.png coffee.png; do echo "   $picture: $({{ syphus }} chat runs/demo --image {{ photos }}/images/$picture 'What does the picture show?')"; done

# Run the tests; arguments go to pytest. Those of the trainer take one processor each, so several files of them run at a time
[positional-arguments]
test *args: setup
    #!/usr/bin/env bash
    set -euo pipefail
    {{ python }} {{ photos }}/fetch.py
    if [ $# -gt 0 ]; then exec {{ python }} -m pytest -q "$@"; fi
    failed=0
    {{ python }} -m pytest -q --ignore tests/trainer || failed=$?
    {{ python }} -m pytest -q -n auto --maxprocesses 4 --dist loadfile tests/trainer || failed=$?
    exit $failed

# Look for mistakes: ruff and mypy
check: setup
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/mypy

# Mend what ruff can mend
fix: setup
    .venv/bin/ruff check --fix .
    .venv/bin/ruff format .

# Write docs/cli.md from the commands' help
docs: setup
    {{ python }} -m typer syphus.cli utils docs --name syphus --output docs/cli.md

# Measure speed and memory; results go to benchmarks/results
bench: setup
    for script in benchmarks/bench_*.py benchmarks/data/{loader,decode,import_json,legacy_parquet,export,convert_video,full_size}.py benchmarks/curate/{near_text,picture_hash,language,recipe,planted,costs,semantic,diverse,asks,splits,report,review,seeing}.py benchmarks/train/{fuyu_step,mpt_step,idefics_step,generate,packing,hf_trainer,loader,shards,start_up,resume}.py benchmarks/generation/{speed,clients,start,memory,crash,stale,faults,limits,poison,money,peers}.py; do {{ python }} $script; done

# Run the dataset's tests with the oldest DuckDB that is supported; all other packages are those of .venv
test-duckdb-1: setup
    #!/usr/bin/env bash
    set -euo pipefail
    [ -d .venv-duckdb1 ] || python3 -m venv .venv-duckdb1
    .venv-duckdb1/bin/pip install -q --disable-pip-version-check duckdb==1.5.5
    site() { "$1" -c "import sysconfig; print(sysconfig.get_path('purelib'))"; }
    printf '%s\n%s\n' "$(site {{ python }})" "$PWD" > "$(site .venv-duckdb1/bin/python)/others.pth"
    # DuckDB 1.5 imports pandas by itself.
    .venv-duckdb1/bin/python -m pytest -q tests/mimicit tests/test_sql_doc.py --deselect tests/mimicit/test_columns.py::test_records_are_written_and_the_catalog_is_made_without_pandas
