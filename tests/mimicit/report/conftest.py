import shutil
from datetime import UTC, datetime

import pytest

pytest.importorskip("matplotlib")

NOW = datetime(2026, 11, 28, 9, 30, tzinfo=UTC)


@pytest.fixture
def written(tmp_path):
    """Write a report and return its HTML, with what else is asked."""
    from mimicit.report.writing import write_report

    def write(store, **options):
        path = tmp_path / "report.html"
        write_report(store, path, now=NOW, **options)
        return path.read_text(encoding="utf-8")

    return write


@pytest.fixture(scope="session")
def browser():
    """Start the Chromium of this machine, headless."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no Chromium")
    options = [
        "--no-sandbox",
        "--disable-quic",
        "--disable-background-networking",
        "--no-first-run",
    ]
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=program, args=options)
        yield found
        found.close()
