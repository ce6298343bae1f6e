#ifndef MEMORIES_H
#define MEMORIES_H
#include "pelagos_engine.h"
#include "wasmtime.h"

/* Configure an engine to create its memories by this file. */
void memories_use(wasm_config_t *config);

/* Check that there is address space for the guest's initial memories. Returns 0, or -EINVAL and an error text. */
int memories_check(const struct pelagos_guest *guest, char *error, size_t size);

/* Prepare the memories of this process' guest: the function that allows growth, and the initial pages in the code file,
   which stays open until they are mapped. Returns 0, or -ESTALE or another -errno and an error text. */
int memories_prepare(const struct pelagos_guest *guest, const char *code, char *error, size_t size);
#endif
