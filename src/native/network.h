// One SIREN at a block of points: forward propagation of streams (model/siren.py) and backpropagation
// (backends/backpropagation.py).
//
// Rows of a block: the value at all points, then d/dx at all points, then d/dy, then the Laplacian. The number of points
// is a multiple of 8.
#pragma once

#include "eoren.h"
#include "product.h"

namespace {

constexpr int64_t BLOCK = 32;  // points; activations and gradients of a block fit into the second-level cache
constexpr int64_t ROWS = BLOCK * EOREN_MOST_STREAMS;

// An allocator of scratch memory. Without a base it only counts the bytes.
struct Arena {
    char* base;
    int64_t used;

    float* floats(int64_t count) {
        float* at = base ? (float*)(base + used) : nullptr;
        used += (4 * count + 63) / 64 * 64;
        return at;
    }
};

// The weights of a network in the layout of the passes, multiplied by omega, and buffers for a block.
struct Prepared {
    int64_t width, depth, channels;
    float* first;                      // (2, width)
    float* hidden[EOREN_MOST_LAYERS];  // (width, width), layers 1 ...
    float* turned[EOREN_MOST_LAYERS];  // the same, transposed
    float* bias[EOREN_MOST_LAYERS];    // (width), every sine layer
    float* last;                       // (channels, width)
    float* last_bias;

