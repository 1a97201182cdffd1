import pytest

import eoren

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")


def test_an_index_is_a_table(store):
    index = f"'{store}/index/*.parquet'"
    collection = eoren.Collection(store)
    rows = duckdb.sql(f"select name, label, psnr from {index} where status = 'done' order by number").fetchall()
    assert [row[:2] for row in rows] == [*zip(collection.names, collection.labels, strict=True)]
    assert [row[2] for row in rows] == pytest.approx([field.provenance.metrics["psnr"] for field in collection])
    errors = duckdb.sql(f"select error from {index} where status = 'failed'").fetchall()
    assert ["must be finite" in error for (error,) in errors] == [True]
    mean = duckdb.sql(f"select avg(psnr) from {index}").fetchall()[0][0]
    assert mean == pytest.approx(collection.summary()["psnr"])


def test_an_index_in_memory_is_a_table(store):
    index = eoren.Collection(store).index  # DuckDB finds the variable
    counts = duckdb.sql("select status, count(*) from index group by status order by status").fetchall()
    assert counts == [("done", 6), ("failed", 1)]
    assert index.num_rows == 7
