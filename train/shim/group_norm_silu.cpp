// GroupNorm with what surrounds it in a residual block, as one operation on the CPU:
//
//     y = dropout(silu(group_norm(x + shift) * weight + bias))
//
// weight may be one for all images or one for each.
//
// for channels-last images. libtorch takes a pass over memory for each of the five, and more on the way back; this
// takes two there and two back, and keeps only x for the way back (the mask of the dropout is made anew from its
// seed). Its loops run over all channels of a pixel, where libtorch's walk a group at a time and leave vector registers
// nearly empty. With 16-bit floats, where the matrix units leave little else to wait for, that decides the speed.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <vector>

#include "norm_kernels.h"
#include "torch_shim.h"

namespace {

using ddae::Activation;
using ddae::NormKernels;

const ddae::NormKernelSet& kernel_set() {
#ifdef DDAE_X86_64
    static const ddae::NormKernelSet& set = [&]() -> const ddae::NormKernelSet& {
        bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
        bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512cd");
        return avx2 && avx512 ? ddae::norm_kernels_avx512 : avx2 ? ddae::norm_kernels_avx2 : ddae::norm_kernels_baseline;
    }();
    return set;
#else
    return ddae::norm_kernels_baseline;
#endif
}

struct Settings {
    int64_t groups;
    double eps;
    bool silu;
    double dropout;
    uint64_t seed;
};

struct Sizes {
    int64_t batch, channels, pixels, groups, per_group;

