/* The declarations of Wasmtime's C API that this library uses. native_part.py compares them with the package's. */
#include "wasmtime.h"

#define PUBLIC __attribute__((visibility("default")))

/* A type (with an empty `field`), or a field of a type. */
struct layout {
    const char *type, *field;
    size_t offset, size;
};

struct prototype {
    const char *name, *result, *parameters;
};

struct constant {
    const char *name;
    size_t value;
};

extern const char pelagos_written_for[];
extern const struct layout pelagos_layouts[];
extern const struct prototype pelagos_callbacks[];
extern const struct prototype pelagos_prototypes[];
extern const struct constant pelagos_constants[];

PUBLIC const char pelagos_written_for[] = WASMTIME_VERSION;

/* Each ends with a null pointer. */
PUBLIC const struct layout pelagos_layouts[] = {
#define X(type) {#type, "", 0, sizeof(type)},
    WASMTIME_TYPES(X)
#undef X
#define X(type, field) {#type, #field, offsetof(type, field), sizeof(((type *)0)->field)},
    WASMTIME_FIELDS(X)
#undef X
    {0},
};

#define X(result, name, parameters) {#name, #result, #parameters},
PUBLIC const struct prototype pelagos_callbacks[] = {WASMTIME_CALLBACKS(X){0}};
PUBLIC const struct prototype pelagos_prototypes[] = {WASMTIME_FUNCTIONS(X){0}};
#undef X

PUBLIC const struct constant pelagos_constants[] = {
#define X(name, value) {#name, value},
    WASMTIME_CONSTANTS(X)
#undef X
    {0},
};
