// GroupNorm with what surrounds it in a residual block, forward and backward, for channels-last images [N, P, C]:
//
//     sum = x + residual + bias                                                  (where there is a residual)
//     y = dropout(silu(group_norm(sum + shift) * weight + beta))
//
// 16-bit elements are computed with in float32. A block of threads has one image and a chunk of its channels, whole
// groups of them: `lanes` threads side by side hold V channels each, `rows` of them share the pixels. It reads its part
// of x twice, the second time from the caches, and writes y once. No sum depends on how blocks are scheduled, so a
// result repeats to the bit.

struct Half { unsigned short bits; };
struct Bfloat { unsigned short bits; };

__device__ inline float load(float value) { return value; }
__device__ inline float load(Half value) {
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
    return result;
}
__device__ inline float load(Bfloat value) { return __uint_as_float(static_cast<unsigned>(value.bits) << 16); }

__device__ inline void store(float& to, float value) { to = value; }
__device__ inline void store(Half& to, float value) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(value)); }
__device__ inline void store(Bfloat& to, float value) {
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(value));
}

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
    // [N, C]
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
    int element;
};

template <class T, int V>
struct alignas(sizeof(T) * V) Pack { T at[V]; };

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

// Sums of K x V numbers over the rows of a block, the results in the row 0 of each. `rows` is a power of two.
template <int K, int V>
__device__ inline void reduce(float (&values)[K][V], const Place<V>& at, int chunk, float* memory) {
    int here = at.row * chunk + at.lane * V, size = at.rows * chunk;
    for (int k = 0; k < K; k++)
        for (int j = 0; j < V; j++) memory[k * size + here + j] = values[k][j];
    for (int half = at.rows / 2; half > 0; half /= 2) {
        __syncthreads();
        if (at.row < half) {
            for (int k = 0; k < K; k++)
                for (int j = 0; j < V; j++) memory[k * size + here + j] += memory[k * size + here + half * chunk + j];
        }
    }
    __syncthreads();
}

template <class T>
__device__ inline float shift_of(const Norm& a, int image, int channel) {
    long long at = static_cast<long long>(image) * a.channels + channel;
    float shift = 0.0f;
    if (a.shift != nullptr) {
        shift = a.shift_like_x ? load(static_cast<const T*>(a.shift)[at]) : static_cast<const float*>(a.shift)[at];
    }
    if (a.bias != nullptr && a.sum == nullptr) shift += a.bias[channel];
    return shift;
}

__device__ inline float weight_of(const Norm& a, int image, int channel) {
    return a.weight == nullptr ? 1.0f : a.weight[static_cast<long long>(image) * a.weight_stride + channel];
}

// x, or the sum rounded as it is stored.
template <class T, int V>
__device__ inline Pack<T, V> input(const Norm& a, long long at, const float (&bias)[V]) {
    Pack<T, V> x = *reinterpret_cast<const Pack<T, V>*>(static_cast<const T*>(a.x) + at);
    if (a.sum == nullptr) return x;
    Pack<T, V> sum;
    if (a.residual == nullptr) {
        for (int j = 0; j < V; j++) store(sum.at[j], load(x.at[j]) + bias[j]);
    } else {
        Pack<T, V> r = *reinterpret_cast<const Pack<T, V>*>(static_cast<const T*>(a.residual) + at);
        for (int j = 0; j < V; j++) store(sum.at[j], load(x.at[j]) + load(r.at[j]) + bias[j]);
    }
    return sum;
}

