#define _GNU_SOURCE
#include "rounds.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "any.h"

enum { WORDS = 4 };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int play_rounds(int count, char **words, void (*play)(void)) {
    if (count != WORDS) return 2;
    uint64_t first = strtoull(words[1], NULL, 10), rounds = strtoull(words[2], NULL, 10), number = 0;
    double seconds = atof(words[3]), begin = now();
    while ((!rounds || number < rounds) && (seconds == 0 || now() - begin < seconds)) {
        any_seed(first + number++);
        play();
    }
    printf("%llu rounds\n", (unsigned long long)number);
    return 0;
}
