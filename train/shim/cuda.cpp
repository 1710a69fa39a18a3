// What runs on CUDA beside libtorch's own operations: the project's kernels as operations with gradients, and steps
// captured as CUDA graphs. Nothing here is linked with CUDA: kernels are started by the caller's function
// (train/src/torch/kernels.rs), streams are libtorch's for any device, and at::cuda::CUDAGraph is found in
// libtorch_cuda.so by its symbols once that is loaded.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Stream.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <new>
#include <optional>

#include "torch_shim.h"

namespace {

DdaeLaunchers launchers{};

enum Pass { kForward = 0, kBackward = 1 };

c10::impl::VirtualGuardImpl cuda() { return c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA); }

void* stream_of(const at::Device& device) { return cuda().getStream(device).native_handle(); }

// The element types of ddae_cuda::Element; -1 for others.
int element(at::ScalarType type) {
    switch (type) {
        case at::kFloat: return 0;
        case at::kHalf: return 1;
        case at::kBFloat16: return 2;
        default: return -1;
    }
}

// Calls a launcher with what follows its arguments: the stream, and room for the reason of a failure.
template <class Launcher, class... Arguments>
void launch(Launcher launcher, const at::Device& device, Arguments... arguments) {
    TORCH_CHECK(launcher != nullptr, "no kernels are loaded");
    std::array<char, 512> message{};
    int status = launcher(device.index(), arguments..., stream_of(device), message.data(), message.size());
    TORCH_CHECK(status == 0, message.data());
}

struct Settings {
    int64_t groups;
    double eps;
    bool silu;
    double dropout;
    int64_t layer;
};

// What both directions are told.
DdaeNorm arguments(const Settings& settings, const at::Tensor& x, const at::Tensor& shift, const at::Tensor& weight,
                   const at::Tensor& bias, const at::Tensor& seed) {
    DdaeNorm norm{};
    auto address = [](const at::Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr() : nullptr; };
    norm.x = address(x);
    norm.shift = address(shift);
    norm.weight = address(weight);
    norm.beta = address(bias);
    norm.seed = address(seed);
    norm.layer = static_cast<uint64_t>(settings.layer);
    norm.batch = static_cast<int32_t>(x.size(0));
    norm.pixels = static_cast<int32_t>(x.size(2) * x.size(3));
    norm.channels = static_cast<int32_t>(x.size(1));
    norm.groups = static_cast<int32_t>(settings.groups);
    norm.weight_stride = weight.defined() && weight.dim() == 2 ? norm.channels : 0;
    norm.shift_like_x = shift.defined() && shift.scalar_type() != at::kFloat;
    norm.silu = settings.silu;
    bool drops = settings.dropout > 0 && seed.defined();
    norm.drop_below = drops ? static_cast<uint32_t>(std::lround(settings.dropout * 4294967295.0)) : 0;
    norm.keep_scale = static_cast<float>(1.0 / (1.0 - settings.dropout));
    norm.eps = static_cast<float>(settings.eps);
    norm.element = element(x.scalar_type());
    return norm;
}

