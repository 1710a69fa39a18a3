// Plain loops that the compiler turns into vector instructions. This file is compiled once for every instruction set
// (DDAE_ISA names it; build.rs sets it with the compiler's options), so it must not use inline functions of the
// standard library: the linker keeps one copy of those, perhaps one that this processor cannot run.

#include "norm_kernels.h"

#include <math.h>
#include <string.h>

namespace ddae {
namespace {

// Channels are worked on in pieces of this many, so that their sums stay in the fastest cache.
constexpr int64_t kPiece = 128;
// Pixels whose sums are kept in single precision before they are added to the double ones.
constexpr int64_t kBlock = 64;

inline float load(float x) { return x; }
inline double load(double x) { return x; }
inline float load(BFloat16Bits x) {
    uint32_t bits = static_cast<uint32_t>(x) << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

inline void store(float* to, float x) { *to = x; }
inline void store(double* to, double x) { *to = x; }
inline void store(BFloat16Bits* to, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    // Round to nearest, ties to even; the rounding could turn a NaN into something else.
    uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
    *to = static_cast<uint16_t>(x != x ? 0x7FC0u : rounded);
}

inline double exponential(double x) { return exp(x); }
// exp within 2 units in the last place, by the method of Cephes: 2^k * polynomial(x - k ln 2).
inline float exponential(float x) {
    // Written so that a NaN passes.
    x = x > 87.0f ? 87.0f : x;
    x = x < -87.0f ? -87.0f : x;
    // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits.
    float shifted = x * 1.44269504088896341f + 12582912.0f;
    float k = shifted - 12582912.0f;
    float r = x - k * 0.693359375f + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127u) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

template <class A>
inline A sigmoid(A u) {
    return A(1) / (A(1) + exponential(-u));
}

// The finaliser of MurmurHash3: every bit of the result depends on every bit of `x`.
inline uint32_t mixed(uint32_t x) {
    x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
    x = (x ^ (x >> 13)) * 0xC2B2AE35u;
    return x ^ (x >> 16);
}

// SplitMix64: a fresh 32-bit key for each pixel.
inline uint32_t pixel_key(uint64_t seed, uint64_t pixel) {
    uint64_t z = seed + (pixel + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return static_cast<uint32_t>((z ^ (z >> 31)) >> 16);
}

// What a dropout multiplies an element with.
template <class A>
inline A kept(uint32_t key, int64_t channel, uint32_t drop_below, A keep_scale) {
    uint32_t random = mixed(key + static_cast<uint32_t>(channel) * 0x9E3779B9u);
    return random < drop_below ? A(0) : keep_scale;
}

template <class T, class A>
void moments(const T* x, int64_t pixels, int64_t channels, double* first, double* sum, double* squares) {
    for (int64_t piece = 0; piece < channels; piece += kPiece) {
        int64_t n = channels - piece < kPiece ? channels - piece : kPiece;
        A origin[kPiece];
        for (int64_t c = 0; c < n; c++) {
            origin[c] = load(x[piece + c]);
            first[piece + c] = origin[c];
            sum[piece + c] = squares[piece + c] = 0;
        }
        for (int64_t start = 0; start < pixels; start += kBlock) {
            int64_t end = start + kBlock < pixels ? start + kBlock : pixels;
            A s[kPiece] = {}, q[kPiece] = {};
            for (int64_t i = start; i < end; i++) {
                const T* row = x + i * channels + piece;
#pragma GCC ivdep
                for (int64_t c = 0; c < n; c++) {
                    A value = load(row[c]) - origin[c];
                    s[c] += value;
                    q[c] += value * value;
                }
            }
            for (int64_t c = 0; c < n; c++) {
                sum[piece + c] += s[c];
                squares[piece + c] += q[c];
            }
        }
    }
}

template <class T, class A, bool silu, bool dropout>
void forward_loop(const T* x, const Activation<A>& f, int64_t pixels, int64_t channels, T* y) {
    const A *scale = f.scale, *offset = f.offset;
    const uint32_t drop_below = f.drop_below;
    const A keep_scale = f.keep_scale;
    for (int64_t i = 0; i < pixels; i++) {
        uint32_t key = dropout ? pixel_key(f.seed, f.first_pixel + static_cast<uint64_t>(i)) : 0;
        const T* row = x + i * channels;
        T* out = y + i * channels;
#pragma GCC ivdep
        for (int64_t c = 0; c < channels; c++) {
            A u = scale[c] * load(row[c]) + offset[c];
            if (silu) u *= sigmoid(u);
            if (dropout) u *= kept(key, c, drop_below, keep_scale);
            store(out + c, u);
        }
    }
}

template <class T, class A, bool silu, bool dropout>
void backward_sums_loop(const T* x, const T* dy, const Activation<A>& f, int64_t pixels, int64_t channels, T* du,
                        double* sum, double* products) {
    const A *scale = f.scale, *offset = f.offset;
    const uint32_t drop_below = f.drop_below;
    const A keep_scale = f.keep_scale;
    for (int64_t c = 0; c < channels; c++) sum[c] = products[c] = 0;
    for (int64_t piece = 0; piece < channels; piece += kPiece) {
        int64_t n = channels - piece < kPiece ? channels - piece : kPiece;
        for (int64_t start = 0; start < pixels; start += kBlock) {
            int64_t end = start + kBlock < pixels ? start + kBlock : pixels;
            A sums[kPiece] = {}, of_x[kPiece] = {};
            for (int64_t i = start; i < end; i++) {
                uint32_t key = dropout ? pixel_key(f.seed, f.first_pixel + static_cast<uint64_t>(i)) : 0;
                const T* row = x + i * channels + piece;
                const T* gradient = dy + i * channels + piece;
                T* out = du + i * channels + piece;
#pragma GCC ivdep
                for (int64_t c = 0; c < n; c++) {
                    A value = load(row[c]);
                    A of_u = load(gradient[c]);
                    if (dropout) of_u *= kept(key, piece + c, drop_below, keep_scale);
                    if (silu) {
                        A u = scale[piece + c] * value + offset[piece + c], s = sigmoid(u);
                        of_u *= s * (A(1) + u * (A(1) - s));
                    }
                    store(out + c, of_u);
                    sums[c] += of_u;
                    of_x[c] += of_u * value;
                }
            }
            for (int64_t c = 0; c < n; c++) {
                sum[piece + c] += sums[c];
                products[piece + c] += of_x[c];
            }
        }
    }
}

template <class T, class A>
void backward(const T* x, const A* scale, const A* slope, const A* intercept, int64_t pixels, int64_t channels, T* du) {
    for (int64_t i = 0; i < pixels; i++) {
        const T* row = x + i * channels;
        T* out = du + i * channels;
#pragma GCC ivdep
        for (int64_t c = 0; c < channels; c++) {
            store(out + c, scale[c] * load(out[c]) + slope[c] * load(row[c]) + intercept[c]);
        }
    }
}

template <class T, class A>
void forward(const T* x, const Activation<A>& f, int64_t pixels, int64_t channels, T* y) {
    bool dropout = f.drop_below > 0;
    auto loop = f.silu ? (dropout ? forward_loop<T, A, true, true> : forward_loop<T, A, true, false>)
                       : (dropout ? forward_loop<T, A, false, true> : forward_loop<T, A, false, false>);
    loop(x, f, pixels, channels, y);
}

template <class T, class A>
void backward_sums(const T* x, const T* dy, const Activation<A>& f, int64_t pixels, int64_t channels, T* du, double* sum,
                   double* products) {
    bool dropout = f.drop_below > 0;
    auto loop = f.silu ? (dropout ? backward_sums_loop<T, A, true, true> : backward_sums_loop<T, A, true, false>)
                       : (dropout ? backward_sums_loop<T, A, false, true> : backward_sums_loop<T, A, false, false>);
    loop(x, dy, f, pixels, channels, du, sum, products);
}

template <class T, class A>
constexpr NormKernels<T, A> kernels = {moments<T, A>, forward<T, A>, backward_sums<T, A>, backward<T, A>};

}  // namespace

#define DDAE_JOIN(a, b) a##b
#define DDAE_NAME(isa) DDAE_JOIN(norm_kernels_, isa)

extern const NormKernelSet DDAE_NAME(DDAE_ISA);
const NormKernelSet DDAE_NAME(DDAE_ISA) = {kernels<float, float>, kernels<double, double>,
                                           kernels<BFloat16Bits, float>};

}  // namespace ddae
