// Evaluation of networks at scattered points, and of a mosaic on a grid (field/field.py).
#pragma once

#include "lattice.h"
#include "network.h"

namespace {

// Evaluate one network, with channel tuning, at a range of its points.
inline void evaluate(const eoren_query& q, int64_t tile, int64_t first, int64_t end, char* scratch) {
    Arena arena = {scratch, 0};
    const Prepared r = arrange(q.network, arena, use_of(q.axes, q.laplacian != 0));
    take(q.network, tile, r, false);
    const int64_t channels = q.network.channels;
    Streams s = {0, q.axes, {q.axis[0], q.axis[1]}, {}, q.laplacian != 0};
    for (int64_t a = 0; a < q.axes; ++a) s.scale[a] = q.scale[2 * tile + q.axis[a]];
    float local[2 * BLOCK];
    for (int64_t start = first; start < end; start += BLOCK) {
        const int64_t points = end - start < BLOCK ? end - start : BLOCK;
        s.points = (points + 7) / 8 * 8;
        for (int64_t i = 0; i < s.points; ++i) {
            const float* from = q.point + 2 * (start + (i < points ? i : 0));
            local[2 * i] = from[0], local[2 * i + 1] = from[1];
        }
        forward(r, s, Scattered{r, local});
        for (int64_t i = 0; i < points; ++i)
            for (int64_t stream = 0; stream < s.count(); ++stream)
                for (int64_t c = 0; c < channels; ++c) {
                    const float alpha = q.tuning.alpha[tile * channels + c];
                    const float beta = stream ? 0.0f : q.tuning.beta[tile * channels + c];
                    q.said[((start + i) * s.count() + stream) * channels + c] =
                        alpha * r.said[(stream * s.points + i) * channels + c] + beta;
                }
    }
}

// The weight of a tile along one axis, and its first two derivatives: the product over the cuts across this axis.
template <class Number>
struct Share {
    Number weight, slope, bend;
};

inline Share<double> share(const eoren_grid& g, int64_t tile, int64_t axis, double x) {
    Share<double> total = {1, 0, 0};
    for (int64_t k = g.first[tile]; k < g.first[tile + 1]; ++k) {
        if ((int64_t)g.cut[3 * k] != axis) continue;
        const double t = (x - g.cut[3 * k + 1]) / g.halo;
        Share<double> own = {t >= 1 ? 1.0 : 0.0, 0, 0};
        if (t > -1 && t < 1) {
            const double s = (t + 1) / 2, rest = s * (s - 1);
            own.weight = s * s * s * (s * (6 * s - 15) + 10);
            own.slope = 15 * rest * rest / g.halo;
            own.bend = 15 * rest * (2 * s - 1) / (g.halo * g.halo);
        }
        if (g.cut[3 * k + 2] == 0) own = {1 - own.weight, -own.slope, -own.bend};
        total = {total.weight * own.weight, total.slope * own.weight + total.weight * own.slope,
                 total.bend * own.weight + 2 * total.slope * own.slope + total.weight * own.bend};
    }
    return total;
}

// The columns or rows of a cell in which the weight of a tile is above zero; they are contiguous.
inline int64_t reached(const eoren_grid& g, int64_t tile, int64_t axis, const double* at, int64_t count,
                       Share<float>* shares, int64_t& first) {
    int64_t end = 0;
    first = count;
    for (int64_t i = 0; i < count; ++i) {
        const Share<double> own = share(g, tile, axis, at[i]);
        const double unit = g.unit[axis];
        shares[i] = {(float)own.weight, (float)(unit * own.slope), (float)(unit * unit * own.bend)};
        if (own.weight > 0) {
            if (first == count) first = i;
            end = i + 1;
        }
    }
    return end;
}

// Points drawn at a time; their data fit into the first-level cache.
constexpr int64_t DRAWN = 16;

// Return whether a tile has a weight above zero in a cell.
inline bool near(const eoren_grid& g, int64_t tile, int64_t x0, int64_t wide, int64_t y0, int64_t high) {
    for (int64_t k = g.first[tile]; k < g.first[tile + 1]; ++k) {
        const bool down = g.cut[3 * k] != 0, above = g.cut[3 * k + 2] != 0;
        const double one = down ? g.y[y0] : g.x[x0], other = down ? g.y[y0 + high - 1] : g.x[x0 + wide - 1];
        const double most = one > other ? one : other, least = one > other ? other : one;
        if (above ? most <= g.cut[3 * k + 1] - g.halo : least >= g.cut[3 * k + 1] + g.halo) return false;
    }
    return true;
}

// Add the contribution of one network to a pixel. The streams in `said` are `row` numbers apart.
template <int CHANNELS>
inline void blend(const eoren_grid& g, int64_t pixel, const Share<float>& h, const Share<float>& v, const float* alpha,
                  const float* beta, const float* said, int64_t row) {
    const float weight = h.weight * v.weight;
    const int64_t at = pixel * CHANNELS;
    float color[CHANNELS];
    EOREN_UNROLL for (int c = 0; c < CHANNELS; ++c) color[c] = alpha[c] * said[c] + beta[c];
    if (g.color)
        EOREN_UNROLL for (int c = 0; c < CHANNELS; ++c) g.color[at + c] += weight * color[c];
    if (!g.gradient && !g.laplacian) return;
    const float by_x = h.slope * v.weight, by_y = h.weight * v.slope, bend = h.bend * v.weight + h.weight * v.bend;
    EOREN_UNROLL for (int c = 0; c < CHANNELS; ++c) {
        const float dx = alpha[c] * said[row + c], dy = alpha[c] * said[2 * row + c];
        if (g.gradient) {
            g.gradient[2 * (at + c)] += weight * dx + color[c] * by_x;
            g.gradient[2 * (at + c) + 1] += weight * dy + color[c] * by_y;
        }
        if (g.laplacian)
            g.laplacian[at + c] +=
                weight * alpha[c] * said[3 * row + c] + 2 * (by_x * dx + by_y * dy) + color[c] * bend;
    }
}

template <int CHANNELS>
inline void draw_cell(const eoren_grid& g, int64_t cell, char* scratch) {
    const int64_t across = (g.columns + CELL - 1) / CELL;
    const int64_t x0 = cell % across * CELL, y0 = cell / across * CELL;
    const int64_t wide = g.columns - x0 < CELL ? g.columns - x0 : CELL;
    const int64_t high = g.rows - y0 < CELL ? g.rows - y0 : CELL;
    const int64_t axes = g.streams > 1 ? 2 : 0;
    Arena arena = {scratch, 0};
    const Prepared r = arrange(g.network, arena, use_of(axes, g.streams == 4));
    const Lattice lattice(r.width, arena.floats(lattice_floats(r.width)));
    for (int64_t y = y0; y < y0 + high; ++y) {
        const int64_t at = (y * g.columns + x0) * CHANNELS, numbers = wide * CHANNELS;
        for (int64_t k = 0; k < numbers; ++k) {
            if (g.color) g.color[at + k] = 0;
            if (g.gradient) g.gradient[2 * (at + k)] = g.gradient[2 * (at + k) + 1] = 0;
            if (g.laplacian) g.laplacian[at + k] = 0;
        }
    }
    for (int64_t tile = 0; tile < g.batch; ++tile) {
        if (!near(g, tile, x0, wide, y0, high)) continue;
        Share<float> along[CELL], down[CELL];
        int64_t left, top;
        const int64_t right = reached(g, tile, 0, g.x + x0, wide, along, left);
        const int64_t bottom = reached(g, tile, 1, g.y + y0, high, down, top);
        if (left >= right || top >= bottom) continue;
        take(g.network, tile, r, false);
        const double half = g.half[tile];
        const double *centre = g.centre + 2 * tile;
        Streams s = {0, axes, {0, 1}, {(float)(g.unit[0] / half), (float)(g.unit[1] / half)}, g.streams == 4};
        const float *alpha = g.tuning.alpha + tile * CHANNELS, *beta = g.tuning.beta + tile * CHANNELS;
        const int64_t span = right - left, numbers = span * (bottom - top);
        float u[CELL], v[CELL];
        for (int64_t i = 0; i < span; ++i) u[i] = (float)((g.x[x0 + left + i] - centre[0]) / half);
        for (int64_t i = 0; i < bottom - top; ++i) v[i] = (float)((g.y[y0 + top + i] - centre[1]) / half);
        lattice.prepare(r, u, span, v, bottom - top);
        Place place[DRAWN];
        for (int64_t start = 0; start < numbers; start += DRAWN) {
            const int64_t points = numbers - start < DRAWN ? numbers - start : DRAWN;
            s.points = (points + 7) / 8 * 8;
            int32_t x = (int32_t)(start % span), y = (int32_t)(start / span);
            for (int64_t i = 0; i < s.points; ++i) {
                place[i] = {x, y};
                if (i < points - 1 && ++x == span) x = 0, ++y;
            }
            forward(r, s, OnLattice{lattice, place});
            for (int64_t i = 0; i < points; ++i) {
                const int64_t column = left + place[i].column, row = top + place[i].row;
                blend<CHANNELS>(g, (y0 + row) * g.columns + x0 + column, along[column], down[row], alpha, beta,
                                r.said + i * CHANNELS, s.points * CHANNELS);
            }
        }
    }
}

inline void draw(const eoren_grid& g, int64_t cell, char* scratch) {
    by_channels(g.network.channels, [&](auto channels) { draw_cell<channels.COUNT>(g, cell, scratch); });
}

}  // namespace
