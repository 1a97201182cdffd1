"""Contexts against a slow implementation, place by place, from the description in the module."""

import math

import numpy as np
import pytest
from tests.coding.samples import random_latents

from eoren.coding import block_coder, lowpass
from eoren.coding.bands import COARSE, HORIZONTAL, PHASES, band_order
from eoren.coding.block_coder import BandKey
from eoren.coding.contexts import COMPRESSED, SLOTS, compress


def test_compression_is_a_rounded_logarithm():
    exact = [16 * math.log2(1 + k / 8) for k in range(2048)]
    assert min(abs(x % 1 - 0.5) for x in exact) > 1e-6  # so that the rounding is certain
    assert COMPRESSED.tolist() == [min(round(x), 127) for x in exact]


def test_compression_keeps_signs_and_is_limited():
    values = np.array([0, 1, -1, 8, -8, 2047, 2048, -(1 << 30), 1 << 30], np.int32)
    assert compress(values).tolist() == [0, 3, -3, 16, -16, 127, 127, -127, 127]


# Which neighbours of a place are known, by phase: rows and columns of other places modulo 4.
def is_known(phase, row, column):
    return any(row in range(64)[p.rows] and column in range(64)[p.columns] for p in PHASES[:phase])


def squeeze(value):
    size = min(abs(value), 2047)
    size = min(round(16 * math.log2(1 + size / 8)), 127)
    return -size if value < 0 else size


