import io
import tarfile

import numpy as np
import pytest
from PIL import Image

import eoren

webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")


@pytest.mark.filterwarnings("ignore")  # it leaves files open
@pytest.mark.parametrize("decode", [False, True])
def test_a_shard_is_a_source(tmp_path, decode):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 12, 14), np.uint8)
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for number, image in enumerate(pixels):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "PNG")
            for suffix, content in (("png", file.getvalue()), ("cls", b"%d" % (number % 2))):
                member = tarfile.TarInfo(f"{number:03}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    data = webdataset.WebDataset(str(tmp_path / "shard.tar"), shardshuffle=False)
    eoren.fit_many(data.decode("pil") if decode else data, store=tmp_path / "store", steps=2)
    collection = eoren.Collection(tmp_path / "store")
    assert (collection.names, collection.labels) == ([f"{k:03}.png" for k in range(3)], ["0", "1", "0"])
