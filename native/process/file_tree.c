/* Copying a directory: see file_tree.h. */
#define _GNU_SOURCE
#include "file_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "operations.h"

/* Each level takes two descriptors and stack. */
enum { MAX_DEPTH = 100, COPIED_BYTES = 1 << 24 };

static int copy_entries(int source, int target, int depth);

/* The owner is set before the mode: chown(2) clears set-id bits. */
static int copy_attributes(const struct stat *of, int target) {
    CHECK(fchown(target, of->st_uid, of->st_gid));
    CHECK(fchmod(target, of->st_mode & 07777));
    return 0;
}

static int copy_whole_directory(int source, const struct stat *of, int target, int depth) {
    int directory = openat(source, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(directory);
    int error = copy_attributes(of, target);
    if (!error) error = copy_entries(directory, target, depth);
    close(directory);
    return error;
}

static int copy_subdirectory(int source, const struct stat *of, const char *name, int target, int depth) {
    if (depth == MAX_DEPTH) return -ELOOP;
    CHECK(mkdirat(target, name, 0700));
    int made = openat(target, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CHECK(made);
    int error = copy_whole_directory(source, of, made, depth + 1);
    close(made);
    return error;
}

static int copy_bytes(int source, int target) {
    ssize_t size;
    do size = sendfile(target, source, NULL, COPIED_BYTES);
    while (size > 0 || (size < 0 && errno == EINTR));
    return size < 0 ? -errno : 0;
}

static int copy_file(int source, const struct stat *of, const char *name, int target) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", source);
    int from = open(link, O_RDONLY | O_CLOEXEC);
    CHECK(from);
    int to = openat(target, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    int error = to < 0 ? -errno : copy_bytes(from, to);
    if (!error) error = copy_attributes(of, to);
    if (to >= 0) close(to);
    close(from);
    return error;
}

static int copy_link(int source, const struct stat *of, const char *name, int target) {
    char text[MAX_PATH];
    ssize_t size = readlinkat(source, "", text, sizeof text);
    CHECK(size);
    if (size == sizeof text) return -ENAMETOOLONG;
    text[size] = 0;
    CHECK(symlinkat(text, target, name));
    CHECK(fchownat(target, name, of->st_uid, of->st_gid, AT_SYMLINK_NOFOLLOW));
    return 0;
}

/* An entry is opened with O_PATH, which has no effect on a FIFO or a device. Its type is read from the descriptor, so
   it cannot be replaced in between. */
static int copy_entry(int source, const char *name, int target, int depth) {
    struct stat of;
    int entry = openat(source, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    CHECK(entry);
    int error = fstat(entry, &of) ? -errno : 0;
    if (error) {
    } else if (S_ISDIR(of.st_mode)) {
        error = copy_subdirectory(entry, &of, name, target, depth);
    } else if (S_ISREG(of.st_mode)) {
        error = copy_file(entry, &of, name, target);
    } else if (S_ISLNK(of.st_mode)) {
        error = copy_link(entry, &of, name, target);
    }
    close(entry);
    return error;
}

static int copy_entries(int source, int target, int depth) {
    _Alignas(struct dirent64) char batch[2048];
    long size;
    while ((size = syscall(SYS_getdents64, source, batch, sizeof batch)) > 0) {
        for (long at = 0; at < size;) {
            const struct dirent64 *entry = (const void *)(batch + at);
            at += entry->d_reclen;
            if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
            int error = copy_entry(source, entry->d_name, target, depth);
            if (error) return error;
        }
    }
    return size < 0 ? -errno : 0;
}

int copy_directory(int source, int target) {
    struct stat of;
    CHECK(fstat(source, &of));
    return copy_whole_directory(source, &of, target, 0);
}
