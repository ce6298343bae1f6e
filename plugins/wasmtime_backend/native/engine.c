/* Wasmtime for the nursery: does in C what engine.py, prepared.py, wasi.py and stack.py do, with the library of the
   Python package `wasmtime`. `warm` creates an engine for most guests; `load` creates one that counts fuel or has a
   smaller stack. Objects are never freed: a process has one guest and ends with it. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "memories.h"
#include "network.h"
#include "pelagos_part.h"

static const size_t LARGEST_STACK = 8 << 20; /* as for engines' command lines, and for native programs */
static const size_t SMALLEST_STACK = 1 << 19;
static const size_t MARGIN = 2 << 20; /* for the frames above the guest's, and the engine's own below them */
static const char NO_INSTANCE[] = "resource limit exceeded: instance count";
static const char WASI[] = "wasi_snapshot_preview1", PROC_EXIT[] = "proc_exit";
enum { SHARE = 8 }; /* the stack is at most an eighth of the container's memory */

#define X(result, name, parameters) result(*name) parameters;
WASMTIME_FUNCTIONS(X)
#undef X

/* The objects that guests with the same limits share. */
struct setting {
    wasm_engine_t *engine;
    wasmtime_linker_t *linker;
    wasmtime_component_linker_t *component_linker;
};

static struct setting common;

static struct {
    struct setting setting;
    wasmtime_store_t *store;
    wasmtime_context_t *context;
    wasmtime_instance_pre_t *module;
    wasmtime_component_t *component;
    bool has_result; /* the component's function */
    int exit_code;   /* of proc_exit; -1 before it */
    void (*leave)(int code);
} guest = {.exit_code = -1};

/* Copy a text; one that is too long is cut after a whole UTF-8 character. */
static void copy(const char *text, size_t length, char *error, size_t size) {
    if (length >= size) {
        for (length = size - 1; length && (text[length] & 0xc0) == 0x80;) length--;
    }
    memcpy(error, text, length);
    error[length] = 0;
}

static void copy_message(const wasmtime_error_t *failure, const wasm_trap_t *trap, char *error, size_t size) {
    wasm_byte_vec_t message;
    if (failure) wasmtime_error_message(failure, &message);
    else wasm_trap_message(trap, &message);
    /* wasm.h: a trap's message ends with a NUL. */
    copy(message.data, failure || !message.size ? message.size : message.size - 1, error, size);
}

/* Join the lines of an error's text by ": ". The result may be longer: a guest's names may contain many newlines. */
static void join_lines(char *text, size_t size) {
    char *lines = strdup(text), *one = calloc(2 * strlen(text) + 1, 1), *from = lines, *to = one, *line;
    while (lines && one && (line = strsep(&from, "\n"))) {
        line += strspn(line, " \t");
        size_t length = strlen(line);
        while (length && strchr(" \t", line[length - 1])) length--;
        if (!length || !strcmp(line, "Caused by:")) continue;
        if (to != one) to = stpcpy(to, ": ");
        to = mempcpy(to, line, length);
    }
    if (lines && one) copy(one, (size_t)(to - one), text, size);
    free(lines);
    free(one);
}

static int refuse(int number, const char *what, const wasmtime_error_t *failure, char *error, size_t size) {
    size_t length = strlen(what);
    part_say(0, error, size, "%s", what);
    if (length < size) {
        copy_message(failure, NULL, error + length, size - length);
        join_lines(error + length, size - length);
    }
    return number;
}

/* proc_exit. Ending the process here takes 0.1 ms less than Wasmtime's own exit, a trap with a backtrace. */
static wasm_trap_t *exited(void *env, wasmtime_caller_t *caller, const wasmtime_val_t *arguments, size_t count,
                           wasmtime_val_t *results, size_t result_count) {
    (void)env, (void)caller, (void)count, (void)results, (void)result_count;
    guest.exit_code = arguments[0].of.i32 & 0xff;
    if (guest.leave) guest.leave(guest.exit_code);
    return wasmtime_trap_new("", 0);
}

/* WASI 0.1, with our own proc_exit: Wasmtime's proc_exit traps for codes over 125. */
static wasmtime_error_t *make_linker(struct setting *of) {
    wasm_valtype_t *i32 = wasm_valtype_new(WASM_I32);
    wasm_valtype_vec_t parameters, results;
    wasmtime_error_t *failure;
    of->linker = wasmtime_linker_new(of->engine);
    if ((failure = wasmtime_linker_define_wasi(of->linker))) return failure;
    wasm_valtype_vec_new(&parameters, 1, &i32);
    wasm_valtype_vec_new_empty(&results);
    wasmtime_linker_allow_shadowing(of->linker, true);
    failure = wasmtime_linker_define_func(of->linker, WASI, strlen(WASI), PROC_EXIT, strlen(PROC_EXIT),
                                          wasm_functype_new(&parameters, &results), exited, NULL, NULL);
    wasmtime_linker_allow_shadowing(of->linker, false);
    return failure;
}

