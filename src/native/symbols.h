// The symbols of a latent, given where its probabilities lie (coding/distributions.py).
#pragma once

#include "coder.h"
#include "eoren.h"
#include "rans.h"

namespace {

constexpr int64_t MOST_LATENT = 1 << 20;
constexpr int COUNT_BITS = 5;
constexpr int ROWS = 288, FRACTIONS = 9;

inline int bit_length(int64_t value) { return value ? 64 - __builtin_clzll((uint64_t)value) : 0; }

// A latent as the index of a symbol and the bits that follow it.
struct Symbol {
    int32_t row, index;
    int32_t shift, low;  // number of low bits, and their value
    int32_t excess;      // beyond the table, or negative
};

class Distributions {
public:
    explicit Distributions(const eoren_context_model& m)
        : length(m.bounds_length), bounds(m.bounds), starts(m.starts), costs(m.costs) {
        for (int row = 0; row < ROWS; ++row) reach[row] = m.reach[row / FRACTIONS];
    }

    Symbol symbol(int32_t value, int32_t place) const {
        Symbol s;
        s.row = eoren_place_row(place), s.shift = eoren_place_shift(place);
        const int32_t difference = value - eoren_place_integer(place), most = reach[s.row];
        const int32_t distance = (eoren_place_negative(place) ? -difference : difference) + (1 << s.shift >> 1);
        const int32_t symbol = distance >> s.shift;
        s.low = distance & ((1 << s.shift) - 1);
        s.excess = (symbol < 0 ? -symbol : symbol) - most - 1;
        s.index = (s.excess < 0 ? symbol : symbol < 0 ? -most - 1 : most + 1) + most + 1;
        return s;
    }

    double bits(int32_t value, int32_t place) const {
        const Symbol s = symbol(value, place);
        const int escaped = s.excess >= 0 ? COUNT_BITS + bit_length(s.excess) : 0;
        return costs[s.row * length + s.index] + s.shift + escaped;
    }

    // Encode the symbols of a latent, last to first.
    void encode(Encoder& encoder, int32_t value, int32_t place) const {
        const Symbol s = symbol(value, place);
        if (s.shift) encoder.uniform(s.low, s.shift);
        if (s.excess >= 0) {
            const int count = bit_length(s.excess);
            if (count) encoder.uniform(s.excess & 0xffff, count < PRECISION ? count : PRECISION);
            if (count > PRECISION) encoder.uniform(s.excess >> PRECISION, count - PRECISION);
            encoder.uniform(count, COUNT_BITS);
        }
        const uint32_t* interval = bounds + s.row * length + s.index;
        encoder.put(interval[0], interval[1] - interval[0]);
    }

    // Decode a latent, which may be out of range if the data are damaged.
    int64_t decode(Decoder& decoder, int32_t place) const {
        const int32_t row = eoren_place_row(place), shift = eoren_place_shift(place), most = reach[row];
        int64_t distance = decoder.symbol(bounds + row * length, starts + row * 256) - most - 1;
        if (__builtin_expect(distance > most || distance < -most, 0)) {
            const int count = (int)decoder.uniform(COUNT_BITS);
            int64_t excess = 0;
            if (count > PRECISION) excess = decoder.uniform(count - PRECISION) << PRECISION;
            if (count) excess |= decoder.uniform(count < PRECISION ? count : PRECISION);
            distance += distance > 0 ? excess : -excess;
        }
        if (__builtin_expect(shift, 0)) distance = distance * (1 << shift) + decoder.uniform(shift) - (1 << shift >> 1);
        return (eoren_place_negative(place) ? -distance : distance) + eoren_place_integer(place);
    }

private:
    int64_t length;
    const uint32_t* bounds;
    const uint8_t* starts;
    const double* costs;
    int32_t reach[ROWS];
};

}  // namespace
