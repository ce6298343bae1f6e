/* Signals of the process, and its end.

   Source: signal(7), sigaction(2), prctl(2). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "operations.h"

static volatile sig_atomic_t reported_to = -1;

/* The kernel forgets it when credentials change, and in a fork (prctl(2)): a plan says it again then. */
OPERATION(die_with_parent) {
    CHECK(prctl(PR_SET_PDEATHSIG, (unsigned long)NUMBER(0), 0UL, 0UL, 0UL));
    return 0;
}

/* End when the parent ends, also if it has ended before this. The slot: a pipe or socket whose other end only the parent
   has. */
OPERATION(end_with_parent) {
    struct pollfd line = {.fd = SLOT(0)}; /* POLLERR and POLLHUP come unasked */
    if (line.fd < 0) return -EBADF;
    CHECK(prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL, 0UL, 0UL, 0UL));
    CHECK(poll(&line, 1, 0));
    if (line.revents) _exit(1);
    return 0;
}

static void act(int number, void (*action)(int), int flags) {
    struct sigaction change = {.sa_handler = action, .sa_flags = flags};
    sigaction(number, &change, NULL); /* fails for no signal that a plan names */
}

/* Undo the daemon's handlers, before the descriptor that they write to is closed. A guest that writes to a pipe which
   nobody reads gets an error, and does not end. */
OPERATION(restore_signals) {
    static const int HANDLED[] = {SIGINT, SIGTERM, SIGUSR1, SIGCHLD};
    for (size_t i = 0; i < sizeof HANDLED / sizeof *HANDLED; i++) act(HANDLED[i], SIG_DFL, 0);
    act(SIGPIPE, SIG_IGN, 0);
    return 0;
}

/* In the handler of an engine's process: it may have interrupted anything. */
static void report(int number) {
    int before = errno;
    char byte = (char)number;
    (void)!write(reported_to, &byte, 1); /* a daemon that does not read has ended, or has so many of them already */
    errno = before;
}

static int is_in(int64_t mask, int number) { return (int)((uint64_t)mask >> (number - 1) & 1); }

static int change_blocked(int how, int64_t mask) {
    sigset_t set;
    sigemptyset(&set);
    for (int each = 1; each < NSIG; each++)
        if (is_in(mask, each)) sigaddset(&set, each);
    CHECK(sigprocmask(how, &set, NULL));
    return 0;
}

/* The mask has bit n - 1 for the signal n, here and below. */
OPERATION(block_signals) { return change_blocked(SIG_BLOCK, NUMBER(0)); }

/* Have each of these signals written to the slot, as one byte: also while an engine runs, and no interpreter does. */
OPERATION(report_signals) {
    int flags = fcntl(SLOT(1), F_GETFL);
    CHECK(flags);
    CHECK(fcntl(SLOT(1), F_SETFL, flags | O_NONBLOCK));
    reported_to = SLOT(1);
    /* Engines run guests on stacks of their own, and have one for handlers. */
    for (int each = 1; each < NSIG; each++)
        if (is_in(NUMBER(0), each)) act(each, report, SA_ONSTACK | SA_RESTART);
    return change_blocked(SIG_UNBLOCK, NUMBER(0));
}

OPERATION(ignore_signals) {
    for (int each = 1; each < NSIG; each++)
        if (is_in(NUMBER(0), each)) act(each, SIG_IGN, 0);
    return 0;
}