static wasmtime_error_t *make_component_linker(struct setting *of) {
    of->component_linker = wasmtime_component_linker_new(of->engine);
    wasmtime_error_t *failure = wasmtime_component_linker_add_wasip2(of->component_linker);
    return failure ? failure : wasmtime_component_linker_add_wasi_http(of->component_linker);
}

static wasm_engine_t *make_engine(bool fuel, size_t stack) {
    wasm_config_t *config = wasm_config_new();
    wasmtime_config_parallel_compilation_set(config, false);
    wasmtime_config_wasm_component_model_set(config, true);
    wasmtime_config_consume_fuel_set(config, fuel);
    /* The stack that Wasmtime itself creates, for asynchronous calls, must not be smaller. */
    wasmtime_config_async_stack_size_set(config, stack + MARGIN);
    wasmtime_config_max_wasm_stack_set(config, stack);
    memories_use(config);
    return wasm_engine_new_with_config(config);
}

static int load_library(const char *library, const char *identity, char *error, size_t size) {
    void *handle = part_load(library, identity, error, size);
    if (!handle) return -ENOENT;
#define X(result, name, parameters) \
    if (!(*(void **)&name = dlsym(handle, #name))) return part_say(-ENOSYS, error, size, "%s", dlerror());
    WASMTIME_FUNCTIONS(X)
#undef X
    return 0;
}

static int warm(const char *library, const char *settings, char *error, size_t size) {
    int why = load_library(library, settings, error, size);
    if (why) return why;
    common.engine = make_engine(false, LARGEST_STACK);
    if (!common.engine) return part_say(-EINVAL, error, size, "Wasmtime creates no engine");
    wasmtime_error_t *failure = make_linker(&common);
    if (!failure) failure = make_component_linker(&common);
    if (failure) return refuse(-EINVAL, "", failure, error, size);
    return part_check_threads(error, size);
}

/* The size of a guest's stack in bytes. A guest runs on the stack of the main thread, whose hard limit applies too. */
static size_t stack_size(int64_t memory) {
    struct rlimit limit;
    size_t stack = LARGEST_STACK;
    if (memory >= 0 && (size_t)memory / (SHARE - 1) < stack) stack = (size_t)memory / (SHARE - 1);
    if (stack < SMALLEST_STACK) stack = SMALLEST_STACK;
    if (getrlimit(RLIMIT_STACK, &limit) || limit.rlim_max == RLIM_INFINITY) return stack;
    size_t room = limit.rlim_max / 2;
    if (limit.rlim_max > MARGIN && limit.rlim_max - MARGIN > room) room = limit.rlim_max - MARGIN;
    return stack < room ? stack : room;
}

/* Allow the main thread's stack to grow to this size. The kernel grows it at each access, up to the limit at that time,
   and keeps 128 MiB below it free of other mappings (setrlimit(2); mmap_base in the kernel). */
static int allow_stack(size_t stack) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit)) return -errno;
    if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= stack + MARGIN) return 0;
    limit.rlim_cur = stack + MARGIN < limit.rlim_max ? stack + MARGIN : limit.rlim_max;
    return setrlimit(RLIMIT_STACK, &limit) ? -errno : 0;
}

static wasmtime_error_t *set_up(const struct pelagos_guest *of, size_t stack) {
    guest.setting = common;
    if (of->fuel < 0 && stack == LARGEST_STACK) return NULL;
    guest.setting = (struct setting){.engine = make_engine(of->fuel >= 0, stack)};
    if (!guest.setting.engine) return wasmtime_error_new("Wasmtime creates no engine");
    return of->is_component ? make_component_linker(&guest.setting) : make_linker(&guest.setting);
}

static int link_module(const wasmtime_module_t *module, char *error, size_t size) {
    wasmtime_error_t *failure = wasmtime_linker_instantiate_pre(guest.setting.linker, module, &guest.module);
    return failure ? refuse(-EINVAL, "cannot be linked: ", failure, error, size) : 0;
}

/* Compare the types of all imports without running any code: the limit of zero instances refuses core modules. */
static int link_component(char *error, size_t size) {
    wasmtime_store_t *store = wasmtime_store_new(guest.setting.engine, NULL, NULL);
    wasmtime_component_instance_t made;
    wasmtime_store_limiter(store, -1, -1, 0, -1, -1);
    wasmtime_error_t *failure = wasmtime_component_linker_instantiate(
        guest.setting.component_linker, wasmtime_store_context(store), guest.component, &made);
    if (!failure) return 0;
    refuse(-EINVAL, "cannot be linked: ", failure, error, size);
    if (!strstr(error, NO_INSTANCE)) return -EINVAL;
    *error = 0;
    return 0;
}

