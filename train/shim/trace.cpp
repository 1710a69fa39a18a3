// What the processor and a GPU do during some steps, by PyTorch's own profiler (Kineto).

#include <torch/csrc/autograd/profiler_kineto.h>

#include <set>

#include "torch_shim.h"

namespace {

namespace profiler = torch::profiler::impl;

std::set<profiler::ActivityType> activities(bool cuda) {
    std::set<profiler::ActivityType> set{profiler::ActivityType::CPU};
    if (cuda) set.insert(profiler::ActivityType::CUDA);
    return set;
}

}  // namespace

int ddae_torch_trace_begin(int cuda) {
    return ddae::guarded([&] {
        profiler::ProfilerConfig config(profiler::ProfilerState::KINETO);
        torch::autograd::profiler::prepareProfiler(config, activities(cuda != 0));
        torch::autograd::profiler::enableProfiler(config, activities(cuda != 0), {at::RecordScope::FUNCTION});
    });
}

int ddae_torch_trace_end(const char* path) {
    return ddae::guarded([&] {
        auto result = torch::autograd::profiler::disableProfiler();
        TORCH_CHECK(result != nullptr, "no trace was begun");
        result->save(path);
    });
}
