// Logarithms and powers of vectors.
#pragma once

#include "vector.h"

namespace {

inline Vector absolute(Vector x) { return (Vector)((Integers)x & INT32_MAX); }

// Return x times the sign of y: -1, 0 or 1.
inline Vector with_sign(Vector x, Vector y) {
    return y == Vector{} ? Vector{} : (Vector)((Integers)x ^ ((Integers)y & INT32_MIN));
}

// Compute log2 of normal positive numbers, to 2 ulp of the result or 1e-7: the exponent, plus a polynomial for numbers
// between sqrt(1/2) and sqrt(2) (that of Moshier's Cephes library, logf).
inline Vector log2_of(Vector x) {
    const Integers bits = (Integers)x - 0x3f3504f3, exponent = bits >> 23;
    const Vector t = (Vector)((bits & 0x7fffff) + 0x3f3504f3) - 1.0f, square = t * t;
    Vector p = 7.0376836292e-2f * t - 1.1514610310e-1f;
    p = p * t + 1.1676998740e-1f;
    p = p * t - 1.2420140846e-1f;
    p = p * t + 1.4249322787e-1f;
    p = p * t - 1.6668057665e-1f;
    p = p * t + 2.0000714765e-1f;
    p = p * t - 2.4999993993e-1f;
    p = p * t + 3.3333331174e-1f;
    const Vector log = t + square * (p * t - 0.5f);
    return __builtin_convertvector(exponent, Vector) + log * 0x1.715476p+0f;
}

struct Power {
    Vector value, minus_1;
};

// Compute 2**x, and 2**x - 1 without cancellation, to 1e-7 (1 + |x|) for -125 <= x <= 127; below, as for -125.
inline Power power_of_2(Vector x) {
    const float round = 0x1.8p23f;
    const Vector least = all(-125.0f);
    x = x > least ? x : least;
    const Vector shifted = x + round, r = (x - (shifted - round)) * 0x1.62e43p-1f;
    Vector p = r * (1.0f / 5040) + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r * r + r;
    const Vector scale = (Vector)(((Integers)shifted << 23) + 0x3f800000);
    return {scale * p + scale, scale * p + (scale - 1.0f)};
}

}  // namespace
