// Arrays that contexts draw on: compressed latents, means of magnitudes, and the low-pass band (coding/lowpass.py).
#pragma once

#include "coder.h"
#include "compress.h"

namespace {

// Compute compressed values and magnitudes of latents. The arrays have room for a multiple of the number of lanes.
inline void compress_latents(const int32_t* value, int64_t count, int16_t* compressed, int16_t* magnitude) {
    for (int64_t k = 0; k < count; k += LANES) {
        Integers values = {};
        if (k + LANES <= count)
            values = load_integers(value + k);
        else
            for (int64_t i = 0; k + i < count; ++i) values[i] = value[k + i];
        store_shorts(compressed + k, compress(8 * values));
        store_shorts(magnitude + k, at_most(magnitude_of(values), 3600));
    }
}

// Compute magnitudes of compressed values, and compressed means of 3 x 3 magnitudes, for a row of a plane. The arrays
// have room for a multiple of the number of lanes.
inline void summarize_row(
    const int16_t* compressed, const int16_t* magnitude, int64_t stride, int64_t columns, int16_t* size, int16_t* mean
) {
    for (int64_t k = 0; k < columns; k += LANES) {
        Integers total = {};
        for (int64_t y = -1; y <= 1; ++y)
            for (int64_t x = -1; x <= 1; ++x) total += load_shorts(magnitude + y * stride + x + k);
        store_shorts(size + k, magnitude_of(load_shorts(compressed + k)));
        store_shorts(mean + k, compress(total * 57 >> 6));
    }
}

// Coefficients of the lifting steps, with 14 fractional bits.
constexpr int64_t FIRST = -25987, SECOND = -868, THIRD = 14466, FOURTH = 7266, SCALE = 14252, INVERSE_SCALE = 18835;

inline int64_t scaled(int64_t factor, int64_t value) { return (factor * value + (1 << 13)) >> 14; }

// Subtract the scaled sum of two rows from a row.
inline void lift(int64_t factor, const int64_t* above, const int64_t* below, int64_t columns, int64_t* row) {
#pragma omp simd
    for (int64_t k = 0; k < columns; ++k) row[k] -= scaled(factor, above[k] + below[k]);
}

// Merge low-pass and high-pass rows, `lows` and `highs` of them, which alternate in the array: low, high, low, ...
inline void merge_rows(int64_t lows, int64_t highs, int64_t columns, int64_t* rows) {
    if (!highs) return;
    const auto low = [=](int64_t k) { return rows + 2 * k * columns; };
    const auto high = [=](int64_t k) { return rows + (2 * k + 1) * columns; };
    for (int64_t k = 0; k < lows + highs; ++k) {
        int64_t* row = rows + k * columns;
        const int64_t factor = k % 2 ? INVERSE_SCALE : SCALE;
#pragma omp simd
        for (int64_t i = 0; i < columns; ++i) row[i] = scaled(factor, row[i]);
    }
    const auto lift_low = [=](int64_t factor) {
        for (int64_t k = 0; k < lows; ++k)
            lift(factor, high(k ? k - 1 : 0), high(k < highs ? k : highs - 1), columns, low(k));
    };
    const auto lift_high = [=](int64_t factor) {
        for (int64_t k = 0; k < highs; ++k)
            lift(factor, low(k), low(k + 1 < lows ? k + 1 : lows - 1), columns, high(k));
    };
    lift_low(FOURTH);
    lift_high(THIRD);
    lift_low(SECOND);
    lift_high(FIRST);
}

}  // namespace
