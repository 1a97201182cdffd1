import pytest

import eoren

polars = pytest.importorskip("polars", reason="polars is not installed")


def test_an_index_is_a_frame(store):
    collection = eoren.Collection(store)
    for frame in (polars.read_parquet(store / "index" / "*.parquet"), polars.from_arrow(collection.index)):
        done = frame.filter(polars.col("status") == "done").sort("number")
        assert done["name"].to_list() == collection.names
        assert done["psnr"].mean() == pytest.approx(collection.summary()["psnr"])
        assert frame.filter(polars.col("status") == "failed")["psnr"].to_list() == [None]


def test_weights_are_a_column(store):
    matrix = eoren.Collection(store).matrix()
    frame = polars.DataFrame({"weights": matrix})
    assert frame["weights"].to_numpy() == pytest.approx(matrix)