template <class T, int V>
__device__ inline void forward(const Norm& a) {
    extern __shared__ float memory[];
    Place<V> at(a);
    float* channels = memory + 2 * at.rows * a.chunk;
    long long begin = static_cast<long long>(at.image) * a.pixels * a.channels + at.channel;

    float bias[V] = {}, origin[V], sums[2][V] = {};
    if (a.bias != nullptr && a.sum != nullptr) {
        for (int j = 0; j < V; j++) bias[j] = a.bias[at.channel + j];
    }
    // About a value that is there: a large mean would drown a small variance.
    Pack<T, V> first = input<T, V>(a, begin, bias);
    for (int j = 0; j < V; j++) origin[j] = load(first.at[j]);
    __syncthreads();
#pragma unroll 4
    for (int p = at.row; p < a.pixels; p += at.rows) {
        long long here = begin + static_cast<long long>(p) * a.channels;
        Pack<T, V> x = input<T, V>(a, here, bias);
        if (a.sum != nullptr) *reinterpret_cast<Pack<T, V>*>(static_cast<T*>(a.sum) + here) = x;
        for (int j = 0; j < V; j++) {
            float d = load(x.at[j]) - origin[j];
            sums[0][j] += d;
            sums[1][j] += d * d;
        }
    }
    reduce<2, V>(sums, at, a.chunk, memory);

    // Of each channel of the chunk: origin with the shift, sum, sum of squares; then scale and offset.
    float *origins = channels, *scales = channels + a.chunk, *offsets = channels + 2 * a.chunk;
    const float *sum = memory, *squares = memory + at.rows * a.chunk;
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
            total += sum[c] + a.pixels * static_cast<double>(origins[c]);
        }
        double mean = total / count;
        for (int c = g * width; c < (g + 1) * width; c++) {
            double away = origins[c] - mean;
            variance += (squares[c] + 2 * away * sum[c] + a.pixels * away * away) / count;
        }
        variance = variance < 0 ? 0 : variance;
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
    const T* from = static_cast<const T*>(a.sum != nullptr ? a.sum : a.x);
    unsigned long long seed = a.drop_below == 0 ? 0 : *a.seed + a.layer * 0xD1342543DE82EF95ull;
#pragma unroll 4
    for (int p = at.row; p < a.pixels; p += at.rows) {
        long long here = begin + static_cast<long long>(p) * a.channels;
        Pack<T, V> x = *reinterpret_cast<const Pack<T, V>*>(from + here), y;
        unsigned key = a.drop_below == 0 ? 0 : pixel_key(seed, static_cast<unsigned long long>(at.image) * a.pixels + p);
        for (int j = 0; j < V; j++) {
            float u = load(x.at[j]) * scale[j] + offset[j];
            if (a.silu) u *= sigmoid<T>(u);
            if (a.drop_below != 0) u *= kept(key, at.channel + j, a);
            store(y.at[j], u);
        }
        *reinterpret_cast<Pack<T, V>*>(static_cast<T*>(a.y) + here) = y;
    }
}

// The gradient of u = x^ * weight + beta.
template <class T>
__device__ inline float through(const Norm& a, float u, float dy, unsigned key, int channel) {
    if (a.drop_below != 0) dy *= kept(key, channel, a);
    if (!a.silu) return dy;
    float s = sigmoid<T>(u);
    return dy * s * (1.0f + u * (1.0f - s));
}

