/* Mounts in the container's root. Source: OCI runtime spec "Mounts", mount(2), open_tree(2). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "file_tree.h"
#include "mount_calls.h"
#include "mounted_devices.h"
#include "operations.h"
#include "resolve.h"
#include "user_namespace.h"

static unsigned recursion(int64_t asked) {
    return asked ? RECURSIVE : 0;
}

static int fill(int *slot, int fd) {
    *slot = fd < 0 ? -1 : fd;
    return fd < 0 ? fd : 0;
}

/* Create a detached bind of a path of the host: slot, path, whether with all mounts below. */
OPERATION(open_tree) {
    return fill(&SLOT(0), clone_mount(AT_FDCWD, TEXT(1), recursion(NUMBER(2))));
}

/* The same for a directory in the root. */
OPERATION(copy_tree) {
    AT(source);
    int directory = open_in_root(p, TEXT(1), O_PATH | O_DIRECTORY);
    if (directory < 0) return directory;
    AT(call);
    int error = fill(&SLOT(0), clone_mount(directory, "", recursion(NUMBER(2))));
    close(directory);
    return error;
}

static struct mount_change change_of(const struct argument *a) {
    return (struct mount_change){
        .set = (uint64_t)NUMBER(0), .clear = (uint64_t)NUMBER(1), .propagation = (uint64_t)NUMBER(2)};
}

/* Change a detached mount: slot, whether with all mounts below, attributes to set, to clear, propagation. It is changed
   before it is attached, so it is never visible with its former attributes. */
OPERATION(change_tree) {
    return change_mount(SLOT(0), recursion(NUMBER(1)), change_of(a + 2));
}

/* Map the ids of a detached tree: slot, whether with all mounts below, maps of groups and of users. */
OPERATION(map_ids) {
    AT(map_ids);
    int namespace = make_user_namespace(p, TEXT(2), TEXT(3));
    if (namespace < 0) return namespace;
    AT(attributes);
    struct mount_change map = {.set = ATTR_IDMAP, .user_namespace = (uint64_t)namespace};
    int error = change_mount(SLOT(0), recursion(NUMBER(1)), map);
    close(namespace);
    return error;
}

static int attach(struct process *p, int tree, const char *path) {
    struct stat shown;
    CHECK(fstat(tree, &shown));
    int target = S_ISDIR(shown.st_mode) ? make_directory(p, path) : make_file(p, path);
    if (target < 0) return target;
    AT(attach);
    int error = attach_mount(tree, target);
    close(target);
    return error ? error : keep_device(p, tree, shown.st_mode);
}

/* Attach the mount of a slot to a path of the root, which is created if it is missing. */
OPERATION(attach_tree) {
    int tree = SLOT(0);
    SLOT(0) = -1;
    int error = attach(p, tree, TEXT(1));
    close(tree);
    return error;
}

/* mount(2) with a working directory: the layers of an overlay may be relative to it. */
static int mount_from(struct process *p, int target, const struct argument *a) {
    CHECK(a[5].size ? chdir(TEXT(5)) : fchdir(p->slot[SLOT_root]));
    int error = mount_on(target, TEXT(1), TEXT(2), (unsigned long)NUMBER(3), TEXT(4));
    CHECK(chdir("/"));
    return error;
}

static int copy_covered(struct process *p, int covered, const char *path) {
    int mounted = open_in_root(p, path, O_RDONLY | O_DIRECTORY);
    if (mounted < 0) return mounted;
    int error = copy_directory(covered, mounted);
    close(mounted);
    return error;
}

/* Mount a file system: path in the root, type, source, MS_ flags, options, working directory for mount(2) (empty: the
   root), whether to copy the covered files into it. */
OPERATION(mount_file_system) {
    int target = make_directory(p, TEXT(0));
    if (target < 0) return target;
    AT(attach);
    int error = mount_from(p, target, a);
    if (!error && NUMBER(6)) {
        AT(copy);
        error = copy_covered(p, target, TEXT(0));
    }
    close(target);
    return error;
}

