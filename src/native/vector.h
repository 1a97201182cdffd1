// Vectors of floats with the extensions of GCC and Clang, so that one source serves every processor.
//
// Everything here and in the other headers has internal linkage, and nothing comes from the C++ library: the same names
// are compiled for several processors, and the linker would keep one definition for all of them.
#pragma once

#include <stdint.h>

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16;
constexpr int TALL = 8;  // rows of a register tile: with 3 vectors per row, 24 of 32 registers
#elif defined(__AVX__)
constexpr int LANES = 8;
constexpr int TALL = 4;  // 12 of 16 registers
#elif defined(__aarch64__)
constexpr int LANES = 4;
constexpr int TALL = 8;
#else
constexpr int LANES = 4;
constexpr int TALL = 4;
#endif

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));
typedef float Unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline Vector load(const float* p) { return *(const Unaligned*)p; }
inline void store(float* p, Vector v) { *(Unaligned*)p = v; }
inline Vector all(float x) { return x - Vector{}; }

// Add halves until four numbers are left.
template <int N>
struct Half {
    typedef float Type __attribute__((vector_size(2 * N)));
};

typedef Half<8>::Type Four;

template <int N, class V>
inline Four fold(V v) {
    if constexpr (N == 4) {
        return v;
    } else {
        typedef typename Half<N>::Type H;
        H low, high;
        __builtin_memcpy(&low, &v, sizeof low);
        __builtin_memcpy(&high, (const char*)&v + sizeof low, sizeof high);
        return fold<N / 2>(low + high);
    }
}

inline float sum(Vector v) {
    const Four four = fold<LANES>(v);
    return (four[0] + four[1]) + (four[2] + four[3]);
}

// Compute the sums of four vectors together, with a third of the work of four separate sums.

#if defined(__clang__) || __GNUC__ >= 12
template <int... I>
struct Numbers {};
template <int N, int... I>
struct Count : Count<N - 1, N - 1, I...> {};
template <int... I>
struct Count<0, I...> {
    typedef Numbers<I...> Type;
};
typedef Count<LANES>::Type Lanes;

// Permute every four lanes to a, b, a, b, starting at lane FROM; or to a, a, b, b.
template <int FROM, int... I>
inline Vector zip(Vector a, Vector b, Numbers<I...>) {
    return __builtin_shufflevector(a, b, (I / 4 * 4 + I % 4 / 2 + FROM + I % 2 * LANES)...);
}
template <int FROM, int... I>
inline Vector join(Vector a, Vector b, Numbers<I...>) {
    return __builtin_shufflevector(a, b, (I / 4 * 4 + I % 2 + FROM + I % 4 / 2 * LANES)...);
}

inline Four sums(Vector a, Vector b, Vector c, Vector d) {
    const Vector left = zip<0>(a, b, Lanes()) + zip<2>(a, b, Lanes());
    const Vector right = zip<0>(c, d, Lanes()) + zip<2>(c, d, Lanes());
    return fold<LANES>(join<0>(left, right, Lanes()) + join<2>(left, right, Lanes()));
}
#else
inline Four sums(Vector a, Vector b, Vector c, Vector d) { return Four{sum(a), sum(b), sum(c), sum(d)}; }
#endif

struct Wave {
    Vector sin, cos;
};

// Reduce an angle by the nearest multiple of 1 or 2 right angles, and return the multiple. The right angle is split into
// three parts, so that multiples are exact without fused arithmetic. For huge angles the result is inexact, but bounded.
struct Reduced {
    Vector angle;
    Integers turns;  // only the lowest bits are used
};

template <int RIGHT_ANGLES>
inline Reduced reduced(Vector x) {
    const float round = 0x1.8p23f, most = RIGHT_ANGLES;
    const Vector shifted = x * (0x1.45f306p-1f / RIGHT_ANGLES) + round;
    const Vector turns = shifted - round;
    Vector r = x - turns * (0x1.922p+0f * RIGHT_ANGLES);
    r = r - turns * (-0x1.2aep-18f * RIGHT_ANGLES);
    r = r - turns * (-0x1.de973ep-31f * RIGHT_ANGLES);
    return {r > most ? all(most) : r < -most ? all(-most) : r, (Integers)shifted};
}

// Compute sine and cosine to 2.5 ulp for |x| up to some thousands, by minimax polynomials. Beyond, the error grows.
inline Wave wave(Vector x) {
    const auto [r, quarter] = reduced<1>(x);
    const Vector square = r * r;
    const Vector odd = r + r * square * (-0x1.555546p-3f + square * (0x1.11073ap-7f + square * -0x1.994388p-13f));
    const Vector even =
        1.0f - 0.5f * square + square * square * (0x1.55554ap-5f + square * (-0x1.6c0c32p-10f + square * 0x1.99eb4ap-16f));
    const Integers swap = (quarter & 1) != 0;
    const Vector s = swap ? even : odd, c = swap ? odd : even;
    return {(Vector)((Integers)s ^ ((quarter & 2) << 30)), (Vector)((Integers)c ^ (((quarter + 1) & 2) << 30))};
}

// Compute only the sine, with the same accuracy, for half the work.
inline Vector sine_of(Vector x) {
    const auto [r, half] = reduced<2>(x);
    const Vector square = r * r;
    const Vector odd =
        r + r * square * (-0x1.55554cp-3f + square * (0x1.110edap-7f + square * (-0x1.9f70fp-13f + square * 0x1.5dc904p-19f)));
    return (Vector)((Integers)odd ^ (half << 31));
}

}  // namespace
