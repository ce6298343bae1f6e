#ifndef PELAGOS_SHA256_H
#define PELAGOS_SHA256_H

#include <stddef.h>
#include <stdint.h>

/* The state of a SHA-256 computation (FIPS 180-4). */
struct sha256 {
    uint32_t state[8];
    uint64_t length;
    unsigned char block[64];
};

void sha256_begin(struct sha256 *digest);
void sha256_add(struct sha256 *digest, const void *data, size_t size);
/* Finish: write 64 lower-case hexadecimal digits and a NUL. */
void sha256_end(struct sha256 *digest, char hex[65]);
/* The digest of one buffer. */
void sha256_hex(const unsigned char *data, size_t size, char hex[65]);

#endif
