// The order of coding of a block (coding/block_coder.py): band after band, channel after channel, phase after phase.
#pragma once

#include "modes.h"
#include "surroundings.h"

#include <vector>

namespace {


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
        for (auto& band : planes) band.resize(channels);
        // Horizontal bands see everything transposed, the others see it upright, including the horizontal bands.
        std::vector<Grid<int32_t>> lowpass(channels);
        std::vector<Grid<int16_t>> sizes(channels), means(channels);
        for (int64_t orientation = HORIZONTAL; orientation <= DIAGONAL_BAND; ++orientation) {
            for (int64_t c = 0; c < channels && orientation < DIAGONAL_BAND; ++c) {
                lowpass[c] = split_columns(orientation == HORIZONTAL ? turned(low[c], 0) : low[c]);
                const Plane& horizontal = planes[HORIZONTAL][c];
                if (!horizontal.empty()) sizes[c] = turned(horizontal.size, 1), means[c] = turned(horizontal.mean, 1);
            }
            if (!rows[orientation] || !columns[orientation]) continue;
            for (int64_t c = 0; c < channels; ++c) {
                const int64_t index = 1 + 3 * (level - 1) + orientation;
                const Band band = {level, orientation, c, index, rows[orientation], columns[orientation]};
                std::vector<CommonSlot> common;
                Grid<int16_t> parent[3];
                if (level < block.levels && !parents[orientation][c].empty()) {
                    const Plane& p = parents[orientation][c];
                    const Grid<int16_t>* const from[3] = {&p.compressed, &p.size, &p.mean};
                    for (int k = 0; k < 3; ++k) {
                        parent[k] = doubled(*from[k], band.columns);
                        common.push_back({PARENT + k, slot_of(parent[k], 1)});
                    }
                }
                const auto add_sibling = [&](int first, const Grid<int16_t>& size, const Grid<int16_t>& mean) {
                    if (!size.rows || !size.columns) return;
                    common.push_back({first, slot_of(size, 0)});
                    common.push_back({first + 1, slot_of(mean, 0)});
                };
                if (orientation > HORIZONTAL) add_sibling(SIBLINGS, sizes[c], means[c]);
                const Plane& vertical = planes[VERTICAL][c];
                if (orientation > VERTICAL) add_sibling(SIBLINGS + 2, vertical.size, vertical.mean);
                const int status = code(band, planes[orientation], std::move(common), &lowpass[c]);
                if (status != EOREN_FINISHED) return status;
            }
        }
        return EOREN_FINISHED;
    }

    static eoren_slot slot_of(const Grid<int16_t>& grid, int64_t shift) {
        return {grid.row(0), grid.stride, shift, grid.rows - 1};
    }

    // Code one channel of a band.
    int code(
        const Band& band, std::vector<Plane>& channels, std::vector<CommonSlot> common, const Grid<int32_t>* lowpass
    ) {
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
        const int64_t offset = offset_of(band);
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
            for (int64_t x = 0; x < columns; ++x) {
                least = row[x] < least ? row[x] : least;
                most = row[x] > most ? row[x] : most;
            }
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
    Grid<int32_t> synthesize(
        int64_t level, const Grid<int32_t>& low, const std::vector<Plane> (&planes)[3], int64_t c
    ) const {
        const int64_t rows = low_rows[level] + high_rows[level], left = low_columns[level], right = high_columns[level];
        const Plane &horizontal = planes[HORIZONTAL][c], &vertical = planes[VERTICAL][c];
        const Plane& diagonal = planes[DIAGONAL_BAND][c];
        Grid<int64_t> lows(rows, left), highs(rows, right), both(left + right, rows);
        for (int64_t y = 0; y < rows; ++y) {
            // Without high-pass rows there is one row, which is not scaled.
            const int64_t from = y / 2;
            for (int64_t x = 0; x < left; ++x)
                lows.row(y)[x] = y % 2 ? 8 * (int64_t)vertical.latent.row(from)[x] : low.row(from)[x];
            for (int64_t x = 0; x < right; ++x)
                highs.row(y)[x] = 8 * (int64_t)(y % 2 ? diagonal.latent.row(from)[x] : horizontal.latent.row(x)[from]);
        }
        kernel.merge_rows(low_rows[level], high_rows[level], left, lows.row(0));
        kernel.merge_rows(low_rows[level], high_rows[level], right, highs.row(0));
        transpose(rows, left, lows.row(0), left, both.row(0), 2 * rows);
        if (right) transpose(rows, right, highs.row(0), right, both.row(1), 2 * rows);
        kernel.merge_rows(left, right, rows, both.row(0));
        Grid<int32_t> finer(rows, left + right);
        transpose(left + right, rows, both.row(0), rows, finer.row(0), left + right);
        return finer;
    }

    const eoren_block& block;
    const eoren_kernel& kernel;
    Mode& mode;
    int64_t low_rows[EOREN_MOST_LEVELS + 1], low_columns[EOREN_MOST_LEVELS + 1];
    int64_t high_rows[EOREN_MOST_LEVELS + 1], high_columns[EOREN_MOST_LEVELS + 1];
};

}  // namespace
