// The bits of the latents of a block, and their gradient (model/latents/rate.py).
//
// Images are stored as 16 subplanes, the places with the same row and column modulo 4. All places of a subplane belong to
// one phase, and a neighbour of all of them lies at one distance in memory, so that vectors of places are loaded and
// stored without permutations. Subplanes have margins: rows above and below, and two columns between rows, which serve
// as the right margin of one row and the left margin of the next.
//
// Work is divided into strips of rows of a level. A strip adds to gradients around it, which no strip but its neighbours
// does. Even strips are computed first, then odd ones: no two threads add to the same number, and the order of all sums
// is fixed.
#pragma once

#include "eoren.h"
#include "network.h"
#include "transcendental.h"

namespace {
namespace rate {

constexpr int64_t PLACES = 32;  // places of a batch, whose numbers should fit into the first-level cache
constexpr int64_t VECTORS = PLACES / LANES;
constexpr int64_t SLOTS = 57, MOST_ROWS = 64;  // slots of a context, and rounded up to the rows of a product
constexpr float LIMIT = 127.0f, MEAN_LIMIT = 127.0f / 16, MOST_SCALE = 63.0f;
constexpr float MEAN_FACTOR = 57.0f / 64;

constexpr int64_t HORIZONTAL = 0, VERTICAL = 1, DIAGONAL = 2, COARSE = 3;

// Arrangement of an image as 16 subplanes of `size` floats each.
struct Geometry {
    int64_t rows, columns;
    int64_t high, stride;  // rows of a subplane, and floats from one to the next
    int64_t base, size;    // place (0, 0) of a subplane, and its floats

    int64_t subplane(int64_t i, int64_t j) const { return ((i & 3) * 4 + (j & 3)) * size + base; }
    int64_t at(int64_t row, int64_t column) const {
        return subplane(row, column) + (row >> 2) * stride + (column >> 2);
    }
    // Distance in memory from the places of a subplane to their neighbours.
    int64_t neighbour(int64_t i, int64_t j, int64_t dy, int64_t dx) const { return at(i + dy, j + dx); }
    int64_t end() const { return high * stride; }
};

inline Geometry geometry_of(const eoren_rate& r, int64_t level) {
    Geometry g = {r.rows, r.columns, 0, 0, 0, 0};
    for (; level > 0; --level) g.rows = (g.rows + 1) / 2, g.columns = (g.columns + 1) / 2;
    g.high = (g.rows + 3) / 4, g.stride = (g.columns + 3) / 4 + 2;
    g.base = 2 * g.stride + 16;
    g.size = (g.base + (g.high + 2) * g.stride + PLACES + 16 + 15) / 16 * 16;
    return g;
}

// One channel of a band. Gradients are by the value itself, by the numbers that neighbours and other bands see, and by
// those of the parent.
struct Channel {
    Geometry grid;  // of the low-pass band of the level, which is at least as large
    int64_t rows, columns;
    const float* from;
    float* to;
    float *value, *compressed, *mean;
    float* magnitude;  // absolute values of `compressed`, continued as siblings see it; of horizontal bands only
    float *by_value, *by_compressed, *by_absolute, *by_magnitude, *by_mean;
    // The same of the parent, repeated, as 4 subplanes: of the places with the same (row / 2, column / 2) modulo 2.
    float *parent_compressed, *parent_mean;
    float *by_parent_compressed, *by_parent_magnitude, *by_parent_mean;
    int64_t gradient_bytes;  // from by_value on

