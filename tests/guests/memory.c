/* Takes memory: `take N` and `wait-take N` (after a byte of input) as its own, `fill PATH N` in a file; N in MiB. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1 << 20)

int main(int argc, char **argv) {
    if (argc < 3) return 64;
    if (!strcmp(argv[1], "fill")) {
        static char block[MIB];
        FILE *file = fopen(argv[2], "w");
        for (int i = atoi(argv[3]); file && i > 0; i--)
            if (fwrite(block, 1, MIB, file) != MIB) return 8;
        return file && !fclose(file) ? 0 : 8;
    }
    if (!strcmp(argv[1], "wait-take")) {
        puts("ready");
        fflush(stdout);
        getchar();
    }
    for (int i = atoi(argv[2]); i > 0; i--) {
        volatile char *block = malloc(MIB);
        if (!block) return 9;
        for (int j = 0; j < MIB; j += 4096) block[j] = 1;
    }
    return 0;
}
