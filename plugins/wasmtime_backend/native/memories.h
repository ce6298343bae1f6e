#ifndef MEMORIES_H
#define MEMORIES_H
#include "pelagos_engine.h"
#include "wasmtime.h"

/* Have the memories of an engine's guests made here. */
void memories_use(wasm_config_t *config);

/* Whether there is address space for the memories that the guest begins with; else why not, and -EINVAL. */
int memories_check(const struct pelagos_guest *guest, char *error, size_t size);

/* What this process' guest gets: what it asks before its memories grow, and what its code file has of the first of
   them. The file stays open until that is mapped. 0, or why not and -ESTALE or another -errno. */
int memories_prepare(const struct pelagos_guest *guest, const char *code, char *error, size_t size);
#endif
