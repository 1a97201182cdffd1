// Networks at scattered points, and a mosaic on a grid: field.py.
#pragma once

#include "network.h"

namespace {

// Say, tuned, at some of one network's points.
inline void evaluate(const eoren_query& q, int64_t tile, int64_t first, int64_t end, char* scratch) {
    Arena arena = {scratch, 0};
    const Prepared r = arrange(q.network, arena, false);
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
        forward(r, s, local);
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

constexpr int64_t CELL = 64;  // columns and rows of a piece of a grid that one thread draws

// A tile's weight along one axis, with its first two derivatives by pixels: the product over the cuts across the axis.
struct Share {
    double weight, slope, bend;
};

inline Share share(const eoren_grid& g, int64_t tile, int64_t axis, double x) {
    Share total = {1, 0, 0};
    for (int64_t k = g.first[tile]; k < g.first[tile + 1]; ++k) {
        if ((int64_t)g.cut[3 * k] != axis) continue;
        const double t = (x - g.cut[3 * k + 1]) / g.halo;
        Share own = {t >= 1 ? 1.0 : 0.0, 0, 0};
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

// Columns or rows of a cell that a tile reaches: those where its weight is above zero lie together.
inline int64_t reached(const eoren_grid& g, int64_t tile, int64_t axis, const double* at, int64_t count, Share* shares,
                       int64_t& first) {
    int64_t end = 0;
    first = count;
    for (int64_t i = 0; i < count; ++i) {
        shares[i] = share(g, tile, axis, at[i]);
        if (shares[i].weight > 0) {
            if (first == count) first = i;
            end = i + 1;
        }
    }
    return end;
}

inline void draw(const eoren_grid& g, int64_t cell, char* scratch) {
    const int64_t across = (g.columns + CELL - 1) / CELL, channels = g.network.channels;
    const int64_t x0 = cell % across * CELL, y0 = cell / across * CELL;
    const int64_t wide = g.columns - x0 < CELL ? g.columns - x0 : CELL;
    const int64_t high = g.rows - y0 < CELL ? g.rows - y0 : CELL;
    const int64_t axes = g.streams > 1 ? 2 : 0;
    Arena arena = {scratch, 0};
    const Prepared r = arrange(g.network, arena, false);
    for (int64_t y = y0; y < y0 + high; ++y) {
        const int64_t at = (y * g.columns + x0) * channels, numbers = wide * channels;
        for (int64_t k = 0; k < numbers; ++k) {
            if (g.color) g.color[at + k] = 0;
            if (g.gradient) g.gradient[2 * (at + k)] = g.gradient[2 * (at + k) + 1] = 0;
            if (g.laplacian) g.laplacian[at + k] = 0;
        }
    }
    for (int64_t tile = 0; tile < g.batch; ++tile) {
        bool near = true;
        for (int64_t k = g.first[tile]; k < g.first[tile + 1] && near; ++k) {
            const bool down = g.cut[3 * k] != 0, above = g.cut[3 * k + 2] != 0;
            const double one = down ? g.y[y0] : g.x[x0], other = down ? g.y[y0 + high - 1] : g.x[x0 + wide - 1];
            const double most = one > other ? one : other, least = one > other ? other : one;
            near = above ? most > g.cut[3 * k + 1] - g.halo : least < g.cut[3 * k + 1] + g.halo;
        }
        if (!near) continue;
        Share along[CELL], down[CELL];
        int64_t left, top;
        const int64_t right = reached(g, tile, 0, g.x + x0, wide, along, left);
        const int64_t bottom = reached(g, tile, 1, g.y + y0, high, down, top);
        if (left >= right || top >= bottom) continue;
        take(g.network, tile, r, false);
        const double half = g.half[tile];
        const double *centre = g.centre + 2 * tile;
        Streams s = {0, axes, {0, 1}, {(float)(g.unit[0] / half), (float)(g.unit[1] / half)}, g.streams == 4};
        const float* alpha = g.tuning.alpha + tile * channels;
        const float* beta = g.tuning.beta + tile * channels;
        const int64_t span = right - left, numbers = span * (bottom - top);
        float local[2 * BLOCK];
        for (int64_t start = 0; start < numbers; start += BLOCK) {
            const int64_t points = numbers - start < BLOCK ? numbers - start : BLOCK;
            s.points = (points + 7) / 8 * 8;
            int64_t x = left + start % span, y = top + start / span;
            const int64_t first_x = x, first_y = y;
            for (int64_t i = 0; i < s.points; ++i) {
                local[2 * i] = (float)((g.x[x0 + x] - centre[0]) / half);
                local[2 * i + 1] = (float)((g.y[y0 + y] - centre[1]) / half);
                if (i < points - 1 && ++x == right) x = left, ++y;
            }
            forward(r, s, local);
            x = first_x, y = first_y;
            for (int64_t i = 0; i < points; ++i) {
                const Share &h = along[x], &v = down[y];
                const float weight = (float)(h.weight * v.weight);
                const float by_x = (float)(h.slope * v.weight * g.unit[0]);
                const float by_y = (float)(h.weight * v.slope * g.unit[1]);
                const int64_t at = ((y0 + y) * g.columns + x0 + x) * channels;
                for (int64_t c = 0; c < channels; ++c) {
                    const int64_t row = s.points * channels, from = i * channels + c;
                    const float color = alpha[c] * r.said[from] + beta[c];
                    if (g.color) g.color[at + c] += weight * color;
                    if (g.streams == 1) continue;
                    const float dx = alpha[c] * r.said[row + from], dy = alpha[c] * r.said[2 * row + from];
                    if (g.gradient) {
                        g.gradient[2 * (at + c)] += weight * dx + color * by_x;
                        g.gradient[2 * (at + c) + 1] += weight * dy + color * by_y;
                    }
                    if (g.laplacian) {
                        const float bend = (float)(h.bend * v.weight * g.unit[0] * g.unit[0] +
                                                   h.weight * v.bend * g.unit[1] * g.unit[1]);
                        g.laplacian[at + c] += weight * alpha[c] * r.said[3 * row + from] +
                                               2 * (by_x * dx + by_y * dy) + color * bend;
                    }
                }
                if (++x == right) x = left, ++y;
            }
        }
    }
}

}  // namespace
