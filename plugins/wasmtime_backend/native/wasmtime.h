/* The part of Wasmtime's C API that is used here (wasm.h, wasi.h, wasmtime.h). Declared by hand, since the Python
   package contains the library but no headers. abi.c lists all declarations; the backend's Python part compares them
   with the package's own before it uses the library. */
#ifndef WASMTIME_H
#define WASMTIME_H
#define WASMTIME_VERSION "50.0" /* major.minor, as the Python package has it */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct wasm_config_t wasm_config_t;
typedef struct wasm_engine_t wasm_engine_t;
typedef struct wasm_functype_t wasm_functype_t;
typedef struct wasm_memorytype_t wasm_memorytype_t;
typedef struct wasm_trap_t wasm_trap_t;
typedef struct wasm_valtype_t wasm_valtype_t;
typedef struct wasi_config_t wasi_config_t;
typedef struct wasmtime_error_t wasmtime_error_t;
typedef struct wasmtime_store_t wasmtime_store_t;
typedef struct wasmtime_context_t wasmtime_context_t;
typedef struct wasmtime_caller_t wasmtime_caller_t;
typedef struct wasmtime_module_t wasmtime_module_t;
typedef struct wasmtime_linker_t wasmtime_linker_t;
typedef struct wasmtime_instance_pre_t wasmtime_instance_pre_t;
typedef struct wasmtime_component_t wasmtime_component_t;
typedef struct wasmtime_component_linker_t wasmtime_component_linker_t;
typedef struct wasmtime_component_export_index_t wasmtime_component_export_index_t;
typedef struct wasmtime_component_type_t wasmtime_component_type_t;
typedef struct wasmtime_component_instance_type_t wasmtime_component_instance_type_t;
typedef struct wasmtime_component_func_type_t wasmtime_component_func_type_t;
typedef struct wasmtime_component_extern_t wasmtime_component_extern_t;
typedef struct wasmtime_component_linker_instance_t wasmtime_component_linker_instance_t;
typedef struct wasmtime_component_resource_type_t wasmtime_component_resource_type_t;
typedef struct wasmtime_component_resource_any_t wasmtime_component_resource_any_t;

typedef struct {
    size_t size;
    char *data;
} wasm_byte_vec_t;

typedef struct {
    size_t size;
    wasm_valtype_t **data;
} wasm_valtype_vec_t;

typedef struct {
    uint64_t store_id;
    void *private;
} wasmtime_func_t;

typedef struct {
    uint64_t store_id;
    size_t private;
} wasmtime_instance_t;

typedef struct {
    uint8_t kind;
    union {
        wasmtime_func_t func;
        uint64_t all[3];
    } of;
} wasmtime_extern_t;

typedef struct {
    uint8_t kind;
    union {
        int32_t i32;
        uint64_t all[3];
    } of;
} wasmtime_val_t;

typedef struct wasmtime_linear_memory wasmtime_linear_memory_t;
typedef void (*finalizer_t)(void *env);

typedef struct wasmtime_component_val {
    uint8_t kind;
    union {
        struct {
            bool is_ok;
            struct wasmtime_component_val *val;
        } result;
        struct {
            wasm_byte_vec_t discriminant;
            struct wasmtime_component_val *val;
        } variant;
        wasm_byte_vec_t enumeration;
        wasmtime_component_resource_any_t *resource;
        uint64_t all[3];
    } of;
} wasmtime_component_val_t;

/* Result, name, parameters: what Wasmtime calls. */
#define WASMTIME_CALLBACKS(X)                                                                                          \
    X(uint8_t *, wasmtime_memory_get_callback_t, (void *, size_t *, size_t *))                                         \
    X(wasmtime_error_t *, wasmtime_memory_grow_callback_t, (void *, size_t))                                           \
    X(wasmtime_error_t *, wasmtime_new_memory_callback_t,                                                              \
      (void *, const wasm_memorytype_t *, size_t, size_t, size_t, size_t, wasmtime_linear_memory_t *))                 \
    X(wasm_trap_t *, wasmtime_func_callback_t,                                                                         \
      (void *, wasmtime_caller_t *, const wasmtime_val_t *, size_t, wasmtime_val_t *, size_t))                        \
    X(wasmtime_error_t *, wasmtime_component_func_callback_t,                                                          \
      (void *, wasmtime_context_t *, const wasmtime_component_func_type_t *, wasmtime_component_val_t *, size_t,       \
       wasmtime_component_val_t *, size_t))                                                                            \
    X(wasmtime_error_t *, wasmtime_component_resource_destructor_t, (void *, wasmtime_context_t *, uint32_t))

