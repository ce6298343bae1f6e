/* A Wasm guest in this process: the arguments of its engine, and its run. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "message.h"
#include "operations.h"
#include "resolve.h"

/* The same maximum for variables, arguments and functions. */
enum { MAX_WORDS = 3 * MAX_ARGUMENTS, MAX_DIRECTORIES = 64 };

static char *words[MAX_WORDS];
static uint32_t words_used;
static struct pelagos_directory directories[MAX_DIRECTORIES];
static uint64_t memories[256];

/* A list of strings that are valid until the process ends: they point into the plan. */
static int keep_words(struct pelagos_words *to, const struct argument *a, uint32_t count) {
    if (count + 1 > MAX_WORDS - words_used) return -E2BIG;
    *to = (struct pelagos_words){words + words_used, count};
    for (uint32_t i = 0; i < count; i++) words[words_used++] = (char *)(uintptr_t)a[i].at;
    words[words_used++] = NULL;
    return 0;
}

OPERATION(guest_arguments) { return keep_words(&p->guest.arguments, a, count); }
OPERATION(guest_environment) { return keep_words(&p->guest.environment, a, count); }
OPERATION(guest_calls) { return keep_words(&p->guest.calls, a, count); }

OPERATION(guest_directory) {
    if (p->guest.directory_count == MAX_DIRECTORIES) return -E2BIG;
    p->guest.directories = directories;
    directories[p->guest.directory_count++] = (struct pelagos_directory){TEXT(0), TEXT(1)};
    return 0;
}

/* Resolve a directory of the container to a path without links and add it to the environment as PWD. WASI has no
   working directory; Go's library starts in PWD. If the directory is missing, PWD keeps the unresolved path: lookups
   then fail instead of starting elsewhere. Must follow `guest_environment` directly. */
OPERATION(guest_working_directory) {
    static char variable[MAX_PATH + 8];
    struct pelagos_words *environment = &p->guest.environment;
    if (!environment->at || environment->at + environment->count + 1 != words + words_used || words_used == MAX_WORDS) return -EINVAL;
    char inside[MAX_PATH];
    int fd = open_in_root(p, TEXT(0), O_PATH | O_DIRECTORY);
    int error = fd < 0 ? fd : path_in_root(p, fd, inside);
    if (fd >= 0) close(fd);
    snprintf(variable, sizeof variable, "PWD=%s", error ? TEXT(0) : *inside ? inside : "/");
    environment->at[environment->count++] = variable;
    words[words_used++] = NULL;
    return 0;
}

OPERATION(guest_fuel) {
    p->guest.fuel = NUMBER(0);
    return 0;
}

OPERATION(guest_is_component) {
    p->guest.is_component = (int)NUMBER(0);
    return 0;
}

/* Initial sizes of the linear memories, 8 bytes each, and the limit of their sum at creation. */
OPERATION(guest_memory) {
    if (a[0].size % sizeof *memories || a[0].size > sizeof memories) return -E2BIG;
    memcpy(memories, TEXT(0), a[0].size);
    p->guest.memories = memories;
    p->guest.memory_count = (uint32_t)(a[0].size / sizeof *memories);
    p->guest.memory = NUMBER(1);
    return 0;
}

static void write_line(const char *text) {
    size_t size = strlen(text);
    while (size && text[size - 1] == '\n') size--;
    /* A full or closed stderr does not change how the guest ends. */
    if (write(2, text, size) < 0 || write(2, "\n", 1) < 0) return;
}

/* The line that reports a refusal: texts around the import's name and the reason, and the default reason. */
enum { NETWORK_TEXTS = 4 };
static const char *network_text[NETWORK_TEXTS];
static int is_refused_network;

static void refuse_network(const char *import, const char *why) {
    char text[1024];
    if (is_refused_network) return;
    is_refused_network = 1;
    snprintf(text, sizeof text, "%s%s%s%s%s", network_text[0], import, network_text[1], why ? why : network_text[3],
             network_text[2]);
    write_line(text);
}

/* Arguments: whether the guest has a network, `network_text`, the imports of functions that use the network first. */
OPERATION(guest_network) {
    p->guest.network = (int)NUMBER(0);
    for (int i = 0; i < NETWORK_TEXTS; i++) network_text[i] = TEXT(1 + i);
    p->guest.refuse_network = refuse_network;
    return keep_words(&p->guest.sockets, a + 1 + NETWORK_TEXTS, count - 1 - NETWORK_TEXTS);
}

