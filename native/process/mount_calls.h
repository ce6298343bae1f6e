/* System calls on mounts, by descriptors. Errors are -errno. Source: mount(2), open_tree(2), move_mount(2),
   mount_setattr(2), statx(2). */
#ifndef PELAGOS_MOUNT_CALLS_H
#define PELAGOS_MOUNT_CALLS_H
#include <stdint.h>

/* Those of <linux/mount.h>, which cannot be included with <sys/mount.h> everywhere. */
enum { ATTR_RDONLY = 1, ATTR_NOSUID = 2, ATTR_NODEV = 4, ATTR_NOEXEC = 8, ATTR_IDMAP = 0x100000 };
enum { TREE_CLONE = 1, RECURSIVE = 0x8000 };

/* What mount_setattr(2) is told: attributes to set and to clear, an MS_ propagation flag, a user namespace. */
struct mount_change {
    uint64_t set, clear, propagation, user_namespace;
};

/* A detached copy of the mount at a path ("" for the directory itself); `flags`: RECURSIVE, AT_SYMLINK_NOFOLLOW. */
int clone_mount(int directory, const char *path, unsigned flags);
/* Mount what is detached on an open file or directory. */
int attach_mount(int mount, int target);
/* Change a mount, with RECURSIVE also those below it. */
int change_mount(int mount, unsigned flags, struct mount_change change);
/* Mount a file system on an open directory. While the host's /proc is in reach: mount(2) takes no descriptor. */
int mount_on(int target, const char *type, const char *source, unsigned long flags, const char *data);
/* A tmpfs that is mounted nowhere yet; `size`: NULL for the kernel's own limit. Source: fsopen(2), fsmount(2). */
int new_tmpfs(const char *source, const char *mode, const char *size, uint64_t attributes);
/* Unmount what is mounted at an open directory, with all below, as soon as nothing uses it. */
int unmount(int mount);
/* A number of the mount that an open file is in; -ENOSYS if the kernel does not tell. */
int64_t mount_number(int fd);
/* Whether an open directory is where its mount begins. */
int is_mount_point(int fd);
#endif