    Sizes(const at::Tensor& x, int64_t groups)
        : batch(x.size(0)),
          channels(x.size(1)),
          pixels(x.size(2) * x.size(3)),
          groups(groups),
          per_group(channels / groups) {}
};

// Scale and offset of every channel of one image, from the statistics of its groups.
template <class A>
Activation<A> activation(const Settings& settings, const Sizes& size, int64_t n, const A* mean, const A* rstd,
                         const A* weight, const A* bias, const A* shift, std::vector<A>& memory) {
    memory.resize(2 * size.channels);
    A *scale = memory.data(), *offset = scale + size.channels;
    for (int64_t c = 0; c < size.channels; c++) {
        int64_t g = c / size.per_group;
        scale[c] = rstd[g] * (weight == nullptr ? A(1) : weight[c]);
        A moved = (shift == nullptr ? A(0) : shift[c]) - mean[g];
        offset[c] = moved * scale[c] + (bias == nullptr ? A(0) : bias[c]);
    }
    auto below = static_cast<uint32_t>(std::lround(settings.dropout * 4294967295.0));
    return {scale, offset, settings.silu, below, static_cast<A>(1.0 / (1.0 - settings.dropout)), settings.seed,
            static_cast<uint64_t>(n * size.pixels)};
}

// What a tensor [B, C] says of image n, or a tensor [C] of all images.
template <class A>
const A* row(const at::Tensor& tensor, int64_t n) {
    if (!tensor.defined()) return nullptr;
    return tensor.const_data_ptr<A>() + (tensor.dim() == 1 ? 0 : n * tensor.size(1));
}

// A gradient of a tensor like `of`, from those of the single images [B, C].
at::Tensor gathered(const at::Tensor& of, const at::Tensor& of_images) {
    if (!of.defined()) return at::Tensor();
    return of.dim() == 1 ? of_images.sum(0) : of_images;
}

struct Forward {
    at::Tensor y, mean, rstd, sums;
};

template <class T, class A>
Forward forward(const NormKernels<T, A>& kernels, const Settings& settings, const at::Tensor& x,
                const at::Tensor& shift, const at::Tensor& weight, const at::Tensor& bias) {
    Sizes size(x, settings.groups);
    Forward out;
    out.y = at::empty_like(x, at::MemoryFormat::ChannelsLast);
    auto arithmetic = x.options().dtype(c10::CppTypeToScalarType<A>::value).memory_format(std::nullopt);
    out.mean = at::empty({size.batch, size.groups}, arithmetic);
    out.rstd = at::empty_like(out.mean);
    out.sums = at::empty({size.batch, size.channels}, arithmetic);
    auto* from = static_cast<const T*>(x.const_data_ptr());
    auto* to = static_cast<T*>(out.y.mutable_data_ptr());
    A *mean = out.mean.mutable_data_ptr<A>(), *rstd = out.rstd.mutable_data_ptr<A>();
    A* sums = out.sums.mutable_data_ptr<A>();
    at::parallel_for(0, size.batch, 1, [&](int64_t begin, int64_t end) {
        std::vector<double> origin(size.channels), sum(size.channels), squares(size.channels);
        std::vector<A> memory;
        for (int64_t n = begin; n < end; n++) {
            const T* image = from + n * size.pixels * size.channels;
            const A* moved = row<A>(shift, n);
            kernels.moments(image, size.pixels, size.channels, origin.data(), sum.data(), squares.data());
            double pixels = static_cast<double>(size.pixels), count = pixels * static_cast<double>(size.per_group);
            for (int64_t g = 0; g < size.groups; g++) {
                double total = 0, variance = 0;
                for (int64_t c = g * size.per_group; c < (g + 1) * size.per_group; c++) {
                    if (moved != nullptr) origin[c] += moved[c];
                    double of_channel = sum[c] + pixels * origin[c];
                    sums[n * size.channels + c] = static_cast<A>(of_channel);
                    total += of_channel;
                }
                double average = total / count;
                for (int64_t c = g * size.per_group; c < (g + 1) * size.per_group; c++) {
                    double away = origin[c] - average;
                    variance += (squares[c] + 2 * away * sum[c] + pixels * away * away) / count;
                }
                mean[n * size.groups + g] = static_cast<A>(average);
                // A NaN passes, since no comparison with it is true.
                variance = variance < 0 ? 0 : variance;
                rstd[n * size.groups + g] = static_cast<A>(1.0 / std::sqrt(variance + settings.eps));
            }
            auto f = activation<A>(settings, size, n, mean + n * size.groups, rstd + n * size.groups,
                                   row<A>(weight, n), row<A>(bias, n), moved, memory);
            kernels.forward(image, f, size.pixels, size.channels, to + n * size.pixels * size.channels);
        }
    });
    return out;
}

struct Backward {
    at::Tensor x, shift, weight, bias;
};

// With u = scale * (x + shift) + offset, du the gradient of u, M elements a group, and sums over a group:
//     dx = w rstd du + slope (x + shift) + rest,  slope = (mean sum(w du) - sum(w du (x + shift))) rstd^3 / M,
//     rest = -slope mean - rstd sum(w du) / M                                   (arXiv 1803.08494, by the chain rule)
template <class T, class A>
Backward backward(const NormKernels<T, A>& kernels, const Settings& settings, const at::Tensor& x,
                  const at::Tensor& shift, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& means,
                  const at::Tensor& rstds, const at::Tensor& channel_sums, const at::Tensor& dy) {
    Sizes size(x, settings.groups);
    Backward out;
    out.x = at::empty_like(x, at::MemoryFormat::ChannelsLast);
    if (shift.defined()) out.shift = at::empty_like(channel_sums);
    // One row per image, added afterwards: the same result for any number of threads.
    auto weights = at::empty_like(channel_sums), biases = at::empty_like(channel_sums);
    auto* from = static_cast<const T*>(x.const_data_ptr());
    auto* gradient = static_cast<const T*>(dy.const_data_ptr());
    auto* to = static_cast<T*>(out.x.mutable_data_ptr());
    A *dw = weights.mutable_data_ptr<A>(), *db = biases.mutable_data_ptr<A>();
    A* dshift = shift.defined() ? out.shift.mutable_data_ptr<A>() : nullptr;
    at::parallel_for(0, size.batch, 1, [&](int64_t begin, int64_t end) {
        std::vector<double> sum(size.channels), products(size.channels);
        std::vector<A> memory, lines(2 * size.channels);
        A *slopes = lines.data(), *intercepts = slopes + size.channels;
        for (int64_t n = begin; n < end; n++) {
            int64_t at = n * size.pixels * size.channels, line = n * size.channels;
            const A *moved = row<A>(shift, n), *mean = row<A>(means, n), *rstd = row<A>(rstds, n);
            const A* w = row<A>(weight, n);
            auto f = activation<A>(settings, size, n, mean, rstd, w, row<A>(bias, n), moved, memory);
            kernels.backward_sums(from + at, gradient + at, f, size.pixels, size.channels, to + at, sum.data(),
                                  products.data());
            double count = static_cast<double>(size.per_group * size.pixels);
            for (int64_t g = 0; g < size.groups; g++) {
                double weighted = 0, weighted_products = 0, m = mean[g], r = rstd[g];
                for (int64_t c = g * size.per_group; c < (g + 1) * size.per_group; c++) {
                    if (moved != nullptr) products[c] += moved[c] * sum[c];
                    double factor = w == nullptr ? 1.0 : w[c];
                    weighted += factor * sum[c];
                    weighted_products += factor * products[c];
                    dw[line + c] = static_cast<A>(r * (products[c] - m * sum[c]));
                    db[line + c] = static_cast<A>(sum[c]);
                }
                double slope = (m * weighted - weighted_products) * r * r * r / count;
                double rest = -slope * m - r * weighted / count;
                for (int64_t c = g * size.per_group; c < (g + 1) * size.per_group; c++) {
                    slopes[c] = static_cast<A>(slope);
                    intercepts[c] = static_cast<A>(rest + (moved == nullptr ? 0.0 : slope * moved[c]));
                    if (dshift != nullptr) {
                        double of_x = row<A>(channel_sums, n)[c], factor = w == nullptr ? 1.0 : w[c];
                        dshift[line + c] = static_cast<A>(r * factor * sum[c] + slope * of_x +
                                                          rest * static_cast<double>(size.pixels));
                    }
                }
            }
            kernels.backward(from + at, f.scale, slopes, intercepts, size.pixels, size.channels, to + at);
        }
    });
    out.weight = gathered(weight, weights);
    out.bias = gathered(bias, biases);
    return out;
}

// Calls `body` with the kernels for the element type of `x`.
template <class Body>
auto with_kernels(const at::Tensor& x, Body&& body) {
    const auto& set = kernel_set();
    switch (x.scalar_type()) {
        case at::kDouble: return body(set.twice);
        case at::kBFloat16: return body(set.bfloat16);
        default: return body(set.single);
    }
}

class GroupNormSilu : public torch::autograd::Function<GroupNormSilu> {
   public:
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                              const std::optional<at::Tensor>& shift, const std::optional<at::Tensor>& weight,
                              const std::optional<at::Tensor>& bias, int64_t groups, double eps, bool silu,
                              double dropout, int64_t seed) {
        at::AutoDispatchBelowADInplaceOrView below_autograd;
        Settings settings{groups, eps, silu, dropout, static_cast<uint64_t>(seed)};
        auto arithmetic = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
        auto ready = [&](const std::optional<at::Tensor>& tensor) {
            return tensor.has_value() ? tensor->to(arithmetic).contiguous() : at::Tensor();
        };
        auto moved = ready(shift), w = ready(weight), b = ready(bias);
        auto out = with_kernels(x, [&](const auto& kernels) { return ::forward(kernels, settings, x, moved, w, b); });
        context->save_for_backward({x, moved, w, b, out.mean, out.rstd, out.sums});
        context->saved_data["groups"] = groups;
        context->saved_data["eps"] = eps;
        context->saved_data["silu"] = silu;
        context->saved_data["dropout"] = dropout;
        context->saved_data["seed"] = seed;
        auto type = [](const std::optional<at::Tensor>& tensor) {
            return static_cast<int64_t>(tensor.has_value() ? tensor->scalar_type() : at::kFloat);
        };
        context->saved_data["shift_type"] = type(shift);
        context->saved_data["weight_type"] = type(weight);
        return out.y;
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list gradients) {
        auto saved = context->get_saved_variables();
        auto& data = context->saved_data;
        Settings settings{data["groups"].toInt(), data["eps"].toDouble(), data["silu"].toBool(),
                          data["dropout"].toDouble(), static_cast<uint64_t>(data["seed"].toInt())};
        const at::Tensor& x = saved[0];
        auto dy = gradients[0].to(x.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
        auto out = with_kernels(x, [&](const auto& kernels) {
            return ::backward(kernels, settings, x, saved[1], saved[2], saved[3], saved[4], saved[5], saved[6], dy);
        });
        auto like = [&](at::Tensor& tensor, const char* type) {
            if (tensor.defined()) tensor = tensor.to(static_cast<at::ScalarType>(data[type].toInt()));
        };
        like(out.shift, "shift_type");
        like(out.weight, "weight_type");
        at::Tensor none;
        return {out.x, out.shift, out.weight, out.bias, none, none, none, none, none};
    }
};

}  // namespace

