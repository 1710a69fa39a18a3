// GroupNorm with what surrounds it in a residual block, forward and backward, for channels-last images [N, P, C]:
//
//     sum = x + residual + bias                                                  (where there is a residual)
//     y = dropout(silu(group_norm(sum + shift) * weight + beta))
//
// 16-bit elements are computed with in float32. A block of threads has one image and a chunk of its channels, whole
// groups of them: `lanes` threads side by side hold V channels each, `rows` of them share the pixels. It reads its part
// of x twice, the second time from the caches, and writes y once. No sum depends on how blocks are scheduled, so a
// result repeats to the bit. element.cuh stands before this file.

// The same in ddae_cuda::Norm.
struct Norm {
    const void* x;
    const void* residual;
    // [C] in float32.
    const float* bias;
    // [N, C], in float32 or like x.
    const void* shift;
    // [C], or [N, C] with weight_stride C.
    const float* weight;
    const float* beta;
    void* sum;
    void* y;
    // [N, groups]; written forward where not null, read backward.
    float* mean;
    float* rstd;
    const void* dy;
    void* dx;
    // [N, C], rows row_stride apart.
    float* dweight;
    float* dbeta;
    float* dshift;
    const unsigned long long* seed;
    unsigned long long layer;
    int batch, pixels, channels, groups;
    int chunk, weight_stride;
    int shift_like_x, silu;
    unsigned drop_below;
    float keep_scale, eps;
    int element, row_stride;
};

template <class T> struct Exact { static constexpr bool value = false; };
template <> struct Exact<float> { static constexpr bool value = true; };

template <class T>
__device__ inline float sigmoid(float u) {
    if (Exact<T>::value) return 1.0f / (1.0f + expf(-u));
    return __fdividef(1.0f, 1.0f + __expf(-u));
}

// The finaliser of MurmurHash3, and SplitMix64: the masks are those of the CPU's kernel for the same seed.
__device__ inline unsigned mixed(unsigned x) {
    x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
    x = (x ^ (x >> 13)) * 0xC2B2AE35u;
    return x ^ (x >> 16);
}

__device__ inline unsigned pixel_key(unsigned long long seed, unsigned long long pixel) {
    unsigned long long z = seed + (pixel + 1) * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return static_cast<unsigned>((z ^ (z >> 31)) >> 16);
}

__device__ inline float kept(unsigned key, int channel, const Norm& a) {
    return mixed(key + static_cast<unsigned>(channel) * 0x9E3779B9u) < a.drop_below ? 0.0f : a.keep_scale;
}

// Where a thread is.
template <int V>
struct Place {
    int lane, row, rows, image, first, channel;

    __device__ explicit Place(const Norm& a) {
        int lanes = a.chunk / V, chunks = a.channels / a.chunk;
        lane = threadIdx.x % lanes;
        row = threadIdx.x / lanes;
        rows = blockDim.x / lanes;
        image = blockIdx.x / chunks;
        first = (blockIdx.x % chunks) * a.chunk;
        channel = first + lane * V;
    }
};

// Sums of K x V numbers over the rows of a block, whose number is a power of two: memory[index(k, c)] for the channel c of
// the chunk. Neighbouring threads use neighbouring words.
template <int V>
__device__ inline int index(int k, int c) { return (k * V + c % V) * blockDim.x + c / V; }

template <int K, int V>
__device__ inline void reduce(float (&values)[K][V], const Place<V>& at, int lanes, float* memory) {
    for (int k = 0; k < K; k++)
        for (int j = 0; j < V; j++) memory[(k * V + j) * blockDim.x + threadIdx.x] = values[k][j];
    for (int half = at.rows / 2; half > 0; half /= 2) {
        __syncthreads();
        if (at.row < half) {
            for (int i = 0; i < K * V; i++) {
                float* mine = memory + i * blockDim.x + threadIdx.x;
                *mine += mine[half * lanes];
            }
        }
    }
    __syncthreads();
}

template <class T>
__device__ inline float shift_of(const Norm& a, int image, int channel) {
    // The second bit: one row for all images.
    long long at = static_cast<long long>(a.shift_like_x & 2 ? 0 : image) * a.channels + channel;
    float shift = 0.0f;
    if (a.shift != nullptr) {
        shift = a.shift_like_x & 1 ? load(static_cast<const T*>(a.shift)[at]) : static_cast<const float*>(a.shift)[at];
    }
    if (a.bias != nullptr && a.sum == nullptr) shift += a.bias[channel];
    return shift;
}

__device__ inline float weight_of(const Norm& a, int image, int channel) {
    return a.weight == nullptr ? 1.0f : a.weight[static_cast<long long>(image) * a.weight_stride + channel];
}

