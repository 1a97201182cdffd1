// What the block coder (coder.cpp) hands to the kernels: the places of a phase, and the arrays that contexts draw on.
//
// Latents are held as planes of 16-bit numbers, in the orientation in which they are coded: compressed values (compress
// in compress.h), and magnitudes up to 3600, beyond which every mean of magnitudes is compressed to its largest value.
#pragma once

#include <stdint.h>

enum {
    EOREN_MARGIN = 6,      // zeros around a plane: reach of the contexts
    EOREN_PADDING = 512,   // numbers behind the end of an array that kernels may read
    EOREN_SLOTS = 57,
    EOREN_NEIGHBOURS = 12, // terms of a sum of magnitudes, at most
    EOREN_LOWPASS = 24,
};

// A slot that is copied: place (y, x) has the number at[min(y >> shift, last) * stride + x].
typedef struct {
    const int16_t* at;
    int64_t stride, shift, last;
} eoren_slot;

// A slot that is a sum of magnitudes around the place, times factor, shifted right, and compressed.
typedef struct {
    int64_t terms;
    int64_t offset[EOREN_NEIGHBOURS];
    int32_t factor, shift;
} eoren_sum;

// The places of a phase, and the network that predicts them. Two slots share a 32-bit number. The slots are, in order,
// copies, sums, and the low-pass band, each padded to an even number by a slot of weight 0.
typedef struct {
    int64_t columns;                  // number of places in a row
    int64_t step, row, column;        // first row and column of the lattice, and the distance of places: 2 or 4
    int64_t copies;                   // even
    eoren_slot copy[EOREN_SLOTS + 1];
    int64_t sums;
    eoren_sum sum[4];
    const int16_t* magnitude;         // place (0, 0) of the plane that the sums add
    int64_t stride;
    // The low-pass band with 2 places more on all sides, in eighths: even columns of a row, then its odd columns,
    // `half` numbers each. Null if it is not known.
    const int32_t* lowpass;
    int64_t half;
    int64_t hidden;                   // width of the hidden layers
    const int32_t *first, *first_bias;    // (pairs, hidden), (hidden)
    const int32_t *second, *second_bias;  // (hidden / 2, hidden), (hidden)
    const int32_t* last;                  // (hidden / 2 + pairs, 2): mean and scale
    int32_t last_bias[2];
    int32_t* place;                   // out, (rows, columns), see the functions below
} eoren_phase;

// A prediction as one number: where the probabilities of a latent lie (distributions.py, _Place).
static inline int32_t eoren_place_row(int32_t place) { return place & 511; }
static inline int32_t eoren_place_shift(int32_t place) { return place >> 9 & 15; }
static inline int32_t eoren_place_negative(int32_t place) { return place >> 13 & 1; }
static inline int32_t eoren_place_integer(int32_t place) { return place >> 16; }
