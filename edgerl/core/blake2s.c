/* SPDX-License-Identifier: Apache-2.0
 *
 * blake2s.c: BLAKE2s of one message, with a key the tag of an authenticated datagram. It computes what hashlib.blake2s
 * does; no branch and no address depends on the key's bytes.
 *
 * Reference: RFC 7693, sections 2.1 to 3.3.
 */
#include "internal.h"

#include <string.h>

#define BLOCK_BYTES 64u
#define WORDS 16u
#define ROUNDS 10u

static const uint32_t IV[8] = {
    0x6A09E667u, 0xBB67AE85u, 0x3C6EF372u, 0xA54FF53Au, 0x510E527Fu, 0x9B05688Cu, 0x1F83D9ABu, 0x5BE0CD19u,
};

/* Which word of the block each half of each mixing takes, by round (section 2.7). */
static const uint8_t SIGMA[ROUNDS][WORDS] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

/* Which words of the state each of a round's eight mixings takes: four columns, then four diagonals (section 3.2). */
static const uint8_t MIXED[8][4] = {
    {0, 4, 8, 12}, {1, 5, 9, 13}, {2, 6, 10, 14}, {3, 7, 11, 15},
    {0, 5, 10, 15}, {1, 6, 11, 12}, {2, 7, 8, 13}, {3, 4, 9, 14},
};

static uint32_t rotate(uint32_t word, uint32_t right) {
    return (word >> right) | (word << (32u - right));
}

static void mix(uint32_t *v, const uint8_t *at, uint32_t x, uint32_t y) {
    uint32_t *a = &v[at[0]], *b = &v[at[1]], *c = &v[at[2]], *d = &v[at[3]];
    *a += *b + x;
    *d = rotate(*d ^ *a, 16);
    *c += *d;
    *b = rotate(*b ^ *c, 12);
    *a += *b + y;
    *d = rotate(*d ^ *a, 8);
    *c += *d;
    *b = rotate(*b ^ *c, 7);
}

/* `end`: bytes up to and with this block, the key's included. */
static void compress(uint32_t *hash, const uint8_t *block, uint32_t end, bool last) {
    uint32_t v[WORDS];
    uint32_t words[WORDS];
    memcpy(v, hash, 8 * sizeof *v);
    memcpy(v + 8, IV, sizeof IV);
    memcpy(words, block, sizeof words);
    v[12] ^= end; /* its upper half stays 0: no message here is longer than 4 GiB */
    v[14] ^= last ? UINT32_MAX : 0u;
    for (size_t round = 0; round < ROUNDS; round++) {
        const uint8_t *word = SIGMA[round];
        for (size_t i = 0; i < 8; i++) {
            mix(v, MIXED[i], words[word[2 * i]], words[word[2 * i + 1]]);
        }
    }
    for (size_t i = 0; i < 8; i++) {
        hash[i] ^= v[i] ^ v[i + 8];
    }
}

/* At most 32 bytes of key and of digest each; no key: 0 bytes of one. */
void erl_blake2s(const uint8_t *key, uint32_t key_bytes, const void *message, uint32_t bytes, uint8_t *digest,
                 uint32_t digest_bytes) {
    uint32_t hash[8];
    uint8_t block[BLOCK_BYTES] = {0};
    const uint8_t *from = message;
    uint32_t in_block = key_bytes > 0 ? BLOCK_BYTES : 0;
    uint32_t end = 0;
    memcpy(hash, IV, sizeof IV);
    hash[0] ^= 0x01010000u ^ key_bytes << 8 ^ digest_bytes;
    memcpy(block, key, key_bytes);
    for (uint32_t left = bytes; left > 0;) {
        if (in_block > 0) {
            end += BLOCK_BYTES;
            compress(hash, block, end, false);
            memset(block, 0, sizeof block);
        }
        in_block = left < BLOCK_BYTES ? left : BLOCK_BYTES;
        memcpy(block, from, in_block);
        from += in_block;
        left -= in_block;
    }
    compress(hash, block, end + in_block, true);
    memcpy(digest, hash, digest_bytes);
}

/* In a time that says nothing about where they differ. */
bool erl_tags_equal(const uint8_t *one, const uint8_t *other) {
    volatile uint8_t different = 0;
    for (size_t i = 0; i < ERL_TAG_BYTES; i++) {
        different = (uint8_t)(different | (one[i] ^ other[i]));
    }
    return different == 0;
}