#define X(result, name, parameters) typedef result(*name) parameters;
WASMTIME_CALLBACKS(X)
#undef X

struct wasmtime_linear_memory {
    void *env;
    wasmtime_memory_get_callback_t get_memory;
    wasmtime_memory_grow_callback_t grow_memory;
    finalizer_t finalizer;
};

typedef struct {
    void *env;
    wasmtime_new_memory_callback_t new_memory;
    finalizer_t finalizer;
} wasmtime_memory_creator_t;

typedef struct {
    uint64_t store_id;
    uint32_t private;
} wasmtime_component_instance_t;

typedef struct {
    struct {
        uint64_t store_id;
        uint32_t private;
    } first;
    uint32_t second;
    void *third;
} wasmtime_component_func_t;

typedef struct {
    uint8_t kind;
    union {
        wasmtime_component_instance_type_t *component_instance;
        wasmtime_component_func_type_t *component_func;
        uint64_t all[2];
    } of;
} wasmtime_component_item_t;

typedef struct {
    uint8_t kind;
    uint64_t of;
} wasmtime_component_valtype_t;

/* Type, field. */
#define WASMTIME_FIELDS(X)                                                                                    \
    X(wasm_byte_vec_t, size) X(wasm_byte_vec_t, data) X(wasm_valtype_vec_t, size) X(wasm_valtype_vec_t, data) \
    X(wasmtime_func_t, store_id) X(wasmtime_instance_t, store_id)                                             \
    X(wasmtime_extern_t, kind) X(wasmtime_extern_t, of) X(wasmtime_val_t, kind) X(wasmtime_val_t, of)         \
    X(wasmtime_linear_memory_t, env) X(wasmtime_linear_memory_t, get_memory)                                  \
    X(wasmtime_linear_memory_t, grow_memory) X(wasmtime_linear_memory_t, finalizer)                           \
    X(wasmtime_memory_creator_t, env) X(wasmtime_memory_creator_t, new_memory)                                \
    X(wasmtime_memory_creator_t, finalizer)                                                                   \
    X(wasmtime_component_instance_t, store_id)                                                                \
    X(wasmtime_component_val_t, kind) X(wasmtime_component_val_t, of)                                         \
    X(wasmtime_component_val_t, of.result.is_ok) X(wasmtime_component_val_t, of.result.val)                   \
    X(wasmtime_component_val_t, of.variant.discriminant) X(wasmtime_component_val_t, of.variant.val)          \
    X(wasmtime_component_val_t, of.enumeration) X(wasmtime_component_val_t, of.resource)                      \
    X(wasmtime_component_item_t, kind) X(wasmtime_component_item_t, of)                                       \
    X(wasmtime_component_valtype_t, kind) X(wasmtime_component_valtype_t, of)

/* Type. */
#define WASMTIME_TYPES(X)                                                                                 \
    X(wasm_byte_vec_t) X(wasm_valtype_vec_t) X(wasmtime_func_t) X(wasmtime_instance_t)                    \
    X(wasmtime_extern_t) X(wasmtime_val_t) X(wasmtime_linear_memory_t) X(wasmtime_memory_creator_t)       \
    X(wasmtime_component_instance_t) X(wasmtime_component_func_t) X(wasmtime_component_val_t)             \
    X(wasmtime_component_item_t) X(wasmtime_component_valtype_t)

/* Name, value. */
#define WASMTIME_CONSTANTS(X)                                                                             \
    X(WASM_I32, 0) X(WASMTIME_EXTERN_FUNC, 0) X(WASMTIME_COMPONENT_RESULT, 19)                            \
    X(WASMTIME_COMPONENT_VARIANT, 16) X(WASMTIME_COMPONENT_ENUM, 17) X(WASMTIME_COMPONENT_RESOURCE, 21)     \
    X(WASMTIME_COMPONENT_ITEM_COMPONENT_INSTANCE, 1) X(WASMTIME_COMPONENT_ITEM_COMPONENT_FUNC, 3)

enum {
#define X(name, value) name = value,
    WASMTIME_CONSTANTS(X)
#undef X
};

