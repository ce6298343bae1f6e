/* The daemon's part in a plan: the rest of it, once the daemon knows the entry point, and the go-ahead. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "message.h"
#include "operations.h"

enum { MAX_PARTS = 2 }; /* of a native program, between which its user is looked up; a guest has one */

/* Wait for the rest of the plan, and carry it out. Without a daemon there is nothing to go on for. Each part stays where
   it is: words of it are used later, and the one that waits for it has not come to its end. */
OPERATION(go_on) {
    static char plans[MAX_PARTS][MAX_PLAN];
    static struct plan_head head;
    int fds[MAX_RECEIVED];
    if (p->plan == MAX_PARTS) return -E2BIG;
    char *plan = plans[p->plan];
    ssize_t size = message_receive(p->slot[SLOT_control], &head, plan, fds);
    if (size == 0) _exit(1);
    if (size < 0) return (int)size;
    for (uint32_t i = 0; i < head.count; i++)
        if (head.slots[i] >= 0) p->slot[head.slots[i]] = fds[i];
        else close(fds[i]);
    p->plan++;
    return plan_execute(p, plan, (size_t)size);
}

/* Say that all is ready, and wait for Start. The end of the daemon is the end of this process too. */
OPERATION(wait_for_start) {
    char go[4];
    int error = message_print(p->slot[SLOT_control], -1, "[\"Ready\"]");
    if (error) return error;
    /* It does not block where a terminal's signals are written to it. */
    struct pollfd control = {.fd = p->slot[SLOT_control], .events = POLLIN};
    ssize_t size;
    do size = poll(&control, 1, -1) < 0 ? -1 : read(control.fd, go, sizeof go);
    while (size < 0 && (errno == EINTR || errno == EAGAIN));
    if (size != 2 || memcmp(go, "go", 2)) _exit(1);
    return 0;
}

/* Send what is in a slot along with a message, if there is anything; the slot is empty then. */
OPERATION(hand_over) {
    int fd = SLOT(0);
    if (fd < 0) return 0;
    int error = message_send(p->slot[SLOT_control], TEXT(1), strlen(TEXT(1)), fd);
    SLOT(0) = -1;
    close(fd);
    return error;
}
