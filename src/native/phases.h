// The phases of a band (coding/bands.py), with the slots of their contexts and the weights for these slots.
#pragma once

#include "coder.h"
#include "eoren.h"
#include "surroundings.h"

#include <vector>

namespace {

struct Lattice {
    int row, column, step, scale;
    bool direct, diagonal, knight;  // neighbours that are known
};

constexpr int PHASES = 7;
constexpr Lattice LATTICES[PHASES] = {
    {0, 0, 4, 2, false, false, false}, {2, 2, 4, 2, false, true, false}, {0, 2, 4, 2, true, false, true},
    {2, 0, 4, 2, true, true, true},    {1, 1, 2, 1, false, true, false}, {0, 1, 2, 1, true, false, true},
    {1, 0, 2, 1, true, true, true},
};

struct Offset {
    int y, x;
};

constexpr Offset DIRECT[4] = {{0, -1}, {0, 1}, {-1, 0}, {1, 0}};
constexpr Offset DIAGONAL[4] = {{-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
constexpr Offset KNIGHT[8] = {{-2, -1}, {-2, 1}, {2, -1}, {2, 1}, {-1, -2}, {-1, 2}, {1, -2}, {1, 2}};
constexpr Offset RING_OF_DIAGONAL[8] = {{-3, -1}, {-3, 1}, {3, -1}, {3, 1}, {-1, -3}, {-1, 3}, {1, -3}, {1, 3}};
constexpr Offset RING[12] = {{0, -3}, {0, 3},  {-3, 0}, {3, 0},   {-2, -3}, {-2, 3},
                             {2, -3}, {2, 3}, {-3, -2}, {-3, 2}, {3, -2},  {3, 2}};

// First slots of the groups of a context (coding/contexts.py).
enum { MEANS = 16, EARLIER = 20, PARENT = 26, SIBLINGS = 29, LOWPASS = 33, PAD = -1 };

// The copied slots that a channel takes from other channels and bands.
struct CommonSlot {
    int number;
    eoren_slot slot;
};

// A phase with the arrays that it points to.
class Phase {
public:
    eoren_phase view = {};
    int64_t rows = 0;

    // Describe a phase of a plane. The low-pass band may be null.
    Phase(
        const eoren_context_model& model, int number, int64_t network, int64_t offset, const Plane& plane,
        const std::vector<CommonSlot>& common, const Grid<int32_t>* lowpass
    ) {
        const Lattice& at = LATTICES[number];
        rows = (plane.latent.rows - at.row + at.step - 1) / at.step;
        view.columns = (plane.latent.columns - at.column + at.step - 1) / at.step;
        view.step = at.step, view.row = at.row, view.column = at.column;
        if (empty()) return;
        const Grid<int16_t>& compressed = plane.compressed;
        view.magnitude = plane.magnitude.row(0), view.stride = plane.magnitude.stride;
        const auto neighbours = [&](bool known, int first, const auto& offsets) {
            int slot = first;
            for (const Offset& o : offsets)
                if (known) {
                    const int16_t* from = compressed.row(0) + at.scale * (o.y * compressed.stride + o.x);
                    copy(slot++, {from, compressed.stride, 0, compressed.rows});
                }
        };
        neighbours(at.direct, 0, DIRECT);
        neighbours(at.diagonal, 4, DIAGONAL);
        neighbours(at.knight, 8, KNIGHT);
        for (const CommonSlot& c : common) copy(c.number, c.slot);
        if (view.copies % 2) copy(PAD, view.copy[view.copies - 1]);
        if (at.direct) add(MEANS, DIRECT, at.scale, 2, 0);
        if (at.diagonal) add(MEANS + 1, DIAGONAL, at.scale, 2, 0);
        if (at.knight) add(MEANS + 2, KNIGHT, at.scale, 1, 0);
        if (at.direct)
            add(MEANS + 3, RING, at.scale, 43, 6);
        else if (at.diagonal)
            add(MEANS + 3, RING_OF_DIAGONAL, at.scale, 1, 0);
        if (view.sums % 2) order.push_back(PAD);
        if (lowpass) {
            view.lowpass = lowpass->row(0), view.half = lowpass->stride / 2;
            for (int k = 0; k < EOREN_LOWPASS; ++k) order.push_back(LOWPASS + k);
        }
        pack(model, network, offset);
    }

    bool empty() const { return rows <= 0 || view.columns <= 0; }

private:
    void copy(int number, const eoren_slot& slot) {
        view.copy[view.copies++] = slot;
        order.push_back(number);
    }

    template <int N>
    void add(int number, const Offset (&offsets)[N], int scale, int factor, int shift) {
        eoren_sum& sum = view.sum[view.sums++];
        sum.terms = N, sum.factor = factor, sum.shift = shift;
        for (int k = 0; k < N; ++k) sum.offset[k] = scale * (offsets[k].y * view.stride + offsets[k].x);
        order.push_back(number);
    }

    // Convert the weights to pairs of integers, in the order of the slots.
    void pack(const eoren_context_model& m, int64_t network, int64_t offset) {
        const int64_t hidden = m.hidden, pairs = (int64_t)order.size() / 2;
        weights.resize((pairs + hidden / 2 + 2) * hidden + (hidden / 2 + pairs) * 2);
        int32_t* to = weights.data();
        const auto pack_matrix = [&](int64_t count, int64_t columns, const float* from, const int* numbers) {
            for (int64_t k = 0; k < count; ++k)
                for (int64_t j = 0; j < columns; ++j) {
                    const int64_t even = numbers ? numbers[2 * k] : 2 * k;
                    const int64_t odd = numbers ? numbers[2 * k + 1] : 2 * k + 1;
                    const uint32_t low = even < 0 ? 0 : (uint16_t)(int32_t)from[even * columns + j];
                    const uint32_t high = odd < 0 ? 0 : (uint16_t)(int32_t)from[odd * columns + j];
                    *to++ = (int32_t)(low | high << 16);
                }
        };
        view.hidden = hidden;
        view.first = to;
        pack_matrix(pairs, hidden, m.first + network * EOREN_SLOTS * hidden, order.data());
        view.second = to;
        pack_matrix(hidden / 2, hidden, m.second + network * hidden * hidden, nullptr);
        view.last = to;
        pack_matrix(hidden / 2, 2, m.last + network * hidden * 2, nullptr);
        pack_matrix(pairs, 2, m.skip + network * EOREN_SLOTS * 2, order.data());
        view.first_bias = to;
        for (int64_t j = 0; j < hidden; ++j)
            *to++ = (int32_t)m.first_bias[network * hidden + j] + (int32_t)m.first_offset[offset * hidden + j];
        view.second_bias = to;
        for (int64_t j = 0; j < hidden; ++j) *to++ = (int32_t)m.second_bias[network * hidden + j];
        for (int64_t j = 0; j < 2; ++j)
            view.last_bias[j] = (int32_t)m.last_bias[network * 2 + j] + (int32_t)m.last_offset[offset * 2 + j];
    }

    std::vector<int> order;  // numbers of the slots
    std::vector<int32_t> weights;
};

}  // namespace
