/* The list of mounts of the calling process' namespace (proc(5), /proc/PID/mountinfo). */
#ifndef PELAGOS_MOUNTINFO_H
#define PELAGOS_MOUNTINFO_H
#include <stddef.h>

/* Bytes in the list's buffer, valid until the next line is read. Without a NUL. */
struct text {
    const char *at;
    size_t size;
};

/* One mount. Texts are in the kernel's encoding: space, tab, newline and backslash as \ooo. */
struct mount_line {
    int number, parent; /* its id, and that of its parent */
    struct text device; /* of its file system */
    struct text root;   /* the mounted part of the file system */
    struct text path;   /* the mount point */
    struct text options, type;
};

enum { MAX_MOUNT_LINE = 1 << 16 };

struct mount_list {
    int fd, skipping; /* skipping: whether the rest of a long line must be skipped */
    size_t at, end;   /* the part of `bytes` that is read and not parsed yet */
    char bytes[MAX_MOUNT_LINE];
};

/* Returns a descriptor or -errno. The list belongs to the mount namespace at the time of open(2). */
int mount_list_open(struct mount_list *list);
/* Parse the next mount. Returns 1; 0 at the end; -EBADMSG for a malformed list. The rest of a line that does not fit is
   skipped; -EOVERFLOW if the type is in that part. */
int mount_list_next(struct mount_list *list, struct mount_line *to);
/* Parse one line without its newline. Returns 0 or -EBADMSG. */
int mount_line_read(struct mount_line *to, const char *at, size_t size);
/* Whether `option` is one of the mount options. */
int mount_line_has(const struct mount_line *line, const char *option);

/* Encode and decode a path as the kernel does. Returns the size of the result, without its NUL, or -ENAMETOOLONG. */
int mount_path_escape(char *to, size_t room, const char *path);
int mount_path_restore(char *to, size_t room, const char *escaped);
#endif
