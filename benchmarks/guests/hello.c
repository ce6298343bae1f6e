/* A program of a usual language: it brings a C library, as most guests do. */
#include <stdio.h>

int main(void) {
    puts("hello");
    return 0;
}
