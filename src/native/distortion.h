// The squared errors of the colours and of the gradients of an image that wavelet coefficients describe, and their
// gradient by the coefficients (model/latents/distortion.py).
//
// Everything is linear but the squares: the error image, its derivatives along rows and along columns by an
// antisymmetric filter, and back by the transposed operations. Channels lie side by side in every pixel. First tasks
// compute rows, then chunks of columns; then level after level the transposed wavelet transform, rows before columns.
#pragma once

#include "window.h"

namespace {
namespace distortion {

constexpr int64_t COLUMNS = 64;  // floats of a row in a task along columns, a multiple of LANES

typedef eoren_distortion Problem;

inline int64_t row_floats(const Problem& p) { return p.window.columns * p.window.channels; }
inline int64_t chunks(int64_t floats) { return (floats + COLUMNS - 1) / COLUMNS; }

// Memory of all threads together, besides that of the window.
struct Memory {
    float *by_error, *split;  // gradients by pixels, of one level after the other; and by its halves along rows
    double *row_error, *chunk_error;

    Memory(const Problem& p, Arena& arena) {
        by_error = arena.floats(p.window.rows * p.window.stride);
        split = arena.floats(p.window.rows * p.window.stride);
        row_error = (double*)arena.floats(4 * p.window.rows);
        chunk_error = (double*)arena.floats(2 * chunks(row_floats(p)));
    }
};

// Lines of numbers: `line` floats each, of which those at the same place are filtered together.
struct Lines {
    float* data;
    int64_t count, line;

