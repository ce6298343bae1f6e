/* Paths inside the container's root. Everything goes by descriptors that openat2(2) has resolved below the slot
   `root`: an absolute link or `..` of the image stays inside, a magic link is refused. Errors are -errno. */
#ifndef PELAGOS_RESOLVE_H
#define PELAGOS_RESOLVE_H
#include <linux/openat2.h>

#include "plan.h"

enum { IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, MAX_LINKS = 40 /* as many as the kernel follows */ };

/* openat2(2); the descriptor is closed on exec. `resolve`: RESOLVE_ flags. */
int open_at(int directory, const char *path, int flags, uint64_t resolve);
/* Open what is there, as the container would resolve it. */
int open_in_root(struct process *p, const char *path, int flags);
/* Whether there is nothing at the path that gave this error. */
int is_missing(int error);

/* Open a directory, or what else is there (an empty file where there is nothing), with O_PATH. It is made where it
   is missing, as are its parents: also behind a dangling link, as runc does, inside the root. The stage says
   what has failed, and `detail` of which path. */
int make_directory(struct process *p, const char *path);
int make_file(struct process *p, const char *path);

/* Where an open file is: its path from the root, with no link in it ("" for the root). -EXDEV: not below the root. */
int path_in_root(struct process *p, int fd, char path[MAX_PATH]);
/* Have a directory as the root from now on; the descriptor is the slot's then. */
void set_root(struct process *p, int directory);

/* A walk along a path inside a directory, link by link, also to what is not there; nothing is changed. openat2(2)
   follows links itself, but gives up at one that dangles, and does not tell which ones it has followed. */
struct walk {
    int root, links, names, missing; /* names at the end of `path` that are not there */
    size_t size;
    char path[MAX_PATH]; /* where it has come to, absolute ("" for the root), without a link or `..` */
    char link[MAX_PATH]; /* the link that was followed last, and what it says */
    char target[MAX_PATH];
    const char *rest; /* of the way, at the end of `way`: a link's target is put before it */
    char way[(MAX_LINKS + 1) * MAX_PATH];
};

int walk_begin(struct walk *w, int root, const char *path);
/* Go on to the next link: 1, or 0 at the end. -ELOOP: more links than the kernel follows. */
int walk_on(struct walk *w);
/* Go to the end. */
int walk_to_end(struct walk *w, int root, const char *path);
#endif
