// Contexts of places, and the prediction of their means and scales (coding/contexts.py, coding/context_model.py).
//
// Places lie in the lanes of vectors. Everything is an integer: contexts and hidden values have 8 bits, weights 16.
#pragma once

#include "coder.h"
#include "compress.h"
#include "eoren.h"
#include "product.h"

namespace {

constexpr int64_t MOST_PAIRS = EOREN_SLOTS / 2 + 3;

// Read 16-bit numbers that lie STEP apart, into the low halves of the lanes.
template <int STEP>
inline Integers read_shorts(const int16_t* at) {
    static_assert(STEP == 2 || STEP == 4, "a lattice has every second or every fourth column");
    if constexpr (STEP == 2) return load_integers(at);
    return even_lanes(load_integers(at), load_integers(at + 2 * LANES));
}

template <int STEP>
inline Integers read_integers(const int32_t* at) {
    if constexpr (STEP == 1) return load_integers(at);
    return even_lanes(load_integers(at), load_integers(at + LANES));
}

// Collect the contexts of WIDE vectors of places in row y, from column x on: (pairs, WIDE) vectors.
template <int STEP, int WIDE>
inline int64_t collect(const eoren_phase& p, int64_t y, int64_t x, Integers* to) {
    const Integers* const start = to;
    for (int64_t k = 0; k < p.copies; k += 2, to += WIDE) {
        const eoren_slot &a = p.copy[k], &b = p.copy[k + 1];
        const int64_t row_a = y >> a.shift, row_b = y >> b.shift;
        const int16_t* low = a.at + (row_a < a.last ? row_a : a.last) * a.stride + x;
        const int16_t* high = b.at + (row_b < b.last ? row_b : b.last) * b.stride + x;
        EOREN_UNROLL for (int j = 0; j < WIDE; ++j)
            to[j] = pair(read_shorts<STEP>(low + STEP * LANES * j), read_shorts<STEP>(high + STEP * LANES * j));
    }
    const int16_t* magnitude = p.magnitude + y * p.stride + x;
    for (int64_t k = 0; k < p.sums; ++k) {
        const eoren_sum& s = p.sum[k];
        Integers total[WIDE] = {};
        for (int64_t i = 0; i < s.terms; ++i) {
            EOREN_UNROLL for (int j = 0; j < WIDE; ++j)
                total[j] += read_shorts<STEP>(magnitude + s.offset[i] + STEP * LANES * j) & 0xffff;
        }
        EOREN_UNROLL for (int j = 0; j < WIDE; ++j) {
            const Integers value = compress(total[j] * s.factor >> s.shift);
            to[j] = k % 2 ? to[j] | (value << 16) : value;
        }
        if (k % 2 || k + 1 == p.sums) to += WIDE;
    }
    if (p.lowpass) {
        Integers middle[WIDE];
        const int32_t* row = p.lowpass + y * 2 * p.half;
        const auto at = [&](int64_t k) {  // the k-th of 5 x 5 values
            const int64_t column = x + k % 5;
            return row + k / 5 * 2 * p.half + (column & 1) * p.half + (column >> 1);
        };
        constexpr int64_t NEXT = STEP / 2 * LANES;
        EOREN_UNROLL for (int j = 0; j < WIDE; ++j) middle[j] = read_integers<STEP / 2>(at(12) + NEXT * j);
        for (int64_t k = 0; k < EOREN_LOWPASS; k += 2, to += WIDE) {
            const int32_t *low = at(k + (k >= 12)), *high = at(k + 1 + (k + 1 >= 12));
            EOREN_UNROLL for (int j = 0; j < WIDE; ++j)
                to[j] = pair(
                    compress(read_integers<STEP / 2>(low + NEXT * j) - middle[j]),
                    compress(read_integers<STEP / 2>(high + NEXT * j) - middle[j])
                );
        }
    }
    return (to - start) / WIDE;
}

// Compute HIGH outputs of a layer for WIDE vectors of places, with pairs of inputs.
template <int HIGH, int WIDE>
inline void add_products(
    int64_t pairs, const Integers* inputs, const int32_t* weight, int64_t outputs, Integers (&total)[HIGH][WIDE]
) {
    for (int64_t k = 0; k < pairs; ++k) {
        EOREN_UNROLL for (int i = 0; i < HIGH; ++i) {
            const Integers each = all_integers(weight[k * outputs + i]);
            EOREN_UNROLL for (int j = 0; j < WIDE; ++j) total[i][j] += multiply_pairs(inputs[k * WIDE + j], each);
        }
    }
}

// Compute a hidden layer: sums, without their lowest 8 bits, between 0 and 127, in pairs.
template <int WIDE>
inline void hidden_layer(
    int64_t pairs, int64_t hidden, const Integers* inputs, const int32_t* weight, const int32_t* bias, Integers* to
) {
    constexpr int HIGH = TALL;
    for (int64_t h = 0; h < hidden; h += HIGH) {
        Integers total[HIGH][WIDE];
        EOREN_UNROLL for (int i = 0; i < HIGH; ++i) {
            EOREN_UNROLL for (int j = 0; j < WIDE; ++j) total[i][j] = all_integers(bias[h + i]);
        }
        add_products<HIGH, WIDE>(pairs, inputs, weight + h, hidden, total);
        EOREN_UNROLL for (int i = 0; i < HIGH; i += 2) {
            EOREN_UNROLL for (int j = 0; j < WIDE; ++j) {
                const Integers even = at_most(at_least(total[i][j] >> 8, 0), 127);
                const Integers odd = at_most(at_least(total[i + 1][j] >> 8, 0), 127);
                to[(h + i) / 2 * WIDE + j] = even | (odd << 16);
            }
        }
    }
}

// Return where the probabilities lie, given sums for mean and scale.
inline Integers place_of(Integers mean, Integers scale) {
    mean = at_most(at_least(mean >> 8, -127), 127);
    scale = at_most(at_least(scale >> 12, 0), 63);
    const Integers integer = (mean + 8) >> 4, fraction = mean - 16 * integer;
    const Integers shift = at_least(scale - 28, 0) >> 2;
    const Integers row = (scale - 4 * shift) * 9 + magnitude_of(fraction);
    return row | (shift << 9) | ((fraction < 0) & (1 << 13)) | (integer << 16);
}

template <int STEP, int WIDE>
inline void predict_vectors(const eoren_phase& p, int64_t y, int64_t x, int32_t* place, int64_t count) {
    Integers context[MOST_PAIRS * WIDE], one[EOREN_MOST_HIDDEN / 2 * WIDE], two[EOREN_MOST_HIDDEN / 2 * WIDE];
    const int64_t pairs = collect<STEP, WIDE>(p, y, x, context);
    hidden_layer<WIDE>(pairs, p.hidden, context, p.first, p.first_bias, one);
    hidden_layer<WIDE>(p.hidden / 2, p.hidden, one, p.second, p.second_bias, two);
    Integers total[2][WIDE];
    EOREN_UNROLL for (int i = 0; i < 2; ++i) {
        EOREN_UNROLL for (int j = 0; j < WIDE; ++j) total[i][j] = all_integers(p.last_bias[i]);
    }
    add_products<2, WIDE>(p.hidden / 2, two, p.last, 2, total);
    add_products<2, WIDE>(pairs, context, p.last + p.hidden, 2, total);
    for (int j = 0; j < WIDE; ++j) {
        int32_t found[LANES];
        const int64_t rest = count - j * LANES;
        const bool whole = rest >= LANES;
        store_integers(whole ? place + j * LANES : found, place_of(total[0][j], total[1][j]));
        for (int64_t i = 0; !whole && i < rest; ++i) place[j * LANES + i] = found[i];
    }
}

template <int STEP>
inline void predict_rows(const eoren_phase& p, int64_t first, int64_t end) {
    for (int64_t row = first; row < end; ++row) {
        const int64_t y = p.row + STEP * row;
        int32_t* place = p.place + row * p.columns;
        for (int64_t done = 0; done < p.columns;) {
            const int64_t rest = p.columns - done, vectors = (rest + LANES - 1) / LANES, x = p.column + STEP * done;
            const int64_t wide = vectors == 4 || vectors == 2 ? 2 : vectors == 1 ? 1 : 3;
            if (wide == 3)
                predict_vectors<STEP, 3>(p, y, x, place + done, rest);
            else if (wide == 2)
                predict_vectors<STEP, 2>(p, y, x, place + done, rest);
            else
                predict_vectors<STEP, 1>(p, y, x, place + done, rest);
            done += wide * LANES;
        }
    }
}

}  // namespace
