"""Public images by name: MNIST, Set5, Set14, Kodak, and crops of DIV2K.

Files come from the folder that the environment variable ``EOREN_DATA`` names, else they are downloaded into the
user's cache. Their SHA-256 must be that of ``datasets.sha256`` (readable by ``sha256sum -c``), so that results always
refer to the same pixels.
"""

import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files as package_files
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from PIL import Image as Pillow

from eoren.checks import check_choice
from eoren.errors import EorenError
from eoren.fs.files import sha256
from eoren.image.arrays import Image
from eoren.image.idx import read_idx
from eoren.image.io import read_image

IMAGE_DATASETS = ("set5", "set14", "kodak", "div2k")  # photographs and drawings

_GITHUB = "https://raw.githubusercontent.com"
_DENOISING = f"{_GITHUB}/majedelhelou/denoising_datasets/58234876fef6f1b56306705c78dfd40cdb837b86"
_SCNET = f"{_GITHUB}/Guaishou74851/SCNet/ce50ef4266c99ab68e7edf8e8657c362a9f4f5cf"


class _Source(NamedTuple):
    folder: str  # below EOREN_DATA and the cache
    url: str  # of the folder that contains the files


_SOURCES: Mapping[str, _Source] = {
    # Several projects publish the same checksums for this mirror, and for Kodak's site.
    "mnist": _Source("mnist", "https://ossci-datasets.s3.amazonaws.com/mnist"),
    # Fixed commits; SHA-256 verified against other copies for all of Set5 and Set14 and two of the crops.
    "set5": _Source("set5", f"{_DENOISING}/CSet5"),
    "set14": _Source("set14", f"{_DENOISING}/CSet14"),
    "kodak": _Source("kodak", "https://r0k.us/graphics/kodak/kodak"),
    # Central crops of 256 x 256 of the first ten validation images.
    "div2k": _Source("div2k/center256", f"{_SCNET}/data/DIV2K"),
}


class Digits(NamedTuple):
    """MNIST: images, white on black with values in [0, 1], and labels, 0 to 9."""

    images: Float[np.ndarray, "digits 28 28 1"]
    labels: Int[np.ndarray, " digits"]


def mnist(split: Literal["train", "test"] = "test") -> Digits:
    """Load the digits of LeCun, Cortes and Burges in their usual order: 60,000 for training, 10,000 for tests."""
    stem = {"train": "train", "test": "t10k"}[split]
    images = read_idx(dataset_path("mnist", f"{stem}-images-idx3-ubyte.gz"))
    labels = read_idx(dataset_path("mnist", f"{stem}-labels-idx1-ubyte.gz"))
    return Digits(images[..., None].astype(np.float32) / 255, labels.astype(np.int64))


def first_digits(count: int) -> Iterator[tuple[int, int, Image]]:
    """Iterate over the first ``count`` samples of every digit in the test set of MNIST: label, index and image."""
    images, labels = mnist("test")
    for label in range(10):
        for index in np.flatnonzero(labels == label)[:count].tolist():
            yield label, index, images[index]


def images(dataset: str) -> Iterator[tuple[str, Image]]:
    """Iterate over the names (without suffix) and images of a data set, and read an image when it is due.

    One image of Set14 is gray, the others are RGB.
    """
    check_choice("data set", dataset, IMAGE_DATASETS)
    for name in file_names(dataset):
        yield Path(name).stem, read_image(dataset_path(dataset, name))


def square_images(side: int, count: int | None = None) -> Iterator[tuple[str, str, Image, Image]]:
    """Iterate over the images of all data sets as gray squares: data set, name, image, image at twice the side.

    Args:
        side: side of the squares, in pixels.
        count: number of images of each data set, the first ones; None for all.
    """
    for dataset in IMAGE_DATASETS:
        for name, image in islice(images(dataset), count):
            yield dataset, f"{dataset}-{name}", square(image, side), square(image, 2 * side)


def file_names(dataset: str) -> list[str]:
    """List the files of a data set, for :func:`dataset_path`."""
    folder = f"{_SOURCES[dataset].folder}/"
    return [name.removeprefix(folder) for name in _checksums() if name.startswith(folder)]


def dataset_path(dataset: str, name: str) -> Path:
    """Locate one file of a data set in ``EOREN_DATA``, else download it, and verify its checksum."""
    folder, url = _SOURCES[dataset]
    expected = _checksums()[f"{folder}/{name}"]
    root = os.environ.get("EOREN_DATA")
    path = Path(root or "", folder, name)
    if root and path.exists():
        if sha256(path) != expected:
            raise EorenError(f"{path}: is not the published file, its SHA-256 differs; replace it or delete it")
        return path
    return _download(f"{url}/{name}", expected, folder, name)


def square(image: Image, side: int) -> Float[np.ndarray, "side side 1"]:
    """Crop the middle of an image to a gray square, as the paper fits it.

    Colours become luma (ITU-R BT.601), alpha is ignored. The crop is resized bilinearly, with a low-pass filter where
    it shrinks.
    """
    height, width, channels = image.shape
    gray = image[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32) if channels > 2 else image[..., 0]
    crop = min(height, width)
    top, left = (height - crop) // 2, (width - crop) // 2
    middle = Pillow.fromarray(np.ascontiguousarray(gray[top : top + crop, left : left + crop], np.float32))
    return np.asarray(middle.resize((side, side), Pillow.Resampling.BILINEAR)).clip(0, 1)[..., None]


def _download(url: str, expected: str, folder: str, name: str) -> Path:
    try:
        import pooch
    except ImportError:
        raise EorenError(
            f"{folder}/{name}: is not in EOREN_DATA, and downloading it needs pooch; "
            "pip install 'eoren[experiments]', or set EOREN_DATA to a folder that contains the file"
        ) from None
    pooch.get_logger().setLevel("ERROR")
    try:
        return Path(pooch.retrieve(url, expected, fname=name, path=Path(pooch.os_cache("eoren"), folder)))
    # OSError covers network failures and a full disk; pooch raises ValueError when the checksum differs.
    except (OSError, ValueError) as error:
        reason = "its SHA-256 differs" if isinstance(error, ValueError) else type(error).__name__
        raise EorenError(
            f"{folder}/{name}: is not in EOREN_DATA and cannot be downloaded from {url} ({reason}); "
            "set EOREN_DATA to a folder that contains the file, or connect to the network and try again"
        ) from None


@cache
def _checksums() -> Mapping[str, str]:
    """Read the SHA-256 of every file, by path."""
    lines = package_files("eoren.experiments").joinpath("datasets.sha256").read_text("utf-8").splitlines()
    return {path: digest for digest, path in (line.split("  ") for line in lines)}
