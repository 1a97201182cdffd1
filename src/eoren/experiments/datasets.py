"""Public images by name: MNIST, Set5, Set14, Kodak, and crops of DIV2K.

They are taken from the folder that the environment variable ``EOREN_DATA`` names, else downloaded into the user's
cache. Either way their SHA-256 has to be that of ``datasets.sha256``, which ``sha256sum -c`` understands, so that
numbers are about the same pixels everywhere.
"""

import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from PIL import Image as Pillow

from eoren.errors import EorenError
from eoren.fs.files import sha256
from eoren.image.idx import read_idx
from eoren.image.io import read_image

Image = Float[np.ndarray, "height width channels"]

_GITHUB = "https://raw.githubusercontent.com"
_DENOISING = f"{_GITHUB}/majedelhelou/denoising_datasets/58234876fef6f1b56306705c78dfd40cdb837b86"
_SCNET = f"{_GITHUB}/Guaishou74851/SCNet/ce50ef4266c99ab68e7edf8e8657c362a9f4f5cf"


class _Source(NamedTuple):
    folder: str  # below EOREN_DATA and the cache
    url: str  # of the folder that holds the files


_SOURCES: Mapping[str, _Source] = MappingProxyType(
    {
        # The checksums are those that several projects publish for this mirror.
        "mnist": _Source("mnist", "https://ossci-datasets.s3.amazonaws.com/mnist"),
        # Commits of repositories, whose files' SHA-256 were compared: all of Set5 and Set14, two of the crops.
        "set5": _Source("set5", f"{_DENOISING}/CSet5"),
        "set14": _Source("set14", f"{_DENOISING}/CSet14"),
        # The checksums are those that several projects publish for this site.
        "kodak": _Source("kodak", "https://r0k.us/graphics/kodak/kodak"),
        # Central crops of 256 x 256 of the first ten images for validation.
        "div2k": _Source("div2k/center256", f"{_SCNET}/data/DIV2K"),
    }
)

PICTURES = ("set5", "set14", "kodak", "div2k")
"""The data sets of photographs and drawings."""


class Digits(NamedTuple):
    """MNIST.

    Attributes:
        images: ``(N, 28, 28, 1)``, white on black, values in [0, 1].
        labels: ``(N,)``, 0 to 9.
    """

    images: Float[np.ndarray, "digits 28 28 1"]
    labels: Int[np.ndarray, " digits"]


def mnist(split: Literal["train", "test"] = "test") -> Digits:
    """Handwritten digits (LeCun, Cortes and Burges): 60,000 to train on, 10,000 to test on, in their usual order.

    Raises:
        EorenError: they are neither in ``EOREN_DATA`` nor can be downloaded, or are damaged.
    """
    stem = {"train": "train", "test": "t10k"}[split]
    images = read_idx(file("mnist", f"{stem}-images-idx3-ubyte.gz"))
    labels = read_idx(file("mnist", f"{stem}-labels-idx1-ubyte.gz"))
    return Digits(images[..., None].astype(np.float32) / 255, labels.astype(np.int64))


def pictures(name: str) -> Iterator[tuple[str, Image]]:
    """The images of a data set, in the order of their names, each read when its turn comes.

    Args:
        name: ``set5`` (5), ``set14`` (14), ``kodak`` (24) or ``div2k`` (10 crops).

    Yields:
        Name without suffix, and ``(H, W, C)`` with values in [0, 1]; one of Set14 is gray, the others are RGB.

    Raises:
        EorenError: an unknown name, or files that are neither in ``EOREN_DATA`` nor can be downloaded.
    """
    if name not in PICTURES:
        raise EorenError(f"data set {name!r} is unknown; choose one of {', '.join(PICTURES)}")
    for each in names(name):
        yield Path(each).stem, read_image(file(name, each))


def names(dataset: str) -> list[str]:
    """The names of a data set's files, for :func:`file`.

    Example:
        >>> names("set5")
        ['baby.png', 'bird.png', 'butterfly.png', 'head.png', 'woman.png']
    """
    folder = f"{_SOURCES[dataset].folder}/"
    return [name.removeprefix(folder) for name in _checksums() if name.startswith(folder)]


def file(dataset: str, name: str) -> Path:
    """One file of a data set, from ``EOREN_DATA`` or downloaded, its checksum verified.

    Raises:
        EorenError: it is in neither place, or its content is another.
    """
    folder, url = _SOURCES[dataset]
    expected = _checksums()[f"{folder}/{name}"]
    own = os.environ.get("EOREN_DATA")
    path = Path(own or "", folder, name)
    if own and path.exists():
        if sha256(path) != expected:
            raise EorenError(f"{path}: is not the published file, its SHA-256 differs; replace it or delete it")
        return path
    return _download(f"{url}/{name}", expected, folder, name)


def square(image: Image, side: int) -> Float[np.ndarray, "side side 1"]:
    """The middle of an image as a gray square, as the paper fits it.

    Colours become luma (ITU-R BT.601). The size is changed bilinearly, smoothed beforehand where it shrinks.

    Args:
        image: ``(H, W, C)``, values in [0, 1], gray or RGB; alpha is left out.
        side: of the square, in pixels.

    Example:
        >>> square(np.full((20, 30, 3), 0.5, np.float32), 8)[4, 4].round(3).tolist()
        [0.5]
    """
    height, width, channels = image.shape
    gray = image[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32) if channels > 2 else image[..., 0]
    most = min(height, width)
    top, left = (height - most) // 2, (width - most) // 2
    middle = Pillow.fromarray(np.ascontiguousarray(gray[top : top + most, left : left + most], np.float32))
    return np.asarray(middle.resize((side, side), Pillow.Resampling.BILINEAR)).clip(0, 1)[..., None]


def _download(url: str, expected: str, folder: str, name: str) -> Path:
    try:
        import pooch
    except ImportError:
        raise EorenError(
            f"{folder}/{name}: is not in EOREN_DATA, and downloading it needs pooch; "
            "pip install 'eoren[experiments]', or set EOREN_DATA to a folder that has it"
        ) from None
    pooch.get_logger().setLevel("ERROR")
    cache_folder = Path(pooch.os_cache("eoren"), folder)
    try:
        return Path(pooch.retrieve(url, expected, fname=name, path=cache_folder))
    # Whatever the network, its protocols and a full disk raise; ValueError is another checksum.
    except (OSError, ValueError) as error:
        reason = "its SHA-256 differs" if isinstance(error, ValueError) else type(error).__name__
        raise EorenError(
            f"{folder}/{name}: is not in EOREN_DATA and cannot be downloaded from {url} ({reason}); "
            "set EOREN_DATA to a folder that has it, or connect to the network and try again"
        ) from None


@cache
def _checksums() -> Mapping[str, str]:
    """SHA-256 by path."""
    lines = package_files("eoren.experiments").joinpath("datasets.sha256").read_text("utf-8").splitlines()
    return {path: digest for digest, path in (line.split("  ") for line in lines)}
