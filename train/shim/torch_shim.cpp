#include "torch_shim.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <dlfcn.h>
#include <malloc.h>

#include <array>
#include <initializer_list>
#include <vector>

namespace {

thread_local std::string last_error;

at::Tensor& tensor(TensorPointer pointer) { return *static_cast<at::Tensor*>(pointer); }

std::vector<at::Tensor> tensors(TensorPointer* pointers, size_t count) {
    std::vector<at::Tensor> list;
    list.reserve(count);
    for (size_t i = 0; i < count; i++) list.push_back(tensor(pointers[i]));
    return list;
}

std::optional<at::Tensor> optional_tensor(TensorPointer pointer) {
    if (pointer == nullptr) return std::nullopt;
    return tensor(pointer);
}

// Whether both have elements of the same type in the same order in the same memory. Strides of axes of length 1 are
// arbitrary.
bool same_memory(const at::Tensor& a, const at::Tensor& b) {
    if (a.sizes() != b.sizes() || a.scalar_type() != b.scalar_type() || a.device() != b.device()) return false;
    for (int64_t axis = 0; axis < a.dim(); axis++) {
        if (a.size(axis) > 1 && a.stride(axis) != b.stride(axis)) return false;
    }
    return true;
}

// Checks what the kernels of the fused optimisers take for granted. They walk the memory of a parameter, its gradient and its
// moments as flat arrays: another order of strides would mix elements up, and gaps or overlaps would lead them astray.
void check_fused(const std::vector<at::Tensor>& parameters, std::initializer_list<const std::vector<at::Tensor>*> alike,
                 std::initializer_list<TensorPointer> scalars) {
    for (size_t i = 0; i < parameters.size(); i++) {
        const auto& p = parameters[i];
        TORCH_CHECK(p.is_non_overlapping_and_dense(), "parameter ", i, " has gaps or overlaps in memory");
        for (const auto* list : alike) {
            TORCH_CHECK(same_memory(p, (*list)[i]), "parameter ", i,
                        " and its gradient or moments differ in shape, type or memory layout");
        }
        for (auto pointer : scalars) {
            if (pointer == nullptr) continue;
            const auto& t = tensor(pointer);
            TORCH_CHECK(t.scalar_type() == at::kFloat && t.numel() == 1 && t.device() == p.device(),
                        "learning rate, scale and found_inf must be float32 scalars where parameter ", i, " is");
        }
    }
}

}  // namespace

void ddae::set_error(const char* message) {
    // c10's texts end in a stack trace, which helps nobody who uses a program.
    std::string text = message;
    last_error = text.substr(0, text.find("\nException raised from"));
}

using ddae::guarded;

const char* ddae_torch_error() { return last_error.c_str(); }

int ddae_torch_load(const char* path) {
    return guarded([&] {
        if (dlopen(path, RTLD_NOW | RTLD_GLOBAL) == nullptr) throw std::runtime_error(dlerror());
    });
}

int ddae_torch_channels_last(TensorPointer input, TensorPointer* out) {
    return guarded([&] {
        auto result = tensor(input).contiguous(at::MemoryFormat::ChannelsLast);
        // With one channel or one pixel both layouts are the same memory, and operations go by the strides: without
        // this a network on grey images would compute row-major from its first convolution on.
        int64_t channels = result.size(1), height = result.size(2), width = result.size(3);
        std::array<int64_t, 4> strides = {height * width * channels, 1, width * channels, channels};
        if (result.strides() != at::IntArrayRef(strides)) result = result.as_strided(result.sizes(), strides);
        *out = new at::Tensor(result);
    });
}

int ddae_torch_is_channels_last(TensorPointer input, int* out) {
    return guarded([&] { *out = tensor(input).is_contiguous(at::MemoryFormat::ChannelsLast); });
}

int ddae_torch_flush_denormals(int on, int* supported) {
    return guarded([&] { *supported = at::globalContext().setFlushDenormal(on != 0); });
}

int ddae_torch_keep_memory() {
    return guarded([&] {
#ifdef __GLIBC__
        constexpr int kGrowBy = 64 << 20;
        // No blocks straight from the system, and none back to it.
        if (mallopt(M_MMAP_MAX, 0) != 1 || mallopt(M_TRIM_THRESHOLD, -1) != 1 || mallopt(M_TOP_PAD, kGrowBy) != 1) {
            throw std::runtime_error("mallopt refuses the settings");
        }
#endif
    });
}

int ddae_torch_clear_gradients(TensorPointer* parameters, size_t count) {
    return guarded([&] {
        for (size_t i = 0; i < count; i++) tensor(parameters[i]).mutable_grad() = at::Tensor();
    });
}