    float* z[EOREN_MOST_LAYERS];    // (rows, width), activations of every sine layer
    float* cos[EOREN_MOST_LAYERS];  // (points, width); null if only colours are computed
    float* p[EOREN_MOST_LAYERS];    // (2 points, width), derivatives of the pre-activations of layer 1 ...; or null
    float* tangent;                 // (2, width), derivatives of the first layer's pre-activation
    float *by_z, *spare;            // (rows, width), gradients
    float* said;                    // (rows, channels)
    float* by_said;
};

// The quantities to compute; each includes the ones before it.
enum Use { COLORS, GRADIENTS, LAPLACIANS, TRAINING };

inline Use use_of(int64_t axes, bool laplacian) { return laplacian ? LAPLACIANS : axes ? GRADIENTS : COLORS; }

// Specialise work for the number of channels at compile time: work(Channels<3>()) for three.
template <int N>
struct Channels {
    static constexpr int COUNT = N;
};

template <class Work>
inline void by_channels(int64_t channels, Work work) {
    if (channels == 1) work(Channels<1>());
    if (channels == 2) work(Channels<2>());
    if (channels == 3) work(Channels<3>());
    if (channels == 4) work(Channels<4>());
}

inline Prepared arrange(const eoren_networks& n, Arena& arena, Use use) {
    const bool backward = use == TRAINING;
    Prepared r = {};
    r.width = n.width, r.depth = n.depth, r.channels = n.channels;
    r.first = arena.floats(2 * n.width);
    for (int64_t k = 0; k < n.depth; ++k) {
        r.bias[k] = arena.floats(n.width);
        if (k > 0) r.hidden[k] = arena.floats(n.width * n.width);
        if (k > 0 && backward) r.turned[k] = arena.floats(n.width * n.width);
        r.z[k] = k < 2 || backward ? arena.floats(ROWS * n.width) : r.z[k - 2];
        if (use >= GRADIENTS) r.cos[k] = k == 0 || backward ? arena.floats(BLOCK * n.width) : r.cos[0];
        if (use >= LAPLACIANS && k > 0) r.p[k] = k == 1 || backward ? arena.floats(2 * BLOCK * n.width) : r.p[1];
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

// Load one network of the batch.
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
    float scale[2];  // local coordinates per unit, in the order of the axes
    bool laplacian;

    int64_t count() const { return 1 + axes + laplacian; }
};

// A sine layer after the first one: its inputs and outputs, all points of a stream together.
struct SineLayer {
    int64_t inputs, outputs, stride;  // stride: floats between the inputs of two points
    const float *from, *weight, *bias;
    float *z, *cos, *p;  // cos: null if only colours are computed; p: derivatives of the pre-activations, or null
};

// Compute a layer, and store the quantities that backpropagation needs.
template <int AXES, bool LAPLACIAN>
inline void sine_layer(const SineLayer& l, int64_t points) {
    const int64_t w = l.outputs, numbers = points * w, step = points * l.stride;
    float *z = l.z, *cos = l.cos;
    if (!cos) {
        multiply(points, l.inputs, w, {l.from, l.stride, 1}, l.weight, l.bias,
                 [=](int64_t at, Vector angle) { store(z + at, sine_of(angle)); });
        return;
    }
    multiply(points, l.inputs, w, {l.from, l.stride, 1}, l.weight, l.bias, [=](int64_t at, Vector angle) {
        const Wave found = wave(angle);
        store(z + at, found.sin);
        store(cos + at, found.cos);
    });
    for (int a = 1; a <= AXES; ++a) {
        float *p = l.p ? l.p + (a - 1) * numbers : nullptr, *slope = z + a * numbers;
        const Left left = {l.from + a * step, l.stride, 1};
        if (p)
            multiply(points, l.inputs, w, left, l.weight, nullptr, [=](int64_t at, Vector along) {
                store(p + at, along);
                store(slope + at, load(cos + at) * along);
            });
        else
            multiply(points, l.inputs, w, left, l.weight, nullptr,
                     [=](int64_t at, Vector along) { store(slope + at, load(cos + at) * along); });
    }
    if (LAPLACIAN) {
        const float *px = l.p, *py = px + numbers;
        float* bend = z + (AXES + 1) * numbers;
        const Left left = {l.from + (AXES + 1) * step, l.stride, 1};
        multiply(points, l.inputs, w, left, l.weight, nullptr, [=](int64_t at, Vector along) {
            const Vector x = load(px + at), y = load(py + at);
            store(bend + at, load(cos + at) * along - load(z + at) * (x * x + y * y));
        });
    }
}

template <int AXES, bool LAPLACIAN>
inline void hidden_sine(const Prepared& r, int64_t k, int64_t points) {
    const int64_t w = r.width;
    sine_layer<AXES, LAPLACIAN>({w, w, w, r.z[k - 1], r.hidden[k], r.bias[k], r.z[k], r.cos[k], r.p[k]}, points);
}

// The first layer at arbitrary points: sine and cosine of units j and following at point i.
struct Scattered {
    const Prepared& r;
    const float* local;  // (points, 2)

    struct Units {
        Vector by_u, by_v, bias;
        const float* local;
        Vector angle(int64_t i) const { return local[2 * i] * by_u + local[2 * i + 1] * by_v + bias; }
        Wave at(int64_t i) const { return wave(angle(i)); }
        Vector sine_at(int64_t i) const { return sine_of(angle(i)); }
    };
    Units units(int64_t j) const { return {load(r.first + j), load(r.first + r.width + j), load(r.bias[0] + j), local}; }
};

// Compute the first layer, whose pre-activations have constant derivatives.
template <int AXES, bool LAPLACIAN, class Points>
inline void first_sine(const Prepared& r, int64_t points, Points where) {
    const int64_t w = r.width, numbers = points * w;
    for (int64_t j = 0; j < w; j += LANES) {
        const auto units = where.units(j);
        if (!r.cos[0]) {
            for (int64_t i = 0; i < points; ++i) store(r.z[0] + i * w + j, units.sine_at(i));
            continue;
        }
        Vector tangent[2] = {};
        Vector bend = {};
        for (int a = 0; a < AXES; ++a) tangent[a] = load(r.tangent + a * w + j), bend += tangent[a] * tangent[a];
        for (int64_t i = 0; i < points; ++i) {
            const Wave s = units.at(i);
            const int64_t at = i * w + j;
            store(r.z[0] + at, s.sin);
            store(r.cos[0] + at, s.cos);
            for (int a = 0; a < AXES; ++a) store(r.z[0] + (a + 1) * numbers + at, s.cos * tangent[a]);
            if (LAPLACIAN) store(r.z[0] + (AXES + 1) * numbers + at, -s.sin * bend);
        }
    }
}

// Compute the last layer, without its bias, from `w` numbers per row; or add it to another one. The number of rows is a
// multiple of 4.
template <int CHANNELS, bool ADD = false>
inline void say(int64_t rows, int64_t w, const float* z, const float* matrix, float* said) {
    for (int64_t row = 0; row < rows; row += 4, z += 4 * w) {
        Vector total[CHANNELS][4];
        EOREN_UNROLL for (int c = 0; c < CHANNELS; ++c)
            EOREN_UNROLL for (int i = 0; i < 4; ++i) total[c][i] = Vector{};
        for (int64_t j = 0; j < w; j += LANES) {
            Vector last[CHANNELS];
            EOREN_UNROLL for (int c = 0; c < CHANNELS; ++c) last[c] = load(matrix + c * w + j);
            EOREN_UNROLL for (int i = 0; i < 4; ++i) {
                const Vector each = load(z + i * w + j);
                EOREN_UNROLL for (int c = 0; c < CHANNELS; ++c) total[c][i] += each * last[c];
            }
        }
        EOREN_UNROLL for (int c = 0; c < CHANNELS; ++c) {
            const Four four = sums(total[c][0], total[c][1], total[c][2], total[c][3]);
            EOREN_UNROLL for (int i = 0; i < 4; ++i) {
                float* to = said + (row + i) * CHANNELS + c;
                *to = ADD ? *to + four[i] : four[i];
            }
        }
    }
}

template <int AXES, bool LAPLACIAN, class Points>
inline void propagate(const Prepared& r, const Streams& s, Points where) {
    const int64_t w = r.width, rows = s.count() * s.points;
    for (int64_t a = 0; a < AXES; ++a) scaled(r.first + s.axis[a] * w, w, s.scale[a], r.tangent + a * w);
    first_sine<AXES, LAPLACIAN>(r, s.points, where);
    for (int64_t k = 1; k < r.depth; ++k) hidden_sine<AXES, LAPLACIAN>(r, k, s.points);
    by_channels(r.channels, [&](auto channels) { say<channels.COUNT>(rows, w, r.z[r.depth - 1], r.last, r.said); });
    for (int64_t i = 0; i < s.points; ++i)
        for (int64_t c = 0; c < r.channels; ++c) r.said[i * r.channels + c] += r.last_bias[c];
}

template <class Points>
inline void forward(const Prepared& r, const Streams& s, Points where) {
    if (s.laplacian)
        propagate<2, true>(r, s, where);
    else if (s.axes == 2)
        propagate<2, false>(r, s, where);
    else if (s.axes == 1)
        propagate<1, false>(r, s, where);
    else
        propagate<0, false>(r, s, where);
}

// Convert the gradient with respect to z to the gradient with respect to p, in place.
template <int AXES>
inline void unsine(int64_t numbers, const float* p, const float* z, const float* cos, float* by_z) {
    for (int64_t k = 0; k < numbers; k += LANES) {
        const Vector c = load(cos + k);
        Vector turn = {};
        for (int a = 1; a <= AXES; ++a) {
            const Vector by = load(by_z + a * numbers + k);
            turn += load(p + (a - 1) * numbers + k) * by;
            store(by_z + a * numbers + k, c * by);
        }
        store(by_z + k, c * load(by_z + k) - load(z + k) * turn);
    }
}

// Pointers to the gradient of one network.
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

// Compute the gradient of the last layer, and the gradient with respect to its inputs.
template <int CHANNELS>
inline void last_back(const Prepared& r, int64_t rows, int64_t points, const Gradient& to) {
    const int64_t w = r.width;
    const float* z = r.z[r.depth - 1];
    for (int c = 0; c < CHANNELS; ++c) {
        float by_bias = 0;
#pragma omp simd reduction(+ : by_bias)
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
    by_channels(r.channels, [&](auto channels) { last_back<channels.COUNT>(r, rows, s.points, to); });
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

// Add the gradient of the sum over `by_said` times the output of the last `forward`.
inline void backward(const Prepared& r, const Streams& s, const float* local, const float* omega, const Gradient& to) {
    if (s.axes == 2)
        pull_back<2>(r, s, local, omega, to);
    else if (s.axes == 1)
        pull_back<1>(r, s, local, omega, to);
    else
        pull_back<0>(r, s, local, omega, to);
}

}  // namespace
