"""Latents coded for pages: the code itself, and its decoder in JavaScript (in the page: test_html.py)."""

import numpy as np
import pytest
from tests.compact import picture, rounded_field
from tests.fields import compact_field

from eoren.backends.dispatch import choose_coder
from eoren.coding.bands import Latents, choose_levels
from eoren.export.common import render_template
from eoren.export.compact.digits import adaptive_frequencies, encode_bits, encode_decisions
from eoren.export.compact.recoding import Recorder, energy_class, record_latents

DECODE = """
async ({ texts, given }) => {
  const reader = new Reader(...texts);
  const bands = await reader.latents(given, async () => {});
  return bands.map((band) => band.map(({ rows, columns, data }) => [rows, columns, Array.from(data)]));
}
"""


@pytest.fixture(scope="module")
def decoded(browser):
    """Function that codes latents in Python, and decodes them in JavaScript; also the length of the text."""
    page = browser.new_page()
    page.add_script_tag(content="\n".join(render_template(f"compact/{name}.js") for name in ("decoder", "transform")))

    def decode(latents):
        recorder = Recorder()
        record_latents(latents, recorder)
        texts = recorder.text()
        channels, rows, columns = latents.shape
        given = {"width": columns, "height": rows, "channels": channels, "levels": latents.levels}
        bands = page.evaluate(DECODE, {"texts": texts, "given": given})
        arrays = [np.array([np.reshape(data, (r, c)) for r, c, data in band]).astype(np.int32) for band in bands]
        return Latents.from_bands(arrays), sum(map(len, texts))

    return decode


def assert_equal(one, other):
    for band, expected in zip(one.bands(), other.bands(), strict=True):
        np.testing.assert_array_equal(band, expected.reshape(band.shape))


@pytest.mark.parametrize("size", [(64, 48), (75, 51), (40, 1), (1, 33), (2, 90), (3, 9), (5, 7), (1, 1)], ids=str)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_latents_survive(decoded, size, channels):
    latents = compact_field(*size, channels).representation.latents
    assert_equal(decoded(latents)[0], latents)


@pytest.mark.parametrize("amplitude", [0.0, 0.3, 40.0, 3000.0])
def test_latents_of_any_magnitude(decoded, amplitude):
    latents = compact_field(50, 40, 2, amplitude=amplitude).representation.latents
    assert_equal(decoded(latents)[0], latents)


def test_single_large_latents(decoded):
    """The largest latents of the format, where small ones are expected."""
    latents = Latents.zeros(1, 40, 50, choose_levels(50, 40))
    for number, band in enumerate(latents.bands()):
        band[0, 1, 2] = (-1) ** number << 20
        band[0, 2, 1] = -(1 << number)
    assert_equal(decoded(latents)[0], latents)


def test_images_take_little_more_than_in_a_file(decoded):
    latents = rounded_field(picture(160, 200, 3), 0.02).latents
    found, length = decoded(latents)
    assert_equal(found, latents)
    # 6.97 bits a character, and weights of 40 channels of bands.
    assert length < 1.2 * 8 / 6.97 * len(choose_coder().encode(latents)) + 2000


def test_damaged_texts_are_noticed(browser):
    recorder = Recorder()
    record_latents(compact_field(30, 20, 1).representation.latents, recorder)
    decisions, bits = recorder.text()
    page = browser.new_page()
    page.add_script_tag(content="\n".join(render_template(f"compact/{name}.js") for name in ("decoder", "transform")))
    given = {"width": 30, "height": 20, "channels": 1, "levels": choose_levels(30, 20)}
    middle = len(decisions) // 2
    for damaged in (decisions[:-20], decisions[:middle] + "~~~~" + decisions[middle + 4 :]):
        with pytest.raises(Exception, match=r"end early|are damaged"):
            page.evaluate(DECODE, {"texts": [damaged, bits], "given": given})


def test_texts_have_neither_nul_nor_carriage_return_nor_the_start_of_a_tag():
    generator = np.random.default_rng(0)
    text = encode_bits(generator.integers(0, 2**16, 4000).tolist(), [16] * 4000)
    assert len(set(text)) == 125
    assert not set(text) & set("\0\r<")
    assert max(map(ord, text)) < 128
    assert len(text) <= 4000 * 16 / np.log2(125) + 6


def test_frequencies_count_what_was_before():
    decisions, contexts = np.random.default_rng(1).integers(0, 2, (2, 500)).astype(bool)
    contexts = contexts + 2 * np.random.default_rng(2).integers(0, 3, 500)
    counts = {}
    for k, frequency in enumerate(adaptive_frequencies(decisions, contexts)):
        yes, every = counts.get(contexts[k], (0, 0))
        assert frequency == min(max((2 * yes + 1) * 65536 // (2 * every + 2), 1), 65535)
        counts[contexts[k]] = yes + decisions[k], every + 1


def test_decisions_take_their_entropy():
    generator = np.random.default_rng(0)
    decisions = generator.random(20_000) < 0.1
    entropy = -(0.1 * np.log2(0.1) + 0.9 * np.log2(0.9)) * 20_000
    assert len(encode_decisions(decisions, np.zeros(20_000, int))) * np.log2(125) < 1.02 * entropy


def test_classes_of_energy_are_four_an_octave():
    energy = np.arange(1 << 14)
    kind, shift = energy_class(energy)
    assert (np.diff(kind[: 1 << 9]) >= 0).all()
    assert kind.max() == 31
    assert shift[-1] == 5
    quotient = (energy[1 << 8 :] >> shift[1 << 8 :]) / 256
    assert (quotient >= 1).all()
    assert (quotient < 2).all()
