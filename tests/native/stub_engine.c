/* An engine for tests of the nursery: it does what its guest's first word says. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pelagos_engine.h"

static int is_warm;

static int warm(const char *library, const char *settings, char *error, size_t size) {
    (void)library;
    if (!strcmp(settings, "broken")) return snprintf(error, size, "as asked"), -EINVAL;
    is_warm = 1;
    return 0;
}

static int load(const struct pelagos_guest *guest, const char *code, char *error, size_t size) {
    const char *word = guest->arguments.at[0];
    if (!is_warm) abort();
    if (!strcmp(word, "stale")) return snprintf(error, size, "of another engine"), -ESTALE;
    if (!strcmp(word, "invalid")) return snprintf(error, size, "cannot be linked: \"x\"\n\\"), -EINVAL;
    if (!strcmp(word, "crash")) abort();
    if (*code && access(code, R_OK)) return snprintf(error, size, "no code"), -EIO;
    return 0;
}

static int run(const struct pelagos_guest *guest, char *error, size_t size) {
    const char *word = guest->arguments.at[0];
    if (!strcmp(word, "trap")) return snprintf(error, size, "\nwasm trap: unreachable\n"), -1;
    if (!strcmp(word, "grow")) return guest->allows_memory(strtoull(guest->arguments.at[1], NULL, 10));
    if (!strcmp(word, "leave")) guest->leave(300);
    for (uint32_t i = 0; i < guest->arguments.count; i++) dprintf(1, "%s ", guest->arguments.at[i]);
    for (uint32_t i = 0; i < guest->environment.count; i++) dprintf(1, "%s ", guest->environment.at[i]);
    for (uint32_t i = 0; i < guest->calls.count; i++) dprintf(1, "%s ", guest->calls.at[i]);
    for (uint32_t i = 0; i < guest->directory_count; i++) dprintf(1, "%s=%s ", guest->directories[i].name, guest->directories[i].path);
    for (uint32_t i = 0; i < guest->memory_count; i++) dprintf(1, "%llu ", (unsigned long long)guest->memories[i]);
    dprintf(1, "%d %lld %lld\n", guest->is_component, (long long)guest->memory, (long long)guest->fuel);
    return 7;
}

const struct pelagos_engine pelagos_engine = {PELAGOS_ENGINE_VERSION, warm, load, run};
