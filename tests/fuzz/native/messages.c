/* Plans that come as datagrams, as native/process/message.c receives them: taken whole with their descriptors, or refused,
   and then none of these is open any more.

   messages SEED ROUNDS SECONDS      whichever ends first; 0 for without */
#define _GNU_SOURCE
#include "message.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "any.h"
#include "rounds.h"

enum { MOST = 20 }; /* descriptors that are sent at once */

struct sent {
    struct plan_head head;
    size_t size; /* of the datagram; less than a head if not all of that is sent */
    uint32_t count;
};

static char plan[MAX_PLAN + 64];

static int is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static int open_count(void) {
    int count = 0;
    for (int fd = 0; fd < 128; fd++) count += is_open(fd);
    return count;
}

/* A whole message of some plan most of the time. */
static struct sent any_message(void) {
    struct sent made = {.count = rarely(2) ? any(MAX_RECEIVED + 1) : rarely(4) ? any(MOST + 1) : 0};
    made.head.count = rarely(8) ? (uint32_t)any_number() : made.count;
    made.head.flags = any_number();
    for (uint32_t i = 0; i < MAX_RECEIVED; i++) {
        made.head.slots[i] = (int32_t)any(MAX_SLOTS + 2) - 2;
        if (rarely(40)) made.head.slots[i] = rarely(2) ? (int32_t)any_number() : MAX_SLOTS - 2 + (int32_t)any(4);
    }
    size_t most = sizeof made.head + sizeof plan;
    made.size = rarely(8) ? any((uint32_t)sizeof made.head + 2) : rarely(8) ? most - any(128) : sizeof made.head + any(4000);
    return made;
}

static int is_whole(const struct sent *sent) {
    if (sent->size < sizeof sent->head || sent->size - sizeof sent->head > MAX_PLAN || sent->count > MAX_RECEIVED) return 0;
    for (uint32_t i = 0; i < sent->count; i++)
        if (sent->head.slots[i] < CLONE_IN_NAMESPACE || sent->head.slots[i] >= MAX_SLOTS) return 0;
    return sent->head.count == sent->count;
}

static int send_message(int to, const struct sent *sent, int fd) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(MOST * sizeof(int))];
    } along = {.space = {0}};
    size_t head = sent->size < sizeof sent->head ? sent->size : sizeof sent->head;
    struct iovec parts[] = {{(void *)(uintptr_t)&sent->head, head}, {plan, sent->size - head}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    along.header = (struct cmsghdr){CMSG_LEN(sent->count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    for (uint32_t i = 0; i < sent->count; i++) memcpy(CMSG_DATA(&along.header) + i * sizeof fd, &fd, sizeof fd);
    if (sent->count) message.msg_control = &along, message.msg_controllen = CMSG_SPACE(sent->count * sizeof(int));
    return sendmsg(to, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sent->size;
}

/* What is received goes into memory of its own size, of which the sanitizer knows the end. */
static void receive(int from, const struct sent *sent) {
    struct plan_head *head = malloc(sizeof *head);
    char *received = malloc(MAX_PLAN);
    int *fds = malloc(MAX_RECEIVED * sizeof *fds), before = open_count();
    ssize_t size = message_receive(from, head, received, fds);
    int taken = open_count() - before;
    if (!sent->size) { /* as at the end of the connection */
        if (size) abort();
    } else if (!is_whole(sent)) {
        if (size != -EBADMSG || taken) abort();
    } else {
        if (size != (ssize_t)(sent->size - sizeof *head) || taken != (int)sent->count) abort();
        if (memcmp(head, &sent->head, sizeof *head) || memcmp(received, plan, (size_t)size)) abort();
        for (uint32_t i = 0; i < sent->count; i++)
            if (fcntl(fds[i], F_GETFD) != FD_CLOEXEC || close(fds[i])) abort();
    }
    free(fds);
    free(received);
    free(head);
}

static void play(void) {
    static int pair[2] = {-1, -1}, nothing = -1;
    if (nothing < 0 && (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ||
                        (nothing = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0))
        abort();
    struct sent sent = any_message();
    if (!sent.size) sent.count = 0; /* the kernel sends no descriptors with nothing */
    for (size_t i = 0; i < sizeof plan; i += 1 + any(500)) plan[i] = (char)any(256);
    if (!send_message(pair[0], &sent, nothing)) abort();
    receive(pair[1], &sent);
}

int main(int count, char **words) { return play_rounds(count, words, play); }
