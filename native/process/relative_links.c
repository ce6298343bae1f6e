/* Replaces symbolic links that a WASI engine does not follow by links that it follows.

   An engine resolves paths beneath a directory. An absolute link leads out of it (cap-std: EPERM), although its target
   is in the container's root, and so does a link with more `..` than parents. The image is not changed: a mount whose
   root is another link covers such a link. Source: openat2(2), open_tree(2), move_mount(2). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mount_calls.h"
#include "operations.h"
#include "resolve.h"

enum { NONE = -1 };

/* The directory of the new links, and their number. */
struct links {
    int directory;
    unsigned count;
};

static int join(char to[MAX_PATH], const char *parent, size_t parent_size, const char *target) {
    if (*target == '/') parent_size = 0;
    size_t size = strlen(target) + 1;
    if (parent_size + 1 + size > MAX_PATH) return -ENAMETOOLONG;
    memcpy(to, parent, parent_size);
    to[parent_size] = '/';
    memcpy(to + parent_size + 1, target, size);
    return 0;
}

/* The relative path from one directory to another; both are absolute, without links and `..`; "" is the root. */
static int relative_path(char to[MAX_PATH], const char *from, size_t from_size, const char *target) {
    size_t same = 0, at = 0, used = 0;
    while (at < from_size && from[at] == target[at])
        if ((++at == from_size || from[at] == '/') && (!target[at] || target[at] == '/')) same = at;
    for (at = same; at < from_size; at++) {
        if (from[at] != '/') continue;
        if (used + 3 >= MAX_PATH) return -ENAMETOOLONG;
        memcpy(to + used, "../", 3);
        used += 3;
    }
    target += same + (target[same] == '/');
    size_t size = strlen(target);
    if (used + size >= MAX_PATH) return -ENAMETOOLONG;
    memcpy(to + used, target, size);
    used += size;
    if (used && to[used - 1] == '/') used--;
    if (!used) to[used++] = '.';
    to[used] = 0;
    return 0;
}

/* The target of a link, relative to the link's directory and without further links. */
static int resolve_target(char to[MAX_PATH], int root, const char *link, const char *target) {
    static struct walk end;
    char path[MAX_PATH];
    size_t parent_size = (size_t)(strrchr(link, '/') - link);
    int error = join(path, link, parent_size, target);
    if (!error) error = walk_to_end(&end, root, path);
    return error ? error : relative_path(to, link, parent_size, end.path);
}

/* Create a directory for the links, on a tmpfs. It is attached temporarily: open_tree(2) of a detached mount needs
   Linux 6.15. Paths below the descriptor of the root are not affected. */
static int open_directory(struct process *p, struct links *links) {
    if (links->directory != NONE) return 0;
    int made = new_tmpfs("links", "755", NULL, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC);
    if (made < 0) return made;
    int error = attach_mount(made, p->slot[SLOT_root]);
    if (!error) links->directory = made;
    else close(made);
    return error;
}

static int close_directory(struct links *links) {
    if (links->directory == NONE) return 0;
    int error = unmount(links->directory);
    close(links->directory);
    return error;
}

/* A read-only mount of a new link. */
static int make_tree(struct links *links, const char *target) {
    char name[16];
    snprintf(name, sizeof name, "%u", links->count++);
    CHECK(symlinkat(target, links->directory, name));
    int tree = clone_mount(links->directory, name, AT_SYMLINK_NOFOLLOW);
    if (tree < 0) return tree;
    int error = change_mount(tree, 0, (struct mount_change){.set = ATTR_RDONLY});
    if (!error) return tree;
    close(tree);
    return error;
}

static int cover(struct process *p, struct links *links, const char *link, const char *target) {
    int error = open_directory(p, links);
    if (error) return error;
    int tree = make_tree(links, target);
    if (tree < 0) return tree;
    /* RESOLVE_NO_SYMLINKS: a link that was added meanwhile gives an error and does not redirect the path. */
    int place = open_at(p->slot[SLOT_root], link, O_PATH | O_NOFOLLOW, IN_ROOT | RESOLVE_NO_SYMLINKS);
    error = place < 0 ? place : attach_mount(tree, place);
    if (place >= 0) close(place);
    close(tree);
    return error;
}

/* Make a path refer to the same file for an engine as for the container's programs. */
static int show(struct process *p, struct links *links, const char *path) {
    static struct walk way;
    char target[MAX_PATH];
    int fd = open_at(p->slot[SLOT_root], path, O_PATH, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
    if (fd >= 0) close(fd); /* the usual case costs one system call */
    if (fd != -EXDEV) return 0;
    if (walk_begin(&way, p->slot[SLOT_root], path)) return 0;
    while (walk_on(&way) > 0) {
        /* In a running container programs may have created a loop. */
        if (resolve_target(target, p->slot[SLOT_root], way.link, way.target)) return 0;
        int error = strcmp(target, way.target) ? cover(p, links, way.link, target) : 0;
        if (error) return error;
    }
    return 0;
}

/* Make these paths, relative to the root, refer to the same files for an engine as for the container's programs.
   Missing paths are skipped. The mounts of the namespace must be private. */
OPERATION(show_relative_links) {
    struct links links = {NONE, 0};
    int error = 0;
    for (uint32_t i = 0; i < count && !error; i++) error = show(p, &links, TEXT(i));
    int closed = close_directory(&links);
    return error ? error : closed;
}