class GroupNormSiluCuda : public torch::autograd::Function<GroupNormSiluCuda> {
   public:
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                              const std::optional<at::Tensor>& shift, const std::optional<at::Tensor>& weight,
                              const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& seed,
                              int64_t groups, double eps, bool silu, double dropout, int64_t layer) {
        at::AutoDispatchBelowADInplaceOrView below_autograd;
        c10::DeviceGuard guard(x.device());
        Settings settings{groups, eps, silu, dropout, layer};
        auto single = [](const std::optional<at::Tensor>& tensor) {
            return tensor.has_value() ? tensor->to(at::kFloat).contiguous() : at::Tensor();
        };
        auto w = single(weight), b = single(bias);
        at::Tensor moved;
        if (shift.has_value()) {
            moved = shift->scalar_type() == x.scalar_type() ? shift->contiguous() : single(shift);
        }
        auto drawn = seed.value_or(at::Tensor());
        auto y = at::empty_like(x, at::MemoryFormat::ChannelsLast);
        auto statistics = x.options().dtype(at::kFloat).memory_format(std::nullopt);
        auto mean = at::empty({x.size(0), groups}, statistics), rstd = at::empty_like(mean);
        auto norm = arguments(settings, x, moved, w, b, drawn);
        norm.y = y.mutable_data_ptr();
        norm.mean = mean.mutable_data_ptr<float>();
        norm.rstd = rstd.mutable_data_ptr<float>();
        launch(launchers.norm, x.device(), kForward, &norm);
        context->save_for_backward({x, moved, w, b, drawn, mean, rstd});
        context->saved_data["groups"] = groups;
        context->saved_data["eps"] = eps;
        context->saved_data["silu"] = silu;
        context->saved_data["dropout"] = dropout;
        context->saved_data["layer"] = layer;
        auto type = [](const std::optional<at::Tensor>& tensor) {
            return static_cast<int64_t>(tensor.has_value() ? tensor->scalar_type() : at::kFloat);
        };
        context->saved_data["shift_type"] = type(shift);
        context->saved_data["weight_type"] = type(weight);
        context->saved_data["bias_type"] = type(bias);
        return y;
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list gradients) {
        auto saved = context->get_saved_variables();
        auto& data = context->saved_data;
        Settings settings{data["groups"].toInt(), data["eps"].toDouble(), data["silu"].toBool(),
                          data["dropout"].toDouble(), data["layer"].toInt()};
        const at::Tensor &x = saved[0], &shift = saved[1], &weight = saved[2], &bias = saved[3];
        c10::DeviceGuard guard(x.device());
        auto dy = gradients[0].to(x.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
        auto dx = at::empty_like(x, at::MemoryFormat::ChannelsLast);
        auto single = x.options().dtype(at::kFloat).memory_format(std::nullopt);
        // Side by side, one row per image; those of one number for all images are added afterwards in one go, in an order
        // that is always the same.
        std::array<const at::Tensor*, 3> all = {&weight, &bias, &shift};
        int64_t count = 0, shared = 0, channels = x.size(1);
        for (const auto* of : all) {
            count += of->defined();
            shared += of->defined() && of->dim() == 1;
        }
        auto rows = count > 0 ? at::empty({x.size(0), count, channels}, single) : at::Tensor();
        at::Tensor sums;
        auto norm = arguments(settings, x, shift, weight, bias, saved[4]);
        // Those to be added come first: neighbours.
        std::array<int64_t, 3> places{};
        int64_t next = 0;
        for (int64_t dim : {1, 2}) {
            for (size_t i = 0; i < all.size(); i++) {
                if (all[i]->defined() && all[i]->dim() == dim) places[i] = next++;
            }
        }
        auto address = [&](size_t i) {
            return all[i]->defined() ? rows.mutable_data_ptr<float>() + places[i] * channels : nullptr;
        };
        norm.row_stride = static_cast<int32_t>(count * channels);
        norm.mean = const_cast<float*>(saved[5].const_data_ptr<float>());
        norm.rstd = const_cast<float*>(saved[6].const_data_ptr<float>());
        norm.dy = dy.const_data_ptr();
        norm.dx = dx.mutable_data_ptr();
        norm.dweight = address(0);
        norm.dbeta = address(1);
        norm.dshift = address(2);
        launch(launchers.norm, x.device(), kBackward, &norm);
        if (shared > 0) sums = rows.narrow(1, 0, shared).sum(0);
        auto gradient = [&](size_t i, const char* type) {
            if (!all[i]->defined()) return at::Tensor();
            auto result = all[i]->dim() == 1 ? sums.select(0, places[i]) : rows.select(1, places[i]);
            return result.to(static_cast<at::ScalarType>(data[type].toInt()));
        };
        at::Tensor none;
        return {dx,   gradient(2, "shift_type"), gradient(0, "weight_type"), gradient(1, "bias_type"), none, none, none,
                none, none, none};
    }
};

