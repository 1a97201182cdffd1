// One step of the optimisers (backends/optimizers.py) for one network.
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

inline int64_t muon_floats(int64_t n) { return 4 * n * n + 64; }

// Newton-Schulz: x <- a x + x (b s + c s s) with s = x^T x, which avoids transposition.
inline void muon(const eoren_muon& s, int64_t which, char* scratch) {
    const int64_t n = s.n, numbers = n * n;
    Arena arena = {scratch, 0};
    float *x = arena.floats(numbers), *square = arena.floats(numbers), *polynomial = arena.floats(numbers),
          *next = arena.floats(numbers);
    const float a = s.coefficient[0], b = s.coefficient[1], c = s.coefficient[2];
    for (int64_t k = 0; k < s.tensors; ++k) {
        float *p = s.value[k] + which * numbers, *m = s.mean[k] + which * numbers;
        const float* g = s.gradient[k] + which * numbers;
        Vector sizes = {};
        for (int64_t i = 0; i < numbers; i += LANES) {
            const Vector by = load(g + i), mean = load(m + i) + (1 - s.momentum) * (by - load(m + i));
            const Vector ahead = by + s.momentum * (mean - by);  // Nesterov momentum
            store(m + i, mean);
            store(x + i, ahead);
            const Vector size = ahead < 0.0f ? -ahead : ahead;
            sizes = size > sizes ? size : sizes;
        }
        float largest = __FLT_MIN__;
        for (int lane = 0; lane < LANES; ++lane) largest = sizes[lane] > largest ? sizes[lane] : largest;
        // Scale the largest entry to one, because squares of tiny numbers underflow.
        const float up = 1 / largest;
        Vector squares = {};
        for (int64_t row = 0; row < numbers; row += n) {
            Vector own = {};  // sum by row, because long sums lose precision
            for (int64_t i = row; i < row + n; i += LANES) {
                const Vector each = up * load(x + i);
                store(x + i, each);
                own += each * each;
            }
            squares += own;
        }
        const float norm = root(sum(squares)), down = 1 / (norm > __FLT_MIN__ ? norm : __FLT_MIN__);
        for (int64_t i = 0; i < numbers; ++i) x[i] *= down;
        for (int64_t step = 0; step < s.iterations; ++step) {
            multiply(n, n, n, {x, 1, n}, x, square);
            multiply(n, n, n, {square, n, 1}, square, nullptr,
                     [=](int64_t at, Vector v) { store(polynomial + at, b * load(square + at) + c * v); });
            multiply(n, n, n, {x, n, 1}, polynomial, nullptr,
                     [=](int64_t at, Vector v) { store(next + at, a * load(x + at) + v); });
            float* old = x;
            x = next, next = old;
        }
        for (int64_t i = 0; i < numbers; ++i) p[i] -= s.rate * x[i];
    }
}

}  // namespace
