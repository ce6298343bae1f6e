/* A nursery of the simplest kind, to test and measure the native part of an engine without the real one: it warms it,
   and for each guest it forks, loads and runs. The report has what came of the last guest, whose exit code is its own.

   engine_driver [OPTION]... PART ENGINE SETTINGS CODE REPORT */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pelagos_engine.h"

enum { MOST = 4096, MAX_DETAIL = 4096 /* plan.h */, FAILED = 125, TRAPPED = 134 };
static char *arguments[MOST], *environment[MOST], *calls[MOST], *sockets[MOST], text[MAX_DETAIL];
static struct pelagos_directory directories[MOST];
static uint64_t memories[MOST];
static int64_t allowed = -1;
static const char *report_path;

static int allows(uint64_t size) { return allowed < 0 || size <= (uint64_t)allowed; }

/* As `refusal` of plugin/sockets.py. */
static void refuse_network(const char *import, const char *why) {
    static int is_told;
    if (!is_told++) fprintf(stderr, "pelagos: the guest asked for %s, and %s [PLG-NETWORK]\n", import, why ? why : "it has no network");
}

static struct pelagos_guest guest = {
    .arguments = {arguments, 0}, .environment = {environment, 0}, .calls = {calls, 0}, .directories = directories,
    .module = -1, .memory = -1, .fuel = -1, .memories = memories, .allows_memory = allows,
    .sockets = {sockets, 0}, .refuse_network = refuse_network,
};

static void add(struct pelagos_words *to, char *word) { to->at[to->count++] = word; }

static void set_limit(int resource, const char *value) {
    rlim_t most = strtoull(value, NULL, 10);
    struct rlimit limit = {resource == RLIMIT_STACK ? 1 << 20 : most, most};
    if (setrlimit((__rlimit_resource_t)resource, &limit)) perror("setrlimit");
}

static void report(const char *stage, int code) {
    FILE *file = fopen(report_path, "w");
    fprintf(file, "%s %d %s", stage, code, text);
    fclose(file);
}

static void leave(int code) {
    report("left", code);
    _exit(code);
}

static int be_guest(const struct pelagos_engine *engine, const char *code) {
    int result = engine->load(&guest, code, text, sizeof text);
    if (result) return report("load", result), FAILED;
    result = engine->run(&guest, text, sizeof text);
    return report("run", result), result < 0 ? TRAPPED : result;
}

static double milliseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void print_memory(void) {
    char line[256];
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, "Private_Dirty:", 14)) fputs(line, stderr);
}

static void print_use(int forks, double wall) {
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e3 +
                 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e3;
    fprintf(stderr, "each: %.3f ms, %.3f ms of CPU, %.0f faults\n", wall / forks, cpu / forks,
            (double)used.ru_minflt / forks);
}

static int run_guests(const struct pelagos_engine *engine, const char *code, int forks) {
    int status = 0;
    for (int i = 0; i < forks; i++) {
        pid_t pid = fork();
        if (!pid) _exit(be_guest(engine, code));
        if (pid < 0 || waitpid(pid, &status, 0) != pid) return perror("fork"), FAILED;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int take_option(int option, char *value) {
    switch (option) {
    case 'a': add(&guest.arguments, value); break;
    case 'e': add(&guest.environment, value); break;
    case 'c': add(&guest.calls, value); break;
    case 'd': directories[guest.directory_count++] = (struct pelagos_directory){strsep(&value, "="), value}; break;
    case 'm': guest.memory = allowed = strtoll(value, NULL, 10); break;
    case 'l': allowed = strtoll(value, NULL, 10); break;
    case 'f': guest.fuel = strtoll(value, NULL, 10); break;
    case 'i': memories[guest.memory_count++] = strtoull(value, NULL, 10); break;
    case 'w': guest.module = open(value, O_RDONLY | O_CLOEXEC); break;
    case 's': add(&guest.sockets, value); break;
    case 'N': guest.network = 1; break;
    case 'C': guest.is_component = 1; break;
    case 'L': guest.leave = leave; break;
    case 'S': set_limit(RLIMIT_STACK, value); break;
    case 'A': set_limit(RLIMIT_AS, value); break;
    default: return -1;
    }
    return 0;
}

int main(int argc, char **argv) {
    int option, forks = 0;
    while ((option = getopt(argc, argv, "+a:e:c:d:m:l:f:i:w:n:s:S:A:CLN")) > 0)
        if (option == 'n') forks = atoi(optarg);
        else if (take_option(option, optarg)) return 2;
    if (argc - optind != 5) return 2;
    char **word = argv + optind;
    report_path = word[4];
    setenv("TOKIO_WORKER_THREADS", "1", 1); /* as in the nursery */
    double wall = milliseconds(CLOCK_MONOTONIC), cpu = milliseconds(CLOCK_PROCESS_CPUTIME_ID);
    void *part = dlopen(word[0], RTLD_NOW | RTLD_LOCAL);
    const struct pelagos_engine *engine = part ? dlsym(part, "pelagos_engine") : NULL;
    if (!engine) return fprintf(stderr, "%s\n", dlerror()), 2;
    int result = engine->warm(word[1], word[2], text, sizeof text);
    if (result) return report("warm", result), FAILED;
    if (!forks) return run_guests(engine, word[3], 1);
    fprintf(stderr, "warm: %.3f ms, %.3f ms of CPU\n", milliseconds(CLOCK_MONOTONIC) - wall,
            milliseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    print_memory();
    wall = milliseconds(CLOCK_MONOTONIC);
    result = run_guests(engine, word[3], forks);
    print_use(forks, milliseconds(CLOCK_MONOTONIC) - wall);
    return result;
}