// Rows of channels, as the kernels see channels-last images.
int64_t rows_of(const at::Tensor& x) { return x.numel() / x.size(1); }

class BiasSum : public torch::autograd::Function<BiasSum> {
   public:
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                              const std::optional<at::Tensor>& residual, const at::Tensor& bias) {
        at::AutoDispatchBelowADInplaceOrView below_autograd;
        c10::DeviceGuard guard(x.device());
        auto b = bias.to(at::kFloat).contiguous();
        auto y = at::empty_like(x, at::MemoryFormat::ChannelsLast);
        launch(launchers.bias_sum, x.device(), element(x.scalar_type()), rows_of(x), x.size(1), x.const_data_ptr(),
               residual ? residual->const_data_ptr() : nullptr, b.const_data_ptr(), y.mutable_data_ptr());
        context->saved_data["has_residual"] = residual.has_value();
        context->saved_data["bias_type"] = static_cast<int64_t>(bias.scalar_type());
        return y;
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list gradients) {
        auto& data = context->saved_data;
        auto dy = gradients[0].contiguous(at::MemoryFormat::ChannelsLast);
        c10::DeviceGuard guard(dy.device());
        int64_t rows = rows_of(dy), channels = dy.size(1), partial_rows = 0;
        int type = element(dy.scalar_type());
        launch(launchers.column_sums, dy.device(), type, rows, channels, static_cast<const void*>(nullptr),
               static_cast<void*>(nullptr), &partial_rows);
        auto partial = at::empty({partial_rows, channels}, dy.options().dtype(at::kFloat).memory_format(std::nullopt));
        launch(launchers.column_sums, dy.device(), type, rows, channels, dy.const_data_ptr(), partial.mutable_data_ptr(),
               &partial_rows);
        auto dbias = partial.sum(0).to(static_cast<at::ScalarType>(data["bias_type"].toInt()));
        return {dy, data["has_residual"].toBool() ? dy : at::Tensor(), dbias};
    }
};

// at::cuda::CUDAGraph of libtorch_cuda.so.
struct GraphSymbols {
    using Pool = std::pair<unsigned long long, unsigned long long>;
    void (*construct)(void* self, bool keep_graph);
    void (*destroy)(void* self);
    void (*capture_begin)(void* self, Pool pool, int mode);
    void (*capture_end)(void* self);
    void (*replay)(void* self);

    GraphSymbols() {
        auto find = [](auto& function, const char* name) {
            void* symbol = dlsym(RTLD_DEFAULT, name);
            TORCH_CHECK(symbol != nullptr, "libtorch_cuda.so has no ", name);
            function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(symbol);
        };
        find(construct, "_ZN2at4cuda9CUDAGraphC1Eb");
        find(destroy, "_ZN2at4cuda9CUDAGraphD1Ev");
        find(capture_begin, "_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode");
        find(capture_end, "_ZN2at4cuda9CUDAGraph11capture_endEv");
        find(replay, "_ZN2at4cuda9CUDAGraph6replayEv");
    }
};

const GraphSymbols& graph_symbols() {
    static const GraphSymbols symbols;
    return symbols;
}

// Room for an object whose size only its headers know, which need CUDA's; libtorch 2.11's takes some 160 bytes.
constexpr size_t kGraphBytes = 4096;
constexpr auto kGraphAlignment = std::align_val_t(64);

// cudaStreamCaptureModeThreadLocal: other threads, such as those that read images, do as they like meanwhile.
constexpr int kThreadLocal = 1;

}  // namespace

void ddae_torch_cuda_launchers(const DdaeLaunchers* all) { launchers = *all; }

