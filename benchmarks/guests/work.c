/* Work for the processor only: `work N` does N portions and prints the seconds that they took.
   A portion is integers (a hash over 1 MiB, which misses small caches) and floating point (a piece
   of the Mandelbrot set), about half each. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint8_t block[1 << 20];

static uint32_t integers(uint32_t hash) {
    for (int pass = 0; pass < 20; pass++)
        for (int i = 0; i < (int)sizeof block; i++) {
            hash = (hash ^ block[i]) * 16777619u;
            block[(hash >> 7) & (sizeof block - 1)] += (uint8_t)hash;
        }
    return hash;
}

static uint32_t floats(void) {
    uint32_t steps = 0;
    for (int row = 0; row < 120; row++)
        for (int column = 0; column < 120; column++) {
            double a = column / 48.0 - 2.0, b = row / 60.0 - 1.0, x = 0, y = 0;
            for (int i = 0; i < 1000 && x * x + y * y < 4; i++, steps++) {
                double next = x * x - y * y + a;
                y = 2 * x * y + b;
                x = next;
            }
        }
    return steps;
}

int main(int argc, char **argv) {
    int portions = argc > 1 ? atoi(argv[1]) : 1;
    uint32_t result = 2166136261u;
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int i = 0; i < portions; i++) result = integers(result) + floats();
    clock_gettime(CLOCK_MONOTONIC, &after);
    double seconds = (double)(after.tv_sec - before.tv_sec) + (after.tv_nsec - before.tv_nsec) / 1e9;
    printf("%.6f seconds, result %08x\n", seconds, result);
    return 0;
}