class SlowContexts:
    """The contexts of one block, from latents in which everything is known."""

    def __init__(self, latents):
        self.latents = latents
        self.low = {}
        low = [8 * plane for plane in latents.coarse]
        for level in range(latents.levels, 0, -1):
            self.low[level] = low
            details = latents.details[level - 1]
            low = [lowpass.synthesize_level(low[c], *(8 * band[c] for band in details)) for c in range(len(low))]

    def plane(self, key):
        if key.orientation == COARSE:
            return self.latents.coarse[key.channel]
        return self.latents.details[key.level - 1][key.orientation][key.channel]

    @staticmethod
    def value(plane, y, x):
        inside = 0 <= y < plane.shape[0] and 0 <= x < plane.shape[1]
        return int(plane[y, x]) if inside else 0

    def mean(self, plane, y, x):
        around = (abs(self.value(plane, y + i, x + j)) for i in (-1, 0, 1) for j in (-1, 0, 1))
        return squeeze(sum(around) * 57 >> 6)

    def own(self, key, phase, row, column):
        """Slots of the channel itself; rows and columns are those of the transposed horizontal band."""
        plane = self.plane(key)
        plane = plane.T if key.orientation == HORIZONTAL else plane
        scale = 2 if phase < 4 else 1
        slots = [0] * 20

        def values(offsets):
            return [self.value(plane, row + scale * i, column + scale * j) for i, j in offsets]

        def known(offset):
            return is_known(phase, row % 4 + 16 + scale * offset[0], column % 4 + 16 + scale * offset[1])

        square = [(i, j) for i in range(-3, 4) for j in range(-3, 4)]
        direct = [(0, -1), (0, 1), (-1, 0), (1, 0)]
        diagonal = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
        knight = [(-2, -1), (-2, 1), (2, -1), (2, 1), (-1, -2), (-1, 2), (1, -2), (1, 2)]
        for k, (first, offsets) in enumerate(((0, direct), (4, diagonal), (8, knight))):
            assert len({known(offset) for offset in offsets}) == 1
            if known(offsets[0]):
                near = values(offsets)
                slots[first : first + len(near)] = [squeeze(8 * v) for v in near]
                slots[16 + k] = squeeze(sum(map(abs, near)) * 8 // len(near))
        # The ring: known places three rows or columns away.
        ring = [o for o in square if max(map(abs, o)) == 3 and known(o)]
        if known(direct[0]):
            ring = [o for o in ring if 0 in o or 2 in map(abs, o)]
            assert len(ring) == 12
            slots[19] = squeeze(sum(map(abs, values(ring))) * 43 >> 6)
        elif known(diagonal[0]):
            ring = [o for o in ring if 1 in map(abs, o)]
            assert len(ring) == 8
            slots[19] = squeeze(sum(map(abs, values(ring))))
        return slots

    def others(self, key, y, x):
        """Slots of other channels and bands; rows and columns are those of the band as it is."""
        slots = [0] * (SLOTS - 20)
        for c in range(min(key.channel, 2)):
            plane = self.plane(key._replace(channel=c))
            value = squeeze(8 * int(plane[y, x]))
            slots[3 * c : 3 * c + 3] = value, abs(value), self.mean(plane, y, x)
        if key.orientation == COARSE:
            return slots
        if key.level < self.latents.levels:
            plane = self.plane(key._replace(level=key.level + 1))
            if plane.size:
                at = min(y // 2, plane.shape[0] - 1), min(x // 2, plane.shape[1] - 1)
                value = squeeze(8 * int(plane[at]))
                slots[6:9] = value, abs(value), self.mean(plane, *at)
        for k in range(key.orientation):
            plane = self.plane(key._replace(orientation=k))
            if plane.size:
                at = min(y, plane.shape[0] - 1), min(x, plane.shape[1] - 1)
                slots[9 + 2 * k : 11 + 2 * k] = abs(squeeze(8 * int(plane[at]))), self.mean(plane, *at)
        low = self.low[key.level][key.channel]
        offsets = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if (i, j) != (0, 0)]
        if key.orientation == HORIZONTAL:
            offsets = [(j, i) for i, j in offsets]
        for k, (i, j) in enumerate(offsets, 13):
            at = np.clip(y + i, 0, low.shape[0] - 1), np.clip(x + j, 0, low.shape[1] - 1)
            slots[k] = squeeze(int(low[at]) - int(low[y, x]))
        return slots

    def __call__(self, key, phase, row, column):
        upright = (column, row) if key.orientation == HORIZONTAL else (row, column)
        return self.own(key, phase, row, column) + self.others(key, *upright)


@pytest.fixture
def recorded(monkeypatch):
    """Return a function that encodes latents and returns the contexts of every phase, in the order of coding."""
    contexts = []
    original = block_coder.phase_contexts

    def record(known, common, phase):
        contexts.append((common.shape[:2], phase, original(known, common, phase)))
        return contexts[-1][-1]

    monkeypatch.setattr(block_coder, "phase_contexts", record)

    def encode(latents):
        contexts.clear()
        block_coder.encode_block(latents)
        return [*contexts]

    return encode


def keys(latents):
    """The channels of bands with at least one place, in the order of coding."""
    slow = SlowContexts(latents)
    for level, orientation in band_order(latents.levels):
        for channel in range(len(latents.coarse)):
            key = BandKey(level, orientation, channel)
            if slow.plane(key).size:
                yield key


@pytest.mark.parametrize(
    ("shape", "levels", "kind"),
    [
        ((1, 1, 1), 0, "small"),
        ((1, 9, 14), 0, "large"),
        ((3, 1, 21), 3, "small"),
        ((2, 19, 1), 2, "mixed"),
        ((4, 13, 22), 2, "mixed"),
        ((3, 30, 27), 3, "small"),
    ],
)
def test_contexts_are_those_of_the_description(recorded, shape, levels, kind):
    latents = random_latents(*shape, levels, kind)
    slow, generator = SlowContexts(latents), np.random.default_rng(0)
    found = iter(recorded(latents))
    for key in keys(latents):
        size = slow.plane(key).shape[:: -1 if key.orientation == HORIZONTAL else 1]
        for number, phase in enumerate(PHASES):
            rows, columns = range(size[0])[phase.rows], range(size[1])[phase.columns]
            if not (rows and columns):
                continue
            recorded_size, recorded_phase, contexts = next(found)
            assert (recorded_size, recorded_phase) == (size, number)
            places = [(row, column) for row in rows for column in columns]
            for k in generator.permutation(len(places))[:6].tolist():
                assert contexts[k].tolist() == slow(key, number, *places[k]), (key, number, places[k])
    assert next(found, None) is None


@pytest.mark.parametrize("seed", range(6))
def test_contexts_do_not_depend_on_later_latents(recorded, seed):
    latents = random_latents(3, 22, 29, 2, seed=seed)
    before = recorded(latents)
    # Change one latent, and find the phase that codes it.
    generator = np.random.default_rng(seed)
    order = [(key, number) for key in keys(latents) for number in range(len(PHASES))]
    slow = SlowContexts(latents)
    count, first, changed = 0, None, int(generator.integers(len(before)))
    for key, number in order:
        plane = slow.plane(key).T if key.orientation == HORIZONTAL else slow.plane(key)
        places = plane[PHASES[number].rows, PHASES[number].columns]
        if not places.size:
            continue
        if count == changed:
            row, column = (int(generator.integers(n)) for n in places.shape)
            places[row, column] = 1000
            first = count
        count += 1
    after = recorded(latents)
    assert len(before) == len(after) == count
    for k in range(first + 1):  # the phase itself, too
        np.testing.assert_array_equal(before[k][2], after[k][2])
    assert changed == count - 1 or any((before[k][2] != after[k][2]).any() for k in range(first + 1, count))