// x + residual + bias, rounded as it is stored.
template <class T, int V>
__device__ inline Pack<T, V> summed(const Norm& a, const Pack<T, V>& x, const Pack<T, V>& residual, const float (&bias)[V]) {
    Pack<T, V> sum;
    for (int j = 0; j < V; j++) {
        float other = a.residual == nullptr ? 0.0f : load(residual.at[j]);
        store(sum.at[j], load(x.at[j]) + other + bias[j]);
    }
    return sum;
}

// What follows the normalisation, known to the compiler where that pays: between branches it would compute one element
// after the other.
enum After { kNothing, kSilu, kSiluDropout, kAsAsked };

template <After kAfter>
__device__ inline bool has_silu(const Norm& a) { return kAfter == kAsAsked ? a.silu != 0 : kAfter != kNothing; }

template <After kAfter>
__device__ inline bool has_dropout(const Norm& a) {
    return kAfter == kAsAsked ? a.drop_below != 0 : kAfter == kSiluDropout;
}

template <class T, int V, bool kSum, After kAfter>
__device__ inline void forward(const Norm& a) {
    extern __shared__ float memory[];
    Place<V> at(a);
    float* channels = memory + 2 * V * blockDim.x;
    long long begin = static_cast<long long>(at.image) * a.pixels * a.channels + at.channel;
    auto place = [&](int p) { return begin + static_cast<long long>(p) * a.channels; };

    float bias[V] = {}, origin[V], sums[2][V] = {};
    if (kSum && a.bias != nullptr) {
        for (int j = 0; j < V; j++) bias[j] = a.bias[at.channel + j];
    }
    // About a value that is there: a large mean would drown a small variance.
    Pack<T, V> first = read<T, V>(a.x, begin);
    if (kSum) {
        first = summed<T, V>(a, first, a.residual == nullptr ? first : read<T, V>(a.residual, begin), bias);
        // Before one of the block writes the sum, which may lie where the residual does.
        __syncthreads();
    }
    for (int j = 0; j < V; j++) origin[j] = load(first.at[j]);
    for (int p = at.row; p < a.pixels; p += kBatch * at.rows) {
        Pack<T, V> x[kBatch], residual[kBatch];
#pragma unroll
        for (int u = 0; u < kBatch; u++) {
            int q = p + u * at.rows;
            if (q < a.pixels) x[u] = read<T, V>(a.x, place(q));
            if (kSum && q < a.pixels && a.residual != nullptr) residual[u] = read<T, V>(a.residual, place(q));
        }
#pragma unroll
        for (int u = 0; u < kBatch; u++) {
            int q = p + u * at.rows;
            if (q >= a.pixels) break;
            if (kSum) {
                x[u] = summed<T, V>(a, x[u], residual[u], bias);
                write<T, V>(a.sum, place(q), x[u]);
            }
            for (int j = 0; j < V; j++) {
                float d = load(x[u].at[j]) - origin[j];
                sums[0][j] += d;
                sums[1][j] += d * d;
            }
        }
    }
    reduce<2, V>(sums, at, a.chunk / V, memory);

    // Of each channel of the chunk: origin with the shift, sum, sum of squares; then scale and offset.
    float *origins = channels, *scales = channels + a.chunk, *offsets = channels + 2 * a.chunk;
    if (at.row == 0) {
        for (int j = 0; j < V; j++) {
            origins[at.lane * V + j] = origin[j] + shift_of<T>(a, at.image, at.channel + j);
        }
    }
    __syncthreads();
    int width = a.channels / a.groups;
    for (int g = threadIdx.x; g < a.chunk / width; g += blockDim.x) {
        double total = 0, variance = 0, count = static_cast<double>(a.pixels) * width;
        for (int c = g * width; c < (g + 1) * width; c++) {
            total += memory[index<V>(0, c)] + a.pixels * static_cast<double>(origins[c]);
        }
        double mean = total / count;
        for (int c = g * width; c < (g + 1) * width; c++) {
            double away = origins[c] - mean;
            variance += memory[index<V>(1, c)] + away * (2.0 * memory[index<V>(0, c)] + a.pixels * away);
        }
        // A NaN passes, since no comparison with it is true.
        variance = variance < 0 ? 0 : variance / count;
        float rstd = static_cast<float>(1.0 / sqrt(variance + a.eps));
        for (int c = g * width; c < (g + 1) * width; c++) {
            int channel = at.first + c;
            float scale = rstd * weight_of(a, at.image, channel);
            scales[c] = scale;
            float moved = static_cast<float>(static_cast<double>(shift_of<T>(a, at.image, channel)) - mean);
            offsets[c] = moved * scale + (a.beta == nullptr ? 0.0f : a.beta[channel]);
        }
        if (a.mean != nullptr) {
            long long group = static_cast<long long>(at.image) * a.groups + at.first / width + g;
            a.mean[group] = static_cast<float>(mean);
            a.rstd[group] = rstd;
        }
    }
    __syncthreads();

    float scale[V], offset[V];
    for (int j = 0; j < V; j++) {
        scale[j] = scales[at.lane * V + j];
        offset[j] = offsets[at.lane * V + j];
    }
    const void* from = kSum ? a.sum : a.x;
    const bool silu = has_silu<kAfter>(a), drops = has_dropout<kAfter>(a);
    unsigned long long seed = drops ? *a.seed + a.layer * 0xD1342543DE82EF95ull : 0;
    for (int p = at.row; p < a.pixels; p += kBatch * at.rows) {
        Pack<T, V> x[kBatch];
#pragma unroll
        for (int u = 0; u < kBatch; u++) {
            int q = p + u * at.rows;
            if (q < a.pixels) x[u] = read<T, V>(from, place(q));
        }
#pragma unroll
        for (int u = 0; u < kBatch; u++) {
            int q = p + u * at.rows;
            if (q >= a.pixels) break;
            unsigned key = drops ? pixel_key(seed, static_cast<unsigned long long>(at.image) * a.pixels + q) : 0;
            for (int j = 0; j < V; j++) {
                float y = load(x[u].at[j]) * scale[j] + offset[j];
                if (silu) y *= sigmoid<T>(y);
                if (drops) y *= kept(key, at.channel + j, a);
                store(x[u].at[j], y);
            }
            write<T, V>(a.y, place(q), x[u]);
        }
    }
}