/* The type of the function that `calls` names: an export of the component, or of an instance that it exports. */
static const wasmtime_component_func_type_t *find_function(const struct pelagos_words *calls) {
    const wasmtime_component_type_t *outer = wasmtime_component_type(guest.component);
    wasmtime_component_item_t item = {0};
    for (uint32_t i = 0; i < calls->count; i++) {
        const char *name = calls->at[i];
        wasmtime_component_extern_t *found = NULL;
        if (i == 0)
            wasmtime_component_type_export_get(outer, guest.setting.engine, name, strlen(name), &found);
        else if (item.kind == WASMTIME_COMPONENT_ITEM_COMPONENT_INSTANCE)
            wasmtime_component_instance_type_export_get(item.of.component_instance, guest.setting.engine, name,
                                                        strlen(name), &found);
        if (!found) return NULL;
        wasmtime_component_extern_type(found, &item);
    }
    return calls->count && item.kind == WASMTIME_COMPONENT_ITEM_COMPONENT_FUNC ? item.of.component_func : NULL;
}

static int check_function(const struct pelagos_words *calls, char *error, size_t size) {
    const wasmtime_component_func_type_t *type = find_function(calls);
    wasmtime_component_valtype_t result;
    const char *owner = calls->count > 1 ? calls->at[0] : "", *name = calls->count ? calls->at[calls->count - 1] : "";
    const char *slash = calls->count > 1 ? "/" : "";
    if (!type) return part_say(-EINVAL, error, size, "exports no function '%s%s%s'", owner, slash, name);
    if (wasmtime_component_func_type_param_count(type))
        return part_say(-EINVAL, error, size, "has a function '%s%s%s' that takes arguments", owner, slash, name);
    guest.has_result = wasmtime_component_func_type_result(type, &result);
    return 0;
}

static int load(const struct pelagos_guest *of, const char *code, char *error, size_t size) {
    size_t stack = stack_size(of->memory);
    wasmtime_module_t *module = NULL;
    wasmtime_error_t *failure = set_up(of, stack);
    if (failure) return refuse(-ENOMEM, "", failure, error, size);
    int why = memories_check(of, error, size);
    if (!why) why = memories_prepare(of, code, error, size);
    if (why) return why;
    failure = of->is_component ? wasmtime_component_deserialize_file(guest.setting.engine, code, &guest.component)
                               : wasmtime_module_deserialize_file(guest.setting.engine, code, &module);
    if (failure) return refuse(-ESTALE, "", failure, error, size);
    if ((why = allow_stack(stack))) return part_say(why, error, size, "setrlimit: %s", strerror(-why));
    guest.store = wasmtime_store_new(guest.setting.engine, NULL, NULL);
    guest.context = wasmtime_store_context(guest.store);
    failure = of->fuel < 0 ? NULL : wasmtime_context_set_fuel(guest.context, (uint64_t)of->fuel);
    if (failure) return refuse(-EINVAL, "", failure, error, size);
    if (!of->is_component) return link_module(module, error, size);
    if ((failure = network_refuse(of, guest.setting.component_linker))) return refuse(-EINVAL, "", failure, error, size);
    why = link_component(error, size);
    return why ? why : check_function(&of->calls, error, size);
}

/* Split a copy of the NAME=VALUE words into names and values. Wasmtime copies them again. */
static bool set_environment(wasi_config_t *wasi, const struct pelagos_words *words) {
    size_t size = 2 * words->count * sizeof(char *) + 1;
    for (uint32_t i = 0; i < words->count; i++) size += strlen(words->at[i]) + 1;
    const char **names = malloc(size), **values = names + words->count;
    if (!names) return false;
    char *text = (char *)(values + words->count);
    for (uint32_t i = 0; i < words->count; i++) {
        names[i] = strcpy(text, words->at[i]);
        char *equals = strchrnul(text, '=');
        text += strlen(text) + 1;
        values[i] = *equals ? equals + 1 : equals;
        *equals = 0;
    }
    bool is_set = wasi_config_set_env(wasi, words->count, names, values);
    free(names);
    return is_set;
}

