/* Device nodes. Source: OCI runtime spec "Devices", mknod(2), null(4). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount_calls.h"
#include "mounted_devices.h"
#include "operations.h"
#include "resolve.h"

enum { MAY_NOT = 1 };

/* A device of the spec. The path is also that of the host's node. */
struct device {
    const char *path, *name;
    mode_t mode;
    dev_t number;
    uid_t uid;
    gid_t gid;
};

int keep_device(struct process *p, int mount, mode_t mode) {
    if (!S_ISCHR(mode) && !S_ISBLK(mode)) return 0;
    AT(limit);
    if (p->device_count == sizeof p->devices / sizeof *p->devices) return -E2BIG;
    int kept = fcntl(mount, F_DUPFD_CLOEXEC, 0);
    CHECK(kept);
    p->devices[p->device_count++] = kept;
    return 0;
}

static int is_same(const struct stat *found, const struct device *device) {
    if ((found->st_mode & S_IFMT) != (device->mode & S_IFMT)) return 0;
    return S_ISFIFO(device->mode) || found->st_rdev == device->number;
}

static int is_on_host(const struct device *device) {
    struct stat found;
    return !lstat(device->path, &found) && is_same(&found, device);
}

/* Create a node; an existing node of the same device is kept. MAY_NOT: mknod(2) is not permitted. */
static int make_node(struct process *p, int directory, const struct device *device) {
    struct stat found;
    if (!mknodat(directory, device->name, device->mode, device->number)) {
        CHECK(fchownat(directory, device->name, device->uid, device->gid, AT_SYMLINK_NOFOLLOW));
        return 0;
    }
    if (errno == EPERM || errno == EACCES) return MAY_NOT;
    if (errno != EEXIST) return -errno;
    CHECK(fstatat(directory, device->name, &found, AT_SYMLINK_NOFOLLOW));
    AT(kind);
    return is_same(&found, device) ? 0 : -EEXIST;
}

/* Mount a device's node on a path. Read-only protects the host's node; writes to the device are not affected. */
static int attach_node(struct process *p, int tree, const struct device *device) {
    struct stat found;
    CHECK(fstat(tree, &found));
    if (!is_same(&found, device)) return -ENODEV;
    AT(attributes);
    int error = change_mount(tree, 0, (struct mount_change){.set = ATTR_RDONLY | ATTR_NOSUID | ATTR_NOEXEC});
    if (error) return error;
    int target = make_file(p, device->path);
    if (target < 0) return target;
    AT(attach);
    error = attach_mount(tree, target);
    close(target);
    return error ? error : keep_device(p, tree, found.st_mode);
}

/* Mount the host's node. A process without the mount sees the mount point itself, so that is a socket and not a file:
   open(2) on it fails, and no data is written to it. */
static int mount_node(struct process *p, int directory, const struct device *device) {
    if (mknodat(directory, device->name, S_IFSOCK, 0) && errno != EEXIST) return -errno;
    AT(source);
    int tree = clone_mount(AT_FDCWD, device->path, AT_SYMLINK_NOFOLLOW);
    if (tree < 0) return tree;
    int error = attach_node(p, tree, device);
    close(tree);
    return error;
}

/* Create a device node. Arguments: path, directory and name, mode with type, device number, user, group, whether to
   mount the host's node instead. It is also mounted if mknod(2) is not permitted (user_namespaces(7)). If it is to be
   mounted and the host has no such node, nothing is done. The umask must be 0. */
OPERATION(make_device) {
    struct device device = {TEXT(0), TEXT(2), (mode_t)NUMBER(3), (dev_t)NUMBER(4), (uid_t)NUMBER(5), (gid_t)NUMBER(6)};
    int mounted = NUMBER(7) && !S_ISFIFO(device.mode);
    if (mounted && !is_on_host(&device)) return 0;
    int directory = make_directory(p, TEXT(1));
    if (directory < 0) return directory;
    AT(call);
    int error = mounted ? MAY_NOT : make_node(p, directory, &device);
    if (error == MAY_NOT) error = mount_node(p, directory, &device);
    close(directory);
    return error;
}

/* Whether the path still leads to this mount: another mount may cover it, or a directory above it. */
static int is_reachable(struct process *p, int mount) {
    char path[MAX_PATH];
    if (path_in_root(p, mount, path) || !*path) return 0;
    int found = open_at(p->slot[SLOT_root], path, O_PATH | O_NOFOLLOW, IN_ROOT | RESOLVE_NO_SYMLINKS);
    if (found < 0) return 0;
    int64_t number = mount_number(found);
    close(found);
    return number >= 0 && number == mount_number(mount);
}

/* Set nodev on all mounts but those of single devices, so that no node of the image or of a mounted directory opens a
   device. A device mount that another mount covers stays nodev: a container that shares the directory could remove the
   other mount. */
OPERATION(forbid_devices) {
    int error = change_mount(p->slot[SLOT_root], RECURSIVE, (struct mount_change){.set = ATTR_NODEV});
    while (p->device_count) {
        int device = p->devices[--p->device_count];
        struct mount_change change = {.clear = ATTR_NODEV};
        if (!error && is_reachable(p, device)) error = change_mount(device, 0, change);
        close(device);
    }
    return error;
}
