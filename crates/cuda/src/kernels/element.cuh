// Elements as they lie in memory, several at a time; they are computed with in float32. Stands before other sources.

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

template <class T, int V>
struct alignas(sizeof(T) * V) Pack { T at[V]; };

// Loads that a thread starts before it uses the first: the memory's latency is waited for once for all of them.
constexpr int kBatch = 4;

template <class T, int V>
__device__ inline Pack<T, V> read(const void* from, long long at) {
    return *reinterpret_cast<const Pack<T, V>*>(static_cast<const T*>(from) + at);
}

template <class T, int V>
__device__ inline void write(void* to, long long at, const Pack<T, V>& value) {
    *reinterpret_cast<Pack<T, V>*>(static_cast<T*>(to) + at) = value;
}
