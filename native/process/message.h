/* Datagrams to and from the daemon over the slot `control`, see pelagos_core/launch/messages.py. */
#ifndef PELAGOS_MESSAGE_H
#define PELAGOS_MESSAGE_H
#include "plan.h"

enum { MAX_MESSAGE = 64 << 10, MAX_PLAN = 128 << 10, MAX_RECEIVED = 8 };

/* The header of a plan's datagram; the plan follows. The datagram carries descriptors, each for one slot. */
struct plan_head {
    uint64_t flags; /* of clone(2), for the nursery */
    uint32_t count; /* of descriptors */
    int32_t slots[MAX_RECEIVED]; /* of each descriptor; for the nursery also one of the values below */
};

/* For the nursery: the control group (v2) and the pid namespace (or a pidfd in it) of the process to clone. */
enum { CLONE_IN_GROUP = -1, CLONE_IN_NAMESPACE = -2 };

/* Send a text, with a descriptor unless that is negative. Returns 0 or -errno. */
int message_send(int control, const char *text, size_t size, int fd);
/* Send a printf'ed message of at most 512 bytes. */
int message_print(int control, int fd, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Send the failure of a plan: ["Stopped", index of the part, step, errno, stage, detail]. */
void message_stopped(const struct process *process, int error);
/* Receive a plan into a buffer of MAX_PLAN bytes. Returns its size, 0 at the end, or -errno with all received
   descriptors closed. */
ssize_t message_receive(int control, struct plan_head *head, char *plan, int fds[MAX_RECEIVED]);
#endif
