"""The Field: an image as a continuous function of (x, y)."""

import io
import warnings
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from functools import partial
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from jaxtyping import Float, Float64, UInt8
from numpy.typing import ArrayLike

from eoren.backends.mosaic_evaluation import POINTS_PER_CALL, Jet
from eoren.checks import check_choice
from eoren.errors import EorenError
from eoren.field.file_format import encode
from eoren.field.grid import WHOLE, Region, check_points, check_region, grid_lines, grid_size, points_per_pixel
from eoren.field.provenance import Provenance
from eoren.field.representation import QUANTITIES, UNIT, Extent, Quantity, Representation
from eoren.fs.streams import Writable, write_output
from eoren.image.channels import average_by_alpha, average_cells
from eoren.image.profiles import gray_to_rgb
from eoren.image.writers import as_pillow, to_unsigned
from eoren.model.arrays import Array, is_tensor
from eoren.model.isolation import isolated, not_compiled

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Field:
    """An image as a continuous function from the plane to C channels, with exact derivatives.

    Coordinates are ``(x, y)`` in the unit square, x to the right, y down; pixel (i, j) of the W x H image that was
    fitted has its centre at ``((j + 0.5)/W, (i + 0.5)/H)``. Arrays and lists give float32 arrays; tensors give
    tensors on the field's device, which PyTorch can differentiate by the points, and by the parameters where these
    require gradients. Colours are not clamped.

    Attributes:
        representation: the function itself, see :class:`eoren.field.representation.Representation`.
        provenance: settings, source and quality of the field.

    Example:
        >>> import eoren, numpy as np
        >>> image = np.linspace(0, 1, 16, dtype=np.float32).reshape(1, 16, 1).repeat(16, 0)
        >>> field = eoren.fit(image, preset="mosaic", steps=300, width=16, depth=2, seed=0).field
        >>> field
        Field(16x16, 1 channel, 1 network, 2 sine layers of 16)
        >>> bool(abs(field.color([[0.25, 0.5]]) - 0.234) < 0.05)
        True
        >>> field.gradient(np.zeros((5, 7, 2)) + 0.5).shape
        (5, 7, 1, 2)
    """

    representation: Representation
    provenance: Provenance = dataclass_field(default_factory=Provenance)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Read an attribute of version 0.1 from the representation."""
            if name not in ("siren", "tuning", "tiling", "bits"):
                raise AttributeError(f"'Field' object has no attribute {name!r}")
            message = f"Field.{name} is deprecated; use Field.representation.{name}"
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            return getattr(self.representation, name)

    def __repr__(self) -> str:
        width, height = self.size
        channels = "1 channel" if self.channels == 1 else f"{self.channels} channels"
        return f"Field({width}x{height}, {channels}, {self.representation.describe()})"

    @property
    def channels(self) -> int:
        """Number of channels: 1 gray, 2 gray and alpha, 3 RGB, 4 RGBA."""
        return self.representation.channels

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the image that was fitted."""
        return self.representation.size

    @property
    def parameters(self) -> int:
        """Number of stored numbers."""
        return self.representation.parameters

    @property
    def device(self) -> "torch.device":
        """Device of the parameters."""
        return self.representation.device

    @isolated()
    def to(self, *args: Any, **kwargs: Any) -> "Field":
        """Return the same field with tensors on another device or in another precision, as ``Tensor.to``.

        In float64 PyTorch computes, and ``torch.autograd.gradcheck`` passes. Half precision is refused: the sines of
        a network have too large arguments for it.

        Raises:
            EorenError: the dtype is neither float32 nor float64.
        """
        import torch

        dtype = torch.empty(0, dtype=torch.float32).to(*args, **kwargs).dtype
        if dtype not in (torch.float32, torch.float64):
            raise EorenError(f"dtype of a field must be torch.float32 or torch.float64, got {dtype}")
        return replace(self, representation=self.representation.to(*args, **kwargs))

    @overload
    def color(self, xy: "Tensor") -> "Tensor": ...
    @overload
    def color(self, xy: ArrayLike) -> np.ndarray: ...
    def color(self, xy: Any) -> Any:
        """Evaluate the colours at any points.

        Args:
            xy: ``(..., 2)``, points ``(x, y)`` of the unit square: array, nested lists or tensor.

        Returns:
            ``(..., C)``, intensity, not clamped to [0, 1].

        Raises:
            EorenError: the last axis is not ``(x, y)``, or a point is not finite.
        """
        return self._evaluate(xy, "color")[0]

    @overload
    def gradient(self, xy: "Tensor") -> "Tensor": ...
    @overload
    def gradient(self, xy: ArrayLike) -> np.ndarray: ...
    def gradient(self, xy: Any) -> Any:
        """Evaluate the derivatives of the colours by x and y at any points, exactly: no finite differences.

        Args:
            xy: ``(..., 2)``, points as for :meth:`color`.

        Returns:
            ``(..., C, 2)``, intensity per unit-square side, last axis ``(d/dx, d/dy)``. Divide by ``(W, H)``
            for intensity per pixel.
        """
        return self._evaluate(xy, "gradient")[0]

    @overload
    def laplacian(self, xy: "Tensor") -> "Tensor": ...
    @overload
    def laplacian(self, xy: ArrayLike) -> np.ndarray: ...
    def laplacian(self, xy: Any) -> Any:
        """Evaluate the sums of the second derivatives by x and by y at any points, exactly.

        Args:
            xy: ``(..., 2)``, points as for :meth:`color`.

        Returns:
            ``(..., C)``, intensity per unit-square side squared.
        """
        return self._evaluate(xy, "laplacian")[0]

    @overload
    def color_and_gradient(self, xy: "Tensor") -> "tuple[Tensor, Tensor]": ...
    @overload
    def color_and_gradient(self, xy: ArrayLike) -> tuple[np.ndarray, np.ndarray]: ...
    def color_and_gradient(self, xy: Any) -> tuple[Any, Any]:
        """Evaluate :meth:`color` and :meth:`gradient` at the same points, in one pass."""
        color, gradient = self._evaluate(xy, "color", "gradient")
        return color, gradient

    @not_compiled
    @isolated()
    def jet(
        self,
        points: Float[Array, "points 2"],
        *,
        gradient: bool = False,
        laplacian: bool = False,
        extent: Extent = UNIT,
    ) -> Jet:
        """Evaluate colour, and optionally gradient and Laplacian, in one pass.

        Points are a float64 array, or a tensor on the field's device in its widest floating-point type. For the other
        arguments see :class:`eoren.field.representation.Representation`.
        """
        options: Any = {"gradient": gradient, "laplacian": laplacian, "extent": extent}
        if is_tensor(points):
            from eoren.field.tensors import is_followed

            options["differentiable"] = is_followed(points)
        return self.representation.jet(points, **options)

    def render(
        self, width: int | None = None, height: int | None = None, *, region: Region = WHOLE, show: Quantity = "color"
    ) -> Float[np.ndarray, "height width *features"]:
        """Sample the field at the pixel centres of a grid, or over its pixels if they are larger than the image's.

        At the size of the image and above, values are those at the pixel centres. Below, a pixel has the mean over
        its area, colours weighted by alpha, as in a smaller image. For values at points, call :meth:`color`.

        Args:
            width: number of columns; by default that of the image, or in proportion to ``height``.
            height: number of rows; by default in proportion to ``width``.
            region: ``(x0, y0, x1, y1)`` of the unit square that the grid covers.
            show: quantity to sample: ``color``, ``gradient`` or ``laplacian``.

        Returns:
            float32 ``(height, width, C)``, or ``(height, width, C, 2)`` for the gradient. Not clamped.

        Raises:
            EorenError: the grid or region is empty or invalid, or the quantity unknown.
        """
        width, height = self.grid(width, height, region)
        return np.concatenate(list(self.render_rows(width, height, region=region, show=show)))

    def render_image(
        self, width: int | None = None, height: int | None = None, *, region: Region = WHOLE
    ) -> UInt8[np.ndarray, "height width *channels"]:
        """Sample the colours as 8-bit pixels, ready for ``PIL.Image.fromarray``; for arguments see :meth:`render`.

        Returns:
            uint8 ``(height, width)`` for gray, else ``(height, width, C)``; values outside [0, 1] are clamped.
        """
        pixels = to_unsigned(self.render(width, height, region=region))
        return pixels[..., 0] if self.channels == 1 else pixels

    def grid(self, width: int | None, height: int | None, region: Region = WHOLE) -> tuple[int, int]:
        """Complete the size of a grid as :meth:`render` does: a missing side follows from the other."""
        return grid_size(self.size, width, height, region)

    def render_rows(
        self, width: int, height: int, *, region: Region = WHOLE, show: Quantity = "color", extent: Extent = UNIT
    ) -> Iterator[Float[np.ndarray, "rows width *features"]]:
        """Render a grid strip by strip, top to bottom, with memory bounded whatever its size.

        Arguments are those of :meth:`render`; ``extent`` is the width and height of the image in the units of the
        derivatives.
        """
        across, down = points_per_pixel(self.size, width, height, check_region(region))
        strip = max(1, POINTS_PER_CALL // (width * across * down))
        for top in range(0, height, strip):
            rows = slice(top * down, min(height, top + strip) * down)
            samples = self.sample(width * across, height * down, show, region=region, rows=rows, extent=extent)[0]
            if across == down == 1:
                yield samples
                continue
            average = partial(average_cells, rows=down, columns=across)
            yield average_by_alpha(samples, average) if show == "color" else average(samples)

    @not_compiled
    @isolated()
    def sample(
        self,
        width: int,
        height: int,
        *quantities: Quantity,
        region: Region = WHOLE,
        rows: slice = slice(None),
        extent: Extent = UNIT,
    ) -> tuple[np.ndarray, ...]:
        """Sample several quantities at some rows of a grid, in one pass; see :meth:`render_rows`.

        Example:
            >>> import eoren, numpy as np
            >>> field = eoren.fit(np.full((6, 5, 1), 0.5), preset="small", steps=1).field
            >>> [array.shape for array in field.sample(10, 12, "color", "gradient", rows=slice(3, 5))]
            [(2, 10, 1), (2, 10, 1, 2)]
        """
        for quantity in quantities:
            check_choice("show", quantity, QUANTITIES)
        x, y = grid_lines(width, height, check_region(region), rows=rows)
        return self.representation.sample(x, y, *quantities, extent=extent)

    @isolated()
    def save(self, path: Writable) -> None:
        """Write the field to an .eoren file, or to a binary file object, which stays open.

        A kill at any moment leaves the earlier file of a path or the new one, whole.
        """
        write_output(path, encode(self.representation, self.provenance))

    def export(self, path: str | PathLike[str], **options: Any) -> list[Path]:
        """Write the field for use elsewhere, and return the files; see :func:`eoren.export.export`.

        Args:
            path: file to write; the suffix ``.onnx``, ``.glsl`` or ``.html`` chooses the format.
            options: options of :func:`eoren.export.export`, such as ``overwrite=True``.

        Raises:
            EorenError: the format is unknown or cannot hold the field, or the file cannot be written.
        """
        from eoren.export import export  # the one import of a package above: users look for it here

        return export(self, path, **options)

    def _repr_png_(self) -> bytes:
        """Show the field in programs without HTML, at most 512 pixels wide or high."""
        return self._small_image("PNG")

    def _repr_html_(self) -> str:
        """Show the field in a notebook: a small image, size, bytes and quality."""
        picture = b64encode(self._small_image("WEBP", quality=90)).decode()
        width, height = self.size
        count = len(encode(self.representation, self.provenance))
        metrics = self.provenance.metrics
        values = {"PSNR": metrics.get("psnr"), "gradient": metrics.get("gradient_psnr")}
        quality = [f"{name} {value:.2f} dB" for name, value in values.items() if value is not None]
        lines = [
            f"{width} x {height}, {('gray', 'gray and alpha', 'RGB', 'RGBA')[self.channels - 1]}, "
            f"{count / 1000:,.1f} kB, {8 * count / (width * height):.2f} bits per pixel",
            ", ".join(quality),
            self.representation.describe(),
        ]
        rows = "<br>".join(escape(line) for line in lines if line)
        return (
            f'<figure style="margin:0"><img src="data:image/webp;base64,{picture}" alt="{escape(repr(self))}" '
            f'style="max-width:100%"><figcaption>{rows}</figcaption></figure>'
        )

    def _small_image(self, format: str, **options: Any) -> bytes:
        """Encode the field as an image of at most 512 pixels a side."""
        scale = min(1.0, 512 / max(self.size))
        width, height = (max(1, round(scale * side)) for side in self.size)
        pixels, profile = self.render(width, height), self.provenance.profile
        if format == "WEBP" and self.channels < 3:  # it has no gray
            pixels, profile = gray_to_rgb(pixels, profile)[0], b""
        file = io.BytesIO()
        as_pillow(to_unsigned(pixels)).save(file, format, icc_profile=profile or None, **options)
        return file.getvalue()

    @not_compiled
    @isolated()
    def _evaluate(self, xy: Any, *quantities: Quantity) -> tuple[Any, ...]:
        if is_tensor(xy):
            from eoren.field.tensors import evaluate  # it imports PyTorch

            return evaluate(self.representation, xy, *quantities)
        points = _as_points(xy)
        if not self.representation.is_native:
            from eoren.field.tensors import evaluate_arrays

            return evaluate_arrays(self.representation, points, *quantities)
        check_points(points)
        wanted: Any = {name: name in quantities for name in ("gradient", "laplacian")}
        jet = self.representation.jet(points.reshape(-1, 2), **wanted)
        values = [getattr(jet, quantity) for quantity in quantities]
        return tuple(value.reshape(*points.shape[:-1], *value.shape[1:]) for value in values)


def _as_points(xy: Any) -> Float64[np.ndarray, "..."]:
    try:
        array = np.asanyarray(xy)
        if array.dtype.kind not in "biufO" or np.ma.is_masked(array):
            raise TypeError
        return np.array(array, np.float64)
    except (TypeError, ValueError):
        kind = getattr(xy, "dtype", None) or type(xy).__name__
        raise EorenError(f"points must be real numbers of shape (..., 2), got {kind}") from None
