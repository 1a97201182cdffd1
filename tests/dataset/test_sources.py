import gzip
import io
import os
import shutil
import sys
import tarfile
import tracemalloc
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from tests.source_images import assert_images, png, read

from eoren.dataset.sources import decode_content, open_source
from eoren.errors import EorenError, SourceWarning
from eoren.image.io import as_image

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)
assert_digits = partial(assert_images, pixels=PIXELS)


NAMES = ["a/0.png", "b/1.png", "b/2.png"]


@pytest.fixture
def folder(tmp_path):
    for name, pixels in zip(NAMES, PIXELS, strict=True):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(pixels))
    (tmp_path / "pictures" / "a" / ".hidden.png").write_text("not an image")
    return tmp_path / "pictures"


def test_the_folder_of_an_image_is_its_label(folder):
    assert_digits(read(folder), NAMES, ["a", "b", "b"])
    assert open_source(folder).count == 3


@pytest.mark.parametrize("packer", [None, "zip", "tar"])
def test_other_files_are_left_out_with_a_warning(folder, tmp_path, packer):
    (folder / "README.txt").write_text("not an image")
    (folder / "a" / "labels.csv").write_text("not an image")
    source = folder if packer is None else tmp_path / shutil.make_archive(str(tmp_path / "packed"), packer, folder)
    with pytest.warns(SourceWarning, match=rf"{source.name}: left out 2 x file without .*: (\./)?[aR]") as caught:
        images = read(source)
    assert len(caught) == 1
    assert [label for _, label, _ in images] == ["a", "b", "b"]


def test_links_to_folders_are_followed(folder, tmp_path):
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (folder / "b" / "2.png").rename(tmp_path / "elsewhere" / "deep" / "2.png")
    (folder / "c").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert_digits(read(folder), ["a/0.png", "b/1.png", "c/deep/2.png"], ["a", "b", "deep"])


def test_names_of_files_take_little_memory(tmp_path):
    """Folders are listed one by one, and names are kept compressed: less than half of their letters."""

    def peak(folders):
        root = tmp_path / str(folders)
        for name in range(folders):
            (root / f"{name:03}").mkdir(parents=True, exist_ok=True)
            for number in range(50):
                (root / f"{name:03}" / f"n0{name:07}_{number:04}.JPEG").touch()
        tracemalloc.start()
        try:
            source = open_source(root)
            assert sum(1 for _ in source) == source.count == 50 * folders
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)
    names = 50 * (80 - 40)
    grown = min(peak(80) - peak(40) for _ in range(3))  # threads of other tests may end meanwhile
    assert grown < names * len("000/n00000000_0000.JPEG") / 2


def test_loops_of_links_end_with_a_warning(folder, tmp_path):
    """A link to the folder itself, one to a folder above it, and two folders that link to each other."""
    other = tmp_path / "other"
    other.mkdir()
    (folder / "a" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "b" / "other").symlink_to(other, target_is_directory=True)
    (other / "back").symlink_to(folder / "b", target_is_directory=True)
    with pytest.warns(SourceWarning, match=r"left out 2 x link to a folder above it: a/up \.\.\."):
        assert_digits(read(folder), NAMES, ["a", "b", "b"])


def test_two_links_to_one_folder_are_two_classes(folder):
    (folder / "c").symlink_to(folder / "a", target_is_directory=True)
    assert [name for name, *_ in read(folder)] == ["a/0.png", "b/1.png", "b/2.png", "c/0.png"]


def test_links_to_missing_files_are_errors_of_their_images(folder):
    (folder / "a" / "9.png").symlink_to(folder / "missing.png")
    items = {item.name: item for item in open_source(folder)}
    assert "No such file" in str(items["a/9.png"].load().data)
    assert len(items) == 4


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads every folder")
def test_folders_that_cannot_be_read_are_left_out_with_a_warning(folder):
    (folder / "a").chmod(0)
    try:
        with pytest.warns(SourceWarning, match="left out 1 x folder that cannot be read: a"):
            assert [name for name, *_ in read(folder)] == NAMES[1:]
    finally:
        (folder / "a").chmod(0o700)


def test_folders_of_a_pattern_are_left_out_with_a_warning(folder):
    shutil.copy(folder / "a" / "0.png", folder / "top.png")
    with pytest.warns(SourceWarning, match="left out 2 x folder: a"):
        assert [name for name, *_ in read(str(folder / "*"))] == [str(folder / "top.png")]
    with pytest.warns(SourceWarning, match="left out 1 x folder: a"), pytest.raises(EorenError, match="no file"):
        open_source(str(folder / "a*"))


@pytest.mark.parametrize("system", [0, 3])
def test_zips_of_windows_have_folders(tmp_path, system):
    """.NET before 4.6.1 wrote backslashes; in a name that Unix wrote, a backslash is a letter."""
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        for name, pixels in zip(NAMES, PIXELS, strict=True):
            member = zipfile.ZipInfo("x")
            member.filename, member.create_system = name.replace("/", "\\"), system
            archive.writestr(member, png(pixels))
    if system == 0:
        assert_digits(read(tmp_path / "some.zip"), NAMES, ["a", "b", "b"])
    else:
        assert read(tmp_path / "some.zip")[0][:2] == (r"a\0.png", None)


