// What is done with the latents of a block, phase after phase: encode, decode, count bits, or quantise.
#pragma once

#include "eoren.h"
#include "kernel.h"
#include "phases.h"
#include "symbols.h"
#include "team.h"

#include <vector>

namespace {

enum { HORIZONTAL, VERTICAL, DIAGONAL_BAND, COARSE };

constexpr int64_t TASK_PLACES = 768;     // in one task, about
constexpr int64_t SHARED_PLACES = 2048;  // in a phase that threads share, at least

// One channel of one band.
struct Band {
    int64_t level, orientation, channel;
    int64_t index;  // in the order of Latents.bands()
    int64_t rows, columns;
};

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

constexpr int64_t OFFSET_LEVELS = 5, OFFSET_CHANNELS = 3, OFFSETS = OFFSET_LEVELS * 4 * OFFSET_CHANNELS;

// Return the offset of the context model that belongs to a band (offset_of of coding/context_model.py).
inline int64_t offset_of(const Band& band) {
    const int64_t above = band.orientation == COARSE ? band.level : band.level - 1;
    const int64_t channel = band.channel < OFFSET_CHANNELS ? band.channel : OFFSET_CHANNELS - 1;
    return ((above < OFFSET_LEVELS ? above : OFFSET_LEVELS - 1) * 4 + band.orientation) * OFFSET_CHANNELS + channel;
}

// What is done with the latents of a block.
class Mode {
public:
    Mode(const eoren_block& block, const eoren_kernel& kernel, Team& team)
        : block(block), kernel(kernel), team(team), distributions(*block.model) {}
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
            predict_each(phase, tasks, task, [&](int32_t, int64_t y, int64_t x, int64_t k) {
                to[k] = plane.latent.row(y)[x];
            });
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
        for (double sum : sums) totals[offset] += sum;
        return EOREN_FINISHED;
    }

    void begin(const Band& band, const Plane&) override { offset = offset_of(band); }

    double totals[OFFSETS] = {};

private:
    int64_t offset = 0;
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

}  // namespace
