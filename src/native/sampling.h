// Evaluation of a compact field on a grid and at points: splines of the features, a block of points at a time, then the
// color decoder while they are in the cache.
#pragma once

#include "decoder.h"
#include "spline.h"

namespace {

constexpr int64_t GRID_ROWS = 8;      // rows of a grid that one task draws
constexpr int64_t GRID_POINTS = 2048;  // points that one task evaluates

// Specialise work for the number of vectors of a pixel, and of streams: work(Vectors<1>(), Number<3>()).
template <int N>
struct Number {
    static constexpr int VALUE = N;
};

template <class Work>
inline void by_streams(int64_t streams, Work work) {
    if (streams == 1) work(Number<1>());
    if (streams == 3) work(Number<3>());
    if (streams == 4) work(Number<4>());
}

template <class Work>
inline void by_vectors(int64_t floats, Work work) {
    if (floats <= LANES) return work(Number<1>());
    if constexpr (LANES < 16)
        if (floats <= 2 * LANES) return work(Number<2>());
    if constexpr (LANES < 8) {
        if (floats <= 3 * LANES) return work(Number<3>());
        return work(Number<4>());
    }
}

// Derivatives up to the second, as far as streams need them.
constexpr int orders_of(int streams) { return streams == 1 ? 1 : streams - 1; }

// Write a block of results. to(i) is the pixel of point i.
template <int CHANNELS, class To>
inline void write_block(const eoren_latent_field& f, const Decoder& d, int64_t points, int64_t room, To to) {
    const int64_t stride = f.linear ? CHANNELS : d.stride, step = room * stride;
    const float* said = f.linear ? d.said : d.from;
    for (int64_t i = 0; i < points; ++i, said += stride) {
        const int64_t at = to(i) * CHANNELS;
        EOREN_UNROLL for (int c = 0; c < CHANNELS; ++c) {
            if (f.color) f.color[at + c] = said[c] + d.last_bias[c];
            if (f.gradient) f.gradient[2 * (at + c)] = said[step + c];
            if (f.gradient) f.gradient[2 * (at + c) + 1] = said[2 * step + c];
            if (f.laplacian) f.laplacian[at + c] = said[3 * step + c];
        }
    }
}

// Decode the features of a block, and write the results.
template <class To>
inline void finish_block(const eoren_latent_field& f, const Decoder& d, int64_t points, int64_t room, To to) {
    by_channels(f.channels, [&](auto channels) {
        if (f.linear) decode<channels.COUNT>(d, room, f.streams);
        write_block<channels.COUNT>(f, d, points, room, to);
    });
}

inline int64_t room_of(int64_t points) { return (points + 7) / 8 * 8; }

// Positions along an axis of a grid: taps, or pixels where the features are samples.
struct Axis {
    Taps* taps;
    int64_t count, first, end;  // coefficients or samples that are needed
};

template <int ORDERS>
inline void compute_axis(const double* position, int64_t length, double unit, int64_t padding, Axis& axis) {
    axis.first = length + 2 * padding, axis.end = 0;
    for (int64_t i = 0; i < axis.count; ++i) {
        if (padding)
            axis.taps[i] = taps_at<ORDERS>(position[i], length, (float)unit);
        else
            axis.taps[i].first = position[i] < (double)length ? (position[i] > 0 ? (int64_t)position[i] : 0) : length - 1;
        const int64_t first = axis.taps[i].first, end = first + (padding ? TAPS : 1);
        if (first < axis.first) axis.first = first;
        if (end > axis.end) axis.end = end;
    }
}

struct GridAxes {
    Axis x, y;

