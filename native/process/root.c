/* The container's root as a whole: opening, covering, pivot_root(2). Its other mounts: mounts.c. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mount_calls.h"
#include "operations.h"
#include "resolve.h"

enum { DIRECTORY = O_PATH | O_DIRECTORY | O_CLOEXEC };

/* Set the path of the root on the host. */
OPERATION(name_root) {
    if (a[0].size >= sizeof p->root_path) return -ENAMETOOLONG;
    strcpy(p->root_path, TEXT(0));
    return 0;
}

/* Open the root's path on the host again. An older descriptor refers to the directory below a new mount, and a
   descriptor of another mount namespace cannot be a mount point. */
OPERATION(open_root) {
    AT(open_root);
    strcpy(p->detail, p->root_path);
    int fd = open(p->root_path, DIRECTORY);
    CHECK(fd);
    set_root(p, fd);
    return 0;
}

/* Go up from a directory to the root of its mount; the descriptor is replaced. */
static int climb_to_mount(int *directory) {
    struct stat here, above;
    int found;
    CHECK(fstat(*directory, &here));
    while (!(found = is_mount_point(*directory))) {
        int parent = openat(*directory, "..", DIRECTORY);
        CHECK(parent);
        close(*directory);
        *directory = parent;
        CHECK(fstat(parent, &above));
        /* In a chroot(2), `/` may not be the root of a mount. */
        if (here.st_dev == above.st_dev && here.st_ino == above.st_ino) return -EINVAL;
        here = above;
    }
    return found < 0 ? found : 0;
}

/* Make the mount of the root's path private, so that mounts there do not propagate to other namespaces. */
OPERATION(make_parent_private) {
    int directory = open(p->root_path, DIRECTORY);
    CHECK(directory);
    int error = climb_to_mount(&directory);
    if (!error) error = change_mount(directory, 0, (struct mount_change){.propagation = MS_PRIVATE});
    close(directory);
    return error;
}

/* Attach a detached mount to the root, which it replaces. */
OPERATION(cover_root) {
    int error = attach_mount(SLOT(0), p->slot[SLOT_root]);
    if (error) return error;
    set_root(p, SLOT(0));
    SLOT(0) = -1;
    return 0;
}

/* Unmount the root's path, with all mounts below. Copies of these mounts stay. */
OPERATION(uncover_root) {
    int error = unmount(p->slot[SLOT_root]);
    return error ? error : op_open_root(p, a, count);
}

/* Make the root the working directory: `rebind_root` finds it by that in another mount namespace. */
OPERATION(chdir_to_root) {
    CHECK(fchdir(p->slot[SLOT_root]));
    return 0;
}

/* Open the root in a new mount namespace, which has copies of all mounts. The copies are locked, so none of them can
   become `/` (mount_namespaces(7)). So a bind of the root's copy is mounted on it. The root is opened as the working
   directory and not by its path, whose directories may not be accessible to this process. */
OPERATION(rebind_root) {
    int below = open(".", DIRECTORY);
    CHECK(below);
    int copy = clone_mount(below, "", RECURSIVE);
    int error = copy < 0 ? copy : attach_mount(copy, below);
    close(below);
    if (copy >= 0) set_root(p, copy);
    if (error) return error;
    CHECK(chdir("/"));
    return 0;
}

/* pivot_root(2), `pivot_root(".", ".")`: the old root is stacked on the new one, and then unmounted. */
static int change_root(int new, int old) {
    CHECK(fchdir(new));
    CHECK(syscall(SYS_pivot_root, ".", "."));
    /* Unmounting shared mounts would propagate to the host, so they become slaves first. fchdir(2) selects the old
       root: before it "." is the new root, whose mounts must stay in the peer groups of their sources. */
    CHECK(fchdir(old));
    CHECK(mount(NULL, ".", NULL, MS_REC | MS_SLAVE, NULL));
    CHECK(umount2(".", MNT_DETACH));
    CHECK(chdir("/"));
    return 0;
}

/* Make the root `/`; the host's files are not accessible afterwards. */
OPERATION(change_root) {
    int old = open("/", DIRECTORY);
    CHECK(old);
    int error = change_root(p->slot[SLOT_root], old);
    close(old);
    if (!error) set_root(p, -1);
    return error;
}

/* Set the propagation of `/` and, with MS_REC, of all mounts below (mount_namespaces(7)). */
OPERATION(set_propagation) {
    CHECK(mount(NULL, "/", NULL, (unsigned long)NUMBER(0), NULL));
    return 0;
}
