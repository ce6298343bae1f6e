#ifndef PELAGOS_SHA256_H
#define PELAGOS_SHA256_H

#include <stddef.h>
#include <stdint.h>

/* A SHA-256 (FIPS 180-4) in the making. */
struct sha256 {
    uint32_t state[8];
    uint64_t length;
    unsigned char block[64];
};

void sha256_begin(struct sha256 *digest);
void sha256_add(struct sha256 *digest, const void *data, size_t size);
/* As 64 lower-case hexadecimal digits and a NUL. */
void sha256_end(struct sha256 *digest, char hex[65]);
/* Of so many bytes at once. */
void sha256_hex(const unsigned char *data, size_t size, char hex[65]);

#endif
