// What channels-last images [N, H, W, C] go through between convolutions and norms. element.cuh stands before this file.

// y [N, 2 H, 2 W, C]: each pixel of x twice along both axes. Pixels are moved as `words` words of 16 or 2 bytes.
template <class T>
__device__ inline void upsample(const T* x, T* y, int images, int height, int width, int words) {
    long long count = static_cast<long long>(images) * height * width * words;
    long long step = static_cast<long long>(gridDim.x) * blockDim.x;
    for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
        long long pixel = i / words;
        int word = static_cast<int>(i - pixel * words);
        long long line = pixel / width;
        int column = static_cast<int>(pixel - line * width);
        // Lines of all images: line l becomes the lines 2 l and 2 l + 1.
        long long row = 2LL * width * words, to = 2 * line * row + 2LL * column * words + word;
        T value = x[i];
        y[to] = value;
        y[to + words] = value;
        y[to + row] = value;
        y[to + row + words] = value;
    }
}

extern "C" __global__ void upsample_wide(const uint4* x, uint4* y, int images, int height, int width, int words) {
    upsample<uint4>(x, y, images, height, width, words);
}

extern "C" __global__ void upsample_narrow(const unsigned short* x, unsigned short* y, int images, int height, int width, int words) {
    upsample<unsigned short>(x, y, images, height, width, words);
}

// y [N, H, W, C]: the means of 2x2 pixels of x [N, 2 H, 2 W, C]; `lines` is N H.
template <class T>
__device__ inline void average_pool(const T* x, T* y, int lines, int width, int channels) {
    long long count = static_cast<long long>(lines) * width * channels;
    long long step = static_cast<long long>(gridDim.x) * blockDim.x, row = 2LL * width * channels;
    for (long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
        long long pixel = i / channels;
        int channel = static_cast<int>(i - pixel * channels);
        long long line = pixel / width;
        long long from = 2 * line * row + 2 * (pixel - line * width) * channels + channel;
        float sum = load(x[from]) + load(x[from + channels]) + load(x[from + row]) + load(x[from + row + channels]);
        store(y[i], sum * 0.25f);
    }
}

extern "C" __global__ void average_pool_f32(const float* x, float* y, int lines, int width, int channels) {
    average_pool<float>(x, y, lines, width, channels);
}

extern "C" __global__ void average_pool_f16(const Half* x, Half* y, int lines, int width, int channels) {
    average_pool<Half>(x, y, lines, width, channels);
}
