/* A program of many small behaviours, chosen by its first argument. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static int cat(FILE *in) {
    char buffer[65536];
    size_t n;
    while ((n = fread(buffer, 1, sizeof buffer, in)) > 0) fwrite(buffer, 1, n, stdout);
    return 0;
}

static int fail(const char *path) {
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return 1;
}

static int read_file(const char *path) {
    FILE *file = fopen(path, "r");
    return file ? cat(file) : fail(path);
}

static int write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    if (!file) return fail(path);
    fputs(text, file);
    return fclose(file) ? fail(path) : 0;
}

static int list(const char *path) {
    DIR *directory = opendir(path);
    if (!directory) return fail(path);
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.') puts(entry->d_name);
    return 0;
}

/* `after FILE what ...` does the rest once the file is there. */
static void wait_for(const char *path) {
    struct stat status;
    while (stat(path, &status)) usleep(5000);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "after") && argc > 3) {
        wait_for(argv[2]);
        what = argv[3];
        argv += 2;
        argc -= 2;
    }
    if (!strcmp(what, "args")) for (int i = 0; i < argc; i++) puts(argv[i]);
    else if (!strcmp(what, "env")) for (char **e = environ; *e; e++) puts(*e);
    else if (!strcmp(what, "exit")) return atoi(argv[2]);
    else if (!strcmp(what, "cat")) return cat(stdin);
    else if (!strcmp(what, "err")) fputs("to stderr\n", stderr);
    else if (!strcmp(what, "read")) return read_file(argv[2]);
    else if (!strcmp(what, "write")) return write_file(argv[2], argv[3]);
    else if (!strcmp(what, "ls")) return list(argv[2]);
    else if (!strcmp(what, "out")) for (long i = 0, n = atol(argv[2]); i < n; i++) printf("%063ld\n", i);
    else if (!strcmp(what, "spin")) for (volatile long i = 0;; i++) {}
    else if (!strcmp(what, "sleep")) sleep(atoi(argv[2]));
    else if (!strcmp(what, "say")) { puts("ready"); fflush(stdout); getchar(); }
    else if (!strcmp(what, "abort")) __builtin_trap();
    else { fprintf(stderr, "tool: unknown: %s\n", what); return 64; }
    return 0;
}
