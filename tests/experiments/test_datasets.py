import functools
import hashlib
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from eoren.errors import EorenError
from eoren.experiments import datasets


@pytest.fixture
def server(tmp_path):
    """A folder, and the address under which it can be downloaded."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


@pytest.fixture
def elsewhere(monkeypatch, tmp_path, server):
    """No EOREN_DATA, an empty cache, and one data set of two files on the server."""
    folder, url = server
    monkeypatch.delenv("EOREN_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda _: tmp_path / "cache")
    sums = {}
    for name, value in (("a.png", 10), ("b.png", 200)):
        Image.fromarray(np.full((3, 4), value, np.uint8)).save(folder / name)
        sums[f"two/{name}"] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(datasets, "_SOURCES", {"two": datasets._Source("two", url)})
    monkeypatch.setattr(datasets, "_checksums", lambda: sums)
    monkeypatch.setattr(datasets, "IMAGE_DATASETS", ("two",))
    return folder


def test_images_are_downloaded_once(elsewhere):
    first = dict(datasets.images("two"))
    assert {name: float(image[0, 0, 0]) * 255 for name, image in first.items()} == pytest.approx({"a": 10, "b": 200})
    for path in elsewhere.iterdir():
        path.unlink()
    assert [name for name, _ in datasets.images("two")] == ["a", "b"]


def test_another_content_is_refused(elsewhere, tmp_path):
    (elsewhere / "a.png").write_bytes((elsewhere / "b.png").read_bytes())
    with pytest.raises(EorenError, match=r"two/a.png: .*SHA-256 differs.*EOREN_DATA"):
        list(datasets.images("two"))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_the_error_when_offline_names_both_remedies(elsewhere, monkeypatch):
    monkeypatch.setattr(datasets, "_SOURCES", {"two": datasets._Source("two", "http://127.0.0.1:9")})
    with pytest.raises(EorenError, match="ConnectionError") as raised:
        list(datasets.images("two"))
    assert "set EOREN_DATA to a folder that contains the file, or connect to the network" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_eoren_data_comes_first_and_is_checked(elsewhere, monkeypatch, tmp_path):
    own = tmp_path / "own" / "two"
    own.mkdir(parents=True)
    monkeypatch.setenv("EOREN_DATA", str(own.parent))
    (own / "a.png").write_bytes((elsewhere / "a.png").read_bytes())
    assert datasets.dataset_path("two", "a.png") == own / "a.png"
    assert datasets.dataset_path("two", "b.png") == tmp_path / "cache" / "two" / "b.png"
    (own / "b.png").write_bytes(b"another")
    with pytest.raises(EorenError, match="not the published file"):
        datasets.dataset_path("two", "b.png")


def test_the_error_without_pooch_says_what_to_install(elsewhere, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(EorenError, match=r"eoren\[experiments\].*EOREN_DATA"):
        list(datasets.images("two"))


def test_unknown_names():
    with pytest.raises(EorenError, match="data set must be one of set5, set14, kodak, div2k, got 'set6'"):
        list(datasets.images("set6"))


@pytest.mark.parametrize(("name", "count"), [("set5", 5), ("set14", 14), ("kodak", 24), ("div2k", 10)])
def test_real_images(data, name, count):
    first, image = next(datasets.images(name))
    assert image.ndim == 3
    assert first == {"set5": "baby", "set14": "baboon", "kodak": "kodim01", "div2k": "0801"}[name]
    assert len(datasets.file_names(name)) == count


def test_real_digits(data):
    digits = datasets.mnist()
    assert digits.images.shape == (10_000, 28, 28, 1)
    assert np.bincount(digits.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert digits.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert (float(digits.images.min()), float(digits.images.max())) == (0, 1)


def test_a_square_is_the_middle_in_gray():
    image = np.zeros((40, 60, 3), np.float32)
    image[:, 10:50] = [0.2, 0.4, 0.6]
    found = datasets.square(image, 20)
    assert found.shape == (20, 20, 1)
    np.testing.assert_allclose(found, 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6, atol=1e-6)
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None, :, None].repeat(64, 0)
    expected = ramp[::2].reshape(32, 32, 2).mean(-1)
    np.testing.assert_allclose(datasets.square(ramp, 32)[:, 2:-2, 0], expected[:, 2:-2], atol=1e-4)


def test_files_are_listed_in_order():
    assert datasets.file_names("set5") == ["baby.png", "bird.png", "butterfly.png", "head.png", "woman.png"]
