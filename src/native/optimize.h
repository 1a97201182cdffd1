// One step of the optimisers (optimizers.py) for one network.
#pragma once

#include "eoren.h"
#include "network.h"

namespace {

inline float root(float x) { return __builtin_sqrtf(x); }

inline void adam(const eoren_adam& s, int64_t which) {
    const float keep = (float)s.second, new1 = (float)(1 - s.first), new2 = (float)(1 - s.second), rate = s.rate;
    for (int64_t k = 0; k < s.tensors; ++k) {
        const int64_t start = which * s.size[k], end = start + s.size[k];
        float *p = s.value[k], *m = s.mean[k], *v = s.square[k];
        const float* g = s.gradient[k];
        for (int64_t i = start; i < end; ++i) {
            m[i] += new1 * (g[i] - m[i]);
            v[i] = keep * v[i] + new2 * g[i] * g[i];
            p[i] -= rate * m[i] / (root(v[i]) / s.scale + s.epsilon);
        }
    }
}

inline int64_t muon_floats(int64_t n) { return 5 * n * n + 64; }

// Newton-Schulz: x <- a x + (b s + c s s) x with s = x x^T.
inline void muon(const eoren_muon& s, int64_t which, char* scratch) {
    const int64_t n = s.n, numbers = n * n;
    Arena arena = {scratch, 0};
    float *x = arena.floats(numbers), *turned = arena.floats(numbers), *square = arena.floats(numbers),
          *polynomial = arena.floats(numbers), *next = arena.floats(numbers);
    const float a = s.coefficient[0], b = s.coefficient[1], c = s.coefficient[2];
    for (int64_t k = 0; k < s.tensors; ++k) {
        float *p = s.value[k] + which * numbers, *m = s.mean[k] + which * numbers;
        const float* g = s.gradient[k] + which * numbers;
        float largest = 0;
        for (int64_t i = 0; i < numbers; ++i) {
            m[i] += (1 - s.momentum) * (g[i] - m[i]);
            x[i] = g[i] + s.momentum * (m[i] - g[i]);  // Nesterov's look ahead
            const float size = x[i] < 0 ? -x[i] : x[i];
            largest = size > largest ? size : largest;
        }
        // The squares of tiny numbers vanish: first the largest becomes one.
        const float up = 1 / (largest > __FLT_MIN__ ? largest : __FLT_MIN__);
        double squares = 0;
        for (int64_t i = 0; i < numbers; ++i) x[i] *= up, squares += (double)x[i] * x[i];
        const float norm = root((float)squares), down = 1 / (norm > __FLT_MIN__ ? norm : __FLT_MIN__);
        for (int64_t i = 0; i < numbers; ++i) x[i] *= down;
        for (int64_t step = 0; step < s.iterations; ++step) {
            transpose(n, n, x, 1.0f, turned);
            multiply(n, n, n, {x, n, 1}, turned, square);
            for (int64_t i = 0; i < numbers; ++i) polynomial[i] = b * square[i];
            add_product(n, n, n, {square, n, 1}, square, c, polynomial);
            for (int64_t i = 0; i < numbers; ++i) next[i] = a * x[i];
            add_product(n, n, n, {polynomial, n, 1}, x, 1.0f, next);
            float* old = x;
            x = next, next = old;
        }
        for (int64_t i = 0; i < numbers; ++i) p[i] -= s.rate * x[i];
    }
}

}  // namespace
