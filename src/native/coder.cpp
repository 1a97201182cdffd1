// Coding of one block of latents (coding/block_coder.py): band after band, phase after phase. Every mode of operation goes
// through the same order, and chooses the latents of a phase once they are predicted.
#include "eoren.h"
#include "kernel.h"
#include "phases.h"
#include "surroundings.h"
#include "symbols.h"
#include "team.h"

#include <memory>
#include <new>
#include <vector>

namespace {

enum { HORIZONTAL, VERTICAL, DIAGONAL_BAND, COARSE };
constexpr int64_t LEVELS = 5, CHANNELS = 3;  // with offsets of their own

constexpr int64_t TASK_PLACES = 768;         // in one task, about
constexpr int64_t SHARED_PLACES = 2048;      // in a phase that threads share, at least

// The rows of a phase that one task predicts.
struct Tasks {
    explicit Tasks(const Phase& p) : rows(p.rows) {
        const int64_t wanted = TASK_PLACES / p.view.columns;
        each = rows * p.view.columns < SHARED_PLACES ? rows : wanted > 0 ? wanted : 1;
        count = (rows + each - 1) / each;
    }
    int64_t first(int64_t task) const { return task * each; }
    int64_t end(int64_t task) const { return (task + 1) * each < rows ? (task + 1) * each : rows; }

    int64_t rows, each, count;
};

// One channel of one band.
struct Band {
    int64_t level, orientation, channel;
    int64_t index;  // in the order of Latents.bands()
    int64_t rows, columns;
};

// What is done with the latents of a block.
class Mode {
public:
    Mode(const eoren_block& block, const eoren_kernel& kernel, Team& team) : block(block), kernel(kernel), team(team), distributions(*block.model) {}
    virtual ~Mode() = default;

    // Whether the latents are known from the start.
    virtual bool known() const = 0;
    // Prepare for a plane, whose latents are zero unless they are known.
    virtual void begin(const Band&, const Plane&) {}
    // Choose latents of a phase, row by row, into `values` unless they are known. Return a status.
    virtual int choose(Phase& phase, const Plane& plane) = 0;

    std::vector<int32_t> values;

protected:
    void predict(Phase& phase, const Tasks& tasks, int64_t task) const {
        kernel.predict(&phase.view, tasks.first(task), tasks.end(task));
    }

    // Run work(place, y, x, index) for the places of a task, after predicting them.
    template <class Work>
    void predict_each(Phase& phase, const Tasks& tasks, int64_t task, Work work) const {
        predict(phase, tasks, task);
        const eoren_phase& p = phase.view;
        for (int64_t row = tasks.first(task); row < tasks.end(task); ++row)
            for (int64_t k = 0; k < p.columns; ++k)
                work(p.place[row * p.columns + k], p.row + p.step * row, p.column + p.step * k, row * p.columns + k);
    }

    const eoren_block& block;
    const eoren_kernel& kernel;
    Team& team;
    Distributions distributions;
};

class Encode : public Mode {
public:
    Encode(const eoren_block& block, const eoren_kernel& kernel, Team& team)
        : Mode(block, kernel, team),
          places(block.channels * block.rows * block.columns),
          all(block.channels * block.rows * block.columns) {}

    bool known() const override { return true; }

    int choose(Phase& phase, const Plane& plane) override {
        phase.view.place = places.data() + count;
        int32_t* to = all.data() + count;
        const Tasks tasks(phase);
        team.run(tasks.count, [&](int64_t task) {
            predict_each(phase, tasks, task, [&](int32_t, int64_t y, int64_t x, int64_t k) { to[k] = plane.latent.row(y)[x]; });
        });
        count += phase.rows * phase.view.columns;
        return EOREN_FINISHED;
    }

    int finish(uint32_t* words, int64_t capacity, int64_t* start) const {
        Encoder encoder(words, capacity);
        for (int64_t k = count; k-- > 0;) distributions.encode(encoder, all[k], places[k]);
        *start = encoder.finish();
        return *start < 0 ? EOREN_NO_MEMORY : EOREN_FINISHED;
    }

private:
    int64_t count = 0;
    std::vector<int32_t> places, all;
};

class CountBits : public Mode {
public:
    using Mode::Mode;

    bool known() const override { return true; }

