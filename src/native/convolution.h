// A stack of convolutions without padding, as of the edge prior: see model/latents/edge_prior.py. One stage a layer, one
// task a strip of rows. Columns of the result lie in the lanes of vectors, a tile of it in registers.
#pragma once

#include "wavelet.h"

namespace {
namespace convolution {

constexpr int64_t ROWS = 8;  // of a task
constexpr int WIDE = 3;      // vectors of a row in a tile

inline int64_t rounded_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

// The weights and outputs of one layer. Rows of all outputs are `stride` floats apart.
struct Layer {
    int64_t inputs, outputs, side;
    int64_t rows, columns;  // of an output
    float* weight;          // (groups of TALL outputs, inputs, side, side, TALL)
    float* bias;            // (groups, TALL)
    float* data;            // (groups TALL, rows, stride), and floats that may be read or written behind them
};

struct Stack {
    int64_t stride;
    Layer layer[EOREN_MOST_CONVOLUTIONS];

    Stack(const eoren_convolution& c, Arena& arena) : stride(rounded_up(c.columns, LANES)) {
        int64_t rows = c.rows, columns = c.columns;
        for (int64_t k = 0; k < c.layers; ++k) {
            Layer& l = layer[k];
            l.inputs = c.width[k], l.outputs = c.width[k + 1], l.side = c.side[k];
            l.rows = rows -= l.side - 1, l.columns = columns -= l.side - 1;
            const int64_t padded = rounded_up(l.outputs, TALL);
            l.weight = arena.floats(padded * l.inputs * l.side * l.side);
            l.bias = arena.floats(padded);
            l.data = arena.floats(padded * l.rows * stride + c.columns + 2 * WIDE * LANES);
        }
    }
};

inline int64_t shared(const eoren_convolution& c) {
    Arena arena = {nullptr, 0};
    Stack(c, arena);
    return arena.used;
}

// Arrange the weights of all layers.
inline void begin(const eoren_convolution& c, char* memory) {
    Arena arena = {memory, 0};
    const Stack stack(c, arena);
    for (int64_t k = 0; k < c.layers; ++k) {
        const Layer& l = stack.layer[k];
        const int64_t taps = l.inputs * l.side * l.side;
        for (int64_t o = 0; o < rounded_up(l.outputs, TALL); ++o) {
            const bool used = o < l.outputs;
            l.bias[o] = used ? c.bias[k][o] : 0.0f;
            for (int64_t tap = 0; tap < taps; ++tap)
                l.weight[(o / TALL * taps + tap) * TALL + o % TALL] = used ? c.weight[k][o * taps + tap] : 0.0f;
        }
        fill(l.data, 0.0f, rounded_up(l.outputs, TALL) * l.rows * stack.stride + c.columns + 2 * WIDE * LANES);
    }
}

inline int64_t tasks(const eoren_convolution& c, int64_t stage) {
    int64_t rows = c.rows;
    for (int64_t k = 0; k <= stage; ++k) rows -= c.side[k] - 1;
    return (rows + ROWS - 1) / ROWS;
}

// Compute TALL outputs of one row at VECTORS vectors of columns.
template <int VECTORS>
inline void tile(const Layer& l, int64_t group, const float* in, int64_t in_plane, int64_t in_stride, float leak,
                 float* out, int64_t out_plane) {
    Vector total[TALL][VECTORS];
    EOREN_UNROLL for (int i = 0; i < TALL; ++i)
        EOREN_UNROLL for (int j = 0; j < VECTORS; ++j) total[i][j] = all(l.bias[group * TALL + i]);
    const float* weight = l.weight + group * l.inputs * l.side * l.side * TALL;
    for (int64_t c = 0; c < l.inputs; ++c)
        for (int64_t dy = 0; dy < l.side; ++dy) {
            const float* from = in + c * in_plane + dy * in_stride;
            for (int64_t dx = 0; dx < l.side; ++dx, weight += TALL) {
                Vector value[VECTORS];
                EOREN_UNROLL for (int j = 0; j < VECTORS; ++j) value[j] = load(from + dx + j * LANES);
                EOREN_UNROLL for (int i = 0; i < TALL; ++i) {
                    const Vector each = all(weight[i]);
                    EOREN_UNROLL for (int j = 0; j < VECTORS; ++j) total[i][j] += each * value[j];
                }
            }
        }
    EOREN_UNROLL for (int i = 0; i < TALL; ++i)
        EOREN_UNROLL for (int j = 0; j < VECTORS; ++j) {
            const Vector v = total[i][j];
            store(out + i * out_plane + j * LANES, v > 0.0f ? v : leak * v);
        }
}

inline void run(const eoren_convolution& c, int64_t stage, int64_t task, char* memory) {
    Arena arena = {memory, 0};
    const Stack stack(c, arena);
    const Layer& l = stack.layer[stage];
    const bool first = stage == 0, last = stage == c.layers - 1;
    const float* from = first ? c.input : stack.layer[stage - 1].data;
    const int64_t in_stride = first ? c.input_stride : stack.stride;
    const int64_t in_plane = in_stride * (l.rows + l.side - 1), out_plane = l.rows * stack.stride;
    const float leak = last ? 1.0f : c.leak;
    const int64_t end = least((task + 1) * ROWS, l.rows), vectors = rounded_up(l.columns, LANES) / LANES;
    // Columns of vectors outside, so that the strip of inputs stays in the cache for all outputs.
    for (int64_t vector = 0; vector < vectors; vector += WIDE) {
        const int64_t wide = least(WIDE, vectors - vector);
        for (int64_t group = 0; group * TALL < l.outputs; ++group)
            for (int64_t y = task * ROWS; y < end; ++y) {
                const float* in = from + y * in_stride + vector * LANES;
                float* out = l.data + group * TALL * out_plane + y * stack.stride + vector * LANES;
                if (wide == 3) tile<3>(l, group, in, in_plane, in_stride, leak, out, out_plane);
                else if (wide == 2) tile<2>(l, group, in, in_plane, in_stride, leak, out, out_plane);
                else tile<1>(l, group, in, in_plane, in_stride, leak, out, out_plane);
            }
    }
    if (!last) return;
    for (int64_t o = 0; o < l.outputs; ++o)
        for (int64_t y = task * ROWS; y < end; ++y)
            for (int64_t x = 0; x < l.columns; ++x)
                c.output[(o * l.rows + y) * l.columns + x] = l.data[o * out_plane + y * stack.stride + x];
}

}  // namespace convolution
}  // namespace
