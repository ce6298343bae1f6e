/* Signals of the process, and its end with the daemon.

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

/* Set the parent-death signal. A change of credentials and a fork clear it (prctl(2)): the plan repeats this step. */
OPERATION(die_with_parent) {
    CHECK(prctl(PR_SET_PDEATHSIG, (unsigned long)NUMBER(0), 0UL, 0UL, 0UL));
    return 0;
}

/* Exit when the parent exits, or if it has exited before. Argument: slot of a pipe or socket whose other end only the
   parent has. */
OPERATION(end_with_parent) {
    struct pollfd line = {.fd = SLOT(0)}; /* poll(2) always reports POLLERR and POLLHUP */
    if (line.fd < 0) return -EBADF;
    CHECK(prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL, 0UL, 0UL, 0UL));
    CHECK(poll(&line, 1, 0));
    if (line.revents) _exit(1);
    return 0;
}

static void act(int number, void (*action)(int), int flags) {
    struct sigaction change = {.sa_handler = action, .sa_flags = flags};
    sigaction(number, &change, NULL); /* cannot fail for the signals of a plan */
}

/* Restore the default actions, before the descriptor to which the daemon's handlers write is closed. SIGPIPE is
   ignored: for a pipe without a reader a guest gets EPIPE. */
OPERATION(restore_signals) {
    static const int HANDLED[] = {SIGINT, SIGTERM, SIGUSR1, SIGCHLD};
    for (size_t i = 0; i < sizeof HANDLED / sizeof *HANDLED; i++) act(HANDLED[i], SIG_DFL, 0);
    act(SIGPIPE, SIG_IGN, 0);
    return 0;
}

/* The handler in an engine's process. Only async-signal-safe calls (signal-safety(7)). */
static void report(int number) {
    int before = errno;
    char byte = (char)number;
    (void)!write(reported_to, &byte, 1); /* fails if the daemon has ended, or if its queue is full */
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

/* Mask: bit n - 1 for signal n, here and below. */
OPERATION(block_signals) { return change_blocked(SIG_BLOCK, NUMBER(0)); }

/* Install a handler that writes each of these signals to the slot as one byte, also while an engine runs. */
OPERATION(report_signals) {
    int flags = fcntl(SLOT(1), F_GETFL);
    CHECK(flags);
    CHECK(fcntl(SLOT(1), F_SETFL, flags | O_NONBLOCK));
    reported_to = SLOT(1);
    /* SA_ONSTACK: engines run guests on separate stacks, and set an alternate stack for handlers. */
    for (int each = 1; each < NSIG; each++)
        if (is_in(NUMBER(0), each)) act(each, report, SA_ONSTACK | SA_RESTART);
    return change_blocked(SIG_UNBLOCK, NUMBER(0));
}

OPERATION(ignore_signals) {
    for (int each = 1; each < NSIG; each++)
        if (is_in(NUMBER(0), each)) act(each, SIG_IGN, 0);
    return 0;
}
