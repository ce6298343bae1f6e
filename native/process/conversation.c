/* Messages from the daemon during a plan: its next part, and GO. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "message.h"
#include "operations.h"

enum { MAX_PARTS = 2 }; /* after the first: two for a native program whose HOME is looked up in between */

/* Receive the next part of the plan and execute it. Exit if the daemon has ended. Each part stays in memory: later
   steps use its texts, and the part with this step is still being executed. */
OPERATION(receive_plan) {
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

/* Send Ready and wait for Start. Exit if the daemon has ended. */
OPERATION(wait_for_start) {
    char go[4];
    int error = message_print(p->slot[SLOT_control], -1, "[\"Ready\"]");
    if (error) return error;
    /* `report_signals` has set O_NONBLOCK on the socket of a process with a terminal. */
    struct pollfd control = {.fd = p->slot[SLOT_control], .events = POLLIN};
    ssize_t size;
    do size = poll(&control, 1, -1) < 0 ? -1 : read(control.fd, go, sizeof go);
    while (size < 0 && (errno == EINTR || errno == EAGAIN));
    if (size != 2 || memcmp(go, "go", 2)) _exit(1);
    return 0;
}

/* Send a message with the descriptor of a slot, unless the slot is empty. Empties the slot. */
OPERATION(hand_over) {
    int fd = SLOT(0);
    if (fd < 0) return 0;
    int error = message_send(p->slot[SLOT_control], TEXT(1), strlen(TEXT(1)), fd);
    SLOT(0) = -1;
    close(fd);
    return error;
}
