// One SIREN at a block of points: streams forward (siren.py's propagate), gradients back (backpropagation.py).
//
// Rows of a block: the value at all its points, then d/dx at all, d/dy, the Laplacian. Points come in eights.
#pragma once

#include "eoren.h"
#include "product.h"

namespace {

constexpr int64_t BLOCK = 32;  // points: their activations and gradients stay in the second-level cache
constexpr int64_t ROWS = BLOCK * EOREN_MOST_STREAMS;

// Scratch memory, cut into pieces. Without a base it only says how much they take.
struct Arena {
    char* base;
    int64_t used;

    float* floats(int64_t count) {
        float* at = base ? (float*)(base + used) : nullptr;
        used += (4 * count + 63) / 64 * 64;
        return at;
    }
};

// A network's weights as the passes want them, omega included, and room for a block.
struct Prepared {
    int64_t width, depth, channels;
    float* first;                      // (2, width)
    float* hidden[EOREN_MOST_LAYERS];  // (width, width), of layer 1 ...
    float* turned[EOREN_MOST_LAYERS];  // the same, transposed
    float* bias[EOREN_MOST_LAYERS];    // (width), of every sine layer
    float* last;                       // (channels, width)
    float* last_bias;

    float* z[EOREN_MOST_LAYERS];    // (rows, width), activations of every sine layer
    float* p[EOREN_MOST_LAYERS];    // (rows, width), pre-activations of layer 1 ...
    float* cos[EOREN_MOST_LAYERS];  // (points, width)
    float* tangent;                 // (2, width), derivatives of the first layer's pre-activation
    float *by_z, *spare;            // (rows, width), gradients
    float* said;                    // (rows, channels)
    float* by_said;
};

inline Prepared arrange(const eoren_networks& n, Arena& arena, bool backward) {
    Prepared r = {};
    r.width = n.width, r.depth = n.depth, r.channels = n.channels;
    r.first = arena.floats(2 * n.width);
    for (int64_t k = 0; k < n.depth; ++k) {
        r.bias[k] = arena.floats(n.width);
        if (k > 0) r.hidden[k] = arena.floats(n.width * n.width);
        if (k > 0 && backward) r.turned[k] = arena.floats(n.width * n.width);
        r.z[k] = k == 0 || backward ? arena.floats(ROWS * n.width) : r.z[k - 1];
        if (k > 0) r.p[k] = k == 1 || backward ? arena.floats(ROWS * n.width) : r.p[1];
        r.cos[k] = k == 0 || backward ? arena.floats(BLOCK * n.width) : r.cos[0];
    }
    r.last = arena.floats(n.channels * n.width);
    r.last_bias = arena.floats(n.channels);
    r.tangent = arena.floats(2 * n.width);
    r.said = arena.floats(ROWS * n.channels);
    if (backward) {
        r.by_z = arena.floats(ROWS * n.width);
        r.spare = arena.floats(ROWS * n.width);
        r.by_said = arena.floats(ROWS * n.channels);
    }
    return r;
}

inline void scaled(const float* from, int64_t count, float scale, float* to) {
    for (int64_t k = 0; k < count; ++k) to[k] = scale * from[k];
}

// Take up one network of the batch.
inline void take(const eoren_networks& n, int64_t which, const Prepared& r, bool backward) {
    const int64_t w = n.width, c = n.channels;
    for (int64_t k = 0; k < n.depth; ++k) {
        scaled(n.bias[k] + which * w, w, n.omega[k], r.bias[k]);
        if (k == 0) {
            scaled(n.weight[0] + which * 2 * w, 2 * w, n.omega[0], r.first);
        } else {
            const float* weight = n.weight[k] + which * w * w;
            scaled(weight, w * w, n.omega[k], r.hidden[k]);
            if (backward) transpose(w, w, weight, n.omega[k], r.turned[k]);
        }
    }
    transpose(w, c, n.weight[n.depth] + which * w * c, 1.0f, r.last);
    scaled(n.bias[n.depth] + which * c, c, 1.0f, r.last_bias);
}

// The streams of a block.
struct Streams {
    int64_t points;  // a multiple of 8
    int64_t axes, axis[2];
    float scale[2];  // of the axes, in their order: local coordinates to a unit
    bool laplacian;

