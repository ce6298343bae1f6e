/* Datagrams to the daemon and from it, over the slot `control`: as pelagos_core/launch/messages.py has them. */
#ifndef PELAGOS_MESSAGE_H
#define PELAGOS_MESSAGE_H
#include "plan.h"

enum { MAX_MESSAGE = 64 << 10, MAX_PLAN = 128 << 10, MAX_RECEIVED = 8 };

/* A plan that comes as a datagram: this head, then the plan; descriptors come along, each for one slot. */
struct plan_head {
    uint64_t flags; /* of clone(2), for the nursery */
    uint32_t count; /* of descriptors */
    int32_t slots[MAX_RECEIVED]; /* of each, or for the nursery one of these */
};

/* The control group in which a process is born (v2); the pid namespace, or the process in it, in which it is born. */
enum { BIRTH_GROUP = -1, BIRTH_NAMESPACE = -2 };

/* Send text, with a descriptor unless that is negative. 0 or -errno. */
int message_send(int control, const char *text, size_t size, int fd);
/* Send a printf'ed message of at most 512 bytes. */
int message_print(int control, int fd, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Say why the plan was not carried out: ["Stopped", number of the plan, step, errno, stage, detail]. */
void message_stopped(const struct process *process, int error);
/* Receive a plan into a buffer of MAX_PLAN bytes; its size, 0 at the end, or -errno. No descriptor is left open then. */
ssize_t message_receive(int control, struct plan_head *head, char *plan, int fds[MAX_RECEIVED]);
#endif