int ddae_torch_bias_sum(TensorPointer input, TensorPointer residual, TensorPointer bias, TensorPointer* out) {
    return ddae::guarded([&] {
        auto &x = *static_cast<at::Tensor*>(input), &b = *static_cast<at::Tensor*>(bias);
        std::optional<at::Tensor> other;
        if (residual != nullptr) other = *static_cast<at::Tensor*>(residual);
        auto fits = [&](const at::Tensor& t) {
            return t.is_cuda() && t.dim() == 4 && t.is_contiguous(at::MemoryFormat::ChannelsLast) &&
                   t.scalar_type() == x.scalar_type() && t.sizes() == x.sizes() && t.device() == x.device() &&
                   reinterpret_cast<uintptr_t>(t.const_data_ptr()) % 16 == 0;
        };
        TORCH_CHECK(element(x.scalar_type()) >= 0, "no kernel for ", x.scalar_type());
        TORCH_CHECK(fits(x) && (!other || fits(*other)), "wants channels-last images alike on one GPU");
        TORCH_CHECK(b.dim() == 1 && b.size(0) == x.size(1) && b.device() == x.device(), "bias must be [C] beside them");
        *out = new at::Tensor(BiasSum::apply(x, other, b));
    });
}

int ddae_torch_upload(TensorPointer tensor, int device, TensorPointer* out) {
    return ddae::guarded([&] {
        auto& t = *static_cast<at::Tensor*>(tensor);
        c10::Device to(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device));
        *out = new at::Tensor(t.is_cpu() ? t.pin_memory().to(to, /*non_blocking=*/true) : t.to(to));
    });
}

int ddae_torch_group_norm_silu_cuda(TensorPointer input, TensorPointer shift, TensorPointer weight, TensorPointer bias,
                                    TensorPointer seed, const DdaeGroupNormSilu* options, TensorPointer* out) {
    return ddae::guarded([&] {
        auto& x = *static_cast<at::Tensor*>(input);
        auto optional = [](TensorPointer tensor) {
            return tensor == nullptr ? std::nullopt : std::optional<at::Tensor>(*static_cast<at::Tensor*>(tensor));
        };
        auto moved = optional(shift), w = optional(weight), b = optional(bias), drawn = optional(seed);
        TORCH_CHECK(element(x.scalar_type()) >= 0, "no kernel for ", x.scalar_type());
        TORCH_CHECK(x.is_cuda() && x.dim() == 4 && x.is_contiguous(at::MemoryFormat::ChannelsLast),
                    "wants a channels-last image on a GPU");
        TORCH_CHECK(x.size(0) > 0 && x.size(2) * x.size(3) > 0, "wants images with pixels");
        TORCH_CHECK(reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0, "wants memory aligned to 16 bytes");
        TORCH_CHECK(options->groups > 0 && x.size(1) % options->groups == 0, x.size(1), " channels do not split into ",
                    options->groups, " groups");
        at::IntArrayRef of_channels = x.sizes().slice(1, 1), of_images = x.sizes().slice(0, 2);
        auto is = [&](const std::optional<at::Tensor>& tensor, at::IntArrayRef sizes) {
            return tensor->sizes() == sizes && tensor->device() == x.device();
        };
        TORCH_CHECK(!w || is(w, of_channels) || is(w, of_images), "weight must be ", of_channels, " or ", of_images);
        TORCH_CHECK(!b || is(b, of_channels), "bias must be ", of_channels);
        TORCH_CHECK(!moved || is(moved, of_images), "shift must be ", of_images);
        TORCH_CHECK(options->dropout >= 0 && options->dropout < 1, "dropout must be in [0, 1)");
        TORCH_CHECK(options->dropout == 0 || drawn, "dropout wants a seed");
        TORCH_CHECK(!drawn || (drawn->numel() == 1 && drawn->scalar_type() == at::kLong && drawn->is_cuda()),
                    "the seed must be one int64 on the GPU");
        *out = new at::Tensor(GroupNormSiluCuda::apply(x, moved, w, b, drawn, options->groups, options->eps,
                                                       options->silu != 0, options->dropout, options->seed));
    });
}

