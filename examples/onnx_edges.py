"""The gradient of an image from a program that has no eoren: ONNX Runtime alone draws the edges.

pip install 'eoren[onnx]' onnxruntime
python examples/onnx_edges.py [--seconds S] [-o edges.png]
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime

import eoren
from eoren.export.onnx import onnx_model

SIZE = 512


def edges(model: bytes, size: int) -> np.ndarray:
    """The gradient's magnitude per pixel on a grid: nothing but NumPy and ONNX Runtime."""
    session = onnxruntime.InferenceSession(model)
    centres = (np.arange(size) + 0.5) / size
    xy = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)
    (gradient,) = session.run(["gradient"], {"xy": xy})
    magnitude: np.ndarray = np.linalg.norm(gradient / size, axis=(1, 2)).reshape(size, size, 1)
    return magnitude


def main() -> None:
    """Fit, export, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("-o", "--output", type=Path, default=Path("edges.png"))
    given = parser.parse_args()

    field = eoren.fit("sample:camera", seconds=given.seconds, seed=0).field
    model = onnx_model(field).SerializeToString()
    eoren.write_image(given.output, edges(model, SIZE) / 0.5)
    print(f"{given.output}: from a graph of {len(model):,} bytes")


if __name__ == "__main__":
    main()
