import pytest

from eoren.cli import fitting


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.2, "0:00"), (59.6, "1:00"), (3599.0, "59:59"), (36610.0, "10:10:10")]
)
def test_format_duration(seconds, shown):
    assert fitting.format_duration(seconds) == shown
