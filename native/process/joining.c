/* The way into a container that runs, by a pidfd of its init process: its namespaces, and its root, as it is or
   in a copy. The process stays among the host's mounts until it is sealed, as the init process does.
   Source: setns(2), open_tree(2). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "mount_calls.h"
#include "operations.h"
#include "resolve.h"

/* Join namespaces of the process behind a descriptor, all at once: CLONE_ flags. The pid namespace is that of
   children; those that are left out stay as they are. */
OPERATION(join_namespaces) {
    CHECK(setns(SLOT(0), (int)NUMBER(1)));
    return 0;
}

/* Go into the mount namespace of a container; a descriptor of the way back. */
static int visit(int container) {
    int home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    CHECK(home);
    if (!setns(container, CLONE_NEWNS)) return home;
    int error = -errno;
    close(home);
    return error;
}

/* Go back. Returns what the visit came to, or why this process is still there. */
static int leave(int home, int found) {
    int error = setns(home, CLONE_NEWNS) ? -errno : 0;
    close(home);
    if (error && found >= 0) close(found);
    return error ? error : found;
}

/* Have the container's `/` as the root, so that paths can be resolved in it. */
OPERATION(find_container_root) {
    int home = visit(SLOT(0));
    if (home < 0) return home;
    int found = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    found = leave(home, found < 0 ? -errno : found);
    if (found < 0) return found;
    set_root(p, found);
    return 0;
}

/* Take off what lies on a root that is not `/`: a form of it in which nothing can be executed (`enclose_root`). In a
   copy of the mounts: the container's own stay. */
static int take_form_off(const char *inside) {
    CHECK(unshare(CLONE_NEWNS));
    CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    CHECK(umount2(inside, MNT_DETACH));
    return 0;
}

/* A copy of the container's mounts: its pidfd, where in its mount namespace its root is, the slot for the copy. It
   shows nothing that is mounted there later. */
OPERATION(copy_container) {
    int home = visit(SLOT(0));
    if (home < 0) return home;
    int tree = strcmp(TEXT(1), "/") ? take_form_off(TEXT(1)) : 0;
    if (!tree) tree = clone_mount(AT_FDCWD, TEXT(1), RECURSIVE);
    tree = leave(home, tree);
    if (tree < 0) return tree;
    SLOT(2) = tree;
    return 0;
}

/* Enter a container's mount namespace for good: its root is `/` for this process too. */
OPERATION(enter_container_root) {
    CHECK(setns(SLOT(0), CLONE_NEWNS));
    set_root(p, -1);
    return 0;
}

/* Whether a directory is there, as the container resolves the path: a running container is not added to. */
OPERATION(check_directory) {
    int directory = open_in_root(p, TEXT(0), O_PATH | O_DIRECTORY);
    if (directory < 0) return directory;
    close(directory);
    return 0;
}
