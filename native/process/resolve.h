/* Paths inside the container's root, resolved by openat2(2) below the slot `root`: absolute links and `..` of the
   image stay inside, magic links are refused. Errors are -errno. */
#ifndef PELAGOS_RESOLVE_H
#define PELAGOS_RESOLVE_H
#include <linux/openat2.h>

#include "plan.h"

enum { IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, MAX_LINKS = 40 /* as path_resolution(7) */ };

/* openat2(2); the descriptor is closed on exec. `resolve`: RESOLVE_ flags. */
int open_at(int directory, const char *path, int flags, uint64_t resolve);
/* Open a path, resolved inside the root. */
int open_in_root(struct process *p, const char *path, int flags);
/* Whether this error means that the path does not exist. */
int is_missing(int error);

/* Open a directory or file with O_PATH. A missing one is created with its parents inside the root, a file empty. If a
   link in the path is dangling, they are created at its target, as in runc. On failure `stage` and `detail` are set. */
int make_directory(struct process *p, const char *path);
int make_file(struct process *p, const char *path);

/* The path of an open file from the root, without links ("" for the root). -EXDEV: outside the root. */
int path_in_root(struct process *p, int fd, char path[MAX_PATH]);
/* Set a directory as the root; the slot takes over the descriptor. */
void set_root(struct process *p, int directory);

/* Resolves a path inside a directory, link by link, without changes; its end may be missing. openat2(2) fails at a
   dangling link, and does not return the links that it has followed. */
struct walk {
    int root, links, names, missing; /* number of missing names at the end of `path` */
    size_t size;
    char path[MAX_PATH]; /* the path so far, absolute ("" for the root), without links and `..` */
    char link[MAX_PATH]; /* the last link that was followed, and its target */
    char target[MAX_PATH];
    const char *rest; /* size of the remaining path, at the end of `way`: a link's target is prepended */
    char way[(MAX_LINKS + 1) * MAX_PATH];
};

int walk_begin(struct walk *w, int root, const char *path);
/* Continue to the next link: returns 1, or 0 at the end. -ELOOP: more links than the kernel follows. */
int walk_on(struct walk *w);
/* Continue to the end. */
int walk_to_end(struct walk *w, int root, const char *path);
#endif