// The gradient of u = x^ * weight + beta.
template <class T, After kAfter>
__device__ inline float through(const Norm& a, float u, float dy, unsigned key, int channel) {
    if (has_dropout<kAfter>(a)) dy *= kept(key, channel, a);
    if (!has_silu<kAfter>(a)) return dy;
    float s = sigmoid<T>(u);
    return dy * s * (1.0f + u * (1.0f - s));
}

// With x^ = (x + shift - mean) rstd, du the gradient of u, M elements a group, and sums over a group:
//     dx = rstd (weight du - sum(weight du) / M - x^ sum(weight du x^) / M)        (arXiv 1803.08494, by the chain rule)
// du, rounded like any gradient of its type, waits for the sums where dx goes.
template <class T, int V, After kAfter>
__device__ inline void backward(const Norm& a) {
    // Two arrays at a time: half as many of each.
    constexpr int kBatch = 2;
    extern __shared__ float memory[];
    Place<V> at(a);
    int width = a.channels / a.groups;
    float *means = memory + 3 * V * blockDim.x, *products = means + a.chunk / width;
    long long begin = static_cast<long long>(at.image) * a.pixels * a.channels + at.channel;
    const bool drops = has_dropout<kAfter>(a), as_it_is = !has_silu<kAfter>(a) && !drops;
    unsigned long long seed = drops ? *a.seed + a.layer * 0xD1342543DE82EF95ull : 0;
    auto place = [&](int p) { return begin + static_cast<long long>(p) * a.channels; };

    float center[V], rstd[V], scale[V], offset[V], sums[3][V] = {};
    for (int j = 0; j < V; j++) {
        long long group = static_cast<long long>(at.image) * a.groups + (at.channel + j) / width;
        center[j] = shift_of<T>(a, at.image, at.channel + j) - a.mean[group];
        rstd[j] = a.rstd[group];
        scale[j] = rstd[j] * weight_of(a, at.image, at.channel + j);
        offset[j] = center[j] * scale[j] + (a.beta == nullptr ? 0.0f : a.beta[at.channel + j]);
    }
    for (int p = at.row; p < a.pixels; p += kBatch * at.rows) {
        Pack<T, V> x[kBatch], du[kBatch];
#pragma unroll
        for (int u = 0; u < kBatch; u++) {
            int q = p + u * at.rows;
            if (q < a.pixels) x[u] = read<T, V>(a.x, place(q));
            if (q < a.pixels) du[u] = read<T, V>(a.dy, place(q));
        }
#pragma unroll
        for (int u = 0; u < kBatch; u++) {
            int q = p + u * at.rows;
            if (q >= a.pixels) break;
            unsigned key = drops ? pixel_key(seed, static_cast<unsigned long long>(at.image) * a.pixels + q) : 0;
            for (int j = 0; j < V; j++) {
                float value = load(x[u].at[j]), normal = (value + center[j]) * rstd[j];
                if (!as_it_is) {
                    float dy = load(du[u].at[j]);
                    store(du[u].at[j], through<T, kAfter>(a, value * scale[j] + offset[j], dy, key, at.channel + j));
                }
                float of_u = load(du[u].at[j]);
                sums[0][j] += of_u;
                sums[1][j] += of_u * normal;
                sums[2][j] += normal;
            }
            if (!as_it_is) write<T, V>(a.dx, place(q), du[u]);
        }
    }
    reduce<3, V>(sums, at, a.chunk / V, memory);
    for (int g = threadIdx.x; g < a.chunk / width; g += blockDim.x) {
        float mean = 0, product = 0;
        for (int c = g * width; c < (g + 1) * width; c++) {
            float w = weight_of(a, at.image, at.first + c);
            mean += w * memory[index<V>(0, c)];
            product += w * memory[index<V>(1, c)];
        }
        float count = static_cast<float>(a.pixels) * width;
        means[g] = mean / count;
        products[g] = product / count;
    }
    __syncthreads();

    float slope[V], rest[V];
    for (int j = 0; j < V; j++) {
        int c = at.lane * V + j, g = c / width;
        if (at.row == 0) {
            long long row = static_cast<long long>(at.image) * a.row_stride + at.channel + j;
            float of_du = memory[index<V>(0, c)];
            if (a.dbeta != nullptr) a.dbeta[row] = of_du;
            if (a.dweight != nullptr) a.dweight[row] = memory[index<V>(1, c)];
            if (a.dshift != nullptr) {
                a.dshift[row] = scale[j] * of_du - rstd[j] * (a.pixels * means[g] + products[g] * memory[index<V>(2, c)]);
            }
        }
        slope[j] = -rstd[j] * products[g];
        rest[j] = -rstd[j] * means[g];
    }
    const void* waiting = as_it_is ? a.dy : a.dx;
    for (int p = at.row; p < a.pixels; p += kBatch * at.rows) {
        Pack<T, V> x[kBatch], du[kBatch];
#pragma unroll
        for (int u = 0; u < kBatch; u++) {
            int q = p + u * at.rows;
            if (q < a.pixels) x[u] = read<T, V>(a.x, place(q));
            if (q < a.pixels) du[u] = read<T, V>(waiting, place(q));
        }
#pragma unroll
        for (int u = 0; u < kBatch; u++) {
            int q = p + u * at.rows;
            if (q >= a.pixels) break;
            for (int j = 0; j < V; j++) {
                float normal = (load(x[u].at[j]) + center[j]) * rstd[j];
                store(du[u].at[j], scale[j] * load(du[u].at[j]) + slope[j] * normal + rest[j]);
            }
            write<T, V>(a.dx, place(q), du[u]);
        }
    }
}

