import numpy as np
import pytest

import eoren

pandas = pytest.importorskip("pandas", reason="pandas is not installed")


def test_an_index_is_a_frame(store):
    collection = eoren.Collection(store)
    for frame in (pandas.read_parquet(store / "index"), collection.index.to_pandas()):
        done = frame[frame["status"] == "done"].sort_values("number")
        assert done["name"].to_list() == collection.names
        assert done.groupby("label")["psnr"].mean().mean() == pytest.approx(collection.summary()["psnr"])


def test_columns_are_points(field):
    points = pandas.DataFrame({"x": [0.1, 0.5, 0.9], "y": [0.2, 0.5, 0.7]})
    np.testing.assert_array_equal(field.color(points), field.color(points.to_numpy()))