@pytest.mark.parametrize(("encoding", "flag"), [("cp437", 0), ("utf-8", 0), ("utf-8", 0x800)])
def test_names_in_zips_are_decoded(tmp_path, encoding, flag):
    """DOS and Windows write code page 437; macOS and others UTF-8, with or without the flag that says so."""
    raw = "für/é.png".encode(encoding)
    plain = "f" * (len(raw) - 4) + ".png"
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(plain, png(PIXELS[0]))
    content = bytearray(data.getvalue().replace(plain.encode(), raw))
    for start, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = content.index(start) + offset
        content[at : at + 2] = flag.to_bytes(2, "little")
    (tmp_path / "some.zip").write_bytes(content)
    assert [(name, label) for name, label, _ in read(tmp_path / "some.zip")] == [("für/é.png", "für")]


def test_patterns_and_files_come_in_order(folder):
    paths = [str(folder / name) for name in NAMES]
    assert_digits(read(str(folder / "*" / "*.png")), paths, [None] * 3)
    assert_digits(read(*paths), paths, [None] * 3)


def test_zip_and_tar(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        for name in reversed(NAMES):
            archive.write(folder / name, name)
    assert_digits(read(tmp_path / "some.zip"), NAMES, ["a", "b", "b"])
    with tarfile.open(tmp_path / "some.tar.gz", "w:gz") as archive:
        for name in NAMES:
            archive.add(folder / name, name)
    assert_digits(read(tmp_path / "some.tar.gz"), NAMES, ["a", "b", "b"])


@pytest.mark.parametrize("labels_packed", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_are_read_with_their_label_file(tmp_path, packed, labels_packed):
    for name, values in (("x-images-idx3-ubyte", PIXELS), ("x-labels-idx1-ubyte", np.array([7, 0, 9], np.uint8))):
        data = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes() + values.tobytes()
        is_packed = packed if "images" in name else labels_packed
        path = tmp_path / (f"{name}.gz" if is_packed else name)
        path.write_bytes(gzip.compress(data) if is_packed else data)
    path = tmp_path / ("x-images-idx3-ubyte.gz" if packed else "x-images-idx3-ubyte")
    assert_digits(read(path), [f"x-images-idx3-ubyte/{k}" for k in range(3)], ["7", "0", "9"])


class Torchvision:
    """A data set in the style of torchvision."""

    def __len__(self):
        return len(PIXELS)

    def __getitem__(self, number):
        return torch.from_numpy(PIXELS[number].astype(np.float32) / 255)[None], torch.tensor(number)


class HuggingFace(Torchvision):
    def __getitem__(self, number):
        return {"image": Image.fromarray(PIXELS[number]), "label": number}


@pytest.mark.parametrize("source", [Torchvision(), HuggingFace()], ids=["torchvision", "hugging face"])
def test_data_sets_are_read(source):
    assert_digits(read(source), ["0", "1", "2"], ["0", "1", "2"])


@pytest.mark.parametrize(
    ("target", "label"),
    [
        ("cat", "cat"), (b"cat", "cat"), (7, "7"), (True, "True"), (0.5, "0.5"), (None, None),
        (np.int64(7), "7"), (np.array([7]), "7"), (np.array("cat"), "cat"), (np.bytes_(b"cat"), "cat"),
        (torch.tensor(7), "7"), (torch.tensor([[7]]), "7"),
        (torch.zeros(40), None), (np.zeros((4, 5)), None), (np.array([None]), None), (torch.zeros(0), None),
        (Image.new("L", (5, 4)), None), ([7], None), ({"id": 7}, None), ((1, 2), None),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_targets_that_are_no_text_and_no_number_are_no_labels(target, label):
    """CelebA has 40 attributes, data sets of segmentation have masks."""

    class Targets(Torchvision):
        def __getitem__(self, number):
            return PIXELS[number], target

    for source in (Targets(), [(pixels, target) for pixels in PIXELS], ((pixels, target) for pixels in PIXELS)):
        assert_digits(read(source), ["0", "1", "2"], [label] * 3)


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
def test_arrays_that_an_iterable_fills_again_are_copied(convert):
    buffer = np.empty_like(PIXELS[0])

    def images():
        for pixels in PIXELS:
            buffer[:] = pixels
            yield convert(buffer)

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return images()

    assert_digits(read(images()), ["0", "1", "2"], [None] * 3)
    assert_digits(read(Stream()), ["0", "1", "2"], [None] * 3)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "I;16"]
)
def test_pillow_images_have_the_pixels_that_fits_give_them(mode):
    """Indices of palettes and inks are no colours; orientation applies."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 8, 4), np.uint8))
    source = {"PA": "P", "P": "RGB", "La": "LA", "I;16": "L"}.get(mode, "RGBA")
    image = image.convert(source).convert(mode)
    image.getexif()[274] = 6
    [item] = open_source([(image, "label")])
    pixels = decode_content(item.name, item.load()).pixels
    np.testing.assert_array_equal(pixels, as_image(image))
    assert pixels.shape[:2] == (8, 9)


def test_pillow_images_that_are_refused_name_the_reason():
    [item] = open_source([Image.new("HSV", (2, 2))])
    with pytest.raises(EorenError, match=r"^pixels of type HSV are not supported"):
        decode_content(item.name, item.load())


class Stream(torch.utils.data.IterableDataset):
    """A stream that knows its length; its base class has an index that raises."""

    def __iter__(self):
        return iter(zip(PIXELS, range(3), strict=True))

    def __len__(self):
        return 3


class Endless(Stream):
    def __len__(self):
        raise TypeError("a stream has no length")


@pytest.mark.parametrize(("source", "count"), [(Stream(), 3), (Endless(), None)])
def test_streams_are_read(source, count):
    assert open_source(source).count == count
    assert_digits(read(source), ["0", "1", "2"], ["0", "1", "2"])


def test_images_may_be_the_bytes_of_files():
    packed = [png(pixels) for pixels in PIXELS]
    assert_digits(read(packed), ["0", "1", "2"], [None] * 3)
    assert_digits(read(list(zip(packed, "abc", strict=True))), ["0", "1", "2"], ["a", "b", "c"])
    hugging_face = [{"image": {"bytes": data, "path": None}, "label": 4} for data in packed]
    assert_digits(read(hugging_face), ["0", "1", "2"], ["4"] * 3)
    array = io.BytesIO()
    np.save(array, PIXELS[2])
    shard = [{"__key__": f"s/{key}", "png": data, "cls": b"7"} for key, data in enumerate(packed[:2])]
    shard.append({"__key__": "s/2", "__url__": "0.tar", "npy": array.getvalue(), "cls": b"\xff"})
    assert_digits(read(iter(shard)), ["s/0.png", "s/1.png", "s/2.npy"], ["7", "7", r"\udcff"])


def test_iterables():
    assert_digits(read(iter(PIXELS)), ["0", "1", "2"], [None] * 3)
    assert_digits(read((image, "x") for image in PIXELS), ["0", "1", "2"], ["x"] * 3)
    assert_digits(read([(name, image, 1) for name, image in zip(NAMES, PIXELS, strict=True)]), NAMES, ["1"] * 3)


def test_several_sources_are_concatenated():
    assert len(read(PIXELS[:1], PIXELS[1:])) == 3


def test_an_error_of_a_data_set_is_one_line():
    class Broken(Torchvision):
        def __getitem__(self, number):
            raise ValueError("no\nsuch page")

    item = next(iter(open_source(Broken())))
    with pytest.raises(EorenError, match=r"^cannot be read \(ValueError: no such page\)$"):
        decode_content(item.name, item.load())


def test_the_error_of_a_damaged_file_does_not_repeat_its_path(folder):
    (folder / "a" / "0.png").write_bytes(b"\x89PNG nothing")
    item = next(iter(open_source(folder)))
    with pytest.raises(EorenError) as raised:
        decode_content(item.name, item.load())
    assert "/tmp" not in str(raised.value)


@pytest.mark.parametrize("source", ["nowhere", "no*thing", 5, {"a": 1}])
def test_invalid_sources_are_refused(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EorenError) as raised:
        open_source(source)
    assert "\n" not in str(raised.value)


def test_sources_without_images_are_refused(tmp_path):
    with pytest.raises(EorenError, match="has no images"):
        open_source(tmp_path)
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(EorenError, match="is not an image, folder"):
        open_source(tmp_path / "notes.txt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["pipe.png", "*.png", "pipe.zip", "x-images-idx3-ubyte"])
def test_named_pipes_are_refused(tmp_path, name):
    os.mkfifo(tmp_path / name.replace("*", "pipe"))
    with pytest.raises(EorenError, match="is a folder or a device"):
        open_source(str(tmp_path / name))


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + "*", "nul\0"])
def test_impossible_file_names_are_refused(tmp_path, name):
    with pytest.raises(EorenError):
        open_source(str(tmp_path / name))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf8_are_escaped(tmp_path):
    folder = tmp_path / "source" / os.fsdecode(b"\xe9")
    folder.mkdir(parents=True)
    for name in (b"\xfe.png", b"\xff.png"):
        (folder / os.fsdecode(name)).write_bytes(png(PIXELS[0]))
    with tarfile.open(tmp_path / "some.tar", "w") as archive:
        archive.add(folder, folder.name)
    names = ["\\udce9/\\udcfe.png", "\\udce9/\\udcff.png"]
    for source in (tmp_path / "source", tmp_path / "some.tar"):
        images = read(source)
        assert sorted(name for name, *_ in images) == names
        assert {label for _, label, _ in images} == {"\\udce9"}
        np.testing.assert_allclose(images[0][2][..., 0], PIXELS[0] / np.float32(255))
