// The first layer on a grid: sin(u + v) = sin u cos v + cos u sin v, so that sines and cosines are computed once for every
// column and once for every row.
#pragma once

#include "network.h"

namespace {

constexpr int64_t CELL = 64;  // columns and rows of a grid that one task draws

inline int64_t lattice_floats(int64_t width) { return 4 * CELL * width; }

struct Place {
    int32_t column, row;
};

struct Lattice {
    int64_t width;
    float *sin_u, *cos_u, *sin_v, *cos_v;  // (CELL, width) each; u: columns, including the bias; v: rows

    Lattice(int64_t width, float* room)
        : width(width),
          sin_u(room),
          cos_u(room + CELL * width),
          sin_v(room + 2 * CELL * width),
          cos_v(room + 3 * CELL * width) {}

    // Prepare one network for columns and rows at these local coordinates.
    void prepare(const Prepared& r, const float* u, int64_t columns, const float* v, int64_t rows) const {
        for (int64_t j = 0; j < width; j += LANES) {
            const Vector by_u = load(r.first + j), by_v = load(r.first + width + j), bias = load(r.bias[0] + j);
            for (int64_t i = 0; i < columns; ++i) keep(wave(u[i] * by_u + bias), sin_u, cos_u, i * width + j);
            for (int64_t i = 0; i < rows; ++i) keep(wave(v[i] * by_v), sin_v, cos_v, i * width + j);
        }
    }

    static void keep(Wave found, float* sin, float* cos, int64_t at) {
        store(sin + at, found.sin);
        store(cos + at, found.cos);
    }
};

// Points on the grid; for points anywhere see Scattered in network.h.
struct OnLattice {
    const Lattice& lattice;
    const Place* place;

    struct Units {
        const Lattice& l;
        const Place* place;
        int64_t j;
        Vector sine_at(int64_t i) const {
            const int64_t column = place[i].column * l.width + j, row = place[i].row * l.width + j;
            return load(l.sin_u + column) * load(l.cos_v + row) + load(l.cos_u + column) * load(l.sin_v + row);
        }
        Wave at(int64_t i) const {
            const int64_t column = place[i].column * l.width + j, row = place[i].row * l.width + j;
            const Vector su = load(l.sin_u + column), cu = load(l.cos_u + column);
            const Vector sv = load(l.sin_v + row), cv = load(l.cos_v + row);
            return {su * cv + cu * sv, cu * cv - su * sv};
        }
    };
    Units units(int64_t j) const { return {lattice, place, j}; }
};

}  // namespace
