"""Cloning by OpenCV and fpie: their colours, and exact solutions under their conventions.

OpenCV (``seamlessClone``) uses the source's gradients in the mask without its outermost three pixels and the target's
elsewhere, but solves for all colours inside the bounding box of the mask; ``mixed`` is chosen per pixel, by
``|d/dx - d/dy|``; results are truncated to integers.

fpie solves the same five-point equations as EoREN, by Jacobi iterations, and truncates to integers. To separate the
error of its iterations from that of its equations, :func:`fpie_limit` factorises its matrix.
"""

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu

from eoren.composition.poisson import forward_differences, solve_mask

Scene = tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int], str]
"""Source, target, mask of the source's size, offset, mode."""

_FPIE_GRADIENTS = {"import": "src", "mixed": "max", "average": "avg"}


def opencv(scene: Scene) -> np.ndarray:
    """Clone with OpenCV, which takes the centre of the mask's bounding box, and 8 bits."""
    source, target, mask, offset, mode = scene
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    middle = (x + width // 2 + offset[0], y + height // 2 + offset[1])
    kind = cv2.NORMAL_CLONE if mode == "import" else cv2.MIXED_CLONE
    taken, under, shape = (_bytes(image) for image in (source, target, mask))
    result: np.ndarray = np.asarray(cv2.seamlessClone(taken, under, shape, middle, kind)) / 255
    return result


def as_opencv(scene: Scene) -> np.ndarray:
    """Run EoREN's solver on OpenCV's gradients and unknown pixels."""
    source, target, mask, offset, mode = scene
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    there = np.s_[y + offset[1] : y + offset[1] + height, x + offset[0] : x + offset[0] + width]
    # In levels of 8 bits, where integers can be equal.
    under = _bytes(target)[there].astype(np.float32)
    of_target, of_source = (
        forward_differences(under),
        forward_differences(_bytes(source)[y : y + height, x : x + width].astype(np.float32)),
    )
    chosen = cv2.erode(mask, np.ones((3, 3)), iterations=3)[y : y + height, x : x + width, None, None] > 0
    if mode == "mixed":
        strong, weak = (np.abs(image[..., :1] - image[..., 1:]) for image in (of_source, of_target))
        chosen = chosen & (strong > weak)
    unknown = np.zeros((height, width), bool)
    unknown[1:-1, 1:-1] = True
    colors = _bytes(target) / 255
    colors[there] = solve_mask(unknown, np.where(chosen, of_source, of_target) / 255, under / 255)
    return truncate(colors)


def fpie(scene: Scene, iterations: int) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """Iterate over the installed CPU backends of fpie."""
    try:
        from fpie.process import ALL_BACKEND  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return
    for backend in ALL_BACKEND:
        if backend in ("cuda", "mpi", "taichi-gpu"):
            continue

        def run(backend: str = backend) -> np.ndarray:
            processor = _fpie_processor(scene, backend)
            processor.sync()
            colors, _ = processor.step(iterations)
            result: np.ndarray = colors / 255
            return result

        yield f"fpie {backend}", run


def fpie_limit(scene: Scene) -> np.ndarray | None:
    """Solve fpie's equations exactly, without truncation, by factorising its matrix."""
    if importlib.util.find_spec("fpie") is None:
        return None
    processor = _fpie_processor(scene, "numpy")
    neighbors, right = processor.core.A[1:], processor.core.B[1:].astype(np.float64)
    count = len(right)
    row, slot = np.nonzero(neighbors)  # index 0 stands for all known pixels, which are on the right-hand side
    column = neighbors[row, slot] - 1
    joined = coo_matrix((np.ones(len(row)), (row, column)), shape=(count, count))
    matrix = (4 * coo_matrix((np.ones(count), (range(count), range(count)))) - joined).tocsc()
    solution = _bytes(scene[1]) / 255
    solution[processor.tgt_index] = splu(matrix, permc_spec="MMD_AT_PLUS_A").solve(right) / 255
    clamped: np.ndarray = solution.clip(0, 1)
    return clamped


def truncate(colors: np.ndarray) -> np.ndarray:
    """Truncate to 8 bits, as both libraries do."""
    # An integer in exact arithmetic may be a millionth too small.
    whole: np.ndarray = np.floor(255 * colors.clip(0, 1) + 1e-3) / 255
    return whole


def _fpie_processor(scene: Scene, backend: str) -> Any:
    """Prepare a processor of fpie; masks have the size of the source, offsets are (row, column)."""
    from fpie.process import EquProcessor

    source, target, mask, offset, mode = scene
    processor = EquProcessor(_FPIE_GRADIENTS[mode], backend, 2, 100, 1024)
    processor.reset(_bytes(source), _bytes(np.dstack([mask] * 3)), _bytes(target), (0, 0), (offset[1], offset[0]))
    return processor


def _bytes(colors: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.round(255 * colors).astype(np.uint8)
    return rounded
