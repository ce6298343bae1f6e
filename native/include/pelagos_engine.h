/* What the native part of a backend gives the nursery: a shared library with one symbol, `pelagos_engine`.

   All three functions run in processes of one thread. `warm` runs as root, before any guest is known, and
   touches nothing of a guest. `load` and `run` run in the container's process, after its isolation. */
#ifndef PELAGOS_ENGINE_H
#define PELAGOS_ENGINE_H
#include <stddef.h>
#include <stdint.h>

#define PELAGOS_ENGINE_VERSION 1

/* Words, each with a NUL behind it; the array too ends with a null pointer. */
struct pelagos_words {
    char **at;
    uint32_t count;
};

struct pelagos_directory {
    const char *name, *path; /* what the guest calls it, and where it is */
};

struct pelagos_guest {
    struct pelagos_words arguments;   /* argv */
    struct pelagos_words environment; /* NAME=VALUE */
    struct pelagos_words calls;       /* a module's functions, called in this order; the way to a component's one */
    const struct pelagos_directory *directories;
    uint32_t directory_count;
    int module; /* a descriptor of the entry point, for an engine that compiles nothing ahead; else -1 */
    int is_component;
    int64_t memory;                        /* bytes of linear memory when it was created; -1 for no limit */
    int64_t fuel;                          /* -1: without a limit */
    const uint64_t *memories;              /* bytes that each linear memory begins with */
    uint32_t memory_count;
    int (*allows_memory)(uint64_t size);   /* whether its linear memories may have so many bytes together, now */
    void (*leave)(int code);               /* ends this process, from within a call of the guest's; null: run returns */
};

struct pelagos_engine {
    uint32_t version; /* PELAGOS_ENGINE_VERSION */
    /* Load the engine's library and make what all guests share. 0, or -errno and a text of why not. */
    int (*warm)(const char *library, const char *settings, char *error, size_t size);
    /* Get the guest ready: `code` is the path of what was compiled, relative and good until this returns; empty where
       nothing is compiled ahead. 0; -ESTALE for code that the engine does not take; -EINVAL for the guest's fault, a
       sentence without its subject; another -errno for the engine's own. What this leaves open `run` needs. */
    int (*load)(const struct pelagos_guest *guest, const char *code, char *error, size_t size);
    /* Run it to its end: its exit code (0 to 255), or -1 and the text of its trap. */
    int (*run)(const struct pelagos_guest *guest, char *error, size_t size);
};

extern const struct pelagos_engine pelagos_engine;
#endif
