import pytest

from eoren.cli import files
from eoren.errors import EorenError


def test_check_output(folder):
    old, new = folder / "old", folder / "new"
    old.write_text("precious")
    files.check_output(new, "sample:astronaut", False)
    files.check_output(old, new, True)
    with pytest.raises(EorenError, match="old: exists; give --overwrite"):
        files.check_output(old, new, False)
    with pytest.raises(EorenError, match="old: is the input"):
        files.check_output(old, old, True)
    with pytest.raises(EorenError, match="is a folder"):
        files.check_output(folder, old, True)
    assert not new.exists()
