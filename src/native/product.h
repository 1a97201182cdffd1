// Small matrix products: the columns of the result in the vectors' lanes, a tile of it in registers.
#pragma once

#include "vector.h"

namespace {

// A matrix whose element (row, k) lies at data[row * by_row + k * by_k]: transposed or not.
struct Left {
    const float* data;
    int64_t by_row, by_k;
};

// Unrolled, so that a tile never leaves the registers.
#define EOREN_UNROLL _Pragma("GCC unroll 8")

// c = a b + offset for ADD false, the offset one for every column or null; c += scale a b for ADD true.
template <int WIDE, bool ADD>
inline void product_tile(
    int64_t depth, Left a, const float* b, int64_t b_row, float* c, int64_t c_row, const float* offset, float scale
) {
    Vector total[TALL][WIDE];
    EOREN_UNROLL for (int j = 0; j < WIDE; ++j) {
        const Vector start = offset ? load(offset + j * LANES) : Vector{};
        EOREN_UNROLL for (int i = 0; i < TALL; ++i) total[i][j] = start;
    }
    for (int64_t k = 0; k < depth; ++k) {
        Vector right[WIDE];
        EOREN_UNROLL for (int j = 0; j < WIDE; ++j) right[j] = load(b + k * b_row + j * LANES);
        const float* left = a.data + k * a.by_k;
        EOREN_UNROLL for (int i = 0; i < TALL; ++i) {
            const Vector each = all(left[i * a.by_row]);
            EOREN_UNROLL for (int j = 0; j < WIDE; ++j) total[i][j] += each * right[j];
        }
    }
    EOREN_UNROLL for (int i = 0; i < TALL; ++i) {
        EOREN_UNROLL for (int j = 0; j < WIDE; ++j) {
            float* out = c + i * c_row + j * LANES;
            store(out, ADD ? load(out) + scale * total[i][j] : total[i][j]);
        }
    }
}

template <bool ADD>
inline void product(
    int64_t rows, int64_t depth, int64_t columns, Left a, const float* b, int64_t b_row, float* c, int64_t c_row,
    const float* offset, float scale
) {
    for (int64_t left = columns / LANES, column = 0; left > 0;) {
        // Three vectors at a time, but never one alone at the end.
        const int wide = left == 4 || left == 2 ? 2 : left == 1 ? 1 : 3;
        const float* start = offset ? offset + column : nullptr;
        for (int64_t row = 0; row < rows; row += TALL) {
            const Left part = {a.data + row * a.by_row, a.by_row, a.by_k};
            float* out = c + row * c_row + column;
            if (wide == 3)
                product_tile<3, ADD>(depth, part, b + column, b_row, out, c_row, start, scale);
            else if (wide == 2)
                product_tile<2, ADD>(depth, part, b + column, b_row, out, c_row, start, scale);
            else
                product_tile<1, ADD>(depth, part, b + column, b_row, out, c_row, start, scale);
        }
        left -= wide;
        column += wide * LANES;
    }
}

// c = a b, plus an offset for every column if there is one. Rows are a multiple of 8, columns one of 16.
inline void multiply(int64_t rows, int64_t depth, int64_t columns, Left a, const float* b, float* c,
                     const float* offset = nullptr) {
    product<false>(rows, depth, columns, a, b, columns, c, columns, offset, 1.0f);
}

// c += scale a b.
inline void add_product(int64_t rows, int64_t depth, int64_t columns, Left a, const float* b, float scale, float* c) {
    product<true>(rows, depth, columns, a, b, columns, c, columns, nullptr, scale);
}

inline void transpose(int64_t rows, int64_t columns, const float* from, float scale, float* to) {
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j) to[j * rows + i] = scale * from[i * columns + j];
}

}  // namespace
