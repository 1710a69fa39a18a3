// What the crate `tch` does not offer of libtorch, as C functions for src/torch/shim.rs.
//
// Every tensor is an `at::Tensor*` that the caller owns. A function that can fail returns 0, or -1 with the reason in
// `ddae_torch_error()` of the same thread; no exception leaves a function.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <utility>

extern "C" {
typedef void* TensorPointer;

// The reason of the last failure on this thread, valid until the next one.
const char* ddae_torch_error();

// Loads a library with all its symbols visible to those loaded before.
int ddae_torch_load(const char* path);

// `*out` becomes a new tensor that the caller owns.
int ddae_torch_channels_last(TensorPointer tensor, TensorPointer* out);
int ddae_torch_is_channels_last(TensorPointer tensor, int* out);

// Numbers smaller than the normal range become zero on this thread and those that it starts from now on, the thread
// pool if nothing used that before. `*supported` tells whether the processor can.
int ddae_torch_flush_denormals(int on, int* supported);

// Drops the gradients, so that the next backward pass writes new ones instead of adding.
int ddae_torch_clear_gradients(TensorPointer* parameters, size_t count);

struct DdaeAdam {
    // Unless a tensor gives it.
    double learning_rate, beta1, beta2, weight_decay, eps;
    // Whether weight decay is decoupled from the gradient.
    int decoupled;
};

// One step of Adam, in place. `steps` are the step counts, already advanced. `learning_rate`, a scalar tensor that takes the
// place of that of the options, `grad_scale` and `found_inf` may be null.
int ddae_torch_adam(TensorPointer* parameters, TensorPointer* gradients, TensorPointer* first_moments,
                    TensorPointer* second_moments, TensorPointer* steps, size_t count, const DdaeAdam* options,
                    TensorPointer learning_rate, TensorPointer grad_scale, TensorPointer found_inf);

// One step of gradient descent with momentum, in place: momenta = momentum * momenta + gradients + weight_decay *
// parameters, parameters -= rate * momenta. `momenta` is null where `momentum` is 0. `learning_rate_tensor`, a scalar tensor that
// takes the place of `learning_rate`, `grad_scale` and `found_inf` may be null.
int ddae_torch_sgd(TensorPointer* parameters, TensorPointer* gradients, TensorPointer* momenta, size_t count,
                   double learning_rate, double momentum, double weight_decay, TensorPointer learning_rate_tensor,
                   TensorPointer grad_scale, TensorPointer found_inf);

// targets += weight * (sources - targets)
int ddae_torch_lerp(TensorPointer* targets, TensorPointer* sources, size_t count, double weight);

// targets = sources
int ddae_torch_copy(TensorPointer* targets, TensorPointer* sources, size_t count);

// Scales the gradients in place so that their joint norm is at most `max_norm`, which may be infinite; `*norm` becomes
// the norm before.
int ddae_torch_clip_gradients(TensorPointer* gradients, size_t count, double max_norm, TensorPointer* norm);

// gradients *= inverse_scale; `found_inf` becomes 1 where a gradient is not finite.
int ddae_torch_unscale(TensorPointer* gradients, size_t count, TensorPointer inverse_scale, TensorPointer found_inf);

struct DdaeGroupNormSilu {
    int64_t groups;
    double eps;
    // Whether SiLU follows.
    int silu;
    // Probability of an element to be dropped at the end, and the seed of the choice.
    double dropout;
    int64_t seed;
};

// `*out` = dropout(silu(group_norm(input + shift) * weight + bias)) with gradients, for channels-last images on the
// CPU. `shift` [B, C], `weight` [C] or [B, C], and `bias` [C] may be null.
int ddae_torch_group_norm_silu(TensorPointer input, TensorPointer shift, TensorPointer weight, TensorPointer bias,
                               const DdaeGroupNormSilu* options, TensorPointer* out);

// ddae_cuda::Norm, field by field (crates/cuda/src/norm.rs says what each is).
struct DdaeNorm {
    const void *x, *residual, *bias, *shift, *weight, *beta;
    void *sum, *y;
    float *mean, *rstd;
    const void* dy;
    void* dx;
    float *dweight, *dbeta, *dshift;
    const void* seed;
    uint64_t layer;
    int32_t batch, pixels, channels, groups, chunk, weight_stride, shift_like_x, silu;
    uint32_t drop_below;
    float keep_scale, eps;
    int32_t element, row_stride;
};
// The same in ddae_cuda::Norm and in norm.cu.
static_assert(sizeof(DdaeNorm) == 192, "DdaeNorm is what the kernels take");

// Put a kernel on a stream of a device; not 0, with the reason in `message`, where that fails. `pass` is 0 forward.
typedef int (*DdaeLaunchNorm)(int device, int pass, const DdaeNorm* norm, void* stream, char* message, size_t capacity);
// y = x + residual + bias for rows of channels; `residual` may be null.
typedef int (*DdaeLaunchBiasSum)(int device, int element, int64_t rows, int64_t channels, const void* x,
                                 const void* residual, const void* bias, void* y, void* stream, char* message,
                                 size_t capacity);
// Sums over the rows of x, as rows of `partial` that are still to be added. Without `x`, only `*partial_rows` is set.
typedef int (*DdaeLaunchColumnSums)(int device, int element, int64_t rows, int64_t channels, const void* x,
                                    void* partial, int64_t* partial_rows, void* stream, char* message, size_t capacity);
typedef int (*DdaeLaunchAverage)(int device, const void* pieces, int64_t count, const void* weight, void* stream,
                                 char* message, size_t capacity);

struct DdaeLaunchers {
    DdaeLaunchNorm norm;
    DdaeLaunchBiasSum bias_sum;
    DdaeLaunchColumnSums column_sums;
    DdaeLaunchAverage average;
};

// Who starts the kernels.
void ddae_torch_cuda_launchers(const DdaeLaunchers* launchers);

// `*out` = input + residual + bias with gradients, for channels-last images on a GPU. `residual`, shaped like the input, may be
// null; `bias` is [C].
int ddae_torch_bias_sum(TensorPointer input, TensorPointer residual, TensorPointer bias, TensorPointer* out);

// `*out` = the tensor, or if it is elsewhere a copy, on the GPU `device`, which fetches it while the caller goes on.
int ddae_torch_upload(TensorPointer tensor, int device, TensorPointer* out);

// ddae_torch_group_norm_silu on a GPU. `seed`, one int64 there, may be null without dropout; in `options`, `seed` is what
// tells this norm from others that are given the same.
int ddae_torch_group_norm_silu_cuda(TensorPointer input, TensorPointer shift, TensorPointer weight, TensorPointer bias,
                                    TensorPointer seed, const DdaeGroupNormSilu* options, TensorPointer* out);

// `*out` = int64 [n, 3] on the CPU: addresses of targets and sources, float32 on a GPU, in pieces of at most `length`.
int ddae_torch_pieces(TensorPointer* targets, TensorPointer* sources, size_t count, int64_t length, TensorPointer* out);

// target += weight * (source - target) for all pieces; both tensors on the GPU.
int ddae_torch_average(TensorPointer pieces, TensorPointer weight);

// From now on this thread's operations on the GPU go to a stream of their own, as capturing wants.
int ddae_torch_own_stream(int device);

// What this thread starts on the GPU between begin and end is not run but recorded, to be replayed any number of times.
// `*out` is freed with ddae_torch_graph_free.
int ddae_torch_graph_begin(void** out);
int ddae_torch_graph_end(void* graph);
int ddae_torch_graph_replay(void* graph);
void ddae_torch_graph_free(void* graph);

// How many ways of computing a convolution are tried before its first time, to take the fastest; 0: none, cuDNN's own rules
// decide.
int ddae_torch_convolution_search(int count);

// Asks cuDNN and libtorch for algorithms that give the same bits every time.
int ddae_torch_deterministic();

// `*out` = the input with what lies along the axes multiplied by a function of its root mean square `r`, with gradients:
// `rms / sqrt(r^2 + eps)` where `inside`, else `rms / (r + eps)`.
int ddae_torch_scaled_rows(TensorPointer input, const int64_t* axes, size_t count, double eps, double rms, int inside,
                           TensorPointer* out);

// What this thread and those of its backward passes do, and a GPU if asked, is recorded between begin and end, which writes
// it to a file for chrome://tracing.
int ddae_torch_trace_begin(int cuda);
int ddae_torch_trace_end(const char* path);

// Lets the process keep freed memory instead of handing it back to the system and asking again at every operation.
int ddae_torch_keep_memory();
}

namespace ddae {

void set_error(const char* message);

// Runs `body`; an exception becomes the thread's error text and -1.
template <class Body>
int guarded(Body&& body) noexcept {
    try {
        std::forward<Body>(body)();
        return 0;
    } catch (const std::exception& error) {
        set_error(error.what());
    } catch (...) {
        set_error("an unknown C++ exception");
    }
    return -1;
}

}  // namespace ddae
