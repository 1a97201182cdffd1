"""Images of sources: how tests encode, read and compare them."""

import io

import numpy as np
from PIL import Image

from eoren.dataset.sources import decode_content, open_source


def png(pixels):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def read(*sources):
    """Read name, label and pixels of all images."""
    items = list(open_source(*sources))
    contents = [(item.name, item.load()) for item in items]
    return [(name, content.label, decode_content(name, content).pixels) for name, content in contents]


def assert_images(images, names, labels, pixels):
    """Compare what :func:`read` returned with names, labels, and gray pixels of 8 bits."""
    assert [name for name, _, _ in images] == names
    assert [label for _, label, _ in images] == labels
    np.testing.assert_allclose(np.stack([image for *_, image in images])[..., 0], pixels / np.float32(255))
