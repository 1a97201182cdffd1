// The arrays around a channel of a band that contexts draw on (coding/contexts.py, Surroundings).
#pragma once

#include "coder.h"
#include "kernel.h"

#include <vector>

namespace {

// A matrix with zeros around it. Rows share the zeros between them.
template <class Number>
class Grid {
public:
    Grid() = default;
    Grid(int64_t rows, int64_t columns, int64_t margin = 0)
        : rows(rows), columns(columns), stride(columns + margin), margin(margin) {
        data.resize((rows + 2 * margin) * stride + margin + EOREN_PADDING);
    }

    Number* row(int64_t y) { return data.data() + (y + margin) * stride + margin; }
    const Number* row(int64_t y) const { return data.data() + (y + margin) * stride + margin; }

    int64_t rows = 0, columns = 0, stride = 0;

private:
    int64_t margin = 0;
    std::vector<Number> data;
};

// Copy a matrix, transposed. Squares of 16 x 16 numbers stay in the cache.
template <class From, class To>
void transpose(int64_t rows, int64_t columns, const From* from, int64_t from_stride, To* to, int64_t to_stride) {
    for (int64_t y0 = 0; y0 < rows; y0 += 16)
        for (int64_t x0 = 0; x0 < columns; x0 += 16) {
            const int64_t y1 = y0 + 16 < rows ? y0 + 16 : rows, x1 = x0 + 16 < columns ? x0 + 16 : columns;
            for (int64_t x = x0; x < x1; ++x)
                for (int64_t y = y0; y < y1; ++y) to[x * to_stride + y] = from[y * from_stride + x];
        }
}

// Copy a matrix.
template <class From, class To>
void copy(int64_t rows, int64_t columns, const From* from, int64_t from_stride, To* to, int64_t to_stride) {
    for (int64_t y = 0; y < rows; ++y)
        for (int64_t x = 0; x < columns; ++x) to[y * to_stride + x] = from[y * from_stride + x];
}

// One channel of a band as its contexts see it: transposed if the band is horizontal.
struct Plane {
    Plane() = default;
    Plane(int64_t rows, int64_t columns)
        : latent(rows, columns),
          compressed(rows, columns, EOREN_MARGIN),
          magnitude(rows, columns, EOREN_MARGIN),
          size(rows, columns),
          mean(rows, columns) {}

    bool empty() const { return latent.rows == 0 || latent.columns == 0; }

    Grid<int32_t> latent;
    Grid<int16_t> compressed, magnitude;
    Grid<int16_t> size, mean;  // magnitudes of the compressed values, means of 3 x 3 magnitudes; when it is complete
};

// Compute the arrays that other channels and bands see, once all latents are known.
inline void summarize(const eoren_kernel& kernel, Plane& p) {
    std::vector<int16_t> size(p.latent.columns + EOREN_PADDING), mean(p.latent.columns + EOREN_PADDING);
    for (int64_t y = 0; y < p.latent.rows; ++y) {
        const int64_t columns = p.latent.columns;
        kernel.summarize_row(
            p.compressed.row(y), p.magnitude.row(y), p.magnitude.stride, columns, size.data(), mean.data()
        );
        copy(1, columns, size.data(), 0, p.size.row(y), 0);
        copy(1, columns, mean.data(), 0, p.mean.row(y), 0);
    }
}

// Return a matrix whose columns are repeated twice, and the last one after that.
inline Grid<int16_t> doubled(const Grid<int16_t>& from, int64_t columns) {
    Grid<int16_t> to(from.rows, columns);
    for (int64_t y = 0; y < from.rows; ++y) {
        const int16_t* row = from.row(y);
        int16_t* out = to.row(y);
        const int64_t pairs = columns / 2 < from.columns ? columns / 2 : from.columns;
        for (int64_t x = 0; x < pairs; ++x) out[2 * x] = out[2 * x + 1] = row[x];
        for (int64_t x = 2 * pairs; x < columns; ++x) out[x] = row[x / 2 < from.columns ? x / 2 : from.columns - 1];
    }
    return to;
}

// Return a transposed matrix, whose last column is repeated.
template <class Number>
Grid<Number> turned(const Grid<Number>& from, int64_t repeated) {
    Grid<Number> to(from.columns, from.rows + repeated);
    transpose(from.rows, from.columns, from.row(0), from.stride, to.row(0), to.stride);
    for (int64_t y = 0; y < to.rows; ++y)
        for (int64_t k = 0; k < repeated; ++k) to.row(y)[from.rows + k] = to.row(y)[from.rows - 1];
    return to;
}

// Return the low-pass band with its edges repeated twice, even columns of a row before its odd ones (eoren_phase).
inline Grid<int32_t> split_columns(const Grid<int32_t>& from) {
    const int64_t half = (from.columns + 5) / 2;
    Grid<int32_t> to(from.rows + 4, 2 * half);
    for (int64_t y = 0; y < to.rows; ++y) {
        const int64_t inner = y < 2 ? 0 : y - 2 < from.rows ? y - 2 : from.rows - 1;
        const int32_t* row = from.row(inner);
        int32_t* out = to.row(y);
        for (int64_t x = 0; x < 2 * half; ++x) {
            const int64_t column = x < 2 ? 0 : x - 2 < from.columns ? x - 2 : from.columns - 1;
            out[x % 2 * half + x / 2] = row[column];
        }
    }
    return to;
}

}  // namespace
