/* The network of a guest. */
#ifndef NETWORK_H
#define NETWORK_H
#include "pelagos_engine.h"
#include "wasmtime.h"

/* Let a guest that has a network look names up, and send HTTP requests. */
void network_give(const struct pelagos_guest *guest, wasi_config_t *wasi);

/* Have the imports of sockets that the guest does not get refused and reported: all of them without a network. */
wasmtime_error_t *network_refuse(const struct pelagos_guest *guest, wasmtime_component_linker_t *linker);
#endif
