"""What files say against their records is in the dataset with them."""

import pyarrow as pa
import pyarrow.parquet as pq

from mimicit.exchange import import_files


def test_answers_that_were_not_liked_are_imported_and_not_accepted(store, tmp_path):
    path = tmp_path / "kto.parquet"
    rows = [
        {"prompt": f"Q{n}", "completion": f"A{n}", "label": n % 3 > 0, "images": []}
        for n in range(30)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    for again in (False, True):
        imported = import_files([path], store, again=again)
        assert (imported.records, imported.known, imported.bad) == (
            (0, 30, []) if again else (30, 0, [])
        )
        with store.reading() as connection:
            counts = connection.execute(
                "SELECT (SELECT count(*) FROM accepted), (SELECT count(*) FROM rejected), (SELECT count(*) FROM verdicts)"
            ).fetchall()
        assert counts == [(20, 10, 10)]
