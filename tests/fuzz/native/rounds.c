#define _GNU_SOURCE
#include "rounds.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "any.h"

uint64_t round_seed;

enum { WORDS = 4 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* A fault ends the process by the code 99; abort() is one, which the harness calls. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "detect_leaks=0:exitcode=99:handle_abort=2:allocator_may_return_null=1";
}
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void) { return "exitcode=99:print_stacktrace=1"; }
void __sanitizer_set_death_callback(void (*callback)(void));

static void tell_seed(void) { fprintf(stderr, "seed %llu\n", (unsigned long long)round_seed); }

int play_rounds(int count, char **words, void (*play)(void)) {
    if (count != WORDS) return 2;
    uint64_t first = strtoull(words[1], NULL, 10), rounds = strtoull(words[2], NULL, 10), number = 0;
    __sanitizer_set_death_callback(tell_seed);
    double seconds = atof(words[3]), begin = now();
    while ((!rounds || number < rounds) && (seconds == 0 || now() - begin < seconds)) {
        round_seed = first + number++;
        any_seed(round_seed);
        play();
    }
    printf("%llu rounds\n", (unsigned long long)number);
    return 0;
}