    bool empty() const { return rows == 0 || columns == 0; }
};

// One channel of a low-pass band, in eighths, with two more places on all sides.
struct Lowpass {
    Geometry grid;
    const float* from;
    float* to;
    float *value, *by_value;
};

struct Layout {
    Channel band[EOREN_MOST_BANDS][EOREN_MOST_CHANNELS];
    Lowpass low[EOREN_MOST_LEVELS + 1][EOREN_MOST_CHANNELS];
    double* bits;  // of every strip
};

inline int64_t bands_of(const eoren_rate& r) { return 1 + 3 * r.levels; }
inline int64_t orientation_of(int64_t band) { return band ? (band + 2) % 3 : COARSE; }
inline int64_t level_of(const eoren_rate& r, int64_t band) { return band ? (band + 2) / 3 : r.levels; }

struct Strip {
    int64_t level;  // 0 for the coarse band
    int64_t first, end;  // rows of the subplanes
};

// Divide a level into strips which are so high that strips with one between them do not add to the same numbers: a batch
// reaches PLACES - 1 places beyond its strip, and its neighbours two rows and two columns more.
inline int64_t strips_of(const Geometry& g) {
    const int64_t least = 5 + (PLACES + 4) / g.stride;
    const int64_t count = g.high / (least < 6 ? 6 : least);
    return count < 1 ? 1 : count;
}

// Call work(strip) for the strips of a color, those of the finest level first.
template <class Work>
inline void each_strip(const eoren_rate& r, int64_t color, Work work) {
    for (int64_t k = 1; k <= r.levels + 1; ++k) {
        const Geometry g = geometry_of(r, k <= r.levels ? k : r.levels);
        const int64_t count = strips_of(g);
        for (int64_t s = color; s < count; s += 2)
            work(Strip{k <= r.levels ? k : 0, g.high * s / count, g.high * (s + 1) / count});
    }
}

inline int64_t strips_of(const eoren_rate& r, int64_t color) {
    int64_t count = 0;
    each_strip(r, color, [&](const Strip&) { ++count; });
    return count;
}

inline void arrange(const eoren_rate& r, Arena& arena, Layout& l) {
    const int64_t strips = strips_of(r, 0) + strips_of(r, 1);
    l.bits = (double*)arena.floats(2 * strips);
    for (int64_t b = 0; b < bands_of(r); ++b) {
        const int64_t level = level_of(r, b);
        const Geometry g = geometry_of(r, level);
        const Geometry above = geometry_of(r, level > 0 ? level - 1 : 0);
        const int64_t orientation = orientation_of(b);
        const bool high_rows = orientation == VERTICAL || orientation == DIAGONAL;
        const bool high_columns = orientation == HORIZONTAL || orientation == DIAGONAL;
        for (int64_t c = 0; c < r.channels; ++c) {
            Channel& k = l.band[b][c];
            k = {};
            k.grid = g;
            k.rows = high_rows ? above.rows / 2 : g.rows;
            k.columns = high_columns ? above.columns / 2 : g.columns;
            k.from = r.band[b] + c * k.rows * k.columns;
            k.to = r.gradient[b] ? r.gradient[b] + c * k.rows * k.columns : nullptr;
            k.value = arena.floats(16 * g.size);
            k.compressed = arena.floats(16 * g.size);
            k.mean = arena.floats(16 * g.size);
            if (orientation == HORIZONTAL) k.magnitude = arena.floats(16 * g.size);
            const bool parent = b && level < r.levels;
            if (parent) {
                k.parent_compressed = arena.floats(4 * g.size);
                k.parent_mean = arena.floats(4 * g.size);
            }
            const int64_t start = arena.used;
            if (r.gradient[b]) {
                k.by_value = arena.floats(16 * g.size);
                k.by_compressed = arena.floats(16 * g.size);
                k.by_absolute = arena.floats(16 * g.size);
                k.by_magnitude = arena.floats(16 * g.size);
                k.by_mean = arena.floats(16 * g.size);
                if (parent) {
                    k.by_parent_compressed = arena.floats(4 * g.size);
                    k.by_parent_magnitude = arena.floats(4 * g.size);
                    k.by_parent_mean = arena.floats(4 * g.size);
                }
            }
            k.gradient_bytes = arena.used - start;
        }
    }
    for (int64_t level = 1; level <= r.levels; ++level) {
        const Geometry g = geometry_of(r, level);
        for (int64_t c = 0; c < r.channels; ++c) {
            Lowpass& k = l.low[level][c];
            k.grid = g;
            k.from = r.low[level - 1] + c * g.rows * g.columns;
            k.to = r.low_gradient[level - 1] ? r.low_gradient[level - 1] + c * g.rows * g.columns : nullptr;
            k.value = arena.floats(16 * g.size);
            k.by_value = k.to ? arena.floats(16 * g.size) : nullptr;
        }
    }
}

inline void arrange(const eoren_rate& r, Layout& l) {
    Arena arena = {(char*)r.memory, 0};
    arrange(r, arena, l);
}

// Preparation: what contexts consist of, once per place.

// Compress numbers in eighths: 16 log2(1 + |x| / 8) with the sign of x.
inline Vector compressed(Vector x) {
    const Integers sign = (Integers)x & INT32_MIN;
    const Vector most = all(LIMIT), value = 16.0f * log2_of(1.0f + 0.125f * absolute(x));
    return (Vector)((Integers)(value < most ? value : most) | sign);
}

// The derivative of `compressed`.
inline Vector compression(Vector x) {
    const float end = 1961.172f;  // 8 2**(127 / 16), where the limit is reached
    const Vector sum = 8.0f + absolute(x);
    return sum < all(end) ? 0x1.715476p+4f / sum : Vector{};
}

// Sum the absolute values of 3 x 3 places around a vector of places of subplane (i, j).
inline Vector sum_around(const Geometry& g, const float* plane, int64_t i, int64_t j, int64_t p) {
    Vector total = {};
    for (int64_t dy = -1; dy <= 1; ++dy)
        for (int64_t dx = -1; dx <= 1; ++dx) total += absolute(load(plane + g.neighbour(i, j, dy, dx) + p));
    return total;
}

inline void fill(float* p, int64_t floats) {
    for (int64_t k = 0; k < floats; ++k) p[k] = 0;
}

inline int64_t clamped(int64_t k, int64_t count) { return k < 0 ? 0 : k < count ? k : count - 1; }

// Write what the children see: every value for two rows and columns of them, cut or continued to their size.
inline void repeat(const Channel& parent, const float* plane, const Channel& child, float* to) {
    const Geometry &g = parent.grid, &h = child.grid;
    fill(to, 4 * h.size);
    for (int64_t k = 0; k < 4; ++k)
        for (int64_t y = 0; y < h.high; ++y) {
            const int64_t row = clamped(2 * y + (k >> 1), parent.rows);
            float* at = to + k * h.size + h.base + y * h.stride;
            for (int64_t x = 0; x < h.stride - 2; ++x) at[x] = plane[g.at(row, clamped(2 * x + (k & 1), parent.columns))];
        }
}

// Add the gradients by what the children see.
inline void add_repeated(const Channel& parent, float* plane, const Channel& child, const float* from) {
    const Geometry &g = parent.grid, &h = child.grid;
    for (int64_t k = 0; k < 4; ++k)
        for (int64_t y = 0; y < h.high; ++y) {
            const int64_t row = clamped(2 * y + (k >> 1), parent.rows);
            const float* at = from + k * h.size + h.base + y * h.stride;
            for (int64_t x = 0; x < h.stride - 2; ++x) plane[g.at(row, clamped(2 * x + (k & 1), parent.columns))] += at[x];
        }
}

inline const Channel* child_of(const eoren_rate& r, const Layout& l, int64_t band, int64_t channel) {
    if (band == 0 || level_of(r, band) == 1) return nullptr;
    const Channel& child = l.band[band - 3][channel];
    return child.empty() ? nullptr : &child;
}

inline void prepare(const eoren_rate& r, const Layout& l, int64_t band, int64_t channel) {
    const Channel& k = l.band[band][channel];
    const Geometry& g = k.grid;
    if (k.empty()) return;
    fill(k.value, 16 * g.size);
    fill(k.mean, 16 * g.size);  // places beyond the band are computed, too, and must be finite
    if (k.by_value) fill(k.by_value, k.gradient_bytes / 4);
    for (int64_t y = 0; y < k.rows; ++y) {
        const float* from = k.from + y * k.columns;
        for (int64_t j = 0; j < 4; ++j) {
            float* to = k.value + g.at(y, j);
            for (int64_t x = j; x < k.columns; x += 4) to[x >> 2] = from[x];
        }
    }
    for (int64_t p = 0; p < 16 * g.size; p += LANES) {
        const Vector v = compressed(8.0f * load(k.value + p));
        store(k.compressed + p, v);
        if (k.magnitude) store(k.magnitude + p, absolute(v));
    }
    for (int64_t i = 0; i < 4; ++i)
        for (int64_t j = 0; j < 4; ++j)
            for (int64_t p = 0; p < g.end(); p += LANES)
                store(k.mean + g.subplane(i, j) + p, compressed(MEAN_FACTOR * sum_around(g, k.value, i, j, p)));
    if (const Channel* child = child_of(r, l, band, channel)) {
        repeat(k, k.compressed, *child, child->parent_compressed);
        repeat(k, k.mean, *child, child->parent_mean);
    }
    // Vertical bands may have one column more.
    for (int64_t y = 0; k.magnitude && y < k.rows; ++y) {
        k.magnitude[g.at(y, k.columns)] = k.magnitude[g.at(y, k.columns - 1)];
        k.mean[g.at(y, k.columns)] = k.mean[g.at(y, k.columns - 1)];
    }
}

inline void prepare(const Lowpass& k) {
    const Geometry& g = k.grid;
    fill(k.value, 16 * g.size);
    if (k.by_value) fill(k.by_value, 16 * g.size);
    for (int64_t y = -2; y < g.rows + 2; ++y) {
        const float* from = k.from + clamped(y, g.rows) * g.columns;
        for (int64_t j = 0; j < 4; ++j) {
            float* to = k.value + g.at(y, j);
            for (int64_t x = j; x < g.columns; x += 4) to[x >> 2] = 8.0f * from[x];
        }
        for (int64_t x = -2; x < g.columns + 2; x = x == -1 ? g.columns : x + 1)
            k.value[g.at(y, x)] = 8.0f * from[clamped(x, g.columns)];
    }
}

// The gradient by latents, from those by what contexts consist of.
inline void finish(const eoren_rate& r, const Layout& l, int64_t band, int64_t channel, float* row) {
    const Channel& k = l.band[band][channel];
    const Geometry& g = k.grid;
    if (k.empty()) return;
    if (const Channel* child = child_of(r, l, band, channel)) {
        add_repeated(k, k.by_compressed, *child, child->by_parent_compressed);
        add_repeated(k, k.by_magnitude, *child, child->by_parent_magnitude);
        add_repeated(k, k.by_mean, *child, child->by_parent_mean);
    }
    for (int64_t y = 0; k.magnitude && y < k.rows; ++y)
        for (int n = 0; n < 2; ++n) {
            float* plane = n ? k.by_magnitude : k.by_mean;
            plane[g.at(y, k.columns - 1)] += plane[g.at(y, k.columns)];
            plane[g.at(y, k.columns)] = 0;
        }
    for (int64_t i = 0; i < 4; ++i)
        for (int64_t j = 0; j < 4; ++j)
            for (int64_t p = 0; p < g.end(); p += LANES) {
                float* at = k.by_mean + g.subplane(i, j) + p;
                const Vector sum = MEAN_FACTOR * sum_around(g, k.value, i, j, p);
                store(at, load(at) * (MEAN_FACTOR * compression(sum)));
            }
    for (int64_t y = 0; y < k.rows; ++y) {
        float* to = k.to + y * k.columns;
        for (int64_t j = 0; j < 4; ++j) {
            const int64_t start = g.at(y, j), count = (k.columns + 3 - j) / 4;
            for (int64_t x = 0; x < count; x += LANES) {
                const int64_t p = start + x;
                const Vector v = load(k.value + p);
                Vector by_absolute = load(k.by_absolute + p);
                for (int64_t dy = -1; dy <= 1; ++dy)
                    for (int64_t dx = -1; dx <= 1; ++dx) by_absolute += load(k.by_mean + g.at(y + dy, j + dx) + x);
                const Vector by_compressed = load(k.by_compressed + p) + with_sign(load(k.by_magnitude + p), v);
                store(row + x, load(k.by_value + p) + with_sign(by_absolute, v) +
                                   by_compressed * (8.0f * compression(8.0f * v)));
            }
            for (int64_t x = 0; x < count; ++x) to[4 * x + j] = row[x];
        }
    }
}

inline void finish(const Lowpass& k) {
    const Geometry& g = k.grid;
    for (int64_t n = 0; n < g.rows * g.columns; ++n) k.to[n] = 0;
    for (int64_t y = -2; y < g.rows + 2; ++y) {
        float* to = k.to + clamped(y, g.rows) * g.columns;
        for (int64_t j = 0; j < 4; ++j) {
            const float* from = k.by_value + g.at(y, j);
            for (int64_t x = j; x < g.columns; x += 4) to[x] += 8.0f * from[x >> 2];
        }
        for (int64_t x = -2; x < g.columns + 2; x = x == -1 ? g.columns : x + 1)
            to[clamped(x, g.columns)] += 8.0f * k.by_value[g.at(y, x)];
    }
}

// Contexts: where the slots of a subplane come from, and where their gradients go.

struct Offset {
    int8_t dy, dx;
};

constexpr Offset DIRECT_AT[] = {{0, -1}, {0, 1}, {-1, 0}, {1, 0}};
constexpr Offset DIAGONAL_AT[] = {{-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
constexpr Offset KNIGHT_AT[] = {{-2, -1}, {-2, 1}, {2, -1}, {2, 1}, {-1, -2}, {-1, 2}, {1, -2}, {1, 2}};
constexpr Offset RING_OF_DIAGONAL_AT[] = {{-3, -1}, {-3, 1}, {3, -1}, {3, 1}, {-1, -3}, {-1, 3}, {1, -3}, {1, 3}};
constexpr Offset RING_AT[] = {{0, -3}, {0, 3},  {-3, 0}, {3, 0},  {-2, -3}, {-2, 3},
                              {2, -3}, {2, 3}, {-3, -2}, {-3, 2}, {3, -2},  {3, 2}};

struct Group {
    const Offset* at;
    int count, slot;
    float factor;
};

constexpr Group DIRECT_GROUP = {DIRECT_AT, 4, 0, 2.0f}, DIAGONAL_GROUP = {DIAGONAL_AT, 4, 4, 2.0f},
                KNIGHT_GROUP = {KNIGHT_AT, 8, 8, 1.0f}, RING_GROUP = {RING_AT, 12, -1, 43.0f / 64},
                RING_OF_DIAGONAL_GROUP = {RING_OF_DIAGONAL_AT, 8, -1, 1.0f};

enum { KNOWS_DIRECT = 1, KNOWS_DIAGONAL = 2, KNOWS_KNIGHT = 4 };
constexpr int KNOWN[] = {0, 2, 5, 7, 2, 5, 7};

inline int phase_of(int64_t i, int64_t j) {
    if (i % 2 == 0 && j % 2 == 0) return i == j ? (i ? 1 : 0) : (i ? 3 : 2);
    return i % 2 && j % 2 ? 4 : j % 2 ? 5 : 6;
}

struct Direct {  // a slot that is a number of another place
    const float* from;
    float* to;
};

struct Sum {  // a slot that is the compressed sum of absolute values
    int64_t at[12];
    int count;
    float factor;
};

struct Context {
    Direct plain[4 + 4 + 8 + 4 + 2 + 2];
    Direct absolute[2 + 1 + 2];
    Sum sum[4];
    int64_t low[24];
    int plains, absolutes, sums, lows;
    const float *here, *value, *low_middle, *low_value;
    float *by_here, *by_absolute, *by_low_middle, *by_low;
    int slot[SLOTS];  // of the context model, in this order: plain, absolute, sum, low

    int count() const { return plains + absolutes + sums + lows; }
};

// A list of slots by kind, whose numbers are joined at the end.
struct Lists {
    Context& c;
    int plain[24], absolute[5], sum[4];

    void add_plain(int number, const float* from, float* to) { plain[c.plains] = number, c.plain[c.plains++] = {from, to}; }
    void add_absolute(int number, const float* from, float* to) {
        absolute[c.absolutes] = number, c.absolute[c.absolutes++] = {from, to};
    }
};

inline float* moved(float* p, int64_t offset) { return p ? p + offset : nullptr; }

// Describe the contexts of subplane (i, j). Pointers are those of the place at position 0 of the subplane.
inline void describe(const eoren_rate& r, const Layout& l, int64_t band, int64_t channel, int64_t i, int64_t j, Context& c) {
    const Channel& k = l.band[band][channel];
    const Geometry& g = k.grid;
    const int64_t orientation = orientation_of(band), here = g.subplane(i, j);
    const bool transposed = orientation == HORIZONTAL;
    c.plains = c.absolutes = c.sums = c.lows = 0;
    Lists lists = {c, {}, {}, {}};
    const int phase = transposed ? phase_of(j, i) : phase_of(i, j), known = KNOWN[phase], scale = phase < 4 ? 2 : 1;
    const auto at = [&](Offset o) {
        return transposed ? g.neighbour(i, j, scale * o.dx, scale * o.dy) : g.neighbour(i, j, scale * o.dy, scale * o.dx);
    };
    const auto add_sum = [&](const Group& group, int slot) {
        Sum& sum = c.sum[c.sums];
        sum.count = group.count, sum.factor = group.factor;
        for (int n = 0; n < group.count; ++n) sum.at[n] = at(group.at[n]);
        lists.sum[c.sums++] = slot;
    };
    const Group* groups[] = {&DIRECT_GROUP, &DIAGONAL_GROUP, &KNIGHT_GROUP};
    for (int n = 0; n < 3; ++n) {
        if (!(known >> n & 1)) continue;
        for (int m = 0; m < groups[n]->count; ++m) {
            const int64_t offset = at(groups[n]->at[m]);
            lists.add_plain(groups[n]->slot + m, k.compressed + offset, moved(k.by_compressed, offset));
        }
        add_sum(*groups[n], 16 + n);
    }
    if (known) add_sum(known == KNOWS_DIAGONAL ? RING_OF_DIAGONAL_GROUP : RING_GROUP, 19);
    for (int64_t n = 0; n < channel && n < 2; ++n) {
        const Channel& earlier = l.band[band][n];
        const int slot = (int)(20 + 3 * n);
        lists.add_plain(slot, earlier.compressed + here, moved(earlier.by_compressed, here));
        lists.add_absolute(slot + 1, earlier.compressed + here, moved(earlier.by_magnitude, here));
        lists.add_plain(slot + 2, earlier.mean + here, moved(earlier.by_mean, here));
    }
    if (k.parent_compressed && !l.band[band + 3][channel].empty()) {
        const int64_t parent = ((i >> 1) * 2 + (j >> 1)) * g.size + g.base;
        lists.add_plain(26, k.parent_compressed + parent, moved(k.by_parent_compressed, parent));
        lists.add_absolute(27, k.parent_compressed + parent, moved(k.by_parent_magnitude, parent));
        lists.add_plain(28, k.parent_mean + parent, moved(k.by_parent_mean, parent));
    }
    for (int64_t n = 0; band && n < orientation; ++n) {
        const Channel& sibling = l.band[band - orientation + n][channel];
        if (sibling.empty()) continue;
        const float* magnitude = sibling.magnitude ? sibling.magnitude : sibling.compressed;
        lists.add_absolute((int)(29 + 2 * n), magnitude + here, moved(sibling.by_magnitude, here));
        lists.add_plain((int)(30 + 2 * n), sibling.mean + here, moved(sibling.by_mean, here));
    }
    int slots = 0;
    for (int n = 0; n < c.plains; ++n) c.slot[slots++] = lists.plain[n];
    for (int n = 0; n < c.absolutes; ++n) c.slot[slots++] = lists.absolute[n];
    for (int n = 0; n < c.sums; ++n) c.slot[slots++] = lists.sum[n];
    c.value = k.value, c.here = k.value + here;
    c.by_here = moved(k.by_value, here), c.by_absolute = k.by_absolute;
    if (band) {
        const Lowpass& low = l.low[level_of(r, band)][channel];
        c.low_value = low.value, c.low_middle = low.value + here;
        c.by_low = low.by_value, c.by_low_middle = moved(low.by_value, here);
        for (int n = 0; n < 25; ++n) {
            if (n == 12) continue;
            const int64_t dy = n / 5 - 2, dx = n % 5 - 2;
            c.low[c.lows++] = transposed ? g.neighbour(i, j, dx, dy) : g.neighbour(i, j, dy, dx);
            c.slot[slots++] = 33 + c.lows - 1;
        }
    }
}

// The network of a phase, and buffers for a batch.
struct Network {
    int64_t hidden, width;  // width of a row of `first`: hidden values, then mean and scale
    float* first;           // (slots, width): weights of the first layer, and those that skip the hidden ones
    float *first_bias, *last;
    const float *second, *second_bias;
    float last_bias[2];

    float *x, *derivative;         // (slots, PLACES); x becomes the gradient by the slots
    float *one, *two;              // (hidden, PLACES)
    float *by_one, *by_two;        // (width, PLACES), (hidden, PLACES)
    float *mean, *scale, *weight;  // (PLACES); weight is 0 where there is no place
};

inline void arrange(const eoren_rate& r, Arena& arena, Network& n) {
    n.hidden = r.hidden, n.width = r.hidden + 2;
    n.first = arena.floats(MOST_ROWS * n.width);
    n.first_bias = arena.floats(n.hidden), n.last = arena.floats(2 * n.hidden);
    n.x = arena.floats(MOST_ROWS * PLACES), n.derivative = arena.floats(MOST_ROWS * PLACES);
    n.one = arena.floats(n.hidden * PLACES), n.two = arena.floats(n.hidden * PLACES);
    n.by_one = arena.floats(n.width * PLACES), n.by_two = arena.floats(n.hidden * PLACES);
    n.mean = arena.floats(PLACES), n.scale = arena.floats(PLACES), n.weight = arena.floats(PLACES);
}

// Copy the weights of the slots of a context.
inline void choose(const eoren_rate& r, int64_t band, int64_t channel, int phase, const Context& c, Network& n) {
    const int64_t network = 2 * phase + (channel > 0), orientation = orientation_of(band);
    int64_t index = band ? level_of(r, band) - 1 : r.levels;
    if (index > r.offset_levels - 1) index = r.offset_levels - 1;
    const int64_t offset = (index * 4 + orientation) * r.offset_channels +
                           (channel < r.offset_channels ? channel : r.offset_channels - 1);
    const int64_t h = n.hidden, slots = c.count();
    for (int64_t k = 0; k < MOST_ROWS; ++k) {
        float* to = n.first + k * n.width;
        if (k >= slots) {
            for (int64_t m = 0; m < n.width; ++m) to[m] = 0;
            continue;
        }
        const float* first = r.first + (network * SLOTS + c.slot[k]) * h;
        const float* skip = r.skip + (network * SLOTS + c.slot[k]) * 2;
        for (int64_t m = 0; m < h; ++m) to[m] = first[m];
        to[h] = skip[0], to[h + 1] = skip[1];
    }
    for (int64_t m = 0; m < h; ++m) n.first_bias[m] = r.first_bias[network * h + m] + r.first_offset[offset * h + m];
    for (int64_t m = 0; m < 2 * h; ++m) n.last[m] = r.last[network * 2 * h + m];
    n.second = r.second + network * h * h, n.second_bias = r.second_bias + network * h;
    for (int m = 0; m < 2; ++m) n.last_bias[m] = r.last_bias[2 * network + m] + r.last_offset[2 * offset + m];
}

inline Vector limited(Vector v, float low, float high) {
    const Vector l = all(low), h = all(high);
    v = v > l ? v : l;
    return v < h ? v : h;
}

// Where a limited value was not limited.
inline Integers inside(Vector v, float low, float high) { return (v > all(low)) & (v < all(high)); }

#define EOREN_EACH_VECTOR EOREN_UNROLL for (int64_t v = 0; v < PLACES; v += LANES)

inline void gather(const Context& c, int64_t p, Network& n) {
    float* x = n.x;
    for (int k = 0; k < c.plains; ++k, x += PLACES) {
        EOREN_EACH_VECTOR store(x + v, load(c.plain[k].from + p + v));
    }
    for (int k = 0; k < c.absolutes; ++k, x += PLACES) {
        EOREN_EACH_VECTOR store(x + v, absolute(load(c.absolute[k].from + p + v)));
    }
    for (int k = 0; k < c.sums; ++k, x += PLACES) {
        const Sum& sum = c.sum[k];
        EOREN_EACH_VECTOR {
            Vector total = {};
            for (int m = 0; m < sum.count; ++m) total += absolute(load(c.value + sum.at[m] + p + v));
            total *= sum.factor;
            store(x + v, compressed(total));
            store(n.derivative + (x - n.x) + v, sum.factor * compression(total));
        }
    }
    for (int k = 0; k < c.lows; ++k, x += PLACES) {
        EOREN_EACH_VECTOR {
            const Vector difference = load(c.low_value + c.low[k] + p + v) - load(c.low_middle + p + v);
            store(x + v, compressed(difference));
            store(n.derivative + (x - n.x) + v, compression(difference));
        }
    }
}

inline void add_to(float* p, Vector v) { store(p, load(p) + v); }

inline void scatter(const Context& c, int64_t p, const Network& n) {
    const float* x = n.x;
    for (int k = 0; k < c.plains; ++k, x += PLACES) {
        EOREN_EACH_VECTOR add_to(c.plain[k].to + p + v, load(x + v));
    }
    for (int k = 0; k < c.absolutes; ++k, x += PLACES) {
        EOREN_EACH_VECTOR add_to(c.absolute[k].to + p + v, load(x + v));
    }
    for (int k = 0; k < c.sums; ++k, x += PLACES) {
        const float* derivative = n.derivative + (x - n.x);
        Vector by_sum[VECTORS];
        EOREN_EACH_VECTOR by_sum[v / LANES] = load(x + v) * load(derivative + v);
        for (int m = 0; m < c.sum[k].count; ++m) {
            EOREN_EACH_VECTOR add_to(c.by_absolute + c.sum[k].at[m] + p + v, by_sum[v / LANES]);
        }
    }
    if (!c.lows) return;
    Vector by_middle[VECTORS] = {};
    for (int k = 0; k < c.lows; ++k, x += PLACES) {
        const float* derivative = n.derivative + (x - n.x);
        EOREN_EACH_VECTOR {
            const Vector by_difference = load(x + v) * load(derivative + v);
            add_to(c.by_low + c.low[k] + p + v, by_difference);
            by_middle[v / LANES] -= by_difference;
        }
    }
    EOREN_EACH_VECTOR add_to(c.by_low_middle + p + v, by_middle[v / LANES]);
}

// The probability of a Laplace distribution in an interval of length 1, and its derivatives, without cancellation.
struct Mass {
    Vector mass, by_distance, by_log_width;
};

// The distance of the middle of the interval is 0 or more.
inline Mass laplace_mass(Vector distance, Vector inverse_width) {
    const float log2_e = 0x1.715476p+0f;
    const Vector near = distance - 0.5f, far = distance + 0.5f, gap = absolute(near);
    const Power e = power_of_2(-log2_e * (gap * inverse_width)), other = power_of_2(-log2_e * (far * inverse_width));
    const Power whole = power_of_2(-log2_e * inverse_width);
    const Vector half = 0.5f * inverse_width;
    // Outside of the interval: an exponential.
    const Vector out = -0.5f * e.value * whole.minus_1;
    const Vector out_by_width = half * e.value * (-whole.minus_1 * gap - whole.value);
    // Inside: one minus two exponentials.
    const Vector in = -0.5f * (other.minus_1 + e.minus_1);
    const Vector in_by_width = -half * (other.value * far + e.value * gap);
    const Integers is_inside = near < Vector{};
    return {
        is_inside ? in : out,
        is_inside ? half * (other.minus_1 - e.minus_1) : -inverse_width * out,
        is_inside ? in_by_width : out_by_width,
    };
}

// Compute bits, and gradients by value, mean and scale in their place.
inline Vector mixture(const eoren_rate& r, Vector value, Vector mean, Vector scale, Vector weight, Vector* by) {
    const float ln_2 = 0x1.62e43p-1f;
    const Vector m = limited(mean, -MEAN_LIMIT, MEAN_LIMIT), s = limited(scale, 0.0f, MOST_SCALE);
    const Vector difference = value - m, inverse_width = power_of_2(4.0f - 0.25f * s).value;
    const Mass narrow = laplace_mass(absolute(difference), inverse_width);
    const Mass wide = laplace_mass(absolute(difference), inverse_width * (1.0f / r.ratio));
    const float a = r.weight, b = 1.0f - r.weight;
    const Vector mass = a * narrow.mass + b * wide.mass, least = all(r.least);
    const Integers probable = mass >= least;
    const Vector bounded = probable ? mass : least;
    const Vector by_mass = weight * (-1.0f / ln_2) / bounded;
    const Vector by_distance = probable ? by_mass * (a * narrow.by_distance + b * wide.by_distance) : Vector{};
    const Vector by_scale =
        probable ? by_mass * (ln_2 / 4) * (a * narrow.by_log_width + b * wide.by_log_width) : Vector{};
    by[0] = with_sign(by_distance, difference);
    by[1] = inside(mean, -MEAN_LIMIT, MEAN_LIMIT) ? -by[0] : Vector{};
    by[2] = inside(scale, 0.0f, MOST_SCALE) ? by_scale : Vector{};
    return -weight * log2_of(bounded) + 0.0f * difference;  // NaN for invalid latents
}

// Compute bits of a batch, at positions p and on of a subplane, and add to the gradients.
inline float batch(const eoren_rate& r, const Context& c, int64_t p, Network& n) {
    const int64_t h = n.hidden, slots = c.count(), w = n.width;
    gather(c, p, n);
    const auto keep = [](float* to, const float* bias) {
        return [=](int64_t at, Vector v) { store(to + at, limited(v + bias[(uint64_t)at / PLACES], 0.0f, LIMIT)); };
    };
    multiply(h, slots, PLACES, {n.first, 1, w}, n.x, nullptr, keep(n.one, n.first_bias));
    multiply(h, h, PLACES, {n.second, 1, h}, n.one, nullptr, keep(n.two, n.second_bias));
    float total = 0;
    float *by_mean = n.by_one + h * PLACES, *by_scale = by_mean + PLACES;
    EOREN_EACH_VECTOR {
        Vector mean = all(n.last_bias[0]), scale = all(n.last_bias[1]), mean_2 = {}, scale_2 = {};
        for (int64_t k = 0; k < h; k += 2) {
            const Vector a = load(n.two + k * PLACES + v), b = load(n.two + (k + 1) * PLACES + v);
            mean += a * n.last[2 * k], scale += a * n.last[2 * k + 1];
            mean_2 += b * n.last[2 * k + 2], scale_2 += b * n.last[2 * k + 3];
        }
        for (int64_t k = 0; k < slots; ++k) {
            const Vector x = load(n.x + k * PLACES + v);
            mean += x * n.first[k * w + h], scale += x * n.first[k * w + h + 1];
        }
        Vector by[3];
        const Vector weight = load(n.weight + v);
        total += sum(mixture(r, load(c.here + p + v), mean + mean_2, scale + scale_2, weight, by));
        if (c.by_here) add_to(c.by_here + p + v, by[0]);
        store(by_mean + v, by[1]), store(by_scale + v, by[2]);
    }
    if (!c.by_here) return total;
    EOREN_EACH_VECTOR {
        const Vector by_m = load(by_mean + v), by_s = load(by_scale + v);
        for (int64_t k = 0; k < h; ++k) {
            const Integers on = inside(load(n.two + k * PLACES + v), 0.0f, LIMIT);
            store(n.by_two + k * PLACES + v, on ? by_m * n.last[2 * k] + by_s * n.last[2 * k + 1] : Vector{});
        }
    }
    multiply(h, h, PLACES, {n.second, h, 1}, n.by_two, nullptr, [&](int64_t at, Vector v) {
        store(n.by_one + at, inside(load(n.one + at), 0.0f, LIMIT) ? v : Vector{});
    });
    multiply((slots + 7) / 8 * 8, w, PLACES, {n.first, w, 1}, n.by_one, n.x);
    scatter(c, p, n);
    return total;
}

// Set the weights of a batch: 1 for places of the band, 0 elsewhere.
inline void weigh(const Channel& k, int64_t i, int64_t j, int64_t p, int64_t end, float* weight) {
    int64_t y = p / k.grid.stride, x = p % k.grid.stride;
    for (int64_t n = 0; n < PLACES; ++n) {
        weight[n] = p + n < end && 4 * y + i < k.rows && 4 * x + j < k.columns ? 1.0f : 0.0f;
        if (++x == k.grid.stride) x = 0, ++y;
    }
}

inline double strip(const eoren_rate& r, const Layout& l, const Strip& s, char* scratch) {
    Arena arena = {scratch, 0};
    Network n;
    arrange(r, arena, n);
    double total = 0;
    const int64_t first = s.level ? 3 * s.level - 2 : 0, end = s.level ? first + 3 : 1;
    for (int64_t band = first; band < end; ++band)
        for (int64_t channel = 0; channel < r.channels; ++channel) {
            const Channel& k = l.band[band][channel];
            if (k.empty()) continue;
            const bool transposed = orientation_of(band) == HORIZONTAL;
            for (int phase = 0, chosen; phase < 7; ++phase) {
                chosen = 0;
                for (int64_t i = 0; i < 4; ++i)
                    for (int64_t j = 0; j < 4; ++j) {
                        if ((transposed ? phase_of(j, i) : phase_of(i, j)) != phase) continue;
                        Context c;
                        describe(r, l, band, channel, i, j, c);
                        if (!chosen++) choose(r, band, channel, phase, c, n);
                        const int64_t last = s.end * k.grid.stride;
                        for (int64_t p = s.first * k.grid.stride; p < last; p += PLACES) {
                            weigh(k, i, j, p, last, n.weight);
                            total += batch(r, c, p, n);
                        }
                    }
            }
        }
    return total;
}

// Tasks in stages, each of which needs the results of the one before.

enum { PREPARE, EVEN, ODD, FINISH, STAGES };

inline int64_t tasks(const eoren_rate& r, int64_t stage) {
    if (stage == EVEN || stage == ODD) return strips_of(r, stage - EVEN);
    return stage == FINISH && !r.gradient[0] ? 0 : (bands_of(r) + r.levels) * r.channels;
}

inline int64_t scratch(const eoren_rate& r) {
    Arena arena = {nullptr, 0};
    Network n;
    arrange(r, arena, n);
    const int64_t row = 4 * (r.columns + 64);
    return arena.used > row ? arena.used : row;
}

inline void task(const eoren_rate& r, int64_t stage, int64_t number, char* scratch) {
    Layout l;
    arrange(r, l);
    if (stage == EVEN || stage == ODD) {
        int64_t n = 0;
        each_strip(r, stage - EVEN, [&](const Strip& s) {
            if (n++ == number) l.bits[number + (stage == ODD ? strips_of(r, 0) : 0)] = strip(r, l, s, scratch);
        });
        return;
    }
    // The bands of the finest level come first, the low-pass bands last.
    const int64_t band = (number / r.channels + 1) % bands_of(r), channel = number % r.channels;
    if (number < bands_of(r) * r.channels) {
        if (stage == PREPARE)
            prepare(r, l, band, channel);
        else
            finish(r, l, band, channel, (float*)scratch);
    } else {
        const Lowpass& low = l.low[1 + number / r.channels - bands_of(r)][channel];
        if (stage == PREPARE)
            prepare(low);
        else
            finish(low);
    }
}

inline double total(const eoren_rate& r) {
    Layout l;
    arrange(r, l);
    double bits = 0;
    for (int64_t k = 0; k < strips_of(r, 0) + strips_of(r, 1); ++k) bits += l.bits[k];
    return bits;
}

inline int64_t bytes(const eoren_rate& r) {
    Layout l;
    Arena arena = {nullptr, 0};
    arrange(r, arena, l);
    return arena.used;
}

}  // namespace rate
}  // namespace
