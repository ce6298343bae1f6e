/* The mounts of the calling process' namespace, as the kernel lists them (proc(5), /proc/PID/mountinfo). */
#ifndef PELAGOS_MOUNTINFO_H
#define PELAGOS_MOUNTINFO_H
#include <stddef.h>

/* Bytes that lie in the list's own memory until its next line is read. There is no NUL behind them. */
struct text {
    const char *at;
    size_t size;
};

/* One mount. The texts are as the kernel writes them: a space, a tab, a line's end and a backslash as \ooo. */
struct mount_line {
    int number, parent; /* its own number, and that of the mount that it is on */
    struct text device; /* of its file system */
    struct text root;   /* which part of that is shown */
    struct text path;   /* where */
    struct text options, type;
};

enum { MAX_MOUNT_LINE = 1 << 16 };

struct mount_list {
    int fd, passing; /* passing: the rest of a line is still to come, and to be passed over */
    size_t at, end;  /* what of `bytes` has been read and not been looked at */
    char bytes[MAX_MOUNT_LINE];
};

/* Returns a descriptor. What it shows is the namespace of the moment: it is opened anew for each look. */
int mount_list_open(struct mount_list *list);
/* The next mount: 1; 0: there is none; -EBADMSG: it is no such list. Of a line that does not fit, the rest is passed
   over; if its type is in there, -EOVERFLOW. */
int mount_list_next(struct mount_list *list, struct mount_line *to);
/* Read one line, which has no line's end. Returns 0 or -EBADMSG. */
int mount_line_read(struct mount_line *to, const char *at, size_t size);
/* Whether `option` is one of them. */
int mount_line_has(const struct mount_line *line, const char *option);

/* The kernel's form of a path, and back. Returns the size of what is written, which ends in a NUL, or -ENAMETOOLONG. */
int mount_path_escape(char *to, size_t room, const char *path);
int mount_path_restore(char *to, size_t room, const char *escaped);
#endif
