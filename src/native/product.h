// Small matrix products, with the columns of the result in the lanes of vectors, and a tile of it in registers.
#pragma once

#include "vector.h"

namespace {

// A matrix whose element (row, k) lies at data[row * by_row + k * by_k]: transposed or not.
struct Left {
    const float* data;
    int64_t by_row, by_k;
};

// Unroll, so that a tile stays in registers.
#define EOREN_UNROLL _Pragma("GCC unroll 16")

// Compute a tile of a b + offset, with one offset per column, or null. keep(at, vector) receives each vector of the result
// and its index in a matrix of the given number of columns.
template <int HIGH, int WIDE, class Keep>
inline void product_tile(
    int64_t depth, int64_t columns, Left a, const float* b, const float* offset, int64_t at, Keep keep
) {
    Vector total[HIGH][WIDE];
    EOREN_UNROLL for (int j = 0; j < WIDE; ++j) {
        const Vector start = offset ? load(offset + j * LANES) : Vector{};
        EOREN_UNROLL for (int i = 0; i < HIGH; ++i) total[i][j] = start;
    }
    for (int64_t k = 0; k < depth; ++k) {
        Vector right[WIDE];
        EOREN_UNROLL for (int j = 0; j < WIDE; ++j) right[j] = load(b + k * columns + j * LANES);
        const float* left = a.data + k * a.by_k;
        EOREN_UNROLL for (int i = 0; i < HIGH; ++i) {
            const Vector each = all(left[i * a.by_row]);
            EOREN_UNROLL for (int j = 0; j < WIDE; ++j) total[i][j] += each * right[j];
        }
    }
    EOREN_UNROLL for (int i = 0; i < HIGH; ++i) {
        EOREN_UNROLL for (int j = 0; j < WIDE; ++j) keep(at + i * columns + j * LANES, total[i][j]);
    }
}

// Compute a b + offset. The number of rows is a multiple of 8, of columns a multiple of 16.
template <class Keep>
inline void multiply(
    int64_t rows, int64_t depth, int64_t columns, Left a, const float* b, const float* offset, Keep keep
) {
    for (int64_t left = columns / LANES, column = 0; left > 0;) {
        // Take three vectors at a time, but do not leave a single one for the end.
        const int wide = left == 4 || left == 2 ? 2 : left == 1 ? 1 : 3;
        const float* start = offset ? offset + column : nullptr;
        for (int64_t row = 0, high; row < rows; row += high) {
            // A single vector of few rows is slow, because each sum waits for the previous one.
            high = wide == 1 && LANES == 16 && row + 2 * TALL <= rows ? 2 * TALL : TALL;
            const Left part = {a.data + row * a.by_row, a.by_row, a.by_k};
            const int64_t at = row * columns + column;
            if (wide == 3)
                product_tile<TALL, 3>(depth, columns, part, b + column, start, at, keep);
            else if (wide == 2)
                product_tile<TALL, 2>(depth, columns, part, b + column, start, at, keep);
            else if (high == TALL)
                product_tile<TALL, 1>(depth, columns, part, b + column, start, at, keep);
            else
                product_tile<2 * TALL, 1>(depth, columns, part, b + column, start, at, keep);
        }
        left -= wide;
        column += wide * LANES;
    }
}

// c = a b.
inline void multiply(int64_t rows, int64_t depth, int64_t columns, Left a, const float* b, float* c) {
    multiply(rows, depth, columns, a, b, nullptr, [=](int64_t at, Vector v) { store(c + at, v); });
}

// c += scale a b.
inline void add_product(int64_t rows, int64_t depth, int64_t columns, Left a, const float* b, float scale, float* c) {
    multiply(rows, depth, columns, a, b, nullptr, [=](int64_t at, Vector v) { store(c + at, load(c + at) + scale * v); });
}

inline void transpose(int64_t rows, int64_t columns, const float* from, float scale, float* to) {
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j) to[j * rows + i] = scale * from[i * columns + j];
}

}  // namespace
