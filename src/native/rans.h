// Entropy coding by range asymmetric numeral systems (coding/rans.py).
#pragma once

#include <stdint.h>
#include <string.h>

namespace {

constexpr int PRECISION = 16;
constexpr uint64_t LOWEST = uint64_t(1) << 31;  // state between symbols

// Writes words from the end of an array towards its start; symbols come last to first.
class Encoder {
public:
    Encoder(uint32_t* words, int64_t capacity) : words(words), at(capacity) {}

    void put(uint32_t start, uint32_t frequency) {
        if (state >= uint64_t(frequency) << (63 - PRECISION)) {
            push((uint32_t)state);
            state >>= 32;
        }
        const uint64_t quotient = state / frequency;
        state = (quotient << PRECISION) + (state - quotient * frequency) + start;
    }

    void uniform(uint32_t value, int bits) { put(value << (PRECISION - bits), 1u << (PRECISION - bits)); }

    // Return the index of the first word, or -1 if the array is too short.
    int64_t finish() {
        push((uint32_t)state);
        push((uint32_t)(state >> 32));
        return at;
    }

private:
    void push(uint32_t word) {
        if (at > 0) {
            --at;
            const unsigned char bytes[4] = {(unsigned char)word, (unsigned char)(word >> 8),
                                            (unsigned char)(word >> 16), (unsigned char)(word >> 24)};
            memcpy(words + at, bytes, 4);
        } else {
            at = -1;
        }
    }

    uint64_t state = LOWEST;
    uint32_t* words;
    int64_t at;
};

// Reads two words or more, at any address. After the last word it reads zeros, and is truncated.
class Decoder {
public:
    Decoder(const unsigned char* bytes, int64_t words) : next(bytes + 8), end(bytes + 4 * words) {
        state = uint64_t(word(bytes)) << 32 | word(bytes + 4);
    }

    // Decode the index k of the interval [bounds[k], bounds[k + 1]); the bounds end with 65536. `starts` has, for each
    // value of the high byte of a position, a lower bound of k.
    int64_t symbol(const uint32_t* bounds, const uint8_t* starts) {
        const uint32_t slot = state & 0xffff;
        int64_t k = starts[slot >> 8];
        while (bounds[k + 1] <= slot) ++k;
        advance(slot - bounds[k], bounds[k + 1] - bounds[k]);
        return k;
    }

    int64_t uniform(int bits) {
        const uint32_t slot = state & 0xffff, value = slot >> (PRECISION - bits);
        advance(slot - (value << (PRECISION - bits)), 1u << (PRECISION - bits));
        return value;
    }

    bool truncated() const { return missing; }
    bool finished() const { return next == end && state == LOWEST; }

private:
    static uint32_t word(const unsigned char* p) {
        return p[0] | uint32_t(p[1]) << 8 | uint32_t(p[2]) << 16 | uint32_t(p[3]) << 24;
    }

    void advance(uint32_t offset, uint32_t frequency) {
        state = frequency * (state >> PRECISION) + offset;
        if (state < LOWEST) {
            const bool more = next != end;
            state = state << 32 | (more ? word(next) : 0);
            next += more ? 4 : 0;
            missing |= !more;
        }
    }

    uint64_t state;
    const unsigned char *next, *end;
    bool missing = false;
};

}  // namespace