template <class T, int V>
__device__ inline void forward_kernel(const Norm& a) {
    if (V == 1) return forward<T, V, false, kAsAsked>(a);
    if (a.silu == 0 && a.drop_below == 0) return forward<T, V, false, kNothing>(a);
    if (a.silu == 0) return forward<T, V, false, kAsAsked>(a);
    if (a.drop_below == 0) return forward<T, V, false, kSilu>(a);
    forward<T, V, false, kSiluDropout>(a);
}

template <class T, int V>
__device__ inline void sum_kernel(const Norm& a) {
    if (V == 1 || a.silu == 0 || a.drop_below != 0) return forward<T, V, true, kAsAsked>(a);
    forward<T, V, true, kSilu>(a);
}

template <class T, int V>
__device__ inline void backward_kernel(const Norm& a) {
    if (V == 1) return backward<T, V, kAsAsked>(a);
    if (a.silu == 0 && a.drop_below == 0) return backward<T, V, kNothing>(a);
    if (a.silu == 0) return backward<T, V, kAsAsked>(a);
    if (a.drop_below == 0) return backward<T, V, kSilu>(a);
    backward<T, V, kSiluDropout>(a);
}

#define NORM(name, T, V)                                                                                               \
    extern "C" __global__ void __launch_bounds__(256, 4) norm_forward_##name(const Norm a) { forward_kernel<T, V>(a); } \
    extern "C" __global__ void __launch_bounds__(256, 3) norm_sum_##name(const Norm a) { sum_kernel<T, V>(a); }         \
    extern "C" __global__ void __launch_bounds__(256, 4) norm_backward_##name(const Norm a) { backward_kernel<T, V>(a); }

#ifdef DDAE_F32
NORM(f32, float, 4)
NORM(f32_single, float, 1)
#endif
#ifdef DDAE_F16
NORM(f16, Half, 4)
NORM(f16_single, Half, 1)
#endif
#ifdef DDAE_BF16
NORM(bf16, Bfloat, 4)
NORM(bf16_single, Bfloat, 1)
#endif