    int64_t count() const { return 1 + axes + laplacian; }
};

// z and cos of a sine layer from the pre-activations of its value and derivatives.
template <int AXES, bool LAPLACIAN>
inline void sine(int64_t numbers, const float* p, float* z, float* cos) {
    for (int64_t k = 0; k < numbers; k += LANES) {
        const Wave w = wave(load(p + k));
        store(z + k, w.sin);
        store(cos + k, w.cos);
        Vector bend = {};
        for (int a = 1; a <= AXES; ++a) {
            const Vector along = load(p + a * numbers + k);
            store(z + a * numbers + k, w.cos * along);
            if (LAPLACIAN) bend += along * along;
        }
        if (LAPLACIAN) {
            const int64_t at = (AXES + 1) * numbers + k;
            store(z + at, w.cos * load(p + at) - w.sin * bend);
        }
    }
}

// The first layer, whose derivatives' pre-activations are the same at every point.
template <int AXES, bool LAPLACIAN>
inline void first_sine(const Prepared& r, int64_t points, const float* local) {
    const int64_t w = r.width, numbers = points * w;
    for (int64_t j = 0; j < w; j += LANES) {
        const Vector by_u = load(r.first + j), by_v = load(r.first + w + j), bias = load(r.bias[0] + j);
        Vector tangent[2] = {};
        Vector bend = {};
        for (int a = 0; a < AXES; ++a) tangent[a] = load(r.tangent + a * w + j), bend += tangent[a] * tangent[a];
        for (int64_t i = 0; i < points; ++i) {
            const Wave s = wave(local[2 * i] * by_u + local[2 * i + 1] * by_v + bias);
            const int64_t at = i * w + j;
            store(r.z[0] + at, s.sin);
            store(r.cos[0] + at, s.cos);
            for (int a = 0; a < AXES; ++a) store(r.z[0] + (a + 1) * numbers + at, s.cos * tangent[a]);
            if (LAPLACIAN) store(r.z[0] + (AXES + 1) * numbers + at, -s.sin * bend);
        }
    }
}

// The last layer, without its bias.
template <int CHANNELS>
inline void say(const Prepared& r, int64_t rows) {
    const int64_t w = r.width;
    const float* z = r.z[r.depth - 1];
    for (int64_t row = 0; row < rows; ++row, z += w) {
        Vector total[CHANNELS];
        EOREN_UNROLL for (int c = 0; c < CHANNELS; ++c) total[c] = Vector{};
        for (int64_t j = 0; j < w; j += LANES) {
            const Vector each = load(z + j);
            EOREN_UNROLL for (int c = 0; c < CHANNELS; ++c) total[c] += each * load(r.last + c * w + j);
        }
        EOREN_UNROLL for (int c = 0; c < CHANNELS; ++c) r.said[row * CHANNELS + c] = sum(total[c]);
    }
}

template <int AXES, bool LAPLACIAN>
inline void propagate(const Prepared& r, const Streams& s, const float* local) {
    const int64_t w = r.width, rows = s.count() * s.points;
    for (int64_t a = 0; a < AXES; ++a) scaled(r.first + s.axis[a] * w, w, s.scale[a], r.tangent + a * w);
    first_sine<AXES, LAPLACIAN>(r, s.points, local);
    for (int64_t k = 1; k < r.depth; ++k) {
        const int64_t values = s.points * w;
        multiply(s.points, w, w, {r.z[k - 1], w, 1}, r.hidden[k], r.p[k], r.bias[k]);
        multiply(rows - s.points, w, w, {r.z[k - 1] + values, w, 1}, r.hidden[k], r.p[k] + values);
        sine<AXES, LAPLACIAN>(values, r.p[k], r.z[k], r.cos[k]);
    }
    if (r.channels == 1) say<1>(r, rows);
    if (r.channels == 2) say<2>(r, rows);
    if (r.channels == 3) say<3>(r, rows);
    if (r.channels == 4) say<4>(r, rows);
    for (int64_t i = 0; i < s.points; ++i)
        for (int64_t c = 0; c < r.channels; ++c) r.said[i * r.channels + c] += r.last_bias[c];
}

inline void forward(const Prepared& r, const Streams& s, const float* local) {
    if (s.laplacian)
        propagate<2, true>(r, s, local);
    else if (s.axes == 2)
        propagate<2, false>(r, s, local);
    else if (s.axes == 1)
        propagate<1, false>(r, s, local);
    else
        propagate<0, false>(r, s, local);
}

// From the gradient by z to the gradient by p, in place.
template <int AXES>
inline void unsine(int64_t numbers, const float* p, const float* z, const float* cos, float* by_z) {
    for (int64_t k = 0; k < numbers; k += LANES) {
        const Vector c = load(cos + k);
        Vector turn = {};
        for (int a = 1; a <= AXES; ++a) {
            const Vector by = load(by_z + a * numbers + k);
            turn += load(p + a * numbers + k) * by;
            store(by_z + a * numbers + k, c * by);
        }
        store(by_z + k, c * load(by_z + k) - load(z + k) * turn);
    }
}

// Where one network's gradient goes.
struct Gradient {
    float *weight[EOREN_MOST_LAYERS], *bias[EOREN_MOST_LAYERS];
};

inline void add_column_sums(int64_t rows, int64_t width, const float* from, float scale, float* to) {
    for (int64_t j = 0; j < width; j += LANES) {
        Vector total = {};
        for (int64_t i = 0; i < rows; ++i) total += load(from + i * width + j);
        store(to + j, load(to + j) + scale * total);
    }
}

template <int AXES>
inline void first_back(const Prepared& r, const Streams& s, const float* local, const float* by_z, float omega,
                       const Gradient& to) {
    const int64_t w = r.width, numbers = s.points * w;
    for (int64_t j = 0; j < w; j += LANES) {
        Vector tangent[2] = {}, along[2] = {};
        for (int a = 0; a < AXES; ++a) tangent[a] = load(r.tangent + a * w + j);
        Vector by_u = {}, by_v = {}, by_bias = {};
        for (int64_t i = 0; i < s.points; ++i) {
            const int64_t at = i * w + j;
            const Vector c = load(r.cos[0] + at);
            Vector turn = {};
            for (int a = 0; a < AXES; ++a) {
                const Vector by = load(by_z + (a + 1) * numbers + at);
                turn += tangent[a] * by;
                along[a] += c * by;
            }
            const Vector by_p = c * load(by_z + at) - load(r.z[0] + at) * turn;
            by_bias += by_p;
            by_u += local[2 * i] * by_p;
            by_v += local[2 * i + 1] * by_p;
        }
        for (int a = 0; a < AXES; ++a) (s.axis[a] ? by_v : by_u) += s.scale[a] * along[a];
        store(to.weight[0] + j, load(to.weight[0] + j) + omega * by_u);
        store(to.weight[0] + w + j, load(to.weight[0] + w + j) + omega * by_v);
        store(to.bias[0] + j, load(to.bias[0] + j) + omega * by_bias);
    }
}

// The last layer: its own gradient, and the one by its inputs.
template <int CHANNELS>
inline void last_back(const Prepared& r, int64_t rows, int64_t points, const Gradient& to) {
    const int64_t w = r.width;
    const float* z = r.z[r.depth - 1];
    for (int c = 0; c < CHANNELS; ++c) {
        float by_bias = 0;
        for (int64_t i = 0; i < points; ++i) by_bias += r.by_said[i * CHANNELS + c];
        to.bias[r.depth][c] += by_bias;
    }
    for (int64_t j = 0; j < w; j += LANES) {
        Vector by_last[CHANNELS], last[CHANNELS];
        EOREN_UNROLL for (int c = 0; c < CHANNELS; ++c) by_last[c] = Vector{}, last[c] = load(r.last + c * w + j);
        for (int64_t row = 0; row < rows; ++row) {
            const Vector said = load(z + row * w + j);
            Vector by = {};
            EOREN_UNROLL for (int c = 0; c < CHANNELS; ++c) {
                const float e = r.by_said[row * CHANNELS + c];
                by += e * last[c];
                by_last[c] += e * said;
            }
            store(r.by_z + row * w + j, by);
        }
        EOREN_UNROLL for (int c = 0; c < CHANNELS; ++c)
            for (int lane = 0; lane < LANES; ++lane) to.weight[r.depth][(j + lane) * CHANNELS + c] += by_last[c][lane];
    }
}

template <int AXES>
inline void pull_back(const Prepared& r, const Streams& s, const float* local, const float* omega, const Gradient& to) {
    const int64_t w = r.width, rows = s.count() * s.points;
    if (r.channels == 1) last_back<1>(r, rows, s.points, to);
    if (r.channels == 2) last_back<2>(r, rows, s.points, to);
    if (r.channels == 3) last_back<3>(r, rows, s.points, to);
    if (r.channels == 4) last_back<4>(r, rows, s.points, to);
    float *by_z = r.by_z, *spare = r.spare;
    for (int64_t k = r.depth - 1; k > 0; --k) {
        unsine<AXES>(s.points * w, r.p[k], r.z[k], r.cos[k], by_z);
        add_product(w, rows, w, {r.z[k - 1], 1, w}, by_z, omega[k], to.weight[k]);
        add_column_sums(s.points, w, by_z, omega[k], to.bias[k]);
        multiply(rows, w, w, {by_z, w, 1}, r.turned[k], spare);
        float* other = by_z;
        by_z = spare, spare = other;
    }
    first_back<AXES>(r, s, local, by_z, omega[0], to);
}

// Add to the gradient of a sum: of `by_said` times what the last `forward` said.
inline void backward(const Prepared& r, const Streams& s, const float* local, const float* omega, const Gradient& to) {
    if (s.axes == 2)
        pull_back<2>(r, s, local, omega, to);
    else if (s.axes == 1)
        pull_back<1>(r, s, local, omega, to);
    else
        pull_back<0>(r, s, local, omega, to);
}

}  // namespace
