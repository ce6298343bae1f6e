#ifndef PELAGOS_SHA256_H
#define PELAGOS_SHA256_H

#include <stddef.h>

/* The SHA-256 (FIPS 180-4) of `size` bytes as 64 lower-case hexadecimal digits and a NUL. */
void sha256_hex(const unsigned char *data, size_t size, char hex[65]);

#endif
