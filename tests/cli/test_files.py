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


def test_what_is_not_an_image_file(folder):
    (folder / "photos").mkdir()
    right = {
        "a.eoren": "is a field, and this needs an image; 'eoren render' makes one of it",
        "https://a.org/b.png": "is an address, and this needs a file; download it first, with curl -LO for example",
        "photos": "is a folder, and this needs an image; 'eoren fit-many' fits all images of a folder",
    }
    for name, message in right.items():
        with pytest.raises(EorenError) as error:
            files.read_source_image(name)
        assert str(error.value) == f"{name}: {message}"
