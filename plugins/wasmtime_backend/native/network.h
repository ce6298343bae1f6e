/* The network of a guest. */
#ifndef NETWORK_H
#define NETWORK_H
#include "pelagos_engine.h"
#include "wasmtime.h"

/* Allow a guest with a network to look up names and to send HTTP requests. */
void network_give(const struct pelagos_guest *guest, wasi_config_t *wasi);

/* Refuse and report calls of network imports that the guest must not use: all of them if it has no network. */
wasmtime_error_t *network_refuse(const struct pelagos_guest *guest, wasmtime_component_linker_t *linker);
#endif