int ddae_torch_group_norm_silu(TensorPointer input, TensorPointer shift, TensorPointer weight, TensorPointer bias,
                               const DdaeGroupNormSilu* options, TensorPointer* out) {
    return ddae::guarded([&] {
        auto& x = *static_cast<at::Tensor*>(input);
        auto optional = [](TensorPointer tensor) {
            return tensor == nullptr ? std::nullopt : std::optional<at::Tensor>(*static_cast<at::Tensor*>(tensor));
        };
        auto moved = optional(shift), w = optional(weight), b = optional(bias);
        auto arithmetic = x.scalar_type() == at::kBFloat16 ? at::kFloat : x.scalar_type();
        TORCH_CHECK(arithmetic == at::kFloat || arithmetic == at::kDouble, "no kernel for ", x.scalar_type());
        TORCH_CHECK(x.device().is_cpu() && x.is_contiguous(at::MemoryFormat::ChannelsLast),
                    "wants a channels-last image on the CPU");
        TORCH_CHECK(x.size(2) * x.size(3) > 0, "wants images with pixels");
        TORCH_CHECK(options->groups > 0 && x.size(1) % options->groups == 0, x.size(1), " channels do not split into ",
                    options->groups, " groups");
        at::IntArrayRef of_channels = x.sizes().slice(1, 1), of_images = x.sizes().slice(0, 2);
        auto is = [&](const std::optional<at::Tensor>& tensor, at::IntArrayRef sizes) {
            return tensor->sizes() == sizes && tensor->device().is_cpu();
        };
        TORCH_CHECK(!w || (is(w, of_channels) && w->scalar_type() == arithmetic) || is(w, of_images),
                    "weight must be ", arithmetic, " ", of_channels, " or ", of_images, " on the CPU");
        TORCH_CHECK(!b || (is(b, of_channels) && b->scalar_type() == arithmetic), "bias must be ", arithmetic, " ",
                    of_channels, " on the CPU");
        TORCH_CHECK(!moved || is(moved, of_images), "shift must be ", of_images, " on the CPU");
        TORCH_CHECK(options->dropout >= 0 && options->dropout < 1, "dropout must be in [0, 1)");
        *out = new at::Tensor(GroupNormSilu::apply(x, moved, w, b, options->groups, options->eps, options->silu != 0,
                                                   options->dropout, options->seed));
    });
}