    float* at(int64_t number) const { return data + number * line; }
};

// Continue lines beyond both ends by odd reflection.
inline void extend(const Lines& x, int64_t reach) {
    const int64_t last = x.count - 1;
    const float *first_line = x.at(0), *last_line = x.at(last);
    for (int64_t k = 1; k <= reach; ++k) {
        const int64_t mirrored = last ? k : 0;
        float *before = x.at(-k), *behind = x.at(last + k);
        const float *right = x.at(mirrored), *left = x.at(last - mirrored);
        for (int64_t j = 0; j < x.line; ++j) before[j] = 2 * first_line[j] - right[j];
        for (int64_t j = 0; j < x.line; ++j) behind[j] = 2 * last_line[j] - left[j];
    }
}

// The transposed operation of `extend`.
inline void fold_back(const Lines& x, int64_t reach) {
    const int64_t last = x.count - 1;
    float *first_line = x.at(0), *last_line = x.at(last);
    for (int64_t k = reach; k > 0; --k) {
        const int64_t mirrored = last ? k : 0;
        const float *before = x.at(-k), *behind = x.at(last + k);
        float *right = x.at(mirrored), *left = x.at(last - mirrored);
        for (int64_t j = 0; j < x.line; ++j) last_line[j] += 2 * behind[j], left[j] -= behind[j];
        for (int64_t j = 0; j < x.line; ++j) first_line[j] += 2 * before[j], right[j] -= before[j];
    }
}

// to[j] = sum over k of tap[k - 1] (from[j + k shift] - from[j - k shift]), in whole vectors.
inline void differentiate(const float* from, int64_t shift, const float* tap, int64_t reach, float* to, int64_t count) {
    int64_t j = 0;
    for (; j + 4 * LANES <= count; j += 4 * LANES) {
        Vector total[4] = {};
        for (int64_t k = 1; k <= reach; ++k)
            EOREN_UNROLL for (int v = 0; v < 4; ++v) {
                const float* at = from + j + v * LANES;
                total[v] += tap[k - 1] * (load(at + k * shift) - load(at - k * shift));
            }
        EOREN_UNROLL for (int v = 0; v < 4; ++v) store(to + j + v * LANES, total[v]);
    }
    for (; j < count; j += LANES) {
        Vector total = {};
        for (int64_t k = 1; k <= reach; ++k) total += tap[k - 1] * (load(from + j + k * shift) - load(from + j - k * shift));
        store(to + j, total);
    }
}

// Scale numbers, and return the sum of their squares before.
inline double square_and_scale(float* x, int64_t count, float factor) {
    Vector total = {};
    float rest = 0;
    int64_t j = 0;
    for (; j + LANES <= count; j += LANES) {
        const Vector v = load(x + j);
        total += v * v;
        store(x + j, factor * v);
    }
    for (; j < count; ++j) rest += x[j] * x[j], x[j] *= factor;
    return (double)sum(total) + rest;
}

inline int64_t scratch(const Problem& p) {
    const int64_t line = most(row_floats(p), COLUMNS * p.window.rows), wider = most(p.window.channels, COLUMNS);
    return 4 * (2 * line + 6 * p.reach * wider + 8 * LANES + 64);
}

// One row: its errors, the derivatives of the errors along it, and the gradient by the errors so far.
inline void row_task(const Problem& p, const Memory& m, int64_t y, char* scratch) {
    const int64_t channels = p.window.channels, columns = p.window.columns, floats = columns * channels;
    const int64_t margin = p.reach * channels;
    float *error = p.window.features + y * p.window.stride, *by = m.by_error + y * p.window.stride;
    const float* image = p.image + y * p.window.stride;
    for (int64_t j = 0; j < floats; ++j) error[j] -= image[j];
    fill(by, 0, p.window.stride);
    m.row_error[2 * y] = m.row_error[2 * y + 1] = 0;
    if (y < p.top || y >= p.bottom) return;
    const int64_t first = p.left * channels, count = (p.right - p.left) * channels;
    Arena arena = {scratch, 0};
    const int64_t padded = floats + 2 * margin;
    float* x = arena.floats(padded + LANES) + margin;
    float* slope = arena.floats(padded + 2 * margin + LANES) + 2 * margin;
    for (int64_t j = 0; j < floats; ++j) x[j] = error[j];
    extend({x, columns, channels}, p.reach);
    fill(slope - 2 * margin, 0, padded + 2 * margin + LANES);
    differentiate(x + first, channels, p.tap, p.reach, slope + first, count);
    fill(slope + first + count, 0, LANES);
    m.row_error[2 * y + 1] = square_and_scale(slope + first, count, p.weight);
    differentiate(slope - margin, channels, p.tap, p.reach, x - margin, padded);
    fold_back({x, columns, channels}, p.reach);
    for (int64_t j = 0; j < floats; ++j) by[j] = -x[j];  // the transposed filter is the negative one
    for (int64_t j = 0; j < count; ++j) x[j] = error[first + j];
    m.row_error[2 * y] = square_and_scale(x, count, 2);
    for (int64_t j = 0; j < count; ++j) by[first + j] += x[j];
}

// One chunk of columns: the derivatives of the errors along it, and the gradient by the errors.
inline void chunk_task(const Problem& p, const Memory& m, int64_t task, char* scratch) {
    const int64_t channels = p.window.channels, rows = p.window.rows, stride = p.window.stride;
    const int64_t start = task * COLUMNS, end = least(start + COLUMNS, row_floats(p));
    const int64_t first = most(p.left * channels, start), last = least(p.right * channels, end);
    m.chunk_error[task] = 0;
    if (first >= last) return;
    Arena arena = {scratch, 0};
    const Lines x = {arena.floats((rows + 2 * p.reach) * COLUMNS) + p.reach * COLUMNS, rows, COLUMNS};
    const Lines slope = {arena.floats((rows + 4 * p.reach) * COLUMNS) + 2 * p.reach * COLUMNS, rows, COLUMNS};
    for (int64_t y = 0; y < rows; ++y) {
        const float* error = p.window.features + y * stride + start;
        for (int64_t j = 0; j < COLUMNS; ++j) x.at(y)[j] = j < end - start ? error[j] : 0;
    }
    extend(x, p.reach);
    fill(slope.at(-2 * p.reach), 0, (rows + 4 * p.reach) * COLUMNS);
    double total = 0;
    for (int64_t y = p.top; y < p.bottom; ++y) {
        float* line = slope.at(y);
        differentiate(x.at(y), COLUMNS, p.tap, p.reach, line, COLUMNS);
        fill(line, 0, first - start);
        fill(line + (last - start), 0, COLUMNS - (last - start));
        total += square_and_scale(line, COLUMNS, p.weight);
    }
    m.chunk_error[task] = total;
    for (int64_t y = -p.reach; y < rows + p.reach; ++y) differentiate(slope.at(y), COLUMNS, p.tap, p.reach, x.at(y), COLUMNS);
    fold_back(x, p.reach);
    for (int64_t y = 0; y < rows; ++y) {
        float* by = m.by_error + y * stride + start;
        for (int64_t j = 0; j < end - start; ++j) by[j] -= x.at(y)[j];
    }
}

// The transposed operation of a step of lifting, from[i] += factor (to[i - before] + to[i - before + 1]) with indices
// limited to those there are: adjacent lines of `width` floats.
inline void lift_back(float* to, int64_t count, const float* from, int64_t sources, int64_t before, int64_t width,
                      float factor) {
    const auto add_end = [=](int64_t j) {
        for (int64_t i = most(0, j - 2); i < least(sources, j + 3); ++i) {
            const int64_t hits = (most(i - before, 0) == j) + (least(i - before + 1, count - 1) == j);
            float* line = to + j * width;
            for (int64_t k = 0; hits && k < width; ++k) line[k] += hits * factor * from[i * width + k];
        }
    };
    add_end(0);
    const float* pair = from + before * width;
    if (count > 2) add_pair(to + width, pair, pair + width, factor, (count - 2) * width);
    if (count > 1) add_end(count - 1);
}

// Return gradients by low-pass and high-pass lines, without their scales, in place of those by even and odd ones.
inline void split_back(float* low, int64_t lows, float* high, int64_t highs, int64_t width) {
    lift_back(low, lows, high, highs, 0, width, -LIFT_1);
    lift_back(high, highs, low, lows, 1, width, -LIFT_2);
    lift_back(low, lows, high, highs, 0, width, -LIFT_3);
    lift_back(high, highs, low, lows, 1, width, -LIFT_4);
}

// A strip of rows of the image of level - 1: from pixels to halves along rows, low-pass columns first.
inline void split_rows(const Problem& p, const Memory& m, int64_t level, int64_t task) {
    const Image image = image_of(p.window, level - 1, m.by_error);
    const int64_t channels = image.features, lows = (image.columns + 1) / 2, highs = image.columns - lows;
    const int64_t pitch = level == 1 ? p.window.stride : image.columns * channels;
    for (int64_t y = task * STRIP; y < least((task + 1) * STRIP, image.rows); ++y) {
        const float* from = image.data + y * pitch;
        float *low = m.split + y * pitch, *high = low + lows * channels;
        for (int64_t i = 0; i < lows; ++i)
            for (int64_t c = 0; c < channels; ++c) low[i * channels + c] = from[2 * i * channels + c];
        for (int64_t i = 0; i < highs; ++i)
            for (int64_t c = 0; c < channels; ++c) high[i * channels + c] = from[(2 * i + 1) * channels + c];
        if (!highs) continue;
        split_back(low, lows, high, highs, channels);
        for (int64_t j = 0; j < lows * channels; ++j) low[j] *= LOW_SCALE;
        for (int64_t j = 0; j < highs * channels; ++j) high[j] *= HIGH_SCALE;
    }
}

// Write the numbers start ... start + count - 1 of a row of pixels into the row of a band, channels apart.
inline void write_band(float* band, int64_t channels, int64_t size, int64_t row, int64_t columns, const float* from,
                       int64_t start, int64_t count, float factor) {
    int64_t column = start / channels, channel = start % channels;
    for (int64_t k = 0; k < count; ++k) {
        band[channel * size + row * columns + column] = factor * from[k];
        if (++channel == channels) channel = 0, ++column;
    }
}

// A chunk of columns of the halves: from even and odd rows to the bands of a level, and the image of the level.
inline void split_columns(const Problem& p, const Memory& m, int64_t level, int64_t task, char* scratch) {
    const Image image = image_of(p.window, level - 1, nullptr);
    const int64_t channels = image.features, floats = image.columns * channels;
    const int64_t pitch = level == 1 ? p.window.stride : floats;
    const int64_t low_columns = (image.columns + 1) / 2, high_columns = image.columns - low_columns;
    const int64_t lows = (image.rows + 1) / 2, highs = image.rows - lows, border = low_columns * channels;
    const int64_t start = task * COLUMNS, count = least(COLUMNS, floats - start);
    Arena arena = {scratch, 0};
    float *low = arena.floats(lows * COLUMNS), *high = arena.floats(highs * COLUMNS + LANES);
    for (int64_t y = 0; y < image.rows; ++y) {
        float* to = (y % 2 ? high : low) + y / 2 * COLUMNS;
        for (int64_t j = 0; j < COLUMNS; ++j) to[j] = j < count ? m.split[y * pitch + start + j] : 0;
    }
    if (highs) split_back(low, lows, high, highs, COLUMNS);
    const float low_y = highs ? LOW_SCALE : 1, high_y = HIGH_SCALE;
    const int64_t k = 3 * (level - 1), left = most(0, least(border - start, count)), right = count - left;
    const int64_t column = start + left - border;  // of the high-pass half
    for (int64_t y = 0; y < lows; ++y) {
        const float* row = low + y * COLUMNS;
        if (level < p.window.levels)
            for (int64_t j = 0; j < left; ++j) m.by_error[y * border + start + j] = low_y * row[j];
        else
            write_band(p.by_lowpass, channels, lows * low_columns, y, low_columns, row, start, left, low_y);
        write_band(p.by_detail[k], channels, lows * high_columns, y, high_columns, row + left, column, right, low_y);
    }
    for (int64_t y = 0; y < highs; ++y) {
        const float* row = high + y * COLUMNS;
        write_band(p.by_detail[k + 1], channels, highs * low_columns, y, low_columns, row, start, left, high_y);
        write_band(p.by_detail[k + 2], channels, highs * high_columns, y, high_columns, row + left, column, right, high_y);
    }
}

inline int64_t stages(const Problem& p) { return 2 + 2 * p.window.levels; }

inline int64_t tasks(const Problem& p, int64_t stage) {
    if (stage == 0) return p.window.rows;
    if (stage == 1) return chunks(row_floats(p));
    const int64_t level = stage / 2;
    const Image image = image_of(p.window, level - 1, nullptr);
    return stage % 2 ? chunks(image.columns * image.features) : (image.rows + STRIP - 1) / STRIP;
}

inline void task(const Problem& p, int64_t stage, int64_t number, char* scratch, char* shared) {
    Arena arena = {shared, 0};
    const Memory m(p, arena);
    if (stage == 0) return row_task(p, m, number, scratch);
    if (stage == 1) return chunk_task(p, m, number, scratch);
    if (stage % 2) return split_columns(p, m, stage / 2, number, scratch);
    split_rows(p, m, stage / 2, number);
}

inline int64_t shared(const Problem& p) {
    Arena arena = {nullptr, 0};
    Memory(p, arena);
    return arena.used;
}

// Add the errors of all tasks, in their order; without levels, the gradient by pixels is the result.
inline void end(const Problem& p, char* shared) {
    Arena arena = {shared, 0};
    const Memory m(p, arena);
    p.errors[0] = p.errors[1] = 0;
    for (int64_t y = 0; y < p.window.rows; ++y) p.errors[0] += m.row_error[2 * y], p.errors[1] += m.row_error[2 * y + 1];
    for (int64_t k = 0; k < chunks(row_floats(p)); ++k) p.errors[1] += m.chunk_error[k];
    if (p.window.levels) return;
    const int64_t columns = p.window.columns, channels = p.window.channels;
    for (int64_t y = 0; y < p.window.rows; ++y)
        write_band(p.by_lowpass, channels, p.window.rows * columns, y, columns, m.by_error + y * p.window.stride, 0,
                   columns * channels, 1);
}

}  // namespace distortion
}  // namespace
