/* Joining a running container by a pidfd of its init process: its namespaces, and its root or a private copy of its
   mounts. The process stays in the host's mount namespace until the last step of the assembly, like an init process.
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

/* Join namespaces of a process in one setns(2). Arguments: slot of its pidfd, CLONE_ flags. CLONE_NEWPID affects later
   children only. */
OPERATION(join_namespaces) {
    CHECK(setns(SLOT(0), (int)NUMBER(1)));
    return 0;
}

/* Enter the mount namespace of a container. Returns a descriptor of the former one. */
static int enter(int container) {
    int home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    CHECK(home);
    if (!setns(container, CLONE_NEWNS)) return home;
    int error = -errno;
    close(home);
    return error;
}

/* Return to the former mount namespace. Returns `found`, or -errno if that fails. */
static int leave(int home, int found) {
    int error = setns(home, CLONE_NEWNS) ? -errno : 0;
    close(home);
    if (error && found >= 0) close(found);
    return error ? error : found;
}

/* Open the container's `/` as the root, so that paths can be resolved in it. */
OPERATION(find_container_root) {
    int home = enter(SLOT(0));
    if (home < 0) return home;
    int found = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    found = leave(home, found < 0 ? -errno : found);
    if (found < 0) return found;
    set_root(p, found);
    return 0;
}

/* Unmount the noexec mount that covers a root other than `/` (`surround_root`). In a copy of the mount namespace: the
   container's own mounts are unchanged. */
static int unmount_cover(const char *inside) {
    CHECK(unshare(CLONE_NEWNS));
    CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    CHECK(umount2(inside, MNT_DETACH));
    return 0;
}

/* Copy the container's mounts: slot of its pidfd, path of its root in its mount namespace, slot for the copy. Later
   mounts of the container do not propagate to the copy. */
OPERATION(copy_container) {
    int home = enter(SLOT(0));
    if (home < 0) return home;
    int tree = strcmp(TEXT(1), "/") ? unmount_cover(TEXT(1)) : 0;
    if (!tree) tree = clone_mount(AT_FDCWD, TEXT(1), RECURSIVE);
    tree = leave(home, tree);
    if (tree < 0) return tree;
    SLOT(2) = tree;
    return 0;
}

/* Enter a container's mount namespace permanently: its root becomes `/` of this process. */
OPERATION(enter_container_root) {
    CHECK(setns(SLOT(0), CLONE_NEWNS));
    set_root(p, -1);
    return 0;
}

/* Check that a directory exists in the container. Nothing is created in a running container. */
OPERATION(check_directory) {
    int directory = open_in_root(p, TEXT(0), O_PATH | O_DIRECTORY);
    if (directory < 0) return directory;
    close(directory);
    return 0;
}