OPERATION(guest_module) {
    p->guest.module = SLOT(0);
    return 0;
}

/* The control file with the guest's memory limit. It is read at each growth: the open descriptor stays readable after
   the change of root. */
enum { REFUSAL_WORDS = 4 };
static struct process *owner;
static int limit_file = -1, is_refused;
static uint64_t reserve; /* 1/reserve of the limit is left for the engine */
static const char *refusal[REFUSAL_WORDS]; /* texts of a refusal; numbers of MiB are inserted between them */

static uint64_t limit_now(void) {
    char text[32] = {0}, *end;
    ssize_t size = pread(limit_file, text, sizeof text - 1, 0);
    unsigned long long limit = size > 0 ? strtoull(text, &end, 10) : 0;
    return size <= 0 || end == text ? UINT64_MAX : limit; /* `max` */
}

/* As `_mib` in plugin/limits.py. */
static int write_mib(char *text, size_t size, uint64_t bytes) {
    enum { MIB = 1 << 20, POINT_ZERO = 2 };
    int length = snprintf(text, size, "%.1f", (double)bytes / MIB);
    return length > POINT_ZERO && !strcmp(text + length - POINT_ZERO, ".0") ? length - POINT_ZERO : length;
}

/* Report the first refusal: a line on the guest's stderr, and a message to the daemon for the log. */
static void report_refusal(uint64_t asked, uint64_t limit) {
    const uint64_t numbers[REFUSAL_WORDS - 1] = {asked, limit, limit - limit / reserve};
    char text[1024], number[32];
    size_t used = 0;
    for (int i = 0; i < REFUSAL_WORDS; i++) {
        int length = i < REFUSAL_WORDS - 1 ? write_mib(number, sizeof number, numbers[i]) : 0;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%.*s", refusal[i], length, number);
        if (used >= sizeof text) return;
    }
    write_line(text);
    message_print(owner->slot[SLOT_control], -1, "[\"Refused\",%llu,%llu]", (unsigned long long)asked,
                  (unsigned long long)limit);
}

static int allows_memory(uint64_t size) {
    enum { UNLIMITED_BITS = 62 }; /* on cgroup v1 "no limit" is a large number */
    uint64_t limit = limit_now();
    if (limit >> UNLIMITED_BITS || size <= limit - limit / reserve) return 1;
    if (!is_refused) report_refusal(size, limit);
    is_refused = 1;
    return 0;
}

static int allows_as_created(uint64_t size) { return owner->guest.memory < 0 || size <= (uint64_t)owner->guest.memory; }

/* Arguments: slot of the control file, which may be empty; `reserve`; the texts of a refusal. */
OPERATION(guest_memory_limit) {
    if (NUMBER(1) <= 0) return -EINVAL;
    limit_file = SLOT(0);
    reserve = (uint64_t)NUMBER(1);
    for (int i = 0; i < REFUSAL_WORDS; i++) refusal[i] = TEXT(2 + i);
    return 0;
}

/* Arguments: slot of the directory with the compiled code, which has no path in the container; file name in it. */
OPERATION(load_guest) {
    if (!p->engine) return -ENOSYS;
    int directory = SLOT(0);
    owner = p;
    p->guest.allows_memory = limit_file >= 0 ? allows_memory : allows_as_created;
    if (directory >= 0) CHECK(fchdir(directory));
    AT(load);
    int error = p->engine->load(&p->guest, TEXT(1), p->detail, sizeof p->detail);
    if (directory < 0) return error;
    AT(call);
    if (!error) CHECK(chdir("/"));
    SLOT(0) = -1;
    close(directory);
    return error;
}

OPERATION(say) {
    write_line(TEXT(0));
    return 0;
}

static void leave(int code) { _exit(code & 0xff); }

/* Arguments: exit code of a trap, line to write after its text, whether steps follow the guest's end. */
OPERATION(run_guest) {
    static char trap[16 << 10];
    char *text = trap;
    p->guest.leave = NUMBER(2) ? NULL : leave;
    int code = p->engine ? p->engine->run(&p->guest, trap, sizeof trap) : -1;
    p->exit_code = (code < 0 ? (int)NUMBER(0) : code) & 0xff;
    if (code >= 0) return 0;
    while (*text == '\n') text++;
    if (*text) write_line(text);
    write_line(TEXT(1));
    return 0;
}
