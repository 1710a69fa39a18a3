// c10d of libtorch as C functions for src/torch/shim/ranks.rs: the store that ranks meet in, groups of ranks, gradients that are
// summed while the backward pass goes on, and batch norms over all ranks. Tensors and errors are those of torch_shim.h.
#pragma once

#include "torch_shim.h"

extern "C" {
// `*out` is a connection to the store at host:port, which this process keeps itself where `serves`. All keys get the prefix.
int ddae_ranks_store(const char* host, int port, int serves, int64_t timeout_ms, const char* prefix, void** out);
void ddae_ranks_store_free(void* store);
int ddae_ranks_store_set(void* store, const char* key, const char* value, size_t length);
// Waits for the key. `*value` is valid until the next call on this thread.
int ddae_ranks_store_get(void* store, const char* key, int64_t timeout_ms, const char** value, size_t* length);
int ddae_ranks_store_has(void* store, const char* key, int* out);

// `*out` is a group of `world` ranks. Gloo: `host` is the address to listen at, `interface` the network interface; both may be
// empty. NCCL wants libtorch's CUDA half loaded.
int ddae_ranks_gloo(void* store, int rank, int world, int64_t timeout_ms, const char* host, const char* interface, void** out);
int ddae_ranks_nccl(void* store, int rank, int world, int64_t timeout_ms, void** out);
void ddae_ranks_group_free(void* group);

// In place. `largest`: the largest of all ranks' values instead of their sum.
int ddae_ranks_all_reduce(void* group, TensorPointer tensor, int largest);
int ddae_ranks_broadcast(void* group, TensorPointer* tensors, size_t count, int root);
// `*out` = [world, ...], the tensors of all ranks.
int ddae_ranks_all_gather(void* group, TensorPointer tensor, TensorPointer* out);
// One rank sends a tensor to another, which receives it into one of the same size, kind and order of memory.
int ddae_ranks_send(void* group, TensorPointer tensor, int to);
int ddae_ranks_receive(void* group, TensorPointer tensor, int from);

// Sums of gradients over ranks, in buckets of at most so many bytes (the first of at most `first_bytes`), filled in the reverse
// order of the parameters. `*out` keeps the parameters; the group must outlive it.
int ddae_ranks_reducer(void* group, TensorPointer* parameters, size_t count, size_t first_bytes, size_t bytes, void** out);
void ddae_ranks_reducer_free(void* reducer);
// The next backward pass is summed: a bucket is on its way as soon as all its gradients are there.
int ddae_ranks_reducer_begin(void* reducer);
// Waits until the gradients of all parameters are the sums. `*early`: buckets that were on their way before this call, of
// `*buckets`; `*waited`: seconds of waiting in it.
int ddae_ranks_reducer_finish(void* reducer, int64_t* early, int64_t* buckets, double* waited);
// After a failed backward pass.
void ddae_ranks_reducer_cancel(void* reducer);

// A batch norm of [B, C, ...] in training with the statistics of all ranks' values, as PyTorch's SyncBatchNorm; moves the running
// ones. The group must outlive the backward pass.
int ddae_ranks_batch_norm(void* group, TensorPointer input, TensorPointer weight, TensorPointer bias, TensorPointer mean,
                          TensorPointer variance, double eps, double momentum, TensorPointer* out);

// Ends the process at once, whatever its other threads wait for.
void ddae_ranks_end_process(int code);
}
