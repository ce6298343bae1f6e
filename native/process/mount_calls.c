/* System calls on mounts: see mount_calls.h. */
#define _GNU_SOURCE
#include "mount_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442 /* numbers above 423 are the same on every architecture */
#endif
enum { CLOSE_ON_EXEC = 1, SET_STRING = 1, CREATE = 6 }; /* of fsopen(2), fsmount(2) and fsconfig(2) */
enum { FROM_EMPTY = 4, TO_EMPTY = 0x40 }; /* MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH */

static int result(long done) {
    return done < 0 ? -errno : (int)done;
}

int clone_mount(int directory, const char *path, unsigned flags) {
    if (!*path) flags |= AT_EMPTY_PATH;
    return result(syscall(SYS_open_tree, directory, path, flags | TREE_CLONE | O_CLOEXEC));
}

int attach_mount(int mount, int target) {
    return result(syscall(SYS_move_mount, mount, "", target, "", FROM_EMPTY | TO_EMPTY));
}

int change_mount(int mount, unsigned flags, struct mount_change change) {
    return result(syscall(SYS_mount_setattr, mount, "", flags | AT_EMPTY_PATH, &change, sizeof change));
}

int mount_on(int target, const char *type, const char *source, unsigned long flags, const char *data) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", target);
    return result(mount(source, link, type, flags, *data ? data : NULL));
}

static int configure(int context, const char *name, const char *value) {
    return value ? result(syscall(SYS_fsconfig, context, SET_STRING, name, value, 0)) : 0;
}

int new_tmpfs(const char *source, const char *mode, const char *size, uint64_t attributes) {
    int context = result(syscall(SYS_fsopen, "tmpfs", CLOSE_ON_EXEC));
    if (context < 0) return context;
    int done = configure(context, "source", source);
    if (!done) done = configure(context, "mode", mode);
    if (!done) done = configure(context, "size", size);
    if (!done) done = result(syscall(SYS_fsconfig, context, CREATE, NULL, NULL, 0));
    if (!done) done = result(syscall(SYS_fsmount, context, CLOSE_ON_EXEC, (unsigned)attributes));
    close(context);
    return done;
}

int unmount(int mount) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", mount);
    return result(umount2(link, MNT_DETACH));
}

/* glibc has a wrapper of statx(2) since 2.28 only. */
static int status_of(int fd, unsigned what, struct statx *status) {
    return result(syscall(SYS_statx, fd, "", AT_EMPTY_PATH, what, status));
}

int64_t mount_number(int fd) {
    struct statx status;
    int error = status_of(fd, STATX_MNT_ID, &status);
    return error ? error : status.stx_mask & STATX_MNT_ID ? (int64_t)status.stx_mnt_id : -ENOSYS;
}

int is_mount_point(int fd) {
    struct statx status;
    int error = status_of(fd, 0, &status);
    return error ? error : !!(status.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}
