// Vectors of integers, and the compression of numbers in contexts (coding/contexts.py).
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "vector.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "pairs of 16-bit numbers are read as little-endian 32-bit numbers"
#endif

namespace {

typedef int16_t Shorts __attribute__((vector_size(2 * LANES)));
typedef int16_t UnalignedShorts __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef int32_t UnalignedIntegers __attribute__((vector_size(4 * LANES), aligned(2), may_alias));

inline Integers load_integers(const void* p) { return *(const UnalignedIntegers*)p; }
inline void store_integers(int32_t* p, Integers v) { *(UnalignedIntegers*)p = v; }
inline Integers load_shorts(const int16_t* p) { return __builtin_convertvector(*(const UnalignedShorts*)p, Integers); }
inline void store_shorts(int16_t* p, Integers v) { *(UnalignedShorts*)p = __builtin_convertvector(v, Shorts); }
inline Integers all_integers(int32_t x) { return x - Integers{}; }

inline Integers at_least(Integers v, int32_t low) { return v < low ? all_integers(low) : v; }
inline Integers at_most(Integers v, int32_t high) { return v > high ? all_integers(high) : v; }
inline Integers magnitude_of(Integers v) { return v < 0 ? -v : v; }

// Return the lanes with even numbers of a, then of b.
#if defined(__clang__) || __GNUC__ >= 12
template <int... I>
inline Integers even_lanes(Integers a, Integers b, Numbers<I...>) {
    return __builtin_shufflevector(a, b, (2 * I)...);
}
inline Integers even_lanes(Integers a, Integers b) { return even_lanes(a, b, Lanes()); }
#else
inline Integers even_lanes(Integers a, Integers b) {
    Integers even;
    for (int i = 0; i < LANES / 2; ++i) even[i] = a[2 * i], even[LANES / 2 + i] = b[2 * i];
    return even;
}
#endif

// Two 16-bit numbers in each lane: the low half of `low`, and the low half of `high`.
inline Integers pair(Integers low, Integers high) { return (low & 0xffff) | (high << 16); }

// Add the products of both 16-bit numbers of every lane.
inline Integers multiply_pairs(Integers a, Integers b) {
#if defined(__AVX512BW__)
    return (Integers)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (Integers)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (Integers)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
    return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
#endif
}

// Compute round(16 log2(1 + |x| / 8)) with the sign of x, at most 127. The polynomial approximates 16 log2(m) + 1/2 for
// a mantissa m, such that truncation is exact for every x, with a margin of 0.002: 400 times the error of rounding.
inline Integers compress(Integers x) {
    Vector size = (Vector)((Integers)__builtin_convertvector(x, Vector) & 0x7fffffff);
    size = (size > 1950.0f ? all(1950.0f) : size) + 8.0f;
    const Integers bits = (Integers)size;
    const Vector t = (Vector)((bits & 0x7fffff) | 0x3f800000) - 1.0f;
    const Vector mantissa =
        0x1.05d708p-1f + t * (0x1.6d8506p+4f + t * (-0x1.47bbccp+3f + t * (0x1.1a40b4p+2f + t * -0x1.08368ep+0f)));
    const Integers value = __builtin_convertvector(mantissa, Integers) + ((bits >> 23) - 130) * 16;
    const Integers sign = x >> 31;
    return (value ^ sign) - sign;
}

}  // namespace