int ddae_torch_adam(TensorPointer* parameters, TensorPointer* gradients, TensorPointer* first_moments,
                    TensorPointer* second_moments, TensorPointer* steps, size_t count, const DdaeAdam* options,
                    TensorPointer learning_rate, TensorPointer grad_scale, TensorPointer found_inf) {
    return guarded([&] {
        at::NoGradGuard no_grad;
        auto p = tensors(parameters, count), g = tensors(gradients, count);
        auto m = tensors(first_moments, count), v = tensors(second_moments, count), s = tensors(steps, count);
        check_fused(p, {&g, &m, &v}, {learning_rate, grad_scale, found_inf});
        for (size_t i = 0; i < count; i++) {
            TORCH_CHECK(s[i].scalar_type() == at::kFloat && s[i].numel() == 1 && s[i].device() == p[i].device(),
                        "the step count must be a float32 scalar where parameter ", i, " is");
        }
        auto step = [&](const auto& rate) {
            auto kernel = [&](auto&& adam) {
                adam(p, g, m, v, at::TensorList(), s, rate, options->beta1, options->beta2, options->weight_decay,
                     options->eps, /*amsgrad=*/false, /*maximize=*/false, optional_tensor(grad_scale),
                     optional_tensor(found_inf));
            };
            if (options->decoupled) {
                kernel([](auto&&... all) { at::_fused_adamw_(all...); });
            } else {
                kernel([](auto&&... all) { at::_fused_adam_(all...); });
            }
        };
        if (learning_rate == nullptr) {
            step(options->learning_rate);
        } else {
            step(tensor(learning_rate));
        }
    });
}

int ddae_torch_sgd(TensorPointer* parameters, TensorPointer* gradients, TensorPointer* momenta, size_t count,
                   double learning_rate, double momentum, double weight_decay, TensorPointer learning_rate_tensor,
                   TensorPointer grad_scale, TensorPointer found_inf) {
    return guarded([&] {
        at::NoGradGuard no_grad;
        auto p = tensors(parameters, count), g = tensors(gradients, count);
        // The kernels want no list of momenta, rather than one of zeros, where there is no momentum.
        auto m = tensors(momenta, momenta == nullptr ? 0 : count);
        if (m.empty()) {
            check_fused(p, {&g}, {learning_rate_tensor, grad_scale, found_inf});
        } else {
            check_fused(p, {&g, &m}, {learning_rate_tensor, grad_scale, found_inf});
        }
        auto step = [&](const auto& rate) {
            // Momenta of zeros give the first step what PyTorch gives it: the gradient itself.
            at::_fused_sgd_(p, g, m, weight_decay, momentum, rate, /*dampening=*/0.0, /*nesterov=*/false,
                            /*maximize=*/false, /*is_first_step=*/false, optional_tensor(grad_scale),
                            optional_tensor(found_inf));
        };
        if (learning_rate_tensor == nullptr) {
            step(learning_rate);
        } else {
            step(tensor(learning_rate_tensor));
        }
    });
}

int ddae_torch_lerp(TensorPointer* targets, TensorPointer* sources, size_t count, double weight) {
    return guarded([&] {
        at::NoGradGuard no_grad;
        at::_foreach_lerp_(tensors(targets, count), tensors(sources, count), weight);
    });
}

int ddae_torch_copy(TensorPointer* targets, TensorPointer* sources, size_t count) {
    return guarded([&] {
        at::NoGradGuard no_grad;
        at::_foreach_copy_(tensors(targets, count), tensors(sources, count));
    });
}

int ddae_torch_clip_gradients(TensorPointer* gradients, size_t count, double max_norm, TensorPointer* norm) {
    return guarded([&] {
        at::NoGradGuard no_grad;
        auto list = tensors(gradients, count);
        auto total = at::linalg_vector_norm(at::stack(at::_foreach_norm(list, 2)), 2);
        // A tensor factor, so that a GPU is not waited for. The 1e-6 is PyTorch's.
        if (std::isfinite(max_norm)) at::_foreach_mul_(list, (max_norm / (total + 1e-6)).clamp_max(1.0));
        *norm = new at::Tensor(total);
    });
}

int ddae_torch_unscale(TensorPointer* gradients, size_t count, TensorPointer inverse_scale, TensorPointer found_inf) {
    return guarded([&] {
        at::NoGradGuard no_grad;
        at::_amp_foreach_non_finite_check_and_unscale_(tensors(gradients, count), tensor(found_inf),
                                                       tensor(inverse_scale));
    });
}