// With x^ = (x + shift - mean) rstd, du the gradient of u, M elements a group, and sums over a group:
//     dx = rstd (weight du - sum(weight du) / M - x^ sum(weight du x^) / M)        (arXiv 1803.08494, by the chain rule)
template <class T, int V>
__device__ inline void backward(const Norm& a) {
    extern __shared__ float memory[];
    Place<V> at(a);
    int size = at.rows * a.chunk, width = a.channels / a.groups;
    float *means = memory + 3 * size, *products = means + a.chunk / width;
    long long begin = static_cast<long long>(at.image) * a.pixels * a.channels + at.channel;
    unsigned long long seed = a.drop_below == 0 ? 0 : *a.seed + a.layer * 0xD1342543DE82EF95ull;
    const T *from = static_cast<const T*>(a.x), *gradient = static_cast<const T*>(a.dy);

    float center[V], rstd[V], weight[V], beta[V], sums[3][V] = {};
    for (int j = 0; j < V; j++) {
        long long group = static_cast<long long>(at.image) * a.groups + (at.channel + j) / width;
        center[j] = shift_of<T>(a, at.image, at.channel + j) - a.mean[group];
        rstd[j] = a.rstd[group];
        weight[j] = weight_of(a, at.image, at.channel + j);
        beta[j] = a.beta == nullptr ? 0.0f : a.beta[at.channel + j];
    }
#pragma unroll 2
    for (int p = at.row; p < a.pixels; p += at.rows) {
        long long here = begin + static_cast<long long>(p) * a.channels;
        Pack<T, V> x = *reinterpret_cast<const Pack<T, V>*>(from + here);
        Pack<T, V> dy = *reinterpret_cast<const Pack<T, V>*>(gradient + here);
        unsigned key = a.drop_below == 0 ? 0 : pixel_key(seed, static_cast<unsigned long long>(at.image) * a.pixels + p);
        for (int j = 0; j < V; j++) {
            float normal = (load(x.at[j]) + center[j]) * rstd[j];
            float du = through<T>(a, normal * weight[j] + beta[j], load(dy.at[j]), key, at.channel + j);
            sums[0][j] += du;
            sums[1][j] += du * normal;
            sums[2][j] += normal;
        }
    }
    reduce<3, V>(sums, at, a.chunk, memory);
    const float *of_du = memory, *of_products = memory + size, *of_normals = memory + 2 * size;
    for (int g = threadIdx.x; g < a.chunk / width; g += blockDim.x) {
        float mean = 0, product = 0;
        for (int c = g * width; c < (g + 1) * width; c++) {
            float w = weight_of(a, at.image, at.first + c);
            mean += w * of_du[c];
            product += w * of_products[c];
        }
        float count = static_cast<float>(a.pixels) * width;
        means[g] = mean / count;
        products[g] = product / count;
    }
    __syncthreads();
    if (at.row == 0) {
        for (int j = 0; j < V; j++) {
            int c = at.lane * V + j;
            long long to = static_cast<long long>(at.image) * a.channels + at.channel + j;
            if (a.dbeta != nullptr) a.dbeta[to] = of_du[c];
            if (a.dweight != nullptr) a.dweight[to] = of_products[c];
            if (a.dshift != nullptr) {
                a.dshift[to] = rstd[j] * (weight[j] * of_du[c] - a.pixels * means[c / width] -
                                          products[c / width] * of_normals[c]);
            }
        }
    }
    float mean[V], product[V];
    for (int j = 0; j < V; j++) {
        mean[j] = means[(at.lane * V + j) / width];
        product[j] = products[(at.lane * V + j) / width];
    }
#pragma unroll 2
    for (int p = at.row; p < a.pixels; p += at.rows) {
        long long here = begin + static_cast<long long>(p) * a.channels;
        Pack<T, V> x = *reinterpret_cast<const Pack<T, V>*>(from + here), dx;
        Pack<T, V> dy = *reinterpret_cast<const Pack<T, V>*>(gradient + here);
        unsigned key = a.drop_below == 0 ? 0 : pixel_key(seed, static_cast<unsigned long long>(at.image) * a.pixels + p);
        for (int j = 0; j < V; j++) {
            float normal = (load(x.at[j]) + center[j]) * rstd[j];
            float du = through<T>(a, normal * weight[j] + beta[j], load(dy.at[j]), key, at.channel + j);
            store(dx.at[j], rstd[j] * (weight[j] * du - mean[j] - normal * product[j]));
        }
        *reinterpret_cast<Pack<T, V>*>(static_cast<T*>(a.dx) + here) = dx;
    }
}

#define NORM(name, T, V)                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) norm_forward_##name(const Norm a) { forward<T, V>(a); } \
    extern "C" __global__ void __launch_bounds__(256) norm_backward_##name(const Norm a) { backward<T, V>(a); }

NORM(f32, float, 4)
NORM(f32_single, float, 1)
NORM(f16, Half, 8)
NORM(f16_single, Half, 1)
NORM(bf16, Bfloat, 8)
NORM(bf16_single, Bfloat, 1)
