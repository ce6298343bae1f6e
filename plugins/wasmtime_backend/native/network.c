/* The network of a guest: does in C what network.py and the end of wasi.py do. */
#define _GNU_SOURCE
#include <string.h>

#include "network.h"

static const char STREAM[] = "resolve-address-stream";
static const char *const METHODS[] = {"[method]resolve-address-stream.resolve-next-address",
                                      "[method]resolve-address-stream.subscribe"};
static const uint32_t ANY = 0; /* the type of a resource that is never created */

static const char LACKING[] = "Wasmtime's library has no TCP and UDP, its program has";

/* The functions that a component calls first to use the network, and the error that each returns. */
static const struct refused {
    const char *interface, *function, *error;
    uint8_t kind;    /* of the error */
    bool has_stream; /* that it returns */
    bool is_lacking; /* The C API of Wasmtime 48 and newer cannot allow it. */
} refused[] = {
    {"wasi:sockets/tcp-create-socket@", "create-tcp-socket", "access-denied", WASMTIME_COMPONENT_ENUM, false, true},
    {"wasi:sockets/udp-create-socket@", "create-udp-socket", "access-denied", WASMTIME_COMPONENT_ENUM, false, true},
    {"wasi:sockets/ip-name-lookup@", "resolve-addresses", "access-denied", WASMTIME_COMPONENT_ENUM, true, false},
    {"wasi:http/outgoing-handler@", "handle", "HTTP-request-denied", WASMTIME_COMPONENT_VARIANT, false, false},
};

static const struct pelagos_guest *guest;

void network_give(const struct pelagos_guest *of, wasi_config_t *wasi) {
    if (!of->network) return;
    wasi_config_inherit_network(wasi);
    wasi_config_allow_ip_name_lookup(wasi, true);
}

static const struct refused *find(const char *import) {
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (!strncmp(import, refused[i].interface, strlen(refused[i].interface))) return refused + i;
    return NULL;
}

/* env: the import's name. A borrowed handle must be dropped before the call returns. */
static wasmtime_error_t *refuse(void *env, wasmtime_context_t *context, const wasmtime_component_func_type_t *type,
                                wasmtime_component_val_t *arguments, size_t count, wasmtime_component_val_t *results,
                                size_t result_count) {
    (void)type;
    const struct refused *of = find(env);
    wasmtime_error_t *failure = NULL;
    if (!of || result_count != 1) return wasmtime_error_new("no such function");
    for (size_t i = 0; !failure && i < count; i++)
        if (arguments[i].kind == WASMTIME_COMPONENT_RESOURCE)
            failure = wasmtime_component_resource_any_drop(context, arguments[i].of.resource);
    if (failure) return failure;
    wasmtime_component_val_t error = {.kind = of->kind};
    wasm_byte_vec_new(of->kind == WASMTIME_COMPONENT_ENUM ? &error.of.enumeration : &error.of.variant.discriminant,
                      strlen(of->error), (const uint8_t *)of->error);
    if (guest->refuse_network) guest->refuse_network(env, guest->network ? LACKING : NULL);
    results[0] = (wasmtime_component_val_t){.kind = WASMTIME_COMPONENT_RESULT};
    results[0].of.result.val = wasmtime_component_val_new(&error);
    return NULL;
}

static wasmtime_error_t *destroy(void *env, wasmtime_context_t *context, uint32_t resource) {
    (void)env, (void)context, (void)resource;
    return NULL;
}

/* Add the resource for looked-up names and its methods, which cannot be called. */
static wasmtime_error_t *add_stream(wasmtime_component_linker_instance_t *instance, char *name) {
    wasmtime_error_t *failure = wasmtime_component_linker_instance_add_resource(
        instance, STREAM, strlen(STREAM), wasmtime_component_resource_type_new_host(ANY), destroy, NULL, NULL);
    for (size_t i = 0; !failure && i < sizeof METHODS / sizeof *METHODS; i++)
        failure = wasmtime_component_linker_instance_add_func(instance, METHODS[i], strlen(METHODS[i]), refuse, name,
                                                              NULL);
    return failure;
}

static wasmtime_error_t *add(wasmtime_component_linker_instance_t *root, char *name) {
    const struct refused *of = find(name);
    wasmtime_component_linker_instance_t *instance;
    if (!of || (guest->network && !of->is_lacking)) return NULL;
    wasmtime_error_t *failure =
        wasmtime_component_linker_instance_add_instance(root, name, strlen(name), &instance);
    if (failure) return failure;
    failure = wasmtime_component_linker_instance_add_func(instance, of->function, strlen(of->function), refuse, name,
                                                          NULL);
    if (!failure && of->has_stream) failure = add_stream(instance, name);
    wasmtime_component_linker_instance_delete(instance);
    return failure;
}

wasmtime_error_t *network_refuse(const struct pelagos_guest *of, wasmtime_component_linker_t *linker) {
    wasmtime_error_t *failure = NULL;
    if (!of->sockets.count) return NULL;
    guest = of;
    wasmtime_component_linker_allow_shadowing(linker, true);
    wasmtime_component_linker_instance_t *root = wasmtime_component_linker_root(linker);
    for (uint32_t i = 0; !failure && i < of->sockets.count; i++) failure = add(root, of->sockets.at[i]);
    wasmtime_component_linker_instance_delete(root);
    wasmtime_component_linker_allow_shadowing(linker, false);
    return failure;
}
