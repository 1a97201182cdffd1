// Quintic splines between pixels, with odd reflection at the ends (model/latents/spline_basis.py): the coefficients of samples, and
// the weights of six of them at a position.
#pragma once

#include "eoren.h"
#include "product.h"

namespace {

constexpr int64_t TAPS = 6;
constexpr int64_t SPLINE_PADDING = 3;  // coefficients beyond the outermost samples

// The factors of the linear system for the coefficients of `length` samples,
//
//     (c[i - 2] + 26 c[i - 1] + 66 c[i] + 26 c[i + 1] + c[i + 2]) / 120 = sample[i],
//
// whose outermost coefficients are the samples themselves, because the curve is odd about them.
struct Factors {
    int64_t length;
    float *before_1, *before_2;             // of the forward pass
    float *inverse, *behind_1, *behind_2;  // of the backward pass

    static int64_t floats(int64_t length) { return 5 * length; }

    Factors(int64_t length, float* room)
        : length(length),
          before_1(room),
          before_2(room + length),
          inverse(room + 2 * length),
          behind_1(room + 3 * length),
          behind_2(room + 4 * length) {}

    void compute() const {
        // Pivots and upper diagonals of the last two rows; the first row says that c[0] is known.
        double pivot_1 = 1, pivot_2 = 1, upper_1 = 0, upper_2 = 0, far_1 = 0, far_2 = 0;
        for (int64_t i = 1; i + 1 < length; ++i) {
            const bool last = i == length - 2;
            const double left = i == 1 ? 28 : 26, right = last ? 28 : 26, far = last ? 0 : 1;
            const double by_2 = (i == 1 ? 0 : 1) / pivot_2, by_1 = (left - by_2 * upper_2) / pivot_1;
            const double pivot = 66 - (i == 1) - last - by_2 * far_2 - by_1 * upper_1;
            const double upper = right - by_1 * far_1;
            // The forward pass divides by 120 what stands on the right side, but not c[0].
            before_1[i] = (float)(i == 1 ? by_1 / 120 : by_1), before_2[i] = (float)(i == 2 ? by_2 / 120 : by_2);
            inverse[i] = (float)(120 / pivot), behind_1[i] = (float)(upper / pivot), behind_2[i] = (float)(far / pivot);
            pivot_2 = pivot_1, upper_2 = upper_1, far_2 = far_1;
            pivot_1 = pivot, upper_1 = upper, far_1 = far;
        }
    }
};

// Replace samples by coefficients, for WIDE vectors side by side; samples are `stride` floats apart. In the last vector,
// only the first `lanes` are changed.
template <int WIDE>
inline void solve(const Factors& f, float* data, int64_t stride, int64_t lanes = LANES) {
    const int64_t n = f.length;
    Integers changed;
    for (int k = 0; k < LANES; ++k) changed[k] = k < lanes ? -1 : 0;
    Vector one[WIDE], two[WIDE];
    const auto keep = [=](float* p, int j, Vector v) { store(p, j < WIDE - 1 ? v : changed ? v : load(p)); };
    EOREN_UNROLL for (int j = 0; j < WIDE; ++j) one[j] = load(data + j * LANES), two[j] = Vector{};
    for (int64_t i = 1; i + 1 < n; ++i)
        EOREN_UNROLL for (int j = 0; j < WIDE; ++j) {
            float* p = data + i * stride + j * LANES;
            const Vector v = (load(p) - f.before_2[i] * two[j]) - f.before_1[i] * one[j];
            keep(p, j, v);
            two[j] = one[j], one[j] = v;
        }
    EOREN_UNROLL for (int j = 0; j < WIDE; ++j) one[j] = load(data + (n - 1) * stride + j * LANES), two[j] = Vector{};
    for (int64_t i = n - 2; i > 0; --i)
        EOREN_UNROLL for (int j = 0; j < WIDE; ++j) {
            float* p = data + i * stride + j * LANES;
            const Vector v = (f.inverse[i] * load(p) - f.behind_2[i] * two[j]) - f.behind_1[i] * one[j];
            keep(p, j, v);
            two[j] = one[j], one[j] = v;
        }
}

// Continue coefficients beyond both ends; set(i, a, b) sets c[i] to 2 c[a] - c[b].
template <class Set>
inline void continue_ends(int64_t length, Set set) {
    for (int64_t k = 1; k <= SPLINE_PADDING; ++k) {
        const int64_t reflected = length == 1 ? 0 : k;
        set(-k, 0, reflected);
        set(length - 1 + k, length - 1, length - 1 - reflected);
    }
}

// Coefficient `first` and five more, counted from the outermost padded one, with weights for value, derivative and second
// derivative.
struct Taps {
    int64_t first;
    float weight[3][8];
};

// The weights of six coefficients as polynomials in the distance from the knot before the position, by powers, times 120.
constexpr float POWERS[6][8] = {
    {1, 26, 66, 26, 1, 0},     {-5, -50, 0, 50, 5, 0},    {10, 20, -60, 20, 10, 0},
    {-10, 20, 0, -20, 10, 0}, {5, -20, 30, -20, 5, 0}, {-1, 5, -10, 10, -5, 1},
};

// Compute the taps at a position in pixels; beyond one pixel outside, the curve is constant. The derivatives are per unit,
// of `unit` pixels each. ORDERS is 1 to 3.
template <int ORDERS>
inline Taps taps_at(double position, int64_t length, float unit) {
    const double end = (double)length;
    // A position that is not a number becomes -1.
    const double inside = position < end ? (position > -1 ? position : -1.0) : (position >= end ? end : -1.0);
    int64_t knot = (int64_t)(inside + 1) - 1;
    if (knot > length - 1) knot = length - 1;
    const float t = (float)(inside - (double)knot);
    typedef float Eight __attribute__((vector_size(32), aligned(4), may_alias));
    const auto power = [](int k, Eight& to) { to = *(const Eight*)POWERS[k]; };
    Eight p1, p2, p3, p4, p5, weight;
    power(0, weight), power(1, p1), power(2, p2), power(3, p3), power(4, p4), power(5, p5);
    Taps taps;
    taps.first = knot + SPLINE_PADDING - 2;
    weight += t * (p1 + t * (p2 + t * (p3 + t * (p4 + t * p5))));
    *(Eight*)taps.weight[0] = (1 / 120.0f) * weight;
    if (ORDERS == 1) return taps;
    const float slope = position >= -1 && position <= end ? unit / 120 : 0.0f;
    *(Eight*)taps.weight[1] = slope * (p1 + t * (2 * p2 + t * (3 * p3 + t * (4 * p4 + t * (5 * p5)))));
    if (ORDERS == 3)
        *(Eight*)taps.weight[2] = slope * unit * (2 * p2 + t * (6 * p3 + t * (12 * p4 + t * (20 * p5))));
    return taps;
}

}  // namespace
