"""OpenCV's and fpie's cloning: as they are, and what exact equations give under their conventions.

OpenCV (``seamlessClone``) takes the source's gradients in the mask without its outermost three pixels and the
target's elsewhere, but all colours inside the box around the mask are unknown; ``mixed`` is chosen per pixel, by
``|d/dx - d/dy|``; decimals are cut off.

fpie solves the same five-point equations as we do, by Jacobi steps, and cuts decimals off. How far its steps have
come is one question, where they would end is another: :func:`fpie_limit` solves its own matrix by a factorisation.
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
    """OpenCV's result; it wants the middle of the mask's box, and 8 bits."""
    source, target, mask, offset, mode = scene
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    middle = (x + width // 2 + offset[0], y + height // 2 + offset[1])
    kind = cv2.NORMAL_CLONE if mode == "import" else cv2.MIXED_CLONE
    taken, under, shape = (_bytes(each) for each in (source, target, mask))
    result: np.ndarray = np.asarray(cv2.seamlessClone(taken, under, shape, middle, kind)) / 255
    return result


def as_opencv(scene: Scene) -> np.ndarray:
    """Our solver, given OpenCV's gradients and unknown pixels."""
    source, target, mask, offset, mode = scene
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    there = np.s_[y + offset[1] : y + offset[1] + height, x + offset[0] : x + offset[0] + width]
    # In levels, where whole numbers can be equal.
    under = _bytes(target)[there].astype(np.float32)
    own, of_source = (
        forward_differences(under),
        forward_differences(_bytes(source)[y : y + height, x : x + width].astype(np.float32)),
    )
    chosen = cv2.erode(mask, np.ones((3, 3)), iterations=3)[y : y + height, x : x + width, None, None] > 0
    if mode == "mixed":
        strong, weak = (np.abs(each[..., :1] - each[..., 1:]) for each in (of_source, own))
        chosen = chosen & (strong > weak)
    unknown = np.zeros((height, width), bool)
    unknown[1:-1, 1:-1] = True
    found = _bytes(target) / 255
    found[there] = solve_mask(unknown, np.where(chosen, of_source, own) / 255, under / 255)
    return cut_off(found)


def fpie(scene: Scene, iterations: int) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """The CPU backends of fpie that are installed."""
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
    """Where fpie's steps would end, decimals as they come: the matrix that it makes, factorised."""
    if importlib.util.find_spec("fpie") is None:
        return None
    processor = _fpie_processor(scene, "numpy")
    neighbors, right = processor.core.A[1:], processor.core.B[1:].astype(np.float64)
    count = len(right)
    row, slot = np.nonzero(neighbors)  # number 0 is whatever is known; it stands on the right
    column = neighbors[row, slot] - 1
    joined = coo_matrix((np.ones(len(row)), (row, column)), shape=(count, count))
    matrix = (4 * coo_matrix((np.ones(count), (range(count), range(count)))) - joined).tocsc()
    found = _bytes(scene[1]) / 255
    found[processor.tgt_index] = splu(matrix, permc_spec="MMD_AT_PLUS_A").solve(right) / 255
    clamped: np.ndarray = found.clip(0, 1)
    return clamped


def cut_off(colors: np.ndarray) -> np.ndarray:
    """To 8 bits without rounding, as both do."""
    # What is whole in exact arithmetic may come a millionth short.
    whole: np.ndarray = np.floor(255 * colors.clip(0, 1) + 1e-3) / 255
    return whole


def _fpie_processor(scene: Scene, backend: str) -> Any:
    """Ready to run. Masks have the source's size, offsets are (row, column)."""
    from fpie.process import EquProcessor

    source, target, mask, offset, mode = scene
    processor = EquProcessor(_FPIE_GRADIENTS[mode], backend, 2, 100, 1024)
    processor.reset(_bytes(source), _bytes(np.dstack([mask] * 3)), _bytes(target), (0, 0), (offset[1], offset[0]))
    return processor


def _bytes(colors: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.round(255 * colors).astype(np.uint8)
    return rounded
