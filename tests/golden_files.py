"""Write the golden files of compact fields, format version 3: ``python -m tests.golden_files``.

Run it once, when a format version is complete; later code must read these files as they are. It refuses to replace
them unless ``--replace`` is given.
"""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.compact import picture
from tests.fields import compact_field

import eoren
from eoren.field.field import Field
from eoren.field.provenance import Provenance
from eoren.field.serialization import dumps, load

GOLDEN = Path(__file__).parent / "golden"
VERSION = 3
POINTS = [[0.05, 0.1], [0.31, 0.5], [0.5, 0.5], [0.77, 0.9], [0.999, 0.999]]
DIGITS = {"color": 5, "gradient": 3, "laplacian": 1}


def latents_digest(field: Field) -> str:
    """Compute the SHA-256 of all latents, which every processor must decode alike."""
    digest = hashlib.sha256()
    for band in field.representation.latents.bands():
        digest.update(np.ascontiguousarray(band, "<i4").tobytes())
    return digest.hexdigest()


def fields() -> dict[str, Field]:
    """Make the fields: a fit of two steps, one that meets a size, a SIREN, and several blocks."""
    image = picture(24, 40, 3)
    siren = compact_field(33, 21, 4, siren_width=16)
    blocks = compact_field(2500, 5, 1)
    origin = Provenance({"preset": "best"}, seed=9, source_sha256=hashlib.sha256(b"golden").hexdigest())
    return {
        "fast": eoren.fit(image, preset="fast", seed=9, device="cpu").field,
        "balanced": eoren.fit(image, steps=20, bits_per_pixel=12.0, seed=9, device="cpu").field,
        "siren": replace(siren, provenance=origin),
        "blocks": replace(blocks, provenance=origin),
    }


def describe(field: Field) -> dict[str, object]:
    """Describe what a reader must find in a file."""
    values = {name: getattr(field, name)(np.array(POINTS)) for name in DIGITS}
    return {
        "size": [*field.size],
        "channels": field.channels,
        "siren": field.representation.summary()["hidden_width"],
        "seed": field.provenance.seed,
        "steps": field.provenance.steps,
        "latents_sha256": latents_digest(field),
        **{name: value.astype(float).round(DIGITS[name]).tolist() for name, value in values.items()},
    }


def main() -> None:
    """Write the files and their description."""
    target = GOLDEN / f"v{VERSION}.json"
    if target.exists() and "--replace" not in sys.argv:
        sys.exit(f"{target} exists; files of a format that users have must stay. --replace replaces them")
    files = {}
    for name, field in fields().items():
        path = GOLDEN / f"v{VERSION}-{name}.eoren"
        path.write_bytes(dumps(field))
        files[path.name] = describe(load(path))
    text = json.dumps({"points": POINTS, "files": files}, indent=1)
    target.write_text(text + "\n")
    print(*(f"{path}: {path.stat().st_size} bytes" for path in sorted(GOLDEN.glob(f"v{VERSION}*"))), sep="\n")


if __name__ == "__main__":
    main()