static int change_in_root(struct process *p, const char *path, unsigned flags, struct mount_change change) {
    int mount = open_in_root(p, path, O_PATH);
    if (mount < 0) return mount;
    int error = change_mount(mount, flags, change);
    close(mount);
    return error;
}

/* Change the mount at a path; arguments as in `change_tree`. */
OPERATION(change_mount) {
    return change_in_root(p, TEXT(0), recursion(NUMBER(1)), change_of(a + 2));
}

/* Fail with -ELOOP if the image has a symbolic link in a path. For masked and read-only paths in such a mount: no link
   may redirect them to other files. */
OPERATION(refuse_links) {
    int fd = open_at(p->slot[SLOT_root], TEXT(0), O_PATH, IN_ROOT | RESOLVE_NO_SYMLINKS);
    if (fd >= 0) close(fd);
    return fd == -ELOOP ? fd : 0;
}

/* A read-only bind of the host's /dev/null, after a check of its device number. */
static int clone_null(struct process *p) {
    struct stat found;
    int null = clone_mount(AT_FDCWD, "/dev/null", AT_SYMLINK_NOFOLLOW);
    if (null < 0) return null;
    AT(kind);
    int error = fstat(null, &found) ? -errno : 0;
    if (!error && (!S_ISCHR(found.st_mode) || found.st_rdev != makedev(1, 3))) error = -ENODEV;
    if (!error) AT(attributes);
    if (!error) error = change_mount(null, 0, (struct mount_change){.set = ATTR_RDONLY});
    if (!error) return null;
    close(null);
    return error;
}

static int mask(struct process *p, int target) {
    struct stat found;
    CHECK(fstat(target, &found));
    AT(attach);
    if (S_ISDIR(found.st_mode))
        return mount_on(target, "tmpfs", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
    int null = clone_null(p);
    if (null < 0) return null;
    AT(attach);
    int error = attach_mount(null, target);
    close(null);
    return error;
}

/* Mask a path: a directory is covered by an empty one, any other file by /dev/null. */
OPERATION(mask_path) {
    int target = open_in_root(p, TEXT(0), O_PATH);
    if (target < 0) return is_missing(target) ? 0 : target; /* a missing path needs no mask */
    int error = mask(p, target);
    close(target);
    return error;
}

static int protect(int target) {
    int tree = clone_mount(target, "", RECURSIVE);
    if (tree < 0) return tree;
    int error = change_mount(tree, RECURSIVE, (struct mount_change){.set = ATTR_RDONLY});
    if (!error) error = attach_mount(tree, target);
    close(tree);
    return error;
}

/* Make a path read-only, with all mounts below, if it exists. */
OPERATION(protect_path) {
    int target = open_in_root(p, TEXT(0), O_PATH);
    if (target < 0) return is_missing(target) ? 0 : target;
    int error = protect(target);
    close(target);
    return error;
}

OPERATION(make_directory) {
    int directory = make_directory(p, TEXT(0));
    if (directory < 0) return directory;
    close(directory);
    return 0;
}

/* Create a symbolic link: its directory, name, target, whether to replace an existing link or file. */
OPERATION(make_link) {
    int directory = make_directory(p, TEXT(0));
    if (directory < 0) return directory;
    AT(call);
    int error = NUMBER(3) && unlinkat(directory, TEXT(1), 0) && errno != ENOENT ? -errno : 0;
    if (!error && symlinkat(TEXT(2), directory, TEXT(1)) && errno != EEXIST) error = -errno;
    close(directory);
    return error;
}

/* Create a symbolic link, as `make_link`; errors are ignored. */
OPERATION(try_link) {
    int directory = open_in_root(p, TEXT(0), O_PATH | O_DIRECTORY);
    if (directory < 0) return 0;
    (void)!symlinkat(TEXT(2), directory, TEXT(1));
    close(directory);
    return 0;
}