    int choose(Phase& phase, const Plane& plane) override {
        const Tasks tasks(phase);
        places.resize(phase.rows * phase.view.columns);
        phase.view.place = places.data();
        sums.assign(tasks.count, 0.0);
        team.run(tasks.count, [&](int64_t task) {
            double sum = 0;
            predict_each(phase, tasks, task, [&](int32_t place, int64_t y, int64_t x, int64_t) {
                sum += distributions.bits(plane.latent.row(y)[x], place);
            });
            sums[task] = sum;
        });
        for (double sum : sums) total += sum;
        return EOREN_FINISHED;
    }

    double total = 0;

private:
    std::vector<int32_t> places;
    std::vector<double> sums;
};

class Decode : public Mode {
public:
    Decode(const eoren_block& block, const eoren_kernel& kernel, Team& team, const unsigned char* data, int64_t words)
        : Mode(block, kernel, team), decoder(data, words) {}

    bool known() const override { return false; }

    int choose(Phase& phase, const Plane&) override {
        const Tasks tasks(phase);
        const int64_t columns = phase.view.columns;
        values.resize(phase.rows * columns);
        places.resize(phase.rows * columns);
        phase.view.place = places.data();
        bool large = false;
        const bool complete = team.stream(
            tasks.count, [&](int64_t task) { predict(phase, tasks, task); },
            [&](int64_t task) {
                Decoder local = decoder;  // in registers
                for (int64_t k = tasks.first(task) * columns; k < tasks.end(task) * columns; ++k) {
                    const int64_t value = distributions.decode(local, places[k]);
                    const bool fits = value <= MOST_LATENT && value >= -MOST_LATENT;
                    values[k] = fits ? (int32_t)value : 0;
                    large |= !fits;
                }
                decoder = local;
                return !local.truncated();
            }
        );
        return !complete ? EOREN_TRUNCATED : large ? EOREN_LARGE_LATENT : EOREN_FINISHED;
    }

    int finish() const { return decoder.finished() ? EOREN_FINISHED : EOREN_NOT_AT_END; }

private:
    Decoder decoder;
    std::vector<int32_t> places;
};

class Quantize : public Mode {
public:
    using Mode::Mode;

    bool known() const override { return false; }

    void begin(const Band& band, const Plane&) override {
        const float* from = block.coefficient[band.index] + band.channel * band.rows * band.columns;
        if (band.orientation == HORIZONTAL) {  // rows and columns are those of the transposed plane
            wanted = Grid<float>(band.rows, band.columns);
            transpose(band.columns, band.rows, from, band.rows, wanted.row(0), wanted.stride);
        } else {
            wanted = Grid<float>(band.rows, band.columns);
            copy(band.rows, band.columns, from, band.columns, wanted.row(0), wanted.stride);
        }
    }

    int choose(Phase& phase, const Plane&) override {
        const Tasks tasks(phase);
        values.resize(phase.rows * phase.view.columns);
        places.resize(phase.rows * phase.view.columns);
        phase.view.place = places.data();
        team.run(tasks.count, [&](int64_t task) {
            predict_each(phase, tasks, task, [&](int32_t place, int64_t y, int64_t x, int64_t k) {
                values[k] = best(wanted.row(y)[x], place);
            });
        });
        return EOREN_FINISHED;
    }

private:
    int32_t best(double exact, int32_t place) const {
        const double limit = MOST_LATENT;
        const double limited = exact > limit ? limit : exact < -limit ? -limit : exact;
        const int32_t nearest = (int32_t)__builtin_lrint(limited), centre = eoren_place_integer(place);
        const int32_t closer = nearest - (nearest > centre) + (nearest < centre);
        if (closer == nearest) return nearest;
        return cost(exact, closer, place) < cost(exact, nearest, place) ? closer : nearest;
    }

    double cost(double exact, int32_t value, int32_t place) const {
        const double error = exact - value;
        return error * error + block.weight * distributions.bits(value, place);
    }

    Grid<float> wanted;
    std::vector<int32_t> places;
};

// Goes through the latents of a block in the order of coding.
class Walk {
public:
    Walk(const eoren_block& block, const eoren_kernel& kernel, Mode& mode) : block(block), kernel(kernel), mode(mode) {
        int64_t rows = block.rows, columns = block.columns;
        for (int64_t level = 1; level <= block.levels; ++level) {
            high_rows[level] = rows / 2, high_columns[level] = columns / 2;
            rows -= rows / 2, columns -= columns / 2;
            low_rows[level] = rows, low_columns[level] = columns;
        }
        low_rows[0] = block.rows, low_columns[0] = block.columns;
    }

