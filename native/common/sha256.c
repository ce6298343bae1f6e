#include "sha256.h"

#include <stdio.h>
#include <string.h>
#if defined __x86_64__ && !defined PELAGOS_GENERIC
#include <cpuid.h>
#include <immintrin.h>
#endif

enum { BLOCK = 64, LENGTH_AT = 56 };

static const uint32_t ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotated(uint32_t value, unsigned count) {
    return value >> count | value << (32 - count);
}

static void add_block(uint32_t state[8], const unsigned char *block) {
    uint32_t word[64], s[8];
    for (int i = 0; i < 16; i++, block += 4)
        word[i] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 | block[3];
    for (int i = 16; i < 64; i++) {
        uint32_t low = word[i - 15], high = word[i - 2];
        low = rotated(low, 7) ^ rotated(low, 18) ^ low >> 3;
        high = rotated(high, 17) ^ rotated(high, 19) ^ high >> 10;
        word[i] = word[i - 16] + low + word[i - 7] + high;
    }
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t mixed = rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25);
        uint32_t chosen = (s[4] & s[5]) ^ (~s[4] & s[6]);
        uint32_t first = s[7] + mixed + chosen + ROUND[i] + word[i];
        uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        uint32_t second = (rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22)) + majority;
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += first;
        s[0] = first + second;
    }
    for (int i = 0; i < 8; i++) state[i] += s[i];
}

#if defined __x86_64__ && !defined PELAGOS_GENERIC
/* The same by the processor's SHA instructions, six times as fast. Source: Intel's SHA Extensions. */
__attribute__((target("sha,sse4.1,ssse3"))) static void add_blocks_by_processor(uint32_t state[8],
                                                                                const unsigned char *data, size_t count) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i dcba = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)state), 0xb1);
    __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)(state + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(dcba, hgfe, 8), cdgh = _mm_blend_epi16(hgfe, dcba, 0xf0);
    for (; count; count--, data += BLOCK) {
        __m128i word[4], first = abef, second = cdgh;
        for (int i = 0; i < 4; i++)
            word[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(data + 16 * i)), big_endian);
        for (int i = 0; i < 16; i++) {
            __m128i *now = word + i % 4, *last = word + (i + 3) % 4;
            __m128i added = _mm_add_epi32(*now, _mm_loadu_si128((const __m128i *)(const void *)(ROUND + 4 * i)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, added);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(added, 0x0e));
            __m128i next = _mm_sha256msg1_epu32(*now, word[(i + 1) % 4]);
            next = _mm_add_epi32(next, _mm_alignr_epi8(*last, word[(i + 2) % 4], 4));
            *now = _mm_sha256msg2_epu32(next, *last);
        }
        abef = _mm_add_epi32(abef, first), cdgh = _mm_add_epi32(cdgh, second);
    }
    __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

static int has_instructions(void) {
    static int known;
    unsigned a, b, c, d;
    if (!known) {
        int has = __get_cpuid(1, &a, &b, &c, &d) && c & bit_SSSE3 && c & bit_SSE4_1;
        known = has && __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & bit_SHA ? 1 : -1;
    }
    return known > 0;
}
#else
static int has_instructions(void) { return 0; }
static void add_blocks_by_processor(uint32_t *state, const unsigned char *data, size_t count) {
    (void)state, (void)data, (void)count;
}
#endif

static void add_blocks(uint32_t state[8], const unsigned char *data, size_t count) {
    if (has_instructions()) add_blocks_by_processor(state, data, count);
    else
        for (; count; count--, data += BLOCK) add_block(state, data);
}

void sha256_begin(struct sha256 *digest) {
    static const uint32_t FIRST[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    };
    memcpy(digest->state, FIRST, sizeof FIRST);
    digest->length = 0;
}

void sha256_add(struct sha256 *digest, const void *data, size_t size) {
    const unsigned char *at = data;
    size_t held = digest->length % BLOCK;
    digest->length += size;
    if (held) {
        size_t part = size < BLOCK - held ? size : BLOCK - held;
        memcpy(digest->block + held, at, part);
        at += part, size -= part;
        if (held + part < BLOCK) return;
        add_blocks(digest->state, digest->block, 1);
    }
    add_blocks(digest->state, at, size / BLOCK);
    memcpy(digest->block, at + size / BLOCK * BLOCK, size % BLOCK);
}

void sha256_end(struct sha256 *digest, char hex[65]) {
    static const unsigned char PADDING[BLOCK] = {0x80};
    unsigned char bits[8];
    size_t held = digest->length % BLOCK;
    for (int i = 0; i < 8; i++) bits[i] = (unsigned char)(digest->length * 8 >> (56 - 8 * i));
    sha256_add(digest, PADDING, (held < LENGTH_AT ? LENGTH_AT : BLOCK + LENGTH_AT) - held);
    sha256_add(digest, bits, sizeof bits);
    for (int i = 0; i < 8; i++) snprintf(hex + 8 * i, 9, "%08x", digest->state[i]);
}

void sha256_hex(const unsigned char *data, size_t size, char hex[65]) {
    struct sha256 digest;
    sha256_begin(&digest);
    sha256_add(&digest, data, size);
    sha256_end(&digest, hex);
}
