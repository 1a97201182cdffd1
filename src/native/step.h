// The objective of selected tiles at selected pixels, with its gradient (training/trainer.py).
#pragma once

#include "kernel.h"
#include "network.h"

namespace {

// A part of the points of a tile, with its own sums, so that several threads can share a tile.
struct Part {
    int64_t tile;            // index into step.tile
    int64_t first, end;      // range of points
    Gradient to;
    double error[2];
    double moments[5 * EOREN_MOST_CHANNELS];
};

// Compute n / d from 1 / d, exact for n up to 2^50, because integer division is slow and has no vector instruction.
inline int64_t quotient(int64_t n, double inverse) { return (int64_t)(((double)n + 0.5) * inverse); }

// Channel tuning, repeated for every point of a block.
struct Tuned {
    float alpha[BLOCK * EOREN_MOST_CHANNELS], beta[BLOCK * EOREN_MOST_CHANNELS];
};

// Compute the errors of a block, and their gradient with respect to the output of the network.
template <int CHANNELS>
inline void compare(const eoren_step& s, const eoren_pass& pass, int64_t points, const int64_t* pixel, const Tuned& tuned,
                    const Prepared& r, int64_t padded, Part& part) {
    const int64_t numbers = points * CHANNELS;
    const float mean = 2.0f / (float)(s.points * CHANNELS);
    for (int64_t stream = 0; stream <= pass.axes; ++stream) {
        float goal[BLOCK * EOREN_MOST_CHANNELS];
        const float* from = stream ? s.slope + pass.axis[stream - 1] : s.color;
        const int64_t stride = stream ? 2 : 1;
        for (int64_t i = 0, k = 0; i < points; ++i)
            for (int64_t c = 0; c < CHANNELS; ++c, ++k) goal[k] = from[stride * (pixel[i] * CHANNELS + c)];
        if (stream == 0)
            for (int64_t k = 0; k < numbers; ++k) goal[k] -= tuned.beta[k];
        const float* said = r.said + stream * padded * CHANNELS;
        float* by_said = r.by_said + stream * padded * CHANNELS;
        const float weight = pass.weight[stream] * mean;
        float total = 0;
#pragma omp simd reduction(+ : total)
        for (int64_t k = 0; k < numbers; ++k) {
            const float error = tuned.alpha[k] * said[k] - goal[k];
            total += error * error;
            by_said[k] = weight * tuned.alpha[k] * error;
        }
        part.error[stream > 0] += total;
        for (int64_t k = numbers; k < padded * CHANNELS; ++k) by_said[k] = 0;
    }
}

// Add the moments that channel tuning needs.
inline void count_moments(const eoren_step& s, int64_t points, const int64_t* pixel, const float* said, Part& part) {
    const int64_t channels = s.network.channels;
    for (int64_t i = 0; i < points; ++i)
        for (int64_t c = 0; c < channels; ++c) {
            const double g = said[i * channels + c], f = s.color[pixel[i] * channels + c];
            double* sums = part.moments + 5 * c;
            sums[0] += g, sums[1] += f, sums[2] += g * g, sums[3] += g * f, sums[4] += f * f;
        }
}

inline void add_part(const eoren_step& s, Part& part, char* scratch, eoren_going going, void* context) {
    Arena arena = {scratch, 0};
    const Prepared r = arrange(s.network, arena, TRAINING);
    const int64_t tile = s.tile[part.tile];
    take(s.network, tile, r, true);
    const int64_t* box = s.box + 4 * tile;
    const int64_t across = box[2] - box[0], pixels = across * (box[3] - box[1]);
    const float half = s.half[tile], *centre = s.centre + 2 * tile;
    const int64_t channels = s.network.channels;
    Tuned tuned;
    for (int64_t k = 0; k < BLOCK * channels; ++k) {
        tuned.alpha[k] = s.tuning.alpha[tile * channels + k % channels];
        tuned.beta[k] = s.tuning.beta[tile * channels + k % channels];
    }
    const double by_pixels = 1.0 / (double)pixels, by_across = 1.0 / (double)across;
    float local[2 * BLOCK];
    int64_t number[BLOCK], pixel[BLOCK];
    for (int64_t k = 0; k < s.passes; ++k) {
        const eoren_pass& pass = s.pass[k];
        Streams streams = {0, pass.axes, {pass.axis[0], pass.axis[1]}, {1 / half, 1 / half}, false};
        for (int64_t start = part.first; start < part.end && going(context); start += BLOCK) {
            const int64_t points = part.end - start < BLOCK ? part.end - start : BLOCK;
            streams.points = (points + 7) / 8 * 8;
            for (int64_t i = 0; i < streams.points; ++i) number[i] = s.point[start + (i < points ? i : 0)];
#pragma omp simd
            for (int64_t i = 0; i < streams.points; ++i) {
                const int64_t within = number[i] - pixels * quotient(number[i], by_pixels);
                const int64_t row = quotient(within, by_across), column = within - across * row;
                pixel[i] = (box[1] + row) * s.columns + box[0] + column;
                local[2 * i] = ((float)(box[0] + column) - centre[0] + (pass.offset[0] + 0.5f)) / half;
                local[2 * i + 1] = ((float)(box[1] + row) - centre[1] + (pass.offset[1] + 0.5f)) / half;
            }
            for (int64_t i = 0; i < streams.points; ++i) {
                __builtin_prefetch(s.color + pixel[i] * channels);
                if (pass.axes) __builtin_prefetch(s.slope + 2 * pixel[i] * channels);
            }
            forward(r, streams, Scattered{r, local});
            if (s.moments) count_moments(s, points, pixel, r.said, part);
            by_channels(channels, [&](auto known) {
                compare<known.COUNT>(s, pass, points, pixel, tuned, r, streams.points, part);
            });
            backward(r, streams, local, s.network.omega, part.to);
        }
    }
}

// Return the number of parts of a tile. It does not depend on the number of threads, so that the result does not.
inline int64_t parts_of(const eoren_step& s) {
    const int64_t wanted = 64 / (s.tiles > 0 ? s.tiles : 1), parts = s.points / (4 * BLOCK), most = wanted < 32 ? wanted : 32;
    return parts < 1 || most < 1 ? 1 : parts < most ? parts : most;
}

inline int64_t inputs_of(const eoren_networks& n, int64_t layer) { return layer ? n.width : 2; }
inline int64_t outputs_of(const eoren_networks& n, int64_t layer) { return layer < n.depth ? n.width : n.channels; }

inline Gradient gradient_of(const eoren_networks& n, int64_t network) {
    Gradient to = {};
    for (int64_t k = 0; k <= n.depth; ++k) {
        to.weight[k] = n.weight[k] + network * inputs_of(n, k) * outputs_of(n, k);
        to.bias[k] = n.bias[k] + network * outputs_of(n, k);
    }
    return to;
}

inline Gradient gradient_in(const eoren_networks& n, Arena& arena) {
    Gradient to = {};
    for (int64_t k = 0; k <= n.depth; ++k) {
        to.weight[k] = arena.floats(inputs_of(n, k) * outputs_of(n, k));
        to.bias[k] = arena.floats(outputs_of(n, k));
    }
    return to;
}

inline void fill_zero(const eoren_networks& n, const Gradient& to) {
    for (int64_t k = 0; k <= n.depth; ++k) {
        for (int64_t i = 0; i < inputs_of(n, k) * outputs_of(n, k); ++i) to.weight[k][i] = 0;
        for (int64_t i = 0; i < outputs_of(n, k); ++i) to.bias[k][i] = 0;
    }
}

inline void add_gradient(const eoren_networks& n, const Gradient& from, const Gradient& to) {
    for (int64_t k = 0; k <= n.depth; ++k) {
        for (int64_t i = 0; i < inputs_of(n, k) * outputs_of(n, k); ++i) to.weight[k][i] += from.weight[k][i];
        for (int64_t i = 0; i < outputs_of(n, k); ++i) to.bias[k][i] += from.bias[k][i];
    }
}

}  // namespace
