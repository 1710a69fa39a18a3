// The moving average of weights: target += weight * (source - target), over pieces of many tensors at once. The weight
// is read on the device, so that a captured step can be replayed with another.

// [target, source, count] of each piece, as 64-bit words.
extern "C" __global__ void average(const long long* pieces, const float* weight) {
    float* target = reinterpret_cast<float*>(pieces[3 * blockIdx.x]);
    const float* source = reinterpret_cast<const float*>(pieces[3 * blockIdx.x + 1]);
    long long count = pieces[3 * blockIdx.x + 2];
    float w = *weight;
    for (long long i = threadIdx.x; i < count; i += blockDim.x) {
        float from = target[i], to = source[i];
        // As libtorch's lerp: a weight of 1 gives the source to the bit.
        target[i] = w < 0.5f ? from + w * (to - from) : to - (to - from) * (1.0f - w);
    }
}
