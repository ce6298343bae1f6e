/* WasmEdge for the nursery: does in C what library.py does, by WasmEdge's C API (wasmedge.h, 0.14). WasmEdge
   interprets, so it loads the module itself. Objects are never freed: a process has one guest and ends with it. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "pelagos_engine.h"
#include "pelagos_part.h"

typedef struct {
    uint32_t code;
} WasmEdge_Result;

typedef struct {
    uint32_t length;
    const char *data;
} WasmEdge_String; /* and WasmEdge_Bytes */

typedef struct WasmEdge_ConfigureContext WasmEdge_ConfigureContext;
typedef struct WasmEdge_ModuleInstanceContext WasmEdge_ModuleInstanceContext;
typedef struct WasmEdge_StatisticsContext WasmEdge_StatisticsContext;
typedef struct WasmEdge_VMContext WasmEdge_VMContext;

enum { WASI = 0, TERMINATED = 1, CODE = 0xffffff };
static const uint64_t PAGE = 64 << 10;

/* Result, name, parameters. */
#define WASMEDGE_FUNCTIONS(X)                                                                                   \
    X(void, LogOff, (void))                                                                                     \
    X(const char *, ResultGetMessage, (WasmEdge_Result))                                                        \
    X(WasmEdge_ConfigureContext *, ConfigureCreate, (void))                                                     \
    X(void, ConfigureAddHostRegistration, (WasmEdge_ConfigureContext *, int))                                   \
    X(void, ConfigureSetForceInterpreter, (WasmEdge_ConfigureContext *, bool))                                  \
    X(void, ConfigureSetMaxMemoryPage, (WasmEdge_ConfigureContext *, uint32_t))                                 \
    X(void, ConfigureStatisticsSetInstructionCounting, (WasmEdge_ConfigureContext *, bool))                     \
    X(void, ConfigureStatisticsSetCostMeasuring, (WasmEdge_ConfigureContext *, bool))                           \
    X(void, StatisticsSetCostLimit, (WasmEdge_StatisticsContext *, uint64_t))                                   \
    X(WasmEdge_VMContext *, VMCreate, (const WasmEdge_ConfigureContext *, void *))                              \
    X(WasmEdge_StatisticsContext *, VMGetStatisticsContext, (WasmEdge_VMContext *))                             \
    X(WasmEdge_Result, VMLoadWasmFromBytes, (WasmEdge_VMContext *, WasmEdge_String))                            \
    X(WasmEdge_Result, VMValidate, (WasmEdge_VMContext *))                                                      \
    X(WasmEdge_Result, VMInstantiate, (WasmEdge_VMContext *))                                                   \
    X(WasmEdge_Result, VMExecute, (WasmEdge_VMContext *, WasmEdge_String, void *, uint32_t, void *, uint32_t))  \
    X(WasmEdge_ModuleInstanceContext *, VMGetImportModuleContext, (WasmEdge_VMContext *, int))                  \
    X(void, ModuleInstanceInitWASI,                                                                             \
      (WasmEdge_ModuleInstanceContext *, const char *const *, uint32_t, const char *const *, uint32_t,          \
       const char *const *, uint32_t))                                                                          \
    X(uint32_t, ModuleInstanceWASIGetExitCode, (WasmEdge_ModuleInstanceContext *))

#define X(result, name, parameters) static result(*name) parameters;
WASMEDGE_FUNCTIONS(X)
#undef X

static WasmEdge_VMContext *machine;