    int run() {
        const int64_t levels = block.levels, channels = block.channels;
        std::vector<Plane> coarse(channels);
        for (int64_t c = 0; c < channels; ++c) {
            const Band band = {levels, COARSE, c, 0, low_rows[levels], low_columns[levels]};
            const int status = code(band, coarse, {}, nullptr);
            if (status != EOREN_FINISHED) return status;
        }
        std::vector<Grid<int32_t>> low(channels);
        for (int64_t c = 0; c < channels && levels; ++c) low[c] = eighths(coarse[c]);
        coarse.clear();
        std::vector<Plane> parents[3];
        for (int64_t level = levels; level > 0; --level) {
            std::vector<Plane> planes[3];
            const int status = code_level(level, low, parents, planes);
            if (status != EOREN_FINISHED) return status;
            for (int64_t c = 0; c < channels && level > 1; ++c) low[c] = synthesize(level, low[c], planes, c);
            for (int k = 0; k < 3; ++k) parents[k] = std::move(planes[k]);
        }
        return EOREN_FINISHED;
    }

private:
    int code_level(
        int64_t level, const std::vector<Grid<int32_t>>& low, const std::vector<Plane> (&parents)[3],
        std::vector<Plane> (&planes)[3]
    ) {
        const int64_t channels = block.channels;
        const int64_t rows[3] = {high_columns[level], high_rows[level], high_rows[level]};
        const int64_t columns[3] = {low_rows[level], low_columns[level], high_columns[level]};
        std::vector<Grid<int16_t>> horizontal_size(channels), horizontal_mean(channels);
        std::vector<Grid<int32_t>> split(channels);
        for (int64_t orientation = HORIZONTAL; orientation <= DIAGONAL_BAND; ++orientation) {
            planes[orientation].resize(channels);
            if (!rows[orientation] || !columns[orientation]) continue;
            for (int64_t c = 0; c < channels; ++c) {
                const Band band = {level, orientation, c, 1 + 3 * (level - 1) + orientation, rows[orientation], columns[orientation]};
                std::vector<CommonSlot> common;
                Grid<int16_t> parent[3];
                if (level < block.levels && !parents[orientation][c].empty()) {
                    const Plane& p = parents[orientation][c];
                    parent[0] = doubled(p.compressed, band.columns);
                    parent[1] = doubled(p.size, band.columns);
                    parent[2] = doubled(p.mean, band.columns);
                    for (int k = 0; k < 3; ++k) common.push_back({PARENT + k, slot_of(parent[k], 1)});
                }
                if (orientation > HORIZONTAL && !planes[HORIZONTAL][c].empty()) {
                    if (orientation == VERTICAL) {
                        horizontal_size[c] = turned(planes[HORIZONTAL][c].size);
                        horizontal_mean[c] = turned(planes[HORIZONTAL][c].mean);
                    }
                    common.push_back({SIBLINGS, slot_of(horizontal_size[c], 0)});
                    common.push_back({SIBLINGS + 1, slot_of(horizontal_mean[c], 0)});
                }
                if (orientation == DIAGONAL_BAND && !planes[VERTICAL][c].empty()) {
                    common.push_back({SIBLINGS + 2, slot_of(planes[VERTICAL][c].size, 0)});
                    common.push_back({SIBLINGS + 3, slot_of(planes[VERTICAL][c].mean, 0)});
                }
                if (orientation == HORIZONTAL) {
                    Grid<int32_t> low_turned(low[c].columns, low[c].rows);
                    transpose(low[c].rows, low[c].columns, low[c].row(0), low[c].stride, low_turned.row(0), low_turned.stride);
                    split[c] = split_columns(low_turned);
                } else if (orientation == VERTICAL) {
                    split[c] = split_columns(low[c]);
                }
                const int status = code(band, planes[orientation], std::move(common), &split[c]);
                if (status != EOREN_FINISHED) return status;
            }
        }
        return EOREN_FINISHED;
    }

    static eoren_slot slot_of(const Grid<int16_t>& grid, int64_t shift) {
        return {grid.row(0), grid.stride, shift, grid.rows - 1};
    }

