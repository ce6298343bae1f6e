/* Paths inside the container's root: see resolve.h. */
#define _GNU_SOURCE
#include "resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "operations.h"

/* A hostile image may have links with 2000 names each. */
enum { TRIES = 1000, MAX_NAMES = 4096 };

int open_at(int directory, const char *path, int flags, uint64_t resolve) {
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC), .resolve = resolve};
    /* With RESOLVE_IN_ROOT the kernel returns EAGAIN for a path with `..` if a rename or mount anywhere on the system
       happens meanwhile (openat2(2)). A process that renames files all the time can make every attempt fail, so the
       number of attempts is limited. */
    for (int tries = 0;; tries++) {
        int fd = (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
        if (fd >= 0) return fd;
        if (errno != EAGAIN || tries == TRIES) return -errno;
    }
}

int open_in_root(struct process *p, const char *path, int flags) {
    return open_at(p->slot[SLOT_root], path, flags, IN_ROOT);
}

int is_missing(int error) {
    return error == -ENOENT || error == -ENOTDIR;
}

static int path_of(int fd, char path[MAX_PATH]) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, MAX_PATH);
    CHECK(size);
    if (size == MAX_PATH) return -ENAMETOOLONG;
    path[size] = 0;
    return 0;
}

int path_in_root(struct process *p, int fd, char path[MAX_PATH]) {
    char top[MAX_PATH];
    int error = path_of(p->slot[SLOT_root], top);
    if (!error) error = path_of(fd, path);
    if (error) return error;
    size_t size = strcmp(top, "/") ? strlen(top) : 0;
    if (strncmp(path, top, size) || (path[size] && path[size] != '/')) return -EXDEV;
    if (!strcmp(path + size, "/")) size++;
    memmove(path, path + size, strlen(path + size) + 1);
    return 0;
}

void set_root(struct process *p, int directory) {
    if (p->slot[SLOT_root] >= 0) close(p->slot[SLOT_root]);
    p->slot[SLOT_root] = directory;
}

int walk_begin(struct walk *w, int root, const char *path) {
    size_t size = strlen(path) + 1;
    if (size > MAX_PATH) return -ENAMETOOLONG;
    w->root = root;
    w->links = w->names = w->missing = 0;
    w->size = 0;
    w->path[0] = 0;
    w->rest = memcpy(w->way + sizeof w->way - size, path, size);
    return 0;
}

/* Read the link at `path` into `target`; returns its size, 0 if it is no link. */
static ssize_t read_target(struct walk *w) {
    struct stat found;
    /* The path so far has no link; a link that is added meanwhile is refused. */
    int fd = open_at(w->root, w->path, O_PATH | O_NOFOLLOW, IN_ROOT | RESOLVE_NO_SYMLINKS);
    if (fd == -ENOENT) w->missing = 1;
    if (fd < 0) return w->missing ? 0 : fd;
    ssize_t size = fstat(fd, &found) ? -errno : 0;
    if (!size && S_ISLNK(found.st_mode) && (size = readlinkat(fd, "", w->target, MAX_PATH)) < 0) size = -errno;
    close(fd);
    if (size == MAX_PATH) return -ENAMETOOLONG;
    if (size > 0) w->target[size] = 0;
    return size;
}

/* Follow the link at `path`. parent: size of the path of its directory. size: of its target. */
static int follow(struct walk *w, size_t parent, size_t size) {
    char *before = (char *)(uintptr_t)w->rest - size - 1;
    if (++w->links > MAX_LINKS || before < w->way) return -ELOOP;
    memcpy(w->link, w->path, w->size + 1);
    memcpy(before, w->target, size);
    before[size] = '/';
    w->rest = before;
    w->size = w->target[0] == '/' ? 0 : parent;
    w->path[w->size] = 0;
    return 1;
}

static int go_down(struct walk *w, const char *name, size_t size) {
    size_t parent = w->size;
    if (parent + size + 2 > MAX_PATH) return -ENAMETOOLONG;
    w->path[w->size++] = '/';
    memcpy(w->path + w->size, name, size);
    w->path[w->size += size] = 0;
    if (w->missing) {
        w->missing++;
        return 0;
    }
    ssize_t target = read_target(w);
    return target > 0 ? follow(w, parent, (size_t)target) : (int)target;
}

/* The target of a link may have `..` after a missing name, for which the kernel returns ENOENT. */
static void go_up(struct walk *w) {
    if (w->missing) w->missing--;
    while (w->size && w->path[--w->size] != '/') continue;
    w->path[w->size] = 0;
}

int walk_on(struct walk *w) {
    while (*w->rest) {
        const char *name = w->rest;
        size_t size = strcspn(name, "/");
        w->rest += size + (name[size] == '/');
        if (++w->names > MAX_NAMES) return -ELOOP;
        if (size == 2 && !memcmp(name, "..", 2)) {
            go_up(w);
        } else if (size && !(size == 1 && *name == '.')) {
            int found = go_down(w, name, size);
            if (found) return found;
        }
    }
    return 0;
}

int walk_to_end(struct walk *w, int root, const char *path) {
    int found = walk_begin(w, root, path);
    if (found) return found;
    while ((found = walk_on(w)) > 0) continue;
    return found;
}

static void at(struct process *p, enum stage stage, const char *path) {
    size_t size = strnlen(path, sizeof p->detail - 1);
    p->stage = stage;
    memcpy(p->detail, path, size);
    p->detail[size] = 0;
}

/* Open a directory; create it if it is missing. A link that is added meanwhile is not followed. */
static int make_one(int parent, const char *name) {
    if (mkdirat(parent, name, 0755) && errno != EEXIST) return -errno;
    int fd = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* The same for all names of a path without links. Modifies `path`. */
static int make_each(int root, char *path) {
    int found = fcntl(root, F_DUPFD_CLOEXEC, 0);
    CHECK(found);
    for (char *name; found >= 0 && (name = strsep(&path, "/"));) {
        if (!*name) continue;
        int below = make_one(found, name);
        close(found);
        found = below;
    }
    return found;
}

/* Resolve a path whose end is missing. */
static struct walk *find_end(struct process *p, const char *path, int *error) {
    static struct walk way;
    at(p, STAGE_find, path);
    *error = walk_to_end(&way, p->slot[SLOT_root], path);
    return &way;
}

int make_directory(struct process *p, const char *path) {
    int error;
    at(p, STAGE_find_directory, path);
    int fd = open_in_root(p, path, O_PATH | O_DIRECTORY);
    if (fd != -ENOENT) return fd;
    struct walk *way = find_end(p, path, &error);
    if (error) return error;
    at(p, STAGE_make_directory, path);
    return make_each(p->slot[SLOT_root], way->path);
}

static int make_file_in(int directory, const char *name) {
    int made = openat(directory, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (made < 0 && errno != EEXIST) return -errno; /* created by another process meanwhile */
    if (made >= 0) close(made);
    int fd = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int make_file(struct process *p, const char *path) {
    int error;
    at(p, STAGE_find_file, path);
    int fd = open_in_root(p, path, O_PATH);
    if (fd != -ENOENT) return fd;
    struct walk *way = find_end(p, path, &error);
    if (error) return error;
    char *name = strrchr(way->path, '/');
    if (!name) return -ENOENT; /* the root itself, created meanwhile */
    *name++ = 0;
    at(p, STAGE_make_directory, *way->path ? way->path : "/");
    int directory = make_each(p->slot[SLOT_root], way->path);
    if (directory < 0) return directory;
    at(p, STAGE_make_file, path);
    fd = make_file_in(directory, name);
    close(directory);
    return fd;
}