static int warm(const char *library, const char *settings, char *error, size_t size) {
    void *handle = part_load(library, settings, error, size);
    if (!handle) return -ENOENT;
#define X(result, name, parameters) \
    if (!(*(void **)&name = dlsym(handle, "WasmEdge_" #name))) return part_say(-ENOSYS, error, size, "%s", dlerror());
    WASMEDGE_FUNCTIONS(X)
#undef X
    LogOff(); /* WasmEdge writes its log to stdout, which is the guest's */
    return part_check_threads(error, size);
}

static bool has_failed(WasmEdge_Result result) { return result.code && (result.code & CODE) != TERMINATED; }

static int fail(int number, const char *what, WasmEdge_Result result, char *error, size_t size) {
    return part_say(number, error, size, "%s: %s (WasmEdge error 0x%03x)", what, ResultGetMessage(result),
                    result.code & CODE);
}

/* Copy the file's bytes, so that they do not change during the parse. The caller frees `data`, also on failure. */
static int read_module(int file, char **data, uint32_t *length) {
    struct stat status;
    if (fstat(file, &status)) return -errno;
    if (status.st_size > UINT32_MAX) return -EFBIG;
    if (!(*data = malloc((size_t)status.st_size + 1))) return -ENOMEM;
    ssize_t more = 1;
    while (more && *length < status.st_size) { /* ends early if the file was truncated */
        more = pread(file, *data + *length, (size_t)status.st_size - *length, *length);
        if (more < 0 && errno != EINTR) return -errno;
        if (more > 0) *length += (uint32_t)more;
    }
    return 0;
}

/* The maximum number of pages of a memory, at least the initial size: WasmEdge creates no memory that exceeds it. */
static uint32_t memory_pages(const struct pelagos_guest *of) {
    uint64_t most = (uint64_t)of->memory > PAGE ? (uint64_t)of->memory : PAGE;
    for (uint32_t i = 0; i < of->memory_count; i++)
        if (of->memories[i] > most) most = of->memories[i];
    return most / PAGE < UINT32_MAX ? (uint32_t)(most / PAGE) : UINT32_MAX;
}

static void make_machine(const struct pelagos_guest *of) {
    WasmEdge_ConfigureContext *configure = ConfigureCreate();
    ConfigureAddHostRegistration(configure, WASI);
    /* A custom section of a module may contain native code, which must not be run. */
    ConfigureSetForceInterpreter(configure, true);
    if (of->memory >= 0) ConfigureSetMaxMemoryPage(configure, memory_pages(of));
    if (of->fuel >= 0) {
        ConfigureStatisticsSetInstructionCounting(configure, true);
        ConfigureStatisticsSetCostMeasuring(configure, true);
    }
    machine = VMCreate(configure, NULL);
    if (of->fuel >= 0) StatisticsSetCostLimit(VMGetStatisticsContext(machine), (uint64_t)of->fuel);
}

static int load(const struct pelagos_guest *of, const char *code, char *error, size_t size) {
    char *data = NULL;
    uint32_t length = 0;
    (void)code;
    for (uint32_t i = 0; i < of->directory_count; i++) /* with a colon in NAME:PATH an image could choose the path */
        if (strchr(of->directories[i].name, ':') || strchr(of->directories[i].path, ':'))
            return part_say(-EINVAL, error, size, "has a directory '%s': WasmEdge accepts none with a colon",
                            of->directories[i].name);
    int why = read_module(of->module, &data, &length);
    if (why) return free(data), part_say(why, error, size, "the module: %s", strerror(-why));
    make_machine(of);
    WasmEdge_Result result = VMLoadWasmFromBytes(machine, (WasmEdge_String){length, data});
    if (!has_failed(result)) result = VMValidate(machine);
    free(data);
    return has_failed(result) ? fail(-EINVAL, "is not valid WebAssembly", result, error, size) : 0;
}

/* The guest's directories as NAME:PATH, in one allocation; NULL if that fails. */
static const char **write_directories(const struct pelagos_guest *of) {
    size_t size = (of->directory_count + 1) * sizeof(char *);
    for (uint32_t i = 0; i < of->directory_count; i++)
        size += strlen(of->directories[i].name) + strlen(of->directories[i].path) + 2;
    const char **words = malloc(size);
    if (!words) return NULL;
    char *text = (char *)(words + of->directory_count);
    for (uint32_t i = 0; i < of->directory_count; i++) {
        words[i] = text;
        text = stpcpy(stpcpy(stpcpy(text, of->directories[i].name), ":"), of->directories[i].path) + 1;
    }
    return words;
}

static int run(const struct pelagos_guest *of, char *error, size_t size) {
    WasmEdge_ModuleInstanceContext *wasi = VMGetImportModuleContext(machine, WASI);
    const char **directories = write_directories(of);
    if (!directories) return part_say(-1, error, size, "no memory for the names of directories");
    ModuleInstanceInitWASI(wasi, (const char *const *)of->arguments.at, of->arguments.count,
                           (const char *const *)of->environment.at, of->environment.count, directories,
                           of->directory_count);
    free(directories);
    WasmEdge_Result result = VMInstantiate(machine);
    for (uint32_t i = 0; i < of->calls.count && !result.code; i++) {
        const char *name = of->calls.at[i];
        result = VMExecute(machine, (WasmEdge_String){(uint32_t)strlen(name), name}, NULL, 0, NULL, 0);
    }
    if (has_failed(result)) return fail(-1, "wasm trap", result, error, size);
    return result.code ? (int)(ModuleInstanceWASIGetExitCode(wasi) & 0xff) : 0;
}

__attribute__((visibility("default"))) const struct pelagos_engine pelagos_engine = {PELAGOS_ENGINE_VERSION, warm, load,
                                                                                    run};
