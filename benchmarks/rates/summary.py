"""Means over the pictures as Markdown tables: quality at fixed rates, Bjøntegaard differences, times."""

from collections.abc import Callable, Sequence
from math import isfinite, nan
from statistics import mean, median

from benchmarks.rates.bd_rate import RATE_RANGE, BdRate, Point, bd_rate, quality_at
from benchmarks.rates.rows import MEASURES, Rows, curve_points, names
from eoren.experiments.results import markdown_table

RATES = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Bits per pixel at which the curves of the pictures are averaged."""

LABELS = {"psnr": "Colour PSNR", "gradient_psnr": "Gradient PSNR"}
FEWEST = 4
"""Number of points from which on a codec has a curve; fewer are shown as points."""


def mean_curve(rows: Rows, codec: str, measure: str, rates: Sequence[float] = RATES) -> list[float]:
    """Average the qualities of all pictures at each rate; NaN where a picture's curve does not reach the rate."""
    curves = [curve_points(rows, codec, picture, measure) for picture in names(rows, "picture")]
    return [mean(quality_at(points, rate) for points in curves) for rate in rates]


def mean_points(rows: Rows, codec: str, measure: str) -> list[Point]:
    """Average size and quality over the pictures, for every setting that all pictures have."""
    pictures = names(rows, "picture")
    settings = dict.fromkeys(key.setting for key in rows if key.codec == codec)
    points = []
    for setting in settings:
        same = [row for key, row in rows.items() if (key.codec, key.setting) == (codec, setting)]
        if len(same) == len(pictures):
            points.append((mean(row["bits_per_pixel"] for row in same), mean(row[measure] for row in same)))
    return sorted(points)


def has_curve(rows: Rows, codec: str) -> bool:
    """Whether a codec was measured with enough settings for a curve."""
    return len({key.setting for key in rows if key.codec == codec}) >= FEWEST


def differences(rows: Rows, codec: str, reference: str, measure: str) -> dict[str, BdRate]:
    """Compute the Bjøntegaard difference of every picture that both codecs have."""
    curves = {
        picture: (curve_points(rows, codec, picture, measure), curve_points(rows, reference, picture, measure))
        for picture in names(rows, "picture")
    }
    return {picture: bd_rate(points, other) for picture, (points, other) in curves.items() if points and other}


def summary(rows: Rows, titles: Callable[[str], str], reference: str) -> str:
    """Format all tables."""
    codecs, pictures = names(rows, "codec"), names(rows, "picture")
    parts = [
        f"Pictures: {len(pictures)}. Sizes are those of whole files, colours are rounded to 8 bits. A cell is empty "
        "if the codec does not reach this rate on every picture."
    ]
    for measure in MEASURES:
        table = [
            [titles(codec), *map(_cell, mean_curve(rows, codec, measure))]
            for codec in codecs
            if has_curve(rows, codec)
        ]
        parts += [
            f"## {LABELS[measure]} in dB at bits per pixel",
            markdown_table(["codec", *map(_rate, RATES)], table),
        ]
    points = [
        [titles(codec), rate, quality, gradient]
        for codec in codecs
        if not has_curve(rows, codec)
        for (rate, quality), (_, gradient) in zip(*(mean_points(rows, codec, name) for name in MEASURES), strict=True)
    ]
    if points:
        header = ["codec", "bits per pixel", *(f"{LABELS[measure]} in dB" for measure in MEASURES)]
        parts += ["## Means of single settings", markdown_table(header, points)]
    low, high = map(_rate, RATE_RANGE)
    parts += [
        f"## Bits at equal quality, compared with {titles(reference)}",
        f"Mean Bjøntegaard difference (Akima splines) where {titles(reference)} takes {low} to {high} bits per "
        "pixel, as far as its files grow. Covered: the part of this interval of quality that the codec reaches, mean "
        "over the pictures. Seconds: median over the files.",
        _difference_table(rows, titles, reference),
        "## The same per picture, colour / gradient, in percent",
        _picture_table(rows, titles, reference),
    ]
    return "\n\n".join(parts) + "\n"


def _difference_table(rows: Rows, titles: Callable[[str], str], reference: str) -> str:
    """Format the mean differences of every codec, with its times."""
    table = []
    for codec in names(rows, "codec"):
        line = [titles(codec)]
        for measure in MEASURES:
            line += _mean_difference([*differences(rows, codec, reference, measure).values()])
        own = [row for row in rows.values() if row["codec"] == codec]
        line += [f"{median(row[name] for row in own):.3f}" for name in ("encode_seconds", "decode_seconds")]
        table.append(line)
    columns = ("codec", "colour", "covered", "gradient", "covered", "encode s", "decode s")
    return markdown_table(columns, table)


def _mean_difference(results: Sequence[BdRate]) -> list[str]:
    """Format the mean of the pictures that can be compared, their number if it is not all, and the covered share."""
    percents = [result.percent for result in results if isfinite(result.percent)]
    if not percents:
        return [_percent(nan), ""]
    count = f" ({len(percents)} of {len(results)})" if len(percents) < len(results) else ""
    return [f"{_percent(mean(percents))} %{count}", f"{100 * mean(result.share for result in results):.0f} %"]


def _picture_table(rows: Rows, titles: Callable[[str], str], reference: str) -> str:
    """Format the differences of every picture, colour / gradient."""
    codecs = [codec for codec in names(rows, "codec") if codec != reference]
    results = {codec: [differences(rows, codec, reference, measure) for measure in MEASURES] for codec in codecs}
    table = []
    for picture in sorted(names(rows, "picture")):
        cells = [
            " / ".join(_percent(result[picture].percent) for result in results[codec] if picture in result)
            for codec in codecs
        ]
        table.append([picture, *cells])
    return markdown_table(["picture", *map(titles, codecs)], table)


def _percent(value: float) -> str:
    return f"{value:+.1f}" if isfinite(value) else "–"


def _cell(value: float) -> str:
    return f"{value:.2f}" if isfinite(value) else ""


def _rate(value: float) -> str:
    return f"{value:g}"