    // Code one channel of a band.
    int code(const Band& band, std::vector<Plane>& channels, std::vector<CommonSlot> common, const Grid<int32_t>* lowpass) {
        const int64_t rows = band.rows, columns = band.columns;
        Plane& plane = channels[band.channel];
        plane = Plane(rows, columns);
        for (int64_t c = 0; c < band.channel && c < 2; ++c) {
            const int first = EARLIER + 3 * (int)c;
            const Plane& earlier = channels[c];
            common.push_back({first, slot_of(earlier.compressed, 0)});
            common.push_back({first + 1, slot_of(earlier.size, 0)});
            common.push_back({first + 2, slot_of(earlier.mean, 0)});
        }
        const int64_t stride = block.row_stride[band.index];
        int32_t* latents = block.latent[band.index] + band.channel * block.channel_stride[band.index];
        const bool transposed = band.orientation == HORIZONTAL;
        if (mode.known()) {
            if (transposed)
                transpose(columns, rows, latents, stride, plane.latent.row(0), columns);
            else
                copy(rows, columns, latents, stride, plane.latent.row(0), columns);
            if (!compress_all(plane)) return EOREN_LARGE_LATENT;
        }
        mode.begin(band, plane);
        const int64_t above = band.orientation == COARSE ? band.level : band.level - 1;
        const int64_t offset = ((above < LEVELS ? above : LEVELS - 1) * 4 + band.orientation) * CHANNELS +
                               (band.channel < CHANNELS ? band.channel : CHANNELS - 1);
        for (int number = 0; number < PHASES; ++number) {
            Phase phase(*block.model, number, 2 * number + (band.channel > 0), offset, plane, common, lowpass);
            if (phase.empty()) continue;
            const int status = mode.choose(phase, plane);
            if (status != EOREN_FINISHED) return status;
            if (!mode.known()) enter(phase, plane);
        }
        summarize(kernel, plane);
        if (!mode.known()) {
            if (transposed)
                transpose(rows, columns, plane.latent.row(0), columns, latents, stride);
            else
                copy(rows, columns, plane.latent.row(0), columns, latents, stride);
        }
        return EOREN_FINISHED;
    }

    // Compress all latents of a plane. Return whether they are in range.
    bool compress_all(Plane& plane) const {
        const int64_t columns = plane.latent.columns;
        std::vector<int16_t> compressed(columns + EOREN_PADDING), magnitude(columns + EOREN_PADDING);
        for (int64_t y = 0; y < plane.latent.rows; ++y) {
            const int32_t* row = plane.latent.row(y);
            int32_t least = 0, most = 0;
            for (int64_t x = 0; x < columns; ++x) least = row[x] < least ? row[x] : least, most = row[x] > most ? row[x] : most;
            if (least < -MOST_LATENT || most > MOST_LATENT) return false;
            kernel.compress_latents(row, columns, compressed.data(), magnitude.data());
            copy(1, columns, compressed.data(), 0, plane.compressed.row(y), 0);
            copy(1, columns, magnitude.data(), 0, plane.magnitude.row(y), 0);
        }
        return true;
    }

    // Enter the chosen latents of a phase into their plane.
    void enter(const Phase& phase, Plane& plane) const {
        const eoren_phase& p = phase.view;
        std::vector<int16_t> compressed(p.columns + EOREN_PADDING), magnitude(p.columns + EOREN_PADDING);
        for (int64_t row = 0; row < phase.rows; ++row) {
            const int64_t y = p.row + p.step * row;
            const int32_t* values = mode.values.data() + row * p.columns;
            kernel.compress_latents(values, p.columns, compressed.data(), magnitude.data());
            int32_t* latent = plane.latent.row(y) + p.column;
            int16_t *c = plane.compressed.row(y) + p.column, *m = plane.magnitude.row(y) + p.column;
            for (int64_t k = 0; k < p.columns; ++k) {
                latent[p.step * k] = values[k];
                c[p.step * k] = compressed[k];
                m[p.step * k] = magnitude[k];
            }
        }
    }

    // Return the low-pass band that contexts of the finest details see, in eighths.
    static Grid<int32_t> eighths(const Plane& plane) {
        Grid<int32_t> low(plane.latent.rows, plane.latent.columns);
        for (int64_t y = 0; y < low.rows; ++y)
            for (int64_t x = 0; x < low.columns; ++x) low.row(y)[x] = 8 * plane.latent.row(y)[x];
        return low;
    }

