/* The root of an engine that is a program. The container's root is a directory in it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount_calls.h"
#include "operations.h"
#include "resolve.h"

enum { COPY_BYTES = 1 << 24, NEW_FILE = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC };

/* Create a detached tmpfs: slot, name, mode, size, attributes. */
OPERATION(make_tmpfs) {
    int made = new_tmpfs(TEXT(1), TEXT(2), a[3].size ? TEXT(3) : NULL, (uint64_t)NUMBER(4));
    if (made < 0) return made;
    SLOT(0) = made;
    return 0;
}

/* Mount a directory of the slot's file system on the root, which it replaces. The whole file system is attached first:
   open_tree(2) of a detached mount needs Linux 6.15. The slot keeps the whole file system. It stays writable when the
   root is read-only, so later steps can remove access to entries of the root. */
OPERATION(surround_root) {
    int error = attach_mount(SLOT(0), p->slot[SLOT_root]);
    if (error) return error;
    CHECK(mkdirat(SLOT(0), TEXT(1), 0755));
    int root = clone_mount(SLOT(0), TEXT(1), 0);
    if (root < 0) return root;
    error = attach_mount(root, SLOT(0));
    if (error) close(root);
    else set_root(p, root);
    return error;
}

/* Create a directory in the directory of a slot: name, mode. Independent of the umask. */
OPERATION(make_directory_in) {
    CHECK(mkdirat(SLOT(0), TEXT(1), 0700));
    CHECK(fchmodat(SLOT(0), TEXT(1), (mode_t)NUMBER(2), 0));
    return 0;
}

/* Change the mode of an entry of the directory in a slot, to which no guest has written yet. */
OPERATION(change_mode_in) {
    CHECK(fchmodat(SLOT(0), TEXT(1), (mode_t)NUMBER(2), 0));
    return 0;
}

/* Open a file for reading: slot of its directory, name, slot to fill. */
OPERATION(open_file_in) {
    int file = openat(SLOT(0), TEXT(1), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    CHECK(file);
    SLOT(2) = file;
    return 0;
}

static int copy_all(int from, int to) {
    off_t at = 0;
    for (;;) {
        ssize_t copied = sendfile(to, from, &at, COPY_BYTES);
        if (copied < 0 && errno != EINTR) return -errno;
        if (!copied) return 0;
    }
}

static int fill(int file, int source, uid_t uid) {
    CHECK(fchmod(file, 0444)); /* independent of the umask */
    CHECK(fchown(file, uid, (gid_t)-1));
    return copy_all(source, file);
}

/* Copy a file to a new one in the root, readable by every user: slot, directory (created if it is missing), name,
   owner or -1. */
OPERATION(copy_file) {
    int directory = make_directory(p, TEXT(1));
    if (directory < 0) return directory;
    AT(copy);
    int file = openat(directory, TEXT(2), NEW_FILE, 0444);
    int error = file < 0 ? -errno : fill(file, SLOT(0), (uid_t)NUMBER(3));
    if (file >= 0) close(file);
    close(directory);
    return error;
}
