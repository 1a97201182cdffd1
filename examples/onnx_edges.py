"""Draw the edges of an image with ONNX Runtime alone, from an exported field.

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
    """Compute the gradient magnitude per pixel on a grid, with NumPy and ONNX Runtime only."""
    session = onnxruntime.InferenceSession(model)
    centres = (np.arange(size) + 0.5) / size
    xy = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)
    (gradient,) = session.run(["gradient"], {"xy": xy})
    magnitude: np.ndarray = np.linalg.norm(gradient / size, axis=(1, 2)).reshape(size, size, 1)
    return magnitude


def main() -> None:
    """Fit an image, export the field, and draw its edges."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("-o", "--output", type=Path, default=Path("edges.png"))
    args = parser.parse_args()

    field = eoren.fit("sample:camera", preset="mosaic", seconds=args.seconds, seed=0).field
    model = onnx_model(field).SerializeToString()
    eoren.write_image(args.output, edges(model, SIZE) / 0.5)
    print(f"{args.output}: from a graph of {len(model):,} bytes")


if __name__ == "__main__":
    main()
