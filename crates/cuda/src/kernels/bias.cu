// The bias of a convolution, for channels-last images as rows of C channels:
//
//     y = x + residual + bias,    and for its gradient the sums of a matrix over its rows.
//
// Elements of 16 bits are added in float32. element.cuh stands before this file.

template <class T, int V>
__device__ inline void bias_sum(const void* x, const void* residual, const float* bias, void* y, long long packs,
                                int channels) {
    const Pack<T, V>* from = static_cast<const Pack<T, V>*>(x);
    const Pack<T, V>* other = static_cast<const Pack<T, V>*>(residual);
    Pack<T, V>* to = static_cast<Pack<T, V>*>(y);
    unsigned across = channels / V;
    long long start = static_cast<long long>(blockIdx.x) * blockDim.x * kBatch + threadIdx.x;
    Pack<T, V> values[kBatch], others[kBatch];
#pragma unroll
    for (int u = 0; u < kBatch; u++) {
        long long i = start + static_cast<long long>(u) * blockDim.x;
        if (i < packs) values[u] = from[i];
        if (i < packs && other != nullptr) others[u] = other[i];
    }
#pragma unroll
    for (int u = 0; u < kBatch; u++) {
        long long i = start + static_cast<long long>(u) * blockDim.x;
        if (i >= packs) break;
        const float* b = bias + static_cast<unsigned>(i % across) * V;
        for (int j = 0; j < V; j++) {
            float sum = load(values[u].at[j]) + b[j];
            if (other != nullptr) sum += load(others[u].at[j]);
            store(values[u].at[j], sum);
        }
        to[i] = values[u];
    }
}

// partial[block][c] = the sum of x[r][c] over the block's rows r; adding the partial sums is left to the caller.
template <class T, int V>
__device__ inline void column_sums(const void* x, float* partial, long long rows, int channels, int rows_per_block) {
    extern __shared__ float memory[];
    int lanes = channels / V, lane = threadIdx.x % lanes, row = threadIdx.x / lanes, side = blockDim.x / lanes;
    long long begin = static_cast<long long>(blockIdx.x) * rows_per_block;
    long long end = begin + rows_per_block < rows ? begin + rows_per_block : rows;
    const T* from = static_cast<const T*>(x) + lane * V;
    float sums[V] = {};
    for (long long r = begin + row; r < end; r += kBatch * side) {
        Pack<T, V> values[kBatch];
#pragma unroll
        for (int u = 0; u < kBatch; u++) {
            long long at = r + u * side;
            if (at < end) values[u] = *reinterpret_cast<const Pack<T, V>*>(from + at * channels);
        }
#pragma unroll
        for (int u = 0; u < kBatch; u++) {
            if (r + u * side < end) {
                for (int j = 0; j < V; j++) sums[j] += load(values[u].at[j]);
            }
        }
    }
    for (int j = 0; j < V; j++) memory[j * blockDim.x + threadIdx.x] = sums[j];
    for (int half = side / 2; half > 0; half /= 2) {
        __syncthreads();
        if (row < half) {
            for (int j = 0; j < V; j++) {
                float* mine = memory + j * blockDim.x + threadIdx.x;
                *mine += mine[half * lanes];
            }
        }
    }
    if (row == 0) {
        for (int j = 0; j < V; j++) {
            partial[static_cast<long long>(blockIdx.x) * channels + lane * V + j] = memory[j * blockDim.x + threadIdx.x];
        }
    }
}

#define BIAS(name, T, V)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                               \
        bias_sum_##name(const void* x, const void* residual, const float* bias, void* y, long long packs, int c) {  \
        bias_sum<T, V>(x, residual, bias, y, packs, c);                                                             \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                                               \
        column_sums_##name(const void* x, float* partial, long long rows, int channels, int rows_per_block) {       \
        column_sums<T, V>(x, partial, rows, channels, rows_per_block);                                              \
    }

#ifdef DDAE_F32
BIAS(f32, float, 4)
#endif
#ifdef DDAE_F16
BIAS(f16, Half, 4)
#endif
#ifdef DDAE_BF16
BIAS(bf16, Bfloat, 4)
#endif
