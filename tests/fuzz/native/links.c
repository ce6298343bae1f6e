/* Images of links at random, in the working directory, and paths in them: where native/process/resolve.c comes to, and
   where the kernel does.

   links SEED ROUNDS SECONDS       until whichever ends first; 0 for without */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "any.h"
#include "resolve.h"
#include "rounds.h"

enum { THINGS = 16, PATHS = 12, MOST_NAMES = 400 };
static const char IMAGE[] = "image";
static struct process process;

/* Names, `..`, empty ones, sometimes too many for the walk. */
static void write_path(char path[MAX_PATH]) {
    static const char *const NAMES[] = {"a", "b", "c", "d", "..", "..", ".", "", "name"};
    uint32_t count = rarely(100) ? any(MOST_NAMES) : 1 + any(5);
    size_t size = 0;
    if (rarely(2)) path[size++] = '/';
    path[size] = 0;
    while (count-- && size < MAX_PATH - 8)
        size += (size_t)sprintf(path + size, "%s%s", NAMES[any(sizeof NAMES / sizeof *NAMES)], count ? "/" : "");
}

/* What cannot be made is left out: names are taken, directories missing. */
static void make_things(int image) {
    char path[MAX_PATH], target[MAX_PATH];
    for (int i = 0; i < THINGS; i++) {
        write_path(path);
        write_path(target);
        int directory = open_at(image, path, O_PATH | O_DIRECTORY, IN_ROOT);
        const char name[] = {(char)('a' + any(4)), 0};
        if (directory < 0) continue;
        if (rarely(3) ? mkdirat(directory, name, 0755) : *target ? symlinkat(target, directory, name) : 0)
            if (errno != EEXIST && errno != ENAMETOOLONG) abort();
        close(directory);
    }
}

static int is_same(int one, int other) {
    struct stat first, second;
    if (fstat(one, &first) || fstat(other, &second)) abort();
    return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

/* Where a path leads has no link in it and no `..`. */
static void check_end(const struct walk *end, int kernels) {
    if (end->path[end->size] || (end->size && *end->path != '/') || strstr(end->path, "//")) abort();
    if (strstr(end->path, "/../") || (end->size > 2 && !strcmp(end->path + end->size - 3, "/.."))) abort();
    int found = open_at(end->root, end->size ? end->path : "/", O_PATH | O_NOFOLLOW, IN_ROOT | RESOLVE_NO_SYMLINKS);
    if (kernels >= 0 ? found < 0 || !is_same(found, kernels) : found < 0 && !is_missing(found)) abort();
    if (found >= 0) close(found);
}

/* What is made is where the walk has said, and nowhere else. */
static void check_made(const struct walk *end, const char *path) {
    char made[MAX_PATH];
    int fd = rarely(2) ? make_directory(&process, path) : make_file(&process, path);
    if (fd < 0) return;
    if (path_in_root(&process, fd, made) || strcmp(made, end->path)) abort();
    close(fd);
}

static void try_path(int image) {
    static struct walk end;
    char path[MAX_PATH];
    write_path(path);
    if (!*path) return;
    int kernels = open_at(image, path, O_PATH, IN_ROOT), error = walk_to_end(&end, image, path);
    if (kernels >= 0 && error) abort();
    if (kernels == -ELOOP && error != -ELOOP && error != -ENAMETOOLONG) abort();
    if (end.links > MAX_LINKS + 1) abort();
    if (!error) check_end(&end, kernels);
    if (!error) check_made(&end, path);
    if (kernels >= 0) close(kernels);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *at) {
    (void)status, (void)kind, (void)at;
    return remove(path);
}

static void play(void) {
    if (mkdir(IMAGE, 0755)) abort();
    int image = open(IMAGE, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (image < 0) abort();
    make_things(image);
    process.slot[SLOT_root] = image;
    for (int i = 0; i < PATHS; i++) try_path(image);
    close(image);
    if (nftw(IMAGE, remove_one, 64, FTW_DEPTH | FTW_PHYS)) abort();
}

int main(int count, char **words) {
    return play_rounds(count, words, play);
}
