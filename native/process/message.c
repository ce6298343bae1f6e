#define _GNU_SOURCE
#include "message.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

int message_send(int control, const char *text, size_t size, int fd) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } along = {.space = {0}};
    struct iovec part = {(void *)(uintptr_t)text, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = &along;
        message.msg_controllen = sizeof along.space;
        along.header = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&along.header), &fd, sizeof fd);
    }
    ssize_t sent;
    do sent = sendmsg(control, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

int message_print(int control, int fd, const char *format, ...) {
    char text[512];
    va_list words;
    va_start(words, format);
    int size = vsnprintf(text, sizeof text, format, words);
    va_end(words);
    return size < 0 || (size_t)size >= sizeof text ? -EMSGSIZE : message_send(control, text, (size_t)size, fd);
}

/* Escape a text for JSON, without quotes. Python replaces bytes that are not UTF-8. */
static size_t escape(char *to, size_t room, const char *text) {
    size_t used = 0;
    for (; *text && used + 7 < room; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < ' ' || byte == '"' || byte == '\\') used += (size_t)snprintf(to + used, 7, "\\u%04x", byte);
        else to[used++] = *text;
    }
    to[used] = 0;
    return used;
}

void message_stopped(const struct process *process, int error) {
    char text[MAX_DETAIL * 6 + 128], detail[MAX_DETAIL * 6];
    escape(detail, sizeof detail, process->detail);
    int size = snprintf(text, sizeof text, "[\"Stopped\",%u,%u,%d,%d,\"%s\"]", process->plan, process->step, error,
                        process->stage, detail);
    if (size > 0) message_send(process->slot[SLOT_control], text, (size_t)size, -1);
}

/* CMSG_SPACE rounds up to 8 bytes (cmsg(3)): with an odd number, one more descriptor than expected would fit. */
_Static_assert(MAX_RECEIVED % 2 == 0, "an odd number of descriptors");

static int take_descriptors(struct msghdr *message, int fds[MAX_RECEIVED]) {
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return 0;
    int count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(fds, CMSG_DATA(header), (size_t)count * sizeof(int));
    return count;
}

ssize_t message_receive(int control, struct plan_head *head, char *plan, int fds[MAX_RECEIVED]) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(MAX_RECEIVED * sizeof(int))];
    } along;
    struct iovec parts[] = {{head, sizeof *head}, {plan, MAX_PLAN}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2, .msg_control = &along, .msg_controllen = sizeof along};
    ssize_t size;
    do size = recvmsg(control, &message, MSG_CMSG_CLOEXEC);
    while (size < 0 && errno == EINTR);
    if (size <= 0) return size ? -errno : 0;
    int count = take_descriptors(&message, fds);
    int whole = !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && (size_t)size >= sizeof *head;
    if (whole && head->count == (uint32_t)count) {
        int known = 1;
        for (int i = 0; i < count; i++) known &= head->slots[i] >= CLONE_IN_NAMESPACE && head->slots[i] < MAX_SLOTS;
        if (known) return size - (ssize_t)sizeof *head;
    }
    while (count) close(fds[--count]);
    return -EBADMSG;
}
