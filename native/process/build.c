/* The identity of a build of this library. */
#include <string.h>

#include "plan.h"
#include "sha256.h"

#ifndef PELAGOS_SOURCES /* a digest of the sources (hatch_build.py) */
#define PELAGOS_SOURCES ""
#endif

void plan_identity(char hex[65]) {
    const char *texts[] = {plan_operations(), plan_slots(), plan_stages(), PELAGOS_SOURCES};
    struct sha256 digest;
    sha256_begin(&digest);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) sha256_add(&digest, texts[i], strlen(texts[i]) + 1);
    sha256_end(&digest, hex);
}
