/* The interface of a backend's native part: a shared library with one symbol, `pelagos_engine`.

   All three functions run in processes with one thread. `warm` runs in the nursery, as root, without any data of a
   guest. `load` and `run` run in the container's process, after its isolation. */
#ifndef PELAGOS_ENGINE_H
#define PELAGOS_ENGINE_H
#include <stddef.h>
#include <stdint.h>

#define PELAGOS_ENGINE_VERSION 2

/* Strings that end in a NUL; the array ends with a null pointer. */
struct pelagos_words {
    char **at;
    uint32_t count;
};

struct pelagos_directory {
    const char *name, *path; /* its name for the guest, and its path */
};

struct pelagos_guest {
    struct pelagos_words arguments;   /* argv */
    struct pelagos_words environment; /* NAME=VALUE */
    struct pelagos_words calls;       /* a module's functions, called in order; the path to a component's one */
    const struct pelagos_directory *directories;
    uint32_t directory_count;
    int module; /* a descriptor of the entry point, for an engine that does not compile ahead of time; else -1 */
    int is_component;
    int64_t memory;                        /* limit of linear memory in bytes, at creation; -1 for no limit */
    int64_t fuel;                          /* -1 for no limit */
    const uint64_t *memories;              /* initial size of each linear memory, in bytes */
    uint32_t memory_count;
    int (*allows_memory)(uint64_t size);   /* whether the linear memories may have this size in total now */
    int network;                           /* whether the guest has one: sockets, and names that are looked up */
    struct pelagos_words sockets;          /* a component's imports of functions that use the network first */
    /* Reports the first call of such an import that is refused. `why`: half a sentence; null if there is no network. */
    void (*refuse_network)(const char *import, const char *why);
    void (*leave)(int code);               /* ends this process, from within a call of the guest; null: `run` returns */
};

struct pelagos_engine {
    uint32_t version; /* PELAGOS_ENGINE_VERSION */
    /* Load the engine's library, create the objects that all guests share. Returns 0, or -errno and an error text. */
    int (*warm)(const char *library, const char *settings, char *error, size_t size);
    /* Load the guest. `code`: relative path of the compiled code, valid until this returns; empty if there is none.
       Returns 0; -ESTALE for code that the engine does not accept; -EINVAL for a faulty guest, with an error text that
       continues a sentence after the guest's path; another -errno for a failure of the engine. May leave descriptors
       open for `run`. */
    int (*load)(const struct pelagos_guest *guest, const char *code, char *error, size_t size);
    /* Run the guest. Returns its exit code (0 to 255), or -1 and the text of its trap. */
    int (*run)(const struct pelagos_guest *guest, char *error, size_t size);
};

extern const struct pelagos_engine pelagos_engine;
#endif