    // Compute the low-pass band of the level below (coding/lowpass.py).
    Grid<int32_t> synthesize(int64_t level, const Grid<int32_t>& low, const std::vector<Plane> (&planes)[3], int64_t c) const {
        const int64_t lows = low_rows[level], highs = high_rows[level], rows = lows + highs;
        const int64_t left = low_columns[level], right = high_columns[level], columns = left + right;
        const auto times_eight = [](Grid<int64_t>& grid, int64_t first, int64_t count, int64_t width, const auto& at) {
            for (int64_t y = 0; y < count; ++y)
                for (int64_t x = 0; x < width; ++x) grid.row(first + 2 * y)[x] = 8 * (int64_t)at(y, x);
        };
        // Rows of the low-pass columns, rows of the high-pass columns, and all of it transposed.
        Grid<int64_t> a(rows, left), b(rows, right), turned(columns, rows);
        const Plane &horizontal = planes[HORIZONTAL][c], &vertical = planes[VERTICAL][c], &diagonal = planes[DIAGONAL_BAND][c];
        const int64_t step = highs ? 2 : 1;
        for (int64_t y = 0; y < lows; ++y)
            for (int64_t x = 0; x < left; ++x) a.row(step * y)[x] = low.row(y)[x];
        times_eight(a, 1, highs, left, [&](int64_t y, int64_t x) { return vertical.latent.row(y)[x]; });
        for (int64_t x = 0; x < right; ++x)
            for (int64_t y = 0; y < lows; ++y) b.row(step * y)[x] = 8 * (int64_t)horizontal.latent.row(x)[y];
        if (right) times_eight(b, 1, highs, right, [&](int64_t y, int64_t x) { return diagonal.latent.row(y)[x]; });
        kernel.merge_rows(lows, highs, left, a.row(0));
        kernel.merge_rows(lows, highs, right, b.row(0));
        transpose(rows, left, a.row(0), left, turned.row(0), (right ? 2 : 1) * rows);
        if (right) transpose(rows, right, b.row(0), right, turned.row(1), 2 * rows);
        kernel.merge_rows(left, right, rows, turned.row(0));
        Grid<int32_t> finer(rows, columns);
        transpose(columns, rows, turned.row(0), rows, finer.row(0), columns);
        return finer;
    }

    const eoren_block& block;
    const eoren_kernel& kernel;
    Mode& mode;
    int64_t low_rows[EOREN_MOST_LEVELS + 1], low_columns[EOREN_MOST_LEVELS + 1];
    int64_t high_rows[EOREN_MOST_LEVELS + 1], high_columns[EOREN_MOST_LEVELS + 1];
};

// Run work(kernel, team), and convert exceptions to a status, because the callers are C.
template <class Work>
int with_team(const eoren_block* block, int64_t threads, Work work) {
    try {
        Team team(threads, block->rows + block->columns);
        return work(*eoren_chosen_kernel(), team);
    } catch (const std::bad_alloc&) {
        return EOREN_NO_MEMORY;
    }
}

}  // namespace

extern "C" {

int eoren_encode_block(const eoren_block* block, int64_t threads, uint32_t* words, int64_t capacity, int64_t* start) {
    return with_team(block, threads, [&](const eoren_kernel& kernel, Team& team) {
        Encode mode(*block, kernel, team);
        const int status = Walk(*block, kernel, mode).run();
        return status == EOREN_FINISHED ? mode.finish(words, capacity, start) : status;
    });
}

int eoren_decode_block(const eoren_block* block, int64_t threads, const unsigned char* data, int64_t words) {
    return with_team(block, threads, [&](const eoren_kernel& kernel, Team& team) {
        Decode mode(*block, kernel, team, data, words);
        const int status = Walk(*block, kernel, mode).run();
        return status == EOREN_FINISHED ? mode.finish() : status;
    });
}

int eoren_block_bits(const eoren_block* block, int64_t threads, double* bits) {
    return with_team(block, threads, [&](const eoren_kernel& kernel, Team& team) {
        CountBits mode(*block, kernel, team);
        const int status = Walk(*block, kernel, mode).run();
        *bits = mode.total;
        return status;
    });
}

int eoren_quantize_block(const eoren_block* block, int64_t threads) {
    return with_team(block, threads, [&](const eoren_kernel& kernel, Team& team) {
        Quantize mode(*block, kernel, team);
        return Walk(*block, kernel, mode).run();
    });
}
}