/* Result, name, parameters. A type of a function has its name here, as the package's declarations give it. */
#define WASMTIME_FUNCTIONS(X)                                                                                          \
    X(wasm_config_t *, wasm_config_new, (void))                                                                        \
    X(void, wasmtime_config_parallel_compilation_set, (wasm_config_t *, bool))                                         \
    X(void, wasmtime_config_wasm_component_model_set, (wasm_config_t *, bool))                                         \
    X(void, wasmtime_config_consume_fuel_set, (wasm_config_t *, bool))                                                 \
    X(void, wasmtime_config_max_wasm_stack_set, (wasm_config_t *, size_t))                                             \
    X(void, wasmtime_config_async_stack_size_set, (wasm_config_t *, size_t))                                           \
    X(void, wasmtime_config_memory_init_cow_set, (wasm_config_t *, bool))                                              \
    X(void, wasmtime_config_host_memory_creator_set, (wasm_config_t *, wasmtime_memory_creator_t *))                   \
    X(wasm_engine_t *, wasm_engine_new_with_config, (wasm_config_t *))                                                 \
    X(wasm_valtype_t *, wasm_valtype_new, (uint8_t))                                                                   \
    X(void, wasm_valtype_vec_new, (wasm_valtype_vec_t *, size_t, wasm_valtype_t **))                                   \
    X(void, wasm_valtype_vec_new_empty, (wasm_valtype_vec_t *))                                                        \
    X(wasm_functype_t *, wasm_functype_new, (wasm_valtype_vec_t *, wasm_valtype_vec_t *))                              \
    X(const wasm_valtype_vec_t *, wasm_functype_results, (const wasm_functype_t *))                                    \
    X(void, wasm_trap_message, (const wasm_trap_t *, wasm_byte_vec_t *))                                               \
    X(wasm_trap_t *, wasmtime_trap_new, (const char *, size_t))                                                        \
    X(wasmtime_error_t *, wasmtime_error_new, (const char *))                                                          \
    X(void, wasmtime_error_message, (const wasmtime_error_t *, wasm_byte_vec_t *))                                     \
    X(bool, wasmtime_error_exit_status, (const wasmtime_error_t *, int *))                                             \
    X(wasi_config_t *, wasi_config_new, (void))                                                                        \
    X(bool, wasi_config_set_argv, (wasi_config_t *, size_t, const char **))                                            \
    X(bool, wasi_config_set_env, (wasi_config_t *, size_t, const char **, const char **))                              \
    X(void, wasi_config_inherit_stdin, (wasi_config_t *))                                                              \
    X(void, wasi_config_inherit_stdout, (wasi_config_t *))                                                             \
    X(void, wasi_config_inherit_stderr, (wasi_config_t *))                                                             \
    X(bool, wasi_config_preopen_dir, (wasi_config_t *, const char *, const char *, bool))                              \
    X(void, wasi_config_inherit_network, (wasi_config_t *))                                                            \
    X(void, wasi_config_allow_ip_name_lookup, (wasi_config_t *, bool))                                                 \
    X(wasmtime_store_t *, wasmtime_store_new, (wasm_engine_t *, void *, finalizer_t))                                  \
    X(wasmtime_context_t *, wasmtime_store_context, (wasmtime_store_t *))                                              \
    X(void, wasmtime_store_limiter, (wasmtime_store_t *, int64_t, int64_t, int64_t, int64_t, int64_t))                 \
    X(wasmtime_error_t *, wasmtime_context_set_fuel, (wasmtime_context_t *, uint64_t))                                 \
    X(wasmtime_error_t *, wasmtime_context_set_wasi, (wasmtime_context_t *, wasi_config_t *))                          \
    X(void, wasmtime_context_set_wasi_http, (wasmtime_context_t *))                                                    \
    X(wasmtime_error_t *, wasmtime_module_deserialize_file, (wasm_engine_t *, const char *, wasmtime_module_t **))     \
    X(wasmtime_linker_t *, wasmtime_linker_new, (wasm_engine_t *))                                                     \
    X(wasmtime_error_t *, wasmtime_linker_define_wasi, (wasmtime_linker_t *))                                          \
    X(void, wasmtime_linker_allow_shadowing, (wasmtime_linker_t *, bool))                                              \
    X(wasmtime_error_t *, wasmtime_linker_define_func,                                                                 \
      (wasmtime_linker_t *, const char *, size_t, const char *, size_t, const wasm_functype_t *,                       \
       wasmtime_func_callback_t, void *, finalizer_t))                                                                 \
    X(wasmtime_error_t *, wasmtime_linker_instantiate_pre,                                                             \
      (const wasmtime_linker_t *, const wasmtime_module_t *, wasmtime_instance_pre_t **))                              \
    X(wasmtime_error_t *, wasmtime_instance_pre_instantiate,                                                           \
      (const wasmtime_instance_pre_t *, wasmtime_context_t *, wasmtime_instance_t *, wasm_trap_t **))                  \
    X(bool, wasmtime_instance_export_get,                                                                              \
      (wasmtime_context_t *, const wasmtime_instance_t *, const char *, size_t, wasmtime_extern_t *))                  \
    X(wasm_functype_t *, wasmtime_func_type, (const wasmtime_context_t *, const wasmtime_func_t *))                    \
    X(wasmtime_error_t *, wasmtime_func_call,                                                                          \
      (wasmtime_context_t *, const wasmtime_func_t *, const wasmtime_val_t *, size_t, wasmtime_val_t *, size_t,        \
       wasm_trap_t **))                                                                                                \
    X(wasmtime_error_t *, wasmtime_component_deserialize_file,                                                         \
      (const wasm_engine_t *, const char *, wasmtime_component_t **))                                                  \
    X(wasmtime_component_linker_t *, wasmtime_component_linker_new, (const wasm_engine_t *))                           \
    X(wasmtime_error_t *, wasmtime_component_linker_add_wasip2, (wasmtime_component_linker_t *))                       \
    X(wasmtime_error_t *, wasmtime_component_linker_add_wasi_http, (wasmtime_component_linker_t *))                    \
    X(void, wasmtime_component_linker_allow_shadowing, (wasmtime_component_linker_t *, bool))                          \
    X(wasmtime_component_linker_instance_t *, wasmtime_component_linker_root, (wasmtime_component_linker_t *))         \
    X(wasmtime_error_t *, wasmtime_component_linker_instance_add_instance,                                             \
      (wasmtime_component_linker_instance_t *, const char *, size_t, wasmtime_component_linker_instance_t **))         \
    X(wasmtime_error_t *, wasmtime_component_linker_instance_add_func,                                                 \
      (wasmtime_component_linker_instance_t *, const char *, size_t, wasmtime_component_func_callback_t, void *,       \
       finalizer_t))                                                                                                   \
    X(wasmtime_error_t *, wasmtime_component_linker_instance_add_resource,                                             \
      (wasmtime_component_linker_instance_t *, const char *, size_t, const wasmtime_component_resource_type_t *,       \
       wasmtime_component_resource_destructor_t, void *, finalizer_t))                                                 \
    X(void, wasmtime_component_linker_instance_delete, (wasmtime_component_linker_instance_t *))                       \
    X(wasmtime_component_resource_type_t *, wasmtime_component_resource_type_new_host, (uint32_t))                     \
    X(wasmtime_error_t *, wasmtime_component_resource_any_drop,                                                        \
      (wasmtime_context_t *, const wasmtime_component_resource_any_t *))                                               \
    X(wasmtime_component_val_t *, wasmtime_component_val_new, (wasmtime_component_val_t *))                            \
    X(void, wasm_byte_vec_new, (wasm_byte_vec_t *, size_t, const uint8_t *))                                           \
    X(wasmtime_error_t *, wasmtime_component_linker_instantiate,                                                       \
      (const wasmtime_component_linker_t *, wasmtime_context_t *, const wasmtime_component_t *,                        \
       wasmtime_component_instance_t *))                                                                               \
    X(wasmtime_component_type_t *, wasmtime_component_type, (const wasmtime_component_t *))                            \
    X(bool, wasmtime_component_type_export_get,                                                                        \
      (const wasmtime_component_type_t *, const wasm_engine_t *, const char *, size_t,                                 \
       wasmtime_component_extern_t **))                                                                                \
    X(bool, wasmtime_component_instance_type_export_get,                                                               \
      (const wasmtime_component_instance_type_t *, const wasm_engine_t *, const char *, size_t,                        \
       wasmtime_component_extern_t **))                                                                                \
    X(void, wasmtime_component_extern_type, (const wasmtime_component_extern_t *, wasmtime_component_item_t *))        \
    X(size_t, wasmtime_component_func_type_param_count, (const wasmtime_component_func_type_t *))                      \
    X(bool, wasmtime_component_func_type_result,                                                                       \
      (const wasmtime_component_func_type_t *, wasmtime_component_valtype_t *))                                        \
    X(wasmtime_component_export_index_t *, wasmtime_component_instance_get_export_index,                               \
      (const wasmtime_component_instance_t *, wasmtime_context_t *, const wasmtime_component_export_index_t *,         \
       const char *, size_t))                                                                                          \
    X(bool, wasmtime_component_instance_get_func,                                                                      \
      (const wasmtime_component_instance_t *, wasmtime_context_t *, const wasmtime_component_export_index_t *,         \
       wasmtime_component_func_t *))                                                                                   \
    X(wasmtime_error_t *, wasmtime_component_func_call,                                                                \
      (const wasmtime_component_func_t *, wasmtime_context_t *, const wasmtime_component_val_t *, size_t,              \
       wasmtime_component_val_t *, size_t))

#define X(result, name, parameters) extern result(*name) parameters;
WASMTIME_FUNCTIONS(X)
#undef X
#endif
