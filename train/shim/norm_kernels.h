// The loops of group_norm_silu.cpp over one image, channels-last: `pixels` rows of `channels` numbers.
//
// norm_kernels.cpp is compiled once per instruction set, each time into a table of another name.
// T is the type in memory, A that of the arithmetic: <float, float>, <double, double>, <BFloat16Bits, float>.
#pragma once

#include <cstdint>

namespace ddae {

// A bfloat16 as its 16 bits: this file knows nothing of libtorch. No struct, which the compiler would not vectorise.
using BFloat16Bits = uint16_t;

// What each number goes through: u = scale[c] * x + offset[c], then SiLU if asked, then dropout.
template <class A>
struct Activation {
    const A* scale;
    const A* offset;
    bool silu;
    // An element is dropped when its random 32 bits are below this; 0: no dropout.
    uint32_t drop_below;
    // Multiplies what is kept.
    A keep_scale;
    // Makes the random bits, with the number of the pixel in the batch and the channel.
    uint64_t seed;
    uint64_t first_pixel;
};

template <class T, class A>
struct NormKernels {
    // With d = x - x[first pixel]: first[c] = x[first pixel], sum[c] = sum of d, squares[c] = sum of d^2. Sums about a
    // value that is there: a large mean would drown a small variance.
    void (*moments)(const T* x, int64_t pixels, int64_t channels, double* first, double* sum, double* squares);
    // y = activation(x)
    void (*forward)(const T* x, const Activation<A>& f, int64_t pixels, int64_t channels, T* y);
    // du = dy * f'(u), rounded like any gradient of this type, sum[c] = sum of du, products[c] = sum of du * x.
    void (*backward_sums)(const T* x, const T* dy, const Activation<A>& f, int64_t pixels, int64_t channels, T* du,
                          double* sum, double* products);
    // du becomes dx = scale[c] * du + slope[c] * x + intercept[c].
    void (*backward)(const T* x, const A* scale, const A* slope, const A* intercept, int64_t pixels, int64_t channels,
                     T* du);
};

struct NormKernelSet {
    NormKernels<float, float> single;
    NormKernels<double, double> twice;
    NormKernels<BFloat16Bits, float> bfloat16;
};

extern const NormKernelSet norm_kernels_baseline;
#ifdef DDAE_X86_64
extern const NormKernelSet norm_kernels_avx2;
extern const NormKernelSet norm_kernels_avx512;
#endif

}  // namespace ddae
