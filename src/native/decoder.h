// The color decoder of a compact field (model/latents/color_decoder.py) at a block of points: a linear part and a small SIREN.
#pragma once

#include "network.h"

namespace {

// Parameters in the layout of the passes, and buffers for a block. A point has `stride` floats of features, of which the
// last few may be anything finite.
struct Decoder {
    int64_t features, stride, channels, width, depth;  // width: 0 for colours that are the features
    float* linear;                                     // (channels, stride)
    float *weight[EOREN_MOST_LAYERS], *bias[EOREN_MOST_LAYERS];
    float* last;                                       // (channels, width)
    float last_bias[EOREN_MOST_CHANNELS];
    float *z[2], *cos, *p;
    float* from;  // (streams, points, stride), input
    float* said;  // (streams, points, channels), output
};

inline Decoder decoder_of(const eoren_latent_field& f, Arena& arena) {
    const eoren_networks& n = f.siren;
    Decoder d = {};
    d.features = f.count, d.stride = (f.count + LANES - 1) / LANES * LANES;
    d.channels = f.channels, d.width = f.linear ? n.width : 0, d.depth = d.width ? n.depth : 0;
    d.from = arena.floats(ROWS * d.stride);
    d.said = arena.floats(ROWS * d.channels);
    if (!f.linear) return d;
    d.linear = arena.floats(d.channels * d.stride);
    for (int64_t k = 0; k < d.depth; ++k) {
        d.weight[k] = arena.floats((k ? d.width : d.features) * d.width);
        d.bias[k] = arena.floats(d.width);
    }
    d.last = arena.floats(d.channels * d.width);
    for (int k = 0; k < 2; ++k) d.z[k] = arena.floats(ROWS * d.width);
    if (f.streams > 1) d.cos = arena.floats(BLOCK * d.width);
    if (f.streams == 4) d.p = arena.floats(2 * BLOCK * d.width);
    return d;
}

// Load the parameters.
inline void prepare(const eoren_latent_field& f, Decoder& d) {
    for (int64_t c = 0; c < d.channels; ++c) d.last_bias[c] = 0.5f;
    // Results are defined also before the first block.
    for (int64_t k = 0; k < ROWS * d.stride; ++k) d.from[k] = 0;
    if (!f.linear) return;
    const eoren_networks& n = f.siren;
    for (int64_t c = 0; c < d.channels; ++c)
        for (int64_t k = 0; k < d.stride; ++k)
            d.linear[c * d.stride + k] = k < d.features ? f.linear[k * d.channels + c] : 0;
    if (!d.width) return;
    for (int64_t k = 0; k < d.depth; ++k) {
        scaled(n.weight[k], (k ? d.width : d.features) * d.width, n.omega[k], d.weight[k]);
        scaled(n.bias[k], d.width, n.omega[k], d.bias[k]);
    }
    transpose(d.width, d.channels, n.weight[d.depth], 1.0f, d.last);
    for (int64_t c = 0; c < d.channels; ++c) d.last_bias[c] += n.bias[d.depth][c];
}

template <int CHANNELS, int AXES, bool LAPLACIAN>
inline void decode_streams(const Decoder& d, int64_t points) {
    const int64_t rows = points * (1 + AXES + LAPLACIAN);
    say<CHANNELS>(rows, d.stride, d.from, d.linear, d.said);
    if (d.width) {
        const float* from = d.from;
        for (int64_t k = 0; k < d.depth; ++k) {
            const int64_t inputs = k ? d.width : d.features, stride = k ? d.width : d.stride;
            float* z = d.z[k % 2];
            sine_layer<AXES, LAPLACIAN>({inputs, d.width, stride, from, d.weight[k], d.bias[k], z, d.cos, d.p}, points);
            from = z;
        }
        say<CHANNELS, true>(rows, d.width, from, d.last, d.said);
    }
}

// Compute colours without their constant part, and derivatives, from the features of a block of points.
template <int CHANNELS>
inline void decode(const Decoder& d, int64_t points, int64_t streams) {
    if (streams == 1) decode_streams<CHANNELS, 0, false>(d, points);
    if (streams == 3) decode_streams<CHANNELS, 2, false>(d, points);
    if (streams == 4) decode_streams<CHANNELS, 2, true>(d, points);
}

}  // namespace
