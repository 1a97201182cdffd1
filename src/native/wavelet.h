// The feature images of a window of a compact field (model/latents/features.py): inverse CDF 9/7 wavelet transform, level by
// level, of images whose features lie side by side in every pixel, so that all loops are over adjacent floats.
//
// A task computes a strip of rows of one level. It repeats the lifting of the rows around it, so that strips are
// independent, and the result is the same for any number of threads.
#pragma once

#include "network.h"
#include "spline.h"

namespace {

// As in coding/lowpass.py.
constexpr float LIFT_1 = -1.586134342059924f, LIFT_2 = -0.052980118572961f, LIFT_3 = 0.882911075530934f,
                LIFT_4 = 0.443506852043971f, LOW_SCALE = 0.869864451624781f, HIGH_SCALE = 1.149604398860241f;

constexpr int64_t STRIP = 16;           // rows of an image that one task computes
constexpr int64_t PAIRS = STRIP / 2 + 4;  // pairs of an even and an odd row that they depend on

inline int64_t halved(int64_t length, int64_t level) { return (length + (1 << level) - 1) >> level; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// The images of one level, features side by side: those of coarser levels, then the details of this one.
struct Image {
    int64_t rows, columns, features;
    float* data;
};

inline Image image_of(const eoren_latent_window& w, int64_t level, float* data) {
    const int64_t groups = w.groups == 1 ? 1 : 1 + w.levels - level;
    return {halved(w.rows, level), halved(w.columns, level), groups * w.channels, data};
}

// target += factor * (a + b).
inline void add_pair(float* target, const float* a, const float* b, float factor, int64_t count) {
    int64_t j = 0;
    for (; j + LANES <= count; j += LANES) store(target + j, load(target + j) + factor * (load(a + j) + load(b + j)));
    for (; j < count; ++j) target[j] += factor * (a[j] + b[j]);
}

// Rows of a strip, even and odd ones apart: those with the numbers first ... first + count - 1.
struct Rows {
    float* data;
    int64_t first, count, floats;

    // Return a row; beyond the ends of the image it is the outermost one.
    float* at(int64_t number) const {
        const int64_t inside = most(0, least(number - first, count - 1));
        return data + inside * floats;
    }
};

// Undo the lifting along y of pairs that the strip [start, end) of pairs depends on.
inline void lift_rows(const Rows& even, const Rows& odd, int64_t start, int64_t end) {
    const int64_t last_even = even.first + even.count, last_odd = odd.first + odd.count;
    for (int64_t i = most(even.first, start - 1); i < least(last_even, end + 2); ++i)
        add_pair(even.at(i), odd.at(i - 1), odd.at(i), -LIFT_4, even.floats);
    for (int64_t i = most(odd.first, start - 1); i < least(last_odd, end + 1); ++i)
        add_pair(odd.at(i), even.at(i), even.at(i + 1), -LIFT_3, even.floats);
    for (int64_t i = most(even.first, start); i < least(last_even, end + 1); ++i)
        add_pair(even.at(i), odd.at(i - 1), odd.at(i), -LIFT_2, even.floats);
    for (int64_t i = most(odd.first, start); i < least(last_odd, end); ++i)
        add_pair(odd.at(i), even.at(i), even.at(i + 1), -LIFT_1, even.floats);
}

// Undo one step of lifting along a row: target[i] += factor * (source[i - before] + source[i - before + 1]).
inline void lift_along(float* target, int64_t targets, const float* source, int64_t sources, int64_t before,
                       int64_t features, float factor) {
    const int64_t last = sources - 1;
    const int64_t inside = most(before, least(targets, last + before));  // from here on, the right neighbour is missing
    if (before) add_pair(target, source, source, factor, features);
    if (inside > before)
        add_pair(target + before * features, source, source + features, factor, (inside - before) * features);
    for (int64_t i = inside; i < targets; ++i) {
        const float *left = source + (i - before) * features, *right = source + last * features;
        add_pair(target + i * features, left, right, factor, features);
    }
}

// Undo the lifting along a row of low-pass and high-pass columns, which are scaled already.
inline void lift_row(float* low, int64_t lows, float* high, int64_t highs, int64_t features) {
    if (!highs) return;
    lift_along(low, lows, high, highs, 1, features, -LIFT_4);
    lift_along(high, highs, low, lows, 0, features, -LIFT_3);
    lift_along(low, lows, high, highs, 1, features, -LIFT_2);
    lift_along(high, highs, low, lows, 0, features, -LIFT_1);
}

// Copy the features of a pixel, in whole vectors: what lies behind them is overwritten.
inline void copy_pixel(float* to, const float* from, int64_t features) {
    for (int64_t k = 0; k < features; k += LANES) store(to + k, load(from + k));
}

// Interleave even and odd columns into a row of pixels with `stride` floats each.
inline void merge_columns(const float* low, int64_t lows, const float* high, int64_t highs, int64_t features,
                          int64_t stride, float* row) {
    for (int64_t i = 0; i < lows; ++i) {
        copy_pixel(row + 2 * i * stride, low + i * features, features);
        if (i < highs) copy_pixel(row + (2 * i + 1) * stride, high + i * features, features);
    }
}

// A band of a level.
struct Band {
    const float* data;
    int64_t channel_stride, row_stride, columns;

    // Write a row, channels side by side, times a factor.
    void row(int64_t number, int64_t channels, float factor, float* to) const {
        for (int64_t c = 0; c < channels; ++c) {
            const float* from = data + c * channel_stride + number * row_stride;
            for (int64_t i = 0; i < columns; ++i) to[i * channels + c] = factor * from[i];
        }
    }
};

inline Band band_of(const eoren_latent_window& w, int64_t level, int64_t number) {
    const int64_t k = 3 * (level - 1) + number, above = halved(w.columns, level - 1), low = (above + 1) / 2;
    return {w.detail[k], w.channel_stride[k], w.row_stride[k], number == 1 ? low : above - low};
}

// Rows of a level on their way through the transform.
struct Strip {
    float *coarse[2], *fine[2], *high[2];  // even and odd rows; of the coarser images, the new ones, and the high columns
    float* row;
};

inline int64_t tail(int64_t floats) { return floats + LANES; }

inline Strip strip_of(const eoren_latent_window& w, int64_t level, Arena& arena) {
    const Image from = image_of(w, level, nullptr), to = image_of(w, level - 1, nullptr);
    const int64_t highs = to.columns - from.columns;
    Strip s = {};
    for (int k = 0; k < 2; ++k) {
        s.coarse[k] = arena.floats(tail(PAIRS * from.columns * from.features));
        s.fine[k] = arena.floats(tail(PAIRS * from.columns * w.channels));
        s.high[k] = arena.floats(tail(PAIRS * highs * w.channels));
    }
    // The odd columns of coarser images, which have no details here.
    s.row = arena.floats(tail(highs * from.features));
    return s;
}

inline void fill(float* data, float value, int64_t count) {
    for (int64_t j = 0; j < count; ++j) data[j] = value;
}

// Compute a strip of the image of level - 1 from the image and the bands of a level. finish(row, number) receives each row,
// and may change it; it has room for a vector behind its end, and `room` floats before its start.
template <class Finish>
inline void synthesize_strip(const eoren_latent_window& w, int64_t level, const Image& from, int64_t task,
                             const Strip& s, float* row, Finish finish) {
    const Image to = image_of(w, level - 1, nullptr);
    const int64_t channels = w.channels, lows = from.columns, highs = to.columns - lows;
    const int64_t start = task * STRIP / 2, end = least(start + STRIP / 2, from.rows), odds = to.rows - from.rows;
    const int64_t first_even = most(0, start - 1), first_odd = most(0, start - 2);
    const int64_t evens = least(from.rows, end + 2) - first_even, odd_count = least(odds, end + 2) - first_odd;
    const bool apart = w.groups > 1;
    const Band horizontal = band_of(w, level, 0), vertical = band_of(w, level, 1), diagonal = band_of(w, level, 2);
    const Rows coarse[] = {{s.coarse[0], first_even, evens, lows * from.features},
                           {s.coarse[1], first_odd, odd_count, lows * from.features}};
    const Rows fine[] = {{s.fine[0], first_even, evens, lows * channels},
                         {s.fine[1], first_odd, odd_count, lows * channels}};
    const Rows high[] = {{s.high[0], first_even, evens, highs * channels},
                         {s.high[1], first_odd, odd_count, highs * channels}};
    // A single row is not transformed along y, nor a single column along x.
    const float low_y = odds ? LOW_SCALE : 1.0f, low_x = highs ? LOW_SCALE : 1.0f;
    for (int64_t i = first_even; i < first_even + evens; ++i) {
        const float* row_from = from.data + i * coarse[0].floats;
        float* row_to = coarse[0].at(i);
        for (int64_t j = 0; j < coarse[0].floats; ++j) row_to[j] = low_y * low_x * row_from[j];
        if (apart) fill(fine[0].at(i), 0.0f, fine[0].floats);
        if (highs) horizontal.row(i, channels, low_y * HIGH_SCALE, high[0].at(i));
    }
    for (int64_t i = first_odd; i < first_odd + odd_count; ++i) {
        if (apart) fill(coarse[1].at(i), 0.0f, coarse[1].floats);
        vertical.row(i, channels, HIGH_SCALE * low_x, apart ? fine[1].at(i) : coarse[1].at(i));
        if (highs) diagonal.row(i, channels, HIGH_SCALE * HIGH_SCALE, high[1].at(i));
    }
    if (odds) {
        lift_rows(coarse[0], coarse[1], start, end);
        if (apart) lift_rows(fine[0], fine[1], start, end);
        if (highs) lift_rows(high[0], high[1], start, end);
    }
    for (int64_t y = 2 * start; y < least(2 * end, to.rows); ++y) {
        float *low = coarse[y % 2].at(y / 2), *new_low = fine[y % 2].at(y / 2), *new_high = high[y % 2].at(y / 2);
        if (!apart) {
            lift_row(low, lows, new_high, highs, channels);
            merge_columns(low, lows, new_high, highs, channels, to.features, row);
        } else {
            fill(s.row, 0.0f, highs * from.features);
            lift_row(low, lows, s.row, highs, from.features);
            lift_row(new_low, lows, new_high, highs, channels);
            // In ascending order, because each copy overwrites what is behind it.
            for (int64_t x = 0; x < to.columns; ++x) {
                float* pixel = row + x * to.features;
                const float *coarser = x % 2 ? s.row : low, *finer = x % 2 ? new_high : new_low;
                copy_pixel(pixel, coarser + x / 2 * from.features, from.features);
                copy_pixel(pixel + from.features, finer + x / 2 * channels, channels);
            }
        }
        finish(row, y);
    }
}

}  // namespace
