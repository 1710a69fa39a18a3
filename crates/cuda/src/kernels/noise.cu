// Standard normal noise from the streams of ddae_base::random: ChaCha8 of a 32-byte key, two 64-bit words for two draws
// (Box and Muller, in float64). The words are the CPU's; logarithm, sine and cosine may differ from its in their last bit,
// which the rounding to float32 hides but for about one draw in 1e8.

__device__ inline void quarter(unsigned* s, int a, int b, int c, int d) {
    s[a] += s[b]; s[d] ^= s[a]; s[d] = s[d] << 16 | s[d] >> 16;
    s[c] += s[d]; s[b] ^= s[c]; s[b] = s[b] << 12 | s[b] >> 20;
    s[a] += s[b]; s[d] ^= s[a]; s[d] = s[d] << 8 | s[d] >> 24;
    s[c] += s[d]; s[b] ^= s[c]; s[b] = s[b] << 7 | s[b] >> 25;
}

// The 16 words of block `number` of a stream: 8 rounds, the nonce 0.
__device__ inline void block_of(const unsigned* key, unsigned long long number, unsigned* words) {
    unsigned start[16] = {0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u};
    for (int i = 0; i < 8; i++) start[4 + i] = key[i];
    start[12] = static_cast<unsigned>(number);
    start[13] = static_cast<unsigned>(number >> 32);
    start[14] = start[15] = 0;
    for (int i = 0; i < 16; i++) words[i] = start[i];
    for (int round = 0; round < 4; round++) {
        quarter(words, 0, 4, 8, 12);
        quarter(words, 1, 5, 9, 13);
        quarter(words, 2, 6, 10, 14);
        quarter(words, 3, 7, 11, 15);
        quarter(words, 0, 5, 10, 15);
        quarter(words, 1, 6, 11, 12);
        quarter(words, 2, 7, 8, 13);
        quarter(words, 3, 4, 9, 14);
    }
    for (int i = 0; i < 16; i++) words[i] += start[i];
}

// A number in [0, 1) with 53 random bits.
__device__ inline double uniform(unsigned low, unsigned high) {
    unsigned long long word = static_cast<unsigned long long>(high) << 32 | low;
    return static_cast<double>(word >> 11) * (1.0 / 9007199254740992.0);
}

// The draws 8 `number` to 8 `number` + 7 of a stream.
__device__ inline void normals(const unsigned* key, unsigned long long number, float* draws) {
    unsigned words[16];
    block_of(key, number, words);
    for (int pair = 0; pair < 4; pair++) {
        const unsigned* w = words + 4 * pair;
        double radius = sqrt(-2.0 * log(1.0 - uniform(w[0], w[1])));
        double angle = 6.283185307179586 * uniform(w[2], w[3]);
        double sine, cosine;
        sincos(angle, &sine, &cosine);
        draws[2 * pair] = static_cast<float>(radius * cosine);
        draws[2 * pair + 1] = static_cast<float>(radius * sine);
    }
}

#ifndef ON_HOST
// values [images, size]: each image's draws from its key (8 words), zeros beyond the `keyed` first images.
extern "C" __global__ void noise(const unsigned* keys, float* values, int images, int keyed, int size) {
    int blocks = (size + 7) / 8;
    long long at = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= static_cast<long long>(images) * blocks) return;
    int image = static_cast<int>(at / blocks), number = static_cast<int>(at % blocks);
    float draws[8] = {};
    if (image < keyed) {
        unsigned key[8];
        for (int i = 0; i < 8; i++) key[i] = keys[8 * image + i];
        normals(key, number, draws);
    }
    float* to = values + static_cast<long long>(image) * size;
    for (int i = 0; i < 8 && 8 * number + i < size; i++) to[8 * number + i] = draws[i];
}
#endif
