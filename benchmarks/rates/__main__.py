"""Rate-distortion curves over the Kodak suite, of image codecs and of fields, in colour and gradient PSNR.

    EOREN_DATA=... python -m benchmarks.rates                                  # everything: two hours on two cores
    EOREN_DATA=... python -m benchmarks.rates --pictures 5,23 --codecs jpeg2000,avif6,fast
    python -m benchmarks.rates --pictures "" --rows results.jsonl             # only summarize existing rows

Rows are appended to a file as they are measured, and a later run measures only what is missing from it. The summary
(.md) and the figure (.svg, .png) of all rows are written next to it. Sizes are those of whole files, and colours are
rounded to 8 bits. The gradient of a field is its own derivative; that of a decoded picture is its reference gradient.
"""

import argparse
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from PIL import features

from benchmarks.rates.fields import FIELDS, SEED
from benchmarks.rates.figure import draw
from benchmarks.rates.rivals import RIVALS, Codec
from benchmarks.rates.rows import Key, Rows, append_line, names, read_rows
from benchmarks.rates.summary import summary
from benchmarks.record import RESULTS, conditions, data

CODECS: Mapping[str, Codec] = {**RIVALS, **FIELDS}


def versions() -> dict[str, str | None]:
    """List the versions of the rivals' libraries."""
    libraries = {name: features.version(name) for name in ("pil", "libjpeg_turbo", "jpg_2000", "webp", "avif")}
    try:
        return {**libraries, "pillow-jxl-plugin": version("pillow-jxl-plugin")}
    except PackageNotFoundError:
        return libraries


def measure(path: Path, codecs: list[str], pictures: list[Path]) -> Rows:
    """Measure what is missing from the file, and return all its rows."""
    rows = read_rows(path)
    begun = False
    for name in codecs:
        codec = CODECS[name]
        if reason := codec.missing():
            print(f"{name} skipped: {reason}", file=sys.stderr)
            continue
        for picture in pictures:
            for setting in codec.settings:
                key = Key(name, picture.stem, setting)
                if key in rows:
                    continue
                if not begun:
                    append_line(path, {"conditions": conditions(), "versions": versions(), "seed": SEED})
                    begun = True
                rows[key] = {**key._asdict(), **codec.measure(picture, setting).as_dict()}
                append_line(path, rows[key])
                print(*rows[key].values(), sep="\t", file=sys.stderr)
    return rows


def title(codec: str) -> str:
    """Return the name of a codec in tables and figures."""
    return CODECS[codec].title if codec in CODECS else codec


def main() -> None:
    """Measure, then write summary and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everything = ",".join(map(str, range(1, 25)))
    parser.add_argument("--pictures", default=everything, help="numbers of Kodak pictures, separated by commas")
    parser.add_argument(
        "--codecs",
        default=",".join(CODECS),
        help=f"names, separated by commas, of {', '.join(CODECS)}; default: all",
    )
    parser.add_argument("--reference", default="jpeg2000", help="codec that the others are compared with")
    parser.add_argument("--rows", type=Path, default=RESULTS / "rates.jsonl", help="file of measurements")
    chosen = parser.parse_args()
    codecs = chosen.codecs.split(",")
    if unknown := set(codecs) - set(CODECS):
        parser.error(f"codecs must be among {', '.join(CODECS)}, got {', '.join(sorted(unknown))}")
    pictures = [data() / "kodak" / f"kodim{int(number):02}.png" for number in chosen.pictures.split(",") if number]
    rows = measure(chosen.rows, codecs, pictures)
    if chosen.reference not in names(rows, "codec"):
        parser.error(f"no rows of {chosen.reference} in {chosen.rows}; measure it, or choose another --reference")
    text = summary(rows, title, chosen.reference)
    chosen.rows.with_suffix(".md").write_text(text, encoding="utf-8")
    draw(rows, title, chosen.rows)
    print(text)


if __name__ == "__main__":
    main()
