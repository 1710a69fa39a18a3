// Rows (what lies along some axes) multiplied by a function of their root mean square, as one operation: libtorch's own
// takes a dozen passes over memory for its gradient, this takes three.

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>
#include <vector>

#include "torch_shim.h"

namespace {

// y = s(r) x for rows x of n numbers with the root mean square r, so
//     dx = s dy + slope sum(x dy) x,  slope = s'(r) / (n r),  as  dr/dx = x / (n r).
class ScaledRows : public torch::autograd::Function<ScaledRows> {
   public:
    static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                              const std::vector<int64_t>& axes, double eps, double rms, bool inside) {
        at::AutoDispatchBelowADInplaceOrView below_autograd;
        auto arithmetic = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
        auto wide = x.to(arithmetic);
        double n = 1;
        for (int64_t axis : axes) n *= static_cast<double>(x.size(axis));
        auto r = at::linalg_vector_norm(wide, 2, axes, /*keepdim=*/true).div_(std::sqrt(n));
        at::Tensor scale, slope;
        if (inside) {
            scale = r.square().add_(eps).rsqrt_();
            slope = scale.pow(3).mul_(-rms / n);
            scale.mul_(rms);
        } else {
            scale = (r + eps).reciprocal_();
            // Rows of zeros have no direction, and no gradient through their length.
            slope = scale.square().mul_(-rms / n).div_(r.clamp_min(1e-30));
            scale.mul_(rms);
        }
        context->save_for_backward({x, scale, slope});
        context->saved_data["axes"] = axes;
        return wide.mul(scale).to(x.scalar_type());
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                   torch::autograd::variable_list gradients) {
        auto saved = context->get_saved_variables();
        const auto &x = saved[0], &scale = saved[1], &slope = saved[2];
        auto wide = x.to(scale.scalar_type()), dy = gradients[0].to(scale.scalar_type());
        auto along = wide.mul(dy).sum(context->saved_data["axes"].toIntVector(), /*keepdim=*/true).mul_(slope);
        // In the memory layout of x.
        auto dx = wide.mul(along).addcmul_(dy, scale).to(x.scalar_type());
        at::Tensor none;
        return {dx, none, none, none, none};
    }
};

}  // namespace

int ddae_torch_scaled_rows(TensorPointer input, const int64_t* axes, size_t count, double eps, double rms, int inside,
                           TensorPointer* out) {
    return ddae::guarded([&] {
        const auto& x = *static_cast<at::Tensor*>(input);
        *out = new at::Tensor(
            ScaledRows::apply(x, std::vector<int64_t>(axes, axes + count), eps, rms, inside != 0));
    });
}