/* Set the guest's arguments, variables, streams and directories. Error texts are those of the Python package. */
static int configure_wasi(const struct pelagos_guest *of, char *error, size_t size) {
    wasi_config_t *wasi = wasi_config_new();
    if (!wasi_config_set_argv(wasi, of->arguments.count, (const char **)of->arguments.at))
        return part_say(-EINVAL, error, size, "failed to configure argv");
    if (!set_environment(wasi, &of->environment))
        return part_say(-EINVAL, error, size, "failed to configure environment");
    wasi_config_inherit_stdin(wasi);
    wasi_config_inherit_stdout(wasi);
    wasi_config_inherit_stderr(wasi);
    for (uint32_t i = 0; i < of->directory_count; i++)
        if (!wasi_config_preopen_dir(wasi, of->directories[i].path, of->directories[i].name, true))
            return part_say(-EINVAL, error, size, "failed to add preopen dir");
    network_give(of, wasi);
    wasmtime_error_t *failure = wasmtime_context_set_wasi(guest.context, wasi);
    if (of->is_component) wasmtime_context_set_wasi_http(guest.context);
    if (failure) copy_message(failure, NULL, error, size);
    return failure ? -EINVAL : 0;
}

/* The exit code of a guest that has ended early, or -1 and the text of its trap. */
static int ended(const wasmtime_error_t *failure, const wasm_trap_t *trap, char *error, size_t size) {
    int code;
    if (guest.exit_code >= 0) return guest.exit_code;
    if (failure && wasmtime_error_exit_status(failure, &code)) return code & 0xff;
    copy_message(failure, trap, error, size);
    return -1;
}

/* Limit the growth of tables. Their initial size takes only address space, as for memories. */
static void limit_tables(int64_t memory) {
    if (memory >= 0) wasmtime_store_limiter(guest.store, -1, memory / (int64_t)sizeof(void *), -1, -1, -1);
}

static int call(const wasmtime_instance_t *instance, const char *name, char *error, size_t size) {
    wasmtime_extern_t found;
    wasm_trap_t *trap = NULL;
    if (!wasmtime_instance_export_get(guest.context, instance, name, strlen(name), &found) ||
        found.kind != WASMTIME_EXTERN_FUNC)
        return part_say(-1, error, size, "no function '%s'", name);
    const wasm_valtype_vec_t *types = wasm_functype_results(wasmtime_func_type(guest.context, &found.of.func));
    wasmtime_val_t *results = calloc(types->size + 1, sizeof *results);
    if (!results) return part_say(-1, error, size, "no memory for %zu results", types->size);
    wasmtime_error_t *failure =
        wasmtime_func_call(guest.context, &found.of.func, NULL, 0, results, types->size, &trap);
    return failure || trap ? ended(failure, trap, error, size) : 0;
}

static int run_module(const struct pelagos_guest *of, char *error, size_t size) {
    wasmtime_instance_t instance;
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *failure = wasmtime_instance_pre_instantiate(guest.module, guest.context, &instance, &trap);
    if (failure || trap) return ended(failure, trap, error, size);
    limit_tables(of->memory);
    int code = 0;
    for (uint32_t i = 0; i < of->calls.count && !code && guest.exit_code < 0; i++)
        code = call(&instance, of->calls.at[i], error, size);
    return code;
}

static int run_component(const struct pelagos_guest *of, char *error, size_t size) {
    wasmtime_component_instance_t instance;
    wasmtime_component_func_t function;
    wasmtime_component_val_t result = {0};
    wasmtime_component_export_index_t *index = NULL;
    wasmtime_error_t *failure = wasmtime_component_linker_instantiate(guest.setting.component_linker, guest.context,
                                                                      guest.component, &instance);
    if (failure) return ended(failure, NULL, error, size);
    limit_tables(of->memory);
    for (uint32_t i = 0; i < of->calls.count; i++) {
        const char *name = of->calls.at[i];
        index = wasmtime_component_instance_get_export_index(&instance, guest.context, index, name, strlen(name));
        if (!index) return part_say(-1, error, size, "no export '%s'", name);
    }
    if (!index || !wasmtime_component_instance_get_func(&instance, guest.context, index, &function))
        return part_say(-1, error, size, "no function");
    failure = wasmtime_component_func_call(&function, guest.context, NULL, 0, &result, guest.has_result);
    if (failure) return ended(failure, NULL, error, size);
    return guest.has_result && result.kind == WASMTIME_COMPONENT_RESULT && !result.of.result.is_ok ? 1 : 0;
}

static int run(const struct pelagos_guest *of, char *error, size_t size) {
    guest.leave = of->leave;
    if (configure_wasi(of, error, size)) return -1;
    return of->is_component ? run_component(of, error, size) : run_module(of, error, size);
}

__attribute__((visibility("default"))) const struct pelagos_engine pelagos_engine = {PELAGOS_ENGINE_VERSION, warm, load,
                                                                                    run};
