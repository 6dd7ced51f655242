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
