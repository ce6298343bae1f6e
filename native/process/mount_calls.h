/* System calls on mounts, by descriptors. Errors are -errno. Source: mount(2), open_tree(2), move_mount(2),
   mount_setattr(2), statx(2). */
#ifndef PELAGOS_MOUNT_CALLS_H
#define PELAGOS_MOUNT_CALLS_H
#include <stdint.h>

/* Constants of <linux/mount.h>, which conflicts with <sys/mount.h> on some systems. */
enum { ATTR_RDONLY = 1, ATTR_NOSUID = 2, ATTR_NODEV = 4, ATTR_NOEXEC = 8, ATTR_IDMAP = 0x100000 };
enum { TREE_CLONE = 1, RECURSIVE = 0x8000 };

/* Arguments of mount_setattr(2): attributes to set and to clear, an MS_ propagation flag, a user namespace. */
struct mount_change {
    uint64_t set, clear, propagation, user_namespace;
};

/* A detached copy of the mount at a path ("" for the directory itself); `flags`: RECURSIVE, AT_SYMLINK_NOFOLLOW. */
int clone_mount(int directory, const char *path, unsigned flags);
/* Attach a detached mount to an open file or directory. */
int attach_mount(int mount, int target);
/* Change a mount; with RECURSIVE also all mounts below. */
int change_mount(int mount, unsigned flags, struct mount_change change);
/* Mount a file system on an open directory. Needs the host's /proc, since mount(2) takes a path. */
int mount_on(int target, const char *type, const char *source, unsigned long flags, const char *data);
/* Create a detached tmpfs; `size`: NULL for the kernel's default. Source: fsopen(2), fsmount(2). */
int new_tmpfs(const char *source, const char *mode, const char *size, uint64_t attributes);
/* Unmount the mount of an open directory, with all mounts below (MNT_DETACH). */
int unmount(int mount);
/* The id of the mount of an open file; -ENOSYS if statx(2) does not return it. */
int64_t mount_number(int fd);
/* Whether an open directory is the root of its mount. */
int is_mount_point(int fd);
#endif
