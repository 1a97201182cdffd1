// The stages of the features of a window: the low-pass band, then level by level, then the spline along y. The spline along
// x is part of the last level, while a row is in the cache.
#pragma once

#include "wavelet.h"

namespace {

constexpr int64_t CHUNK = 128;  // floats of a row, of which one task computes the spline along y

inline int64_t window_features(const eoren_latent_window& w) { return w.groups * w.channels; }

// Memory of all threads together.
struct Window {
    float* image[EOREN_FINE_LEVELS + 1];  // of levels 1 and coarser
    float *across, *down;                 // factors

    Window(const eoren_latent_window& w, Arena& arena) {
        for (int64_t level = 1; level <= w.levels; ++level) {
            const Image i = image_of(w, level, nullptr);
            image[level] = arena.floats(tail(i.rows * i.columns * i.features));
        }
        across = arena.floats(Factors::floats(w.columns));
        down = arena.floats(Factors::floats(w.rows));
    }
};

inline int64_t window_shared(const eoren_latent_window* w) {
    Arena arena = {nullptr, 0};
    Window(*w, arena);
    return arena.used;
}

inline void window_begin(const eoren_latent_window* w, char* shared) {
    Arena arena = {shared, 0};
    const Window window(*w, arena);
    Factors(w->columns, window.across).compute();
    Factors(w->rows, window.down).compute();
}

inline int64_t window_stages(const eoren_latent_window* w) { return 1 + w->levels + (w->padding > 0); }

inline int64_t window_tasks(const eoren_latent_window* w, int64_t stage) {
    if (stage > w->levels) return (w->stride + CHUNK - 1) / CHUNK;
    const int64_t level = stage == 0 ? w->levels : w->levels - stage;
    return (halved(w->rows, level) + STRIP - 1) / STRIP;
}

// Memory of one thread: a row of output with its padding, and a strip of the finest level, which is the largest.
inline float* window_row(const eoren_latent_window& w, Arena& arena) {
    const int64_t features = window_features(w);
    float* row = arena.floats(tail((w.columns + 2 * w.padding) * features));
    return row ? row + w.padding * features : nullptr;
}

inline int64_t window_scratch(const eoren_latent_window* w) {
    Arena arena = {nullptr, 0};
    window_row(*w, arena);
    if (w->levels > 0) strip_of(*w, 1, arena);
    return arena.used;
}

// Replace the pixels of a row by spline coefficients along x.
inline void solve_row(const Factors& factors, float* row, int64_t features) {
    const int64_t wide = (features + LANES - 1) / LANES, lanes = features - (wide - 1) * LANES;
    if (wide == 1) solve<1>(factors, row, features, lanes);
    if (wide == 2) solve<2>(factors, row, features, lanes);
    if (wide == 3) solve<3>(factors, row, features, lanes);
    if (wide == 4) solve<4>(factors, row, features, lanes);
    continue_ends(factors.length, [=](int64_t i, int64_t a, int64_t b) {
        for (int64_t k = 0; k < features; ++k)
            row[i * features + k] = 2 * row[a * features + k] - row[b * features + k];
    });
}

// Replace a chunk of columns by spline coefficients along y.
inline void solve_columns(const eoren_latent_window& w, const Factors& factors, int64_t start, int64_t end) {
    float* first = w.features + w.padding * w.stride;
    int64_t j = start;
    for (; j + 4 * LANES <= end; j += 4 * LANES) solve<4>(factors, first + j, w.stride);
    for (; j < end; j += LANES) solve<1>(factors, first + j, w.stride);
    continue_ends(factors.length, [=](int64_t i, int64_t a, int64_t b) {
        for (int64_t k = start; k < end; ++k)
            first[i * w.stride + k] = 2 * first[a * w.stride + k] - first[b * w.stride + k];
    });
}

inline void window_run(const eoren_latent_window* window, int64_t stage, int64_t task, char* scratch, char* shared) {
    const eoren_latent_window& w = *window;
    Arena all = {shared, 0}, own = {scratch, 0};
    const Window memory(w, all);
    const Factors across(w.columns, memory.across), down(w.rows, memory.down);
    if (stage > w.levels) return solve_columns(w, down, task * CHUNK, least((task + 1) * CHUNK, w.stride));
    const int64_t features = window_features(w), padding = w.padding;
    float* row = window_row(w, own);
    const auto finish = [=](float* pixels, int64_t y) {
        if (padding) solve_row(across, pixels, features);
        const int64_t count = (w.columns + 2 * padding) * features;
        float* to = w.features + (y + padding) * w.stride;
        for (int64_t k = 0; k < count; ++k) to[k] = (pixels - padding * features)[k];
        fill(to + count, 0.0f, w.stride - count);
    };
    if (stage == 0) {
        const Image low = image_of(w, w.levels, memory.image[w.levels]);
        const Band band = {w.lowpass, w.lowpass_stride[0], w.lowpass_stride[1], low.columns};
        for (int64_t y = task * STRIP; y < least((task + 1) * STRIP, low.rows); ++y) {
            float* to = w.levels ? low.data + y * low.columns * w.channels : row;
            band.row(y, w.channels, 1.0f, to);
            if (!w.levels) finish(to, y);
        }
        return;
    }
    const int64_t level = w.levels + 1 - stage;
    const Image from = image_of(w, level, memory.image[level]);
    const Strip strip = strip_of(w, level, own);
    if (level == 1) return synthesize_strip(w, level, from, task, strip, row, finish);
    const Image to = image_of(w, level - 1, memory.image[level - 1]);
    const int64_t count = to.columns * to.features;
    synthesize_strip(w, level, from, task, strip, row, [=](const float* pixels, int64_t y) {
        for (int64_t k = 0; k < count; ++k) to.data[y * count + k] = pixels[k];
    });
}

}  // namespace
