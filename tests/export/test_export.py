from dataclasses import replace

import onnx
import pytest
from PIL import ImageCms
from tests.fields import TILINGS, field_of

from eoren.errors import EorenError, ExportWarning
from eoren.export import export


@pytest.fixture
def field():
    return field_of(TILINGS["grid"])


@pytest.mark.parametrize(
    ("name", "names"),
    [("a.onnx", ["a.onnx"]), ("a.glsl", ["a.glsl", "a.glsl.bin"]), ("a.HTML", ["a.HTML"])],
)
def test_the_suffix_chooses_the_format(field, tmp_path, name, names):
    written = export(field, tmp_path / name)
    assert [path.name for path in written] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_given_format_overrides_the_suffix(field, tmp_path):
    written = export(field, str(tmp_path / "a.frag"), to="glsl")
    assert [path.name for path in written] == ["a.frag", "a.frag.bin"]
    assert written[0].read_text().startswith("#version 300 es")


def test_the_title_is_the_name_of_the_file_by_default(field, tmp_path):
    (path,) = export(field, tmp_path / "photo.html")
    assert "<title>photo</title>" in path.read_text()
    export(field, path, title="Holiday", overwrite=True)
    assert "<title>Holiday</title>" in path.read_text()


def test_unknown_formats_are_refused(field, tmp_path):
    with pytest.raises(EorenError, match=r"suffix must be one of \.onnx, \.glsl, \.html, got '\.png'"):
        export(field, tmp_path / "a.png")
    with pytest.raises(EorenError, match="to must be one of onnx, glsl, html, got 'png'"):
        export(field, tmp_path / "a.onnx", to="png")
    assert not any(tmp_path.iterdir())


def test_graphs_may_be_without_gradient_or_loops(field, tmp_path):
    (path,) = export(field, tmp_path / "a.onnx", gradient=False, loops=False)
    graph = onnx.load(path).graph
    assert [output.name for output in graph.output] == ["color"]
    assert "Loop" not in {node.op_type for node in graph.node}
    with pytest.raises(EorenError, match="only ONNX files can be without gradient or loops, got html"):
        export(field, tmp_path / "a.html", loops=False)


@pytest.mark.parametrize("suffix", ["onnx", "glsl", "html"])
def test_a_profile_of_the_colours_is_named(field, tmp_path, suffix):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with_profile = replace(field, provenance=replace(field.provenance, profile=profile))
    with pytest.warns(ExportWarning, match="colours stay in the profile '.*sRGB.*', which .* files do not hold"):
        export(with_profile, tmp_path / f"a.{suffix}")
    assert (tmp_path / f"a.{suffix}").exists()


@pytest.mark.parametrize("existing", ["a.glsl", "a.glsl.bin"])
def test_existing_files_are_kept_unless_overwriting(field, tmp_path, existing):
    (tmp_path / existing).write_text("precious")
    with pytest.raises(EorenError, match=f"{existing}: exists; give overwrite=True"):
        export(field, tmp_path / "a.glsl")
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "precious"
    export(field, tmp_path / "a.glsl", overwrite=True)
    assert (tmp_path / existing).read_bytes() != b"precious"
