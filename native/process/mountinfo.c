#define _GNU_SOURCE
#include "mountinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static const char ESCAPED[] = " \t\n\\"; /* fs/proc_namespace.c */

/* The bytes up to a space, which is consumed too. */
static int take_field(struct text *rest, struct text *to) {
    const char *space = memchr(rest->at, ' ', rest->size);
    if (!space) return -EBADMSG;
    *to = (struct text){rest->at, (size_t)(space - rest->at)};
    rest->size -= to->size + 1;
    rest->at = space + 1;
    return 0;
}

static int take_number(struct text *rest, int *to) {
    struct text digits;
    int64_t number = 0;
    if (take_field(rest, &digits) || !digits.size || digits.size > 10) return -EBADMSG;
    for (; digits.size; digits.at++, digits.size--) {
        if (*digits.at < '0' || *digits.at > '9') return -EBADMSG;
        number = number * 10 + (*digits.at - '0');
    }
    if (number > INT_MAX) return -EBADMSG;
    *to = (int)number;
    return 0;
}

/* 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue */
int mount_line_read(struct mount_line *to, const char *at, size_t size) {
    struct text rest = {at, size}, field;
    if (take_number(&rest, &to->number) || take_number(&rest, &to->parent) || take_field(&rest, &to->device)) return -EBADMSG;
    if (take_field(&rest, &to->root) || take_field(&rest, &to->path) || take_field(&rest, &to->options)) return -EBADMSG;
    do /* optional fields, ended by a hyphen */
        if (take_field(&rest, &field)) return -EBADMSG;
    while (field.size != 1 || *field.at != '-');
    return take_field(&rest, &to->type);
}

int mount_line_has(const struct mount_line *line, const char *option) {
    size_t size = strlen(option);
    const char *at = line->options.at, *end = at + line->options.size;
    for (const char *comma; at < end; at = comma + 1) {
        comma = memchr(at, ',', (size_t)(end - at));
        if (!comma) comma = end;
        if ((size_t)(comma - at) == size && !memcmp(at, option, size)) return 1;
    }
    return 0;
}

int mount_list_open(struct mount_list *list) {
    list->at = list->end = 0;
    list->skipping = 0;
    list->fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    return list->fd < 0 ? -errno : list->fd;
}

/* Read more bytes after the unread ones. Returns their number, 0 at the end. */
static ssize_t read_more(struct mount_list *list) {
    ssize_t got;
    list->end -= list->at;
    memmove(list->bytes, list->bytes + list->at, list->end);
    list->at = 0;
    do got = read(list->fd, list->bytes + list->end, sizeof list->bytes - list->end);
    while (got < 0 && errno == EINTR);
    if (got < 0) return -errno;
    list->end += (size_t)got;
    return got;
}

/* The bytes of the next line, if it is complete. */
static const char *line_end(const struct mount_list *list) {
    return memchr(list->bytes + list->at, '\n', list->end - list->at);
}

/* Skip the rest of a line that does not fit into the buffer. */
static int skip_line(struct mount_list *list) {
    const char *newline;
    while (!(newline = line_end(list))) {
        list->at = list->end;
        ssize_t got = read_more(list);
        if (got <= 0) return got ? (int)got : -EBADMSG;
    }
    list->at = (size_t)(newline + 1 - list->bytes);
    list->skipping = 0;
    return 0;
}

int mount_list_next(struct mount_list *list, struct mount_line *to) {
    const char *newline;
    int error = list->skipping ? skip_line(list) : 0;
    if (error) return error;
    while (!(newline = line_end(list))) {
        if (list->end - list->at == sizeof list->bytes) { /* a long line, as for an overlay with many layers */
            list->skipping = 1;
            error = mount_line_read(to, list->bytes, sizeof list->bytes);
            list->at = list->end;
            return error ? -EOVERFLOW : 1;
        }
        ssize_t got = read_more(list);
        if (got < 0) return (int)got;
        if (!got) return list->end ? -EBADMSG : 0;
    }
    const char *line = list->bytes + list->at;
    list->at = (size_t)(newline + 1 - list->bytes);
    error = mount_line_read(to, line, (size_t)(newline - line));
    return error ? error : 1;
}

int mount_path_escape(char *to, size_t room, const char *path) {
    size_t size = 0;
    for (; *path; path++) {
        unsigned char byte = (unsigned char)*path;
        int plain = !strchr(ESCAPED, byte);
        if (room - size <= (plain ? 1 : 4)) return -ENAMETOOLONG;
        if (plain) {
            to[size++] = *path;
            continue;
        }
        to[size++] = '\\';
        for (int shift = 6; shift >= 0; shift -= 3) to[size++] = (char)('0' + (byte >> shift & 7));
    }
    to[size] = 0;
    return (int)size;
}

static int is_octal(const char *at) {
    return at[0] >= '0' && at[0] <= '3' && at[1] >= '0' && at[1] <= '7' && at[2] >= '0' && at[2] <= '7';
}

int mount_path_restore(char *to, size_t room, const char *escaped) {
    size_t size = 0;
    for (; *escaped; escaped++) {
        if (room - size <= 1) return -ENAMETOOLONG;
        to[size] = *escaped;
        if (*escaped == '\\' && is_octal(escaped + 1)) {
            to[size] = (char)((escaped[1] - '0') << 6 | (escaped[2] - '0') << 3 | (escaped[3] - '0'));
            escaped += 3;
        }
        size++;
    }
    to[size] = 0;
    return (int)size;
}
