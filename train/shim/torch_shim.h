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
    double learning_rate, beta1, beta2, weight_decay, eps;
    // Whether weight decay is decoupled from the gradient.
    int decoupled;
};

// One step of Adam, in place. `steps` are the step counts, already advanced. `grad_scale` and `found_inf` may be null.
int ddae_torch_adam(TensorPointer* parameters, TensorPointer* gradients, TensorPointer* first_moments,
                    TensorPointer* second_moments, TensorPointer* steps, size_t count, const DdaeAdam* options,
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

// `*out` = the input with what lies along the axes multiplied by a function of its root mean square `r`, with gradients:
// `rms / sqrt(r^2 + eps)` where `inside`, else `rms / (r + eps)`.
int ddae_torch_scaled_rows(TensorPointer input, const int64_t* axes, size_t count, double eps, double rms, int inside,
                           TensorPointer* out);

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
