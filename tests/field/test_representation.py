"""A second representation, defined here alone, works wherever the mosaic does."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from tests.fields import TILINGS, field_of

import eoren
from eoren.backends.mosaic_evaluation import Jet
from eoren.errors import EorenError
from eoren.evaluation.metrics import evaluate
from eoren.field import file_format
from eoren.field.field import Field
from eoren.field.mosaic import SirenMosaic
from eoren.field.parts import decode_parts, encode_parts
from eoren.field.provenance import Provenance
from eoren.field.representation import QUANTITIES, Representation
from eoren.field.serialization import dumps, load, loads
from eoren.model.arrays import as_tensor


@dataclass(frozen=True, eq=False)
class Parabola:
    """``a + b x + c y + d x^2`` per channel; every channel is a part of the file."""

    kind: ClassVar[str] = "parabola"
    shared_tensors: ClassVar[tuple[str, ...]] = ()

    coefficients: torch.Tensor  # (channels, 4)
    size: tuple[int, int] = (12, 8)
    bits: int = 32

    @property
    def channels(self):
        return len(self.coefficients)

    @property
    def parameters(self):
        return self.coefficients.numel()

    @property
    def device(self):
        return self.coefficients.device

    @property
    def requires_grad(self):
        return self.coefficients.requires_grad

    @property
    def is_native(self):
        return False

    def to(self, *args, **kwargs):
        return replace(self, coefficients=self.coefficients.to(*args, **kwargs))

    def jet(self, points, *, gradient=False, laplacian=False, extent=(1.0, 1.0), differentiable=False):
        points = as_tensor(points)
        a, b, c, d = self.coefficients.to(points).unbind(1)
        x, y = points[:, :1], points[:, 1:]
        color = a + b * x + c * y + d * x**2
        slopes = torch.stack([(b + 2 * d * x) / extent[0], (c + 0 * y) / extent[1]], -1)
        bend = 2 * d / extent[0] ** 2 + 0 * x
        dtype = self.coefficients.dtype
        return Jet(color.to(dtype), slopes.to(dtype) if gradient else None, bend.to(dtype) if laplacian else None)

    def sample(self, x, y, *quantities, extent=(1.0, 1.0)):
        points = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
        jet = self.jet(points, gradient=True, laplacian=True, extent=extent)
        return tuple(getattr(jet, name).detach().unflatten(0, (len(y), len(x))).numpy() for name in quantities)

    def summary(self):
        return {"coefficients": 4}

    def describe(self):
        return "a parabola"

    def encode(self, kind, provenance):
        return encode_parts(self, kind, provenance)

    @classmethod
    def decode(cls, text, header, tensors, *, skip_damaged=False):
        return decode_parts(cls, text, header, tensors)

    def header(self):
        return {"size": list(self.size)}

    def tensors(self):
        return {"coefficients": self.coefficients.detach().cpu().contiguous().numpy()}

    @classmethod
    def check_stored(cls, header, tensors):
        if [*tensors] != ["coefficients"] or tensors["coefficients"].shape[1:] != (4,):
            raise ValueError("tensor coefficients does not fit")
        return len(tensors["coefficients"])

    @classmethod
    def locate_part(cls, header, tensors, part):
        return f"channel {part}"

    @classmethod
    def from_stored(cls, header, tensors):
        width, height = header["size"]
        return cls(as_tensor(tensors["coefficients"]), (width, height))


@pytest.fixture
def field(monkeypatch):
    monkeypatch.setattr(file_format, "KINDS", {**file_format.KINDS, Parabola.kind: Parabola})
    coefficients = torch.tensor([[0.1, 0.2, 0.3, 0.25], [0.5, -0.25, 0.125, 0.0], [0.9, 0.0, -0.5, -0.125]])
    return Field(Parabola(coefficients), Provenance({"preset": "none"}, seed=3))


def test_both_representations_satisfy_the_protocol(field):
    assert isinstance(field.representation, Representation)
    mosaic = field_of(TILINGS["grid"]).representation
    assert isinstance(mosaic, SirenMosaic)
    assert isinstance(mosaic, Representation)
    assert not isinstance(mosaic.siren, Representation)


def test_a_field_evaluates_it(field):
    points = np.array([[0.5, 0.25], [0.0, 1.0], [-0.5, 2.0]])
    a, b, c, d = field.representation.coefficients.numpy().T
    x, y = points[:, :1], points[:, 1:]
    np.testing.assert_allclose(field.color(points), a + b * x + c * y + d * x**2, atol=1e-6)
    gradient = np.stack([b + 2 * d * x, c + 0 * y], -1)
    np.testing.assert_allclose(field.gradient(points), gradient, atol=1e-6)
    np.testing.assert_allclose(field.laplacian(points), 2 * d + 0 * x, atol=1e-6)
    assert (field.channels, field.size, field.parameters, field.device.type) == (3, (12, 8), 12, "cpu")
    assert repr(field) == "Field(12x8, 3 channels, a parabola)"
    assert field.to(torch.float64).color(torch.from_numpy(points)).dtype == torch.float64


def test_pytorch_differentiates_it_by_points_and_parameters(field):
    points = torch.tensor([[0.5, 0.25], [0.125, 1.0]], requires_grad=True)
    (found,) = torch.autograd.grad(field.color(points).sum(), points)
    torch.testing.assert_close(found, field.gradient(points.detach()).sum(1))
    coefficients = field.representation.coefficients.requires_grad_()
    (found,) = torch.autograd.grad(field.laplacian(points.detach()).sum(), coefficients)
    assert found.tolist() == [[0.0, 0.0, 0.0, 4.0]] * 3


def test_a_field_renders_it(field):
    assert field.render().shape == (8, 12, 3)
    np.testing.assert_allclose(field.render(1, 1), field.render().mean((0, 1), keepdims=True), rtol=1e-5)
    color, gradient, laplacian = field.sample(7, 5, *QUANTITIES, rows=slice(1, 3), extent=(12.0, 8.0))
    assert (color.shape, gradient.shape, laplacian.shape) == ((2, 7, 3), (2, 7, 3, 2), (2, 7, 3))
    np.testing.assert_allclose(laplacian[0, 0], [0.5 / 144, 0.0, -0.25 / 144])
    assert field.render_image(6).shape == (4, 6, 3)
    assert field._repr_png_()[:4] == b"\x89PNG"


def test_it_is_measured(field):
    metrics = evaluate(field, field.render())
    assert metrics.psnr > 120
    assert metrics.gradient_psnr > 60
    assert metrics.parameters == 12


def test_files_keep_it(field, tmp_path):
    field.save(tmp_path / "a.eoren")
    same = load(tmp_path / "a.eoren")
    assert isinstance(same.representation, Parabola)
    assert torch.equal(same.representation.coefficients, field.representation.coefficients)
    assert (same.size, same.provenance) == (field.size, field.provenance)
    assert (tmp_path / "a.eoren").read_bytes() == dumps(field) == dumps(same)


def test_damage_is_located_by_part(field):
    data = bytearray(dumps(field))
    at = data.index(np.float32(-0.25).tobytes())  # of the second channel
    data[at] ^= 1
    with pytest.raises(EorenError, match=r"1 of 3 parts do not match their checksums, the first is channel 1; copy"):
        loads(bytes(data))
    other = dumps(field).replace(b'"seed\\": 3', b'"seed\\": 4')
    with pytest.raises(EorenError, match=r"^damaged \.eoren file: its header does not match the checksum; copy"):
        loads(other)


def test_unknown_kinds_are_refused(field, monkeypatch):
    data = dumps(field)
    monkeypatch.undo()
    with pytest.raises(EorenError, match=r"^damaged \.eoren file \(KeyError: 'parabola'\)"):
        loads(data)


@pytest.mark.parametrize("suffix", ["glsl", "html", "onnx"])
def test_formats_that_hold_mosaics_alone_refuse_it(field, tmp_path, suffix):
    if suffix == "onnx":
        pytest.importorskip("onnx")
    with pytest.raises(EorenError, match=r"^\S+ holds mosaics and .*, got a field of kind 'parabola'; .*"):
        field.export(tmp_path / f"a.{suffix}")
    assert not [*tmp_path.iterdir()]


def test_the_public_functions_take_it(field, tmp_path):
    eoren.save(field, tmp_path / "a.eoren")
    assert eoren.evaluate(eoren.load(tmp_path / "a.eoren"), field.render()).psnr > 120