int ddae_torch_average(TensorPointer pieces, TensorPointer weight) {
    return ddae::guarded([&] {
        auto &table = *static_cast<at::Tensor*>(pieces), &w = *static_cast<at::Tensor*>(weight);
        TORCH_CHECK(table.is_cuda() && table.scalar_type() == at::kLong && table.is_contiguous() && table.dim() == 2 &&
                        table.size(1) == 3,
                    "pieces must be int64 [n, 3] on a GPU");
        TORCH_CHECK(w.device() == table.device() && w.scalar_type() == at::kFloat && w.numel() == 1,
                    "the weight must be one float32 beside them");
        c10::DeviceGuard guard(table.device());
        launch(launchers.average, table.device(), table.const_data_ptr(), table.size(0), w.const_data_ptr());
    });
}

int ddae_torch_pieces(TensorPointer* targets, TensorPointer* sources, size_t count, int64_t length, TensorPointer* out) {
    return ddae::guarded([&] {
        std::vector<int64_t> words;
        for (size_t i = 0; i < count; i++) {
            auto &target = *static_cast<at::Tensor*>(targets[i]), &source = *static_cast<at::Tensor*>(sources[i]);
            bool alike = target.scalar_type() == at::kFloat && source.scalar_type() == at::kFloat &&
                         target.sizes() == source.sizes() && target.strides() == source.strides() &&
                         target.device() == source.device() && target.is_non_overlapping_and_dense();
            TORCH_CHECK(alike, "tensor ", i, " and its source differ in shape, type, device or memory layout");
            auto address = [](const at::Tensor& t) { return reinterpret_cast<int64_t>(t.const_data_ptr()); };
            for (int64_t start = 0; start < target.numel(); start += length) {
                words.push_back(address(target) + 4 * start);
                words.push_back(address(source) + 4 * start);
                words.push_back(std::min(length, target.numel() - start));
            }
        }
        auto table = at::tensor(words, at::kLong).reshape({-1, 3});
        *out = new at::Tensor(table);
    });
}

int ddae_torch_own_stream(int device) {
    return ddae::guarded([&] {
        auto guard = cuda();
        c10::Device on(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device));
        guard.setDevice(on);
        guard.exchangeStream(guard.getStreamFromGlobalPool(on));
    });
}

int ddae_torch_graph_begin(void** out) {
    return ddae::guarded([&] {
        const auto& symbols = graph_symbols();
        void* graph = ::operator new(kGraphBytes, kGraphAlignment);
        try {
            symbols.construct(graph, false);
        } catch (...) {
            ::operator delete(graph, kGraphAlignment);
            throw;
        }
        try {
            symbols.capture_begin(graph, {0, 0}, kThreadLocal);
        } catch (...) {
            ddae_torch_graph_free(graph);
            throw;
        }
        *out = graph;
    });
}

int ddae_torch_graph_end(void* graph) {
    return ddae::guarded([&] { graph_symbols().capture_end(graph); });
}

int ddae_torch_graph_replay(void* graph) {
    return ddae::guarded([&] { graph_symbols().replay(graph); });
}

void ddae_torch_graph_free(void* graph) {
    if (graph == nullptr) return;
    try {
        graph_symbols().destroy(graph);
    } catch (...) {
        // Its memory is the device's, which the end of the process frees.
    }
    ::operator delete(graph, kGraphAlignment);
}

int ddae_torch_convolution_search(int count) {
    return ddae::guarded([&] {
        at::globalContext().setBenchmarkCuDNN(count > 0);
        at::globalContext().setBenchmarkLimitCuDNN(count);
    });
}

int ddae_torch_deterministic() {
    return ddae::guarded([&] {
        // cuBLAS repeats itself with a workspace of its own for each of its streams.
        setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
        auto& context = at::globalContext();
        context.setDeterministicCuDNN(true);
        context.setBenchmarkCuDNN(false);
        // Its attention does not repeat itself.
        context.setSDPUseCuDNN(false);
        context.setDeterministicAlgorithms(true, /*warn_only=*/false);
    });
}