    GridAxes(const eoren_latent_grid& g, Arena& arena) {
        x = {(Taps*)arena.floats(g.columns * sizeof(Taps) / 4), g.columns, 0, 0};
        y = {(Taps*)arena.floats(g.rows * sizeof(Taps) / 4), g.rows, 0, 0};
    }
};

inline int64_t latent_grid_shared(const eoren_latent_grid* g) {
    Arena arena = {nullptr, 0};
    arena.floats(sizeof(GridAxes) / 4);
    GridAxes(*g, arena);
    return arena.used;
}

inline void latent_grid_begin(const eoren_latent_grid* g, char* shared) {
    Arena arena = {shared, 0};
    GridAxes& axes = *(GridAxes*)arena.floats(sizeof(GridAxes) / 4);
    axes = GridAxes(*g, arena);
    const eoren_latent_field& f = g->field;
    by_streams(f.streams, [&](auto streams) {
        constexpr int ORDERS = orders_of(streams.VALUE);
        compute_axis<ORDERS>(g->x, f.columns, f.unit[0], f.padding, axes.x);
        compute_axis<ORDERS>(g->y, f.rows, f.unit[1], f.padding, axes.y);
    });
}

inline int64_t latent_grid_tasks(const eoren_latent_grid* g) { return (g->rows + GRID_ROWS - 1) / GRID_ROWS; }

// Rows of features between the pixels: value, derivative and second derivative along y.
inline void blend_rows_room(const eoren_latent_field& f, Arena& arena, float** rows) {
    for (int k = 0; k < 3; ++k) rows[k] = arena.floats(f.stride + 2 * LANES);
}

inline int64_t latent_grid_scratch(const eoren_latent_grid* g) {
    Arena arena = {nullptr, 0};
    float* rows[3];
    decoder_of(g->field, arena);
    blend_rows_room(g->field, arena, rows);
    return arena.used;
}

template <int ORDERS>
inline void blend_rows(const float* from, int64_t stride, const Taps& taps, int64_t floats, float* const* to) {
    for (int64_t j = 0; j < floats; j += LANES) {
        Vector total[ORDERS] = {};
        EOREN_UNROLL for (int t = 0; t < TAPS; ++t) {
            const Vector each = load(from + t * stride + j);
            EOREN_UNROLL for (int k = 0; k < ORDERS; ++k) total[k] += taps.weight[k][t] * each;
        }
        EOREN_UNROLL for (int k = 0; k < ORDERS; ++k) store(to[k] + j, total[k]);
    }
}

// The sum of six pixels with weights.
template <int VECTORS>
inline void blend_pixels(const float* from, int64_t count, const float* weight, Vector* total) {
    EOREN_UNROLL for (int t = 0; t < TAPS; ++t)
        EOREN_UNROLL for (int m = 0; m < VECTORS; ++m)
            total[m] += weight[t] * load(from + t * count + m * LANES);
}

template <int STREAMS, int VECTORS>
inline void draw_rows(const eoren_latent_grid& g, const GridAxes& axes, const Decoder& d, float* const* rows,
                      int64_t first_row, int64_t end_row) {
    constexpr int ORDERS = orders_of(STREAMS);
    const eoren_latent_field& f = g.field;
    const int64_t left = axes.x.first, floats = (axes.x.end - left) * f.count;
    // The vectors of the last pixels read zeros behind a row.
    for (int k = 0; k < ORDERS; ++k)
        for (int64_t j = 0; j < 2 * LANES; j += LANES) store(rows[k] + floats + j, Vector{});
    for (int64_t y = first_row; y < end_row; ++y) {
        const Taps& down = axes.y.taps[y];
        const float* from = f.features + down.first * f.stride + left * f.count;
        if (f.padding) blend_rows<ORDERS>(from, f.stride, down, floats, rows);
        for (int64_t start = 0; start < g.columns; start += BLOCK) {
            const int64_t points = g.columns - start < BLOCK ? g.columns - start : BLOCK, room = room_of(points);
            for (int64_t i = 0; i < points; ++i) {
                const Taps& across = axes.x.taps[start + i];
                const int64_t at = (across.first - left) * f.count;
                Vector stream[STREAMS][VECTORS] = {};
                if (!f.padding) {
                    EOREN_UNROLL for (int m = 0; m < VECTORS; ++m) stream[0][m] = load(from + at + m * LANES);
                } else {
                    blend_pixels<VECTORS>(rows[0] + at, f.count, across.weight[0], stream[0]);
                    if constexpr (STREAMS > 1) {
                        blend_pixels<VECTORS>(rows[0] + at, f.count, across.weight[1], stream[1]);
                        blend_pixels<VECTORS>(rows[1] + at, f.count, across.weight[0], stream[2]);
                    }
                    if constexpr (STREAMS > 3) {
                        blend_pixels<VECTORS>(rows[0] + at, f.count, across.weight[2], stream[3]);
                        blend_pixels<VECTORS>(rows[2] + at, f.count, across.weight[0], stream[3]);
                    }
                }
                EOREN_UNROLL for (int s = 0; s < STREAMS; ++s)
                    EOREN_UNROLL for (int m = 0; m < VECTORS; ++m)
                        store(d.from + (s * room + i) * d.stride + m * LANES, stream[s][m]);
            }
            const int64_t pixel = y * g.pitch + start;
            finish_block(f, d, points, room, [=](int64_t i) { return pixel + i; });
        }
    }
}

inline void latent_grid_run(const eoren_latent_grid* g, int64_t task, char* scratch, char* shared) {
    Arena arena = {scratch, 0};
    Decoder d = decoder_of(g->field, arena);
    float* rows[3];
    blend_rows_room(g->field, arena, rows);
    prepare(g->field, d);
    const int64_t start = task * GRID_ROWS, end = start + GRID_ROWS < g->rows ? start + GRID_ROWS : g->rows;
    by_streams(g->field.streams, [&](auto streams) {
        by_vectors(g->field.count, [&](auto vectors) {
            draw_rows<streams.VALUE, vectors.VALUE>(*g, *(const GridAxes*)shared, d, rows, start, end);
        });
    });
}

// Features and their derivatives at one point, from six rows of six coefficients.
template <int STREAMS, int VECTORS>
inline void blend_point(const eoren_latent_field& f, const Taps& x, const Taps& y, float* to, int64_t step) {
    const float* corner = f.features + y.first * f.stride + x.first * f.count;
    EOREN_UNROLL for (int m = 0; m < VECTORS; ++m) {
        Vector stream[STREAMS] = {};
        EOREN_UNROLL for (int r = 0; r < TAPS; ++r) {
            const float* from = corner + r * f.stride + m * LANES;
            constexpr int ORDERS = orders_of(STREAMS);
            Vector row[ORDERS] = {};
            EOREN_UNROLL for (int t = 0; t < TAPS; ++t) {
                const Vector each = load(from + t * f.count);
                EOREN_UNROLL for (int k = 0; k < ORDERS; ++k) row[k] += x.weight[k][t] * each;
            }
            stream[0] += y.weight[0][r] * row[0];
            if constexpr (STREAMS > 1) {
                stream[1] += y.weight[0][r] * row[1];
                stream[2] += y.weight[1][r] * row[0];
            }
            if constexpr (STREAMS > 3) stream[3] += y.weight[0][r] * row[2] + y.weight[2][r] * row[0];
        }
        EOREN_UNROLL for (int s = 0; s < STREAMS; ++s) store(to + s * step + m * LANES, stream[s]);
    }
}

inline int64_t latent_points_tasks(const eoren_latent_points* p) { return (p->count + GRID_POINTS - 1) / GRID_POINTS; }

inline int64_t latent_points_scratch(const eoren_latent_points* p) {
    Arena arena = {nullptr, 0};
    decoder_of(p->field, arena);
    return arena.used;
}

inline void latent_points_run(const eoren_latent_points* p, int64_t task, char* scratch) {
    Arena arena = {scratch, 0};
    const eoren_latent_field& f = p->field;
    Decoder d = decoder_of(f, arena);
    prepare(f, d);
    const int64_t first = task * GRID_POINTS, end = first + GRID_POINTS < p->count ? first + GRID_POINTS : p->count;
    for (int64_t start = first; start < end; start += BLOCK) {
        const int64_t points = end - start < BLOCK ? end - start : BLOCK, room = room_of(points);
        const int64_t* order = p->order + start;
        by_streams(f.streams, [&](auto streams) {
            constexpr int ORDERS = orders_of(streams.VALUE);
            by_vectors(f.count, [&](auto vectors) {
                for (int64_t i = 0; i < points; ++i) {
                    const double* point = p->point + 2 * order[i];
                    const double x = point[0] * p->size[0] - 0.5 - p->corner[0];
                    const double y = point[1] * p->size[1] - 0.5 - p->corner[1];
                    const Taps across = taps_at<ORDERS>(x, f.columns, (float)f.unit[0]);
                    const Taps down = taps_at<ORDERS>(y, f.rows, (float)f.unit[1]);
                    blend_point<streams.VALUE, vectors.VALUE>(f, across, down, d.from + i * d.stride, room * d.stride);
                }
            });
        });
        finish_block(f, d, points, room, [=](int64_t i) { return order[i]; });
    }
}

}  // namespace
