/* Descriptors: those in slots, the standard streams, and inherited ones. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <paths.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "operations.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
enum { STREAMS = 3 };

static int close_range_of(unsigned first, unsigned last) {
    CHECK(syscall(SYS_close_range, first, last, 0U));
    return 0;
}

OPERATION(close_slot) {
    int fd = SLOT(0);
    SLOT(0) = -1;
    CHECK(close(fd));
    return 0;
}

/* Duplicate to a number that is at least this one. The old descriptor stays open. */
OPERATION(lift_slot) {
    int fd = fcntl(SLOT(0), F_DUPFD_CLOEXEC, (int)NUMBER(1));
    CHECK(fd);
    SLOT(0) = fd;
    return 0;
}

/* Duplicate to this number, which is overwritten. The old descriptor stays open. */
OPERATION(place_slot) {
    CHECK(dup3(SLOT(0), (int)NUMBER(1), O_CLOEXEC));
    SLOT(0) = (int)NUMBER(1);
    return 0;
}

/* Close all descriptors from this number on. A fork inherits all descriptors of the daemon, including other containers'
   streams: O_CLOEXEC has an effect in execve(2) only. */
OPERATION(close_from) { return close_range_of((unsigned)NUMBER(0), ~0U); }

/* The lowest of some slots' descriptors that is at least `first`; -1 if there is none. */
static int next_kept(const struct process *p, const struct argument *a, uint32_t count, int first) {
    int found = -1;
    for (uint32_t i = 0; i < count; i++)
        if (SLOT(i) >= first && (found < 0 || SLOT(i) < found)) found = SLOT(i);
    return found;
}

/* Close all descriptors but the standard streams and those in these slots. */
OPERATION(keep_slots) {
    int first = STREAMS, error = 0, kept;
    for (uint32_t i = 0; i < count; i++)
        if (SLOT(i) < 0) return -EBADF;
    while (!error && (kept = next_kept(p, a, count, first)) >= 0) {
        if (kept > first) error = close_range_of((unsigned)first, (unsigned)kept - 1);
        first = kept + 1;
    }
    return error ? error : close_range_of((unsigned)first, ~0U);
}

/* Replace the standard streams by /dev/null. */
OPERATION(cut_streams) {
    int nothing = open(_PATH_DEVNULL, O_RDWR | O_CLOEXEC), error = 0;
    CHECK(nothing);
    for (int stream = 0; !error && stream < STREAMS; stream++)
        if (dup2(nothing, stream) < 0) error = -errno;
    if (nothing >= STREAMS) close(nothing);
    return error;
}

/* Replace the descriptor of a slot by an empty input, under the same number. */
OPERATION(read_nothing) {
    int nothing = open(_PATH_DEVNULL, O_RDONLY | O_CLOEXEC);
    CHECK(nothing);
    int error = dup3(nothing, SLOT(0), O_CLOEXEC) < 0 ? -errno : 0;
    close(nothing);
    return error;
}

/* Change the owner of a stream, so that the user can open it by its path in /proc. Devices keep the host's owner.
   Errors are ignored: in a user namespace the change may not be permitted. */
OPERATION(give_slot) {
    struct stat found;
    CHECK(fstat(SLOT(0), &found));
    if (!S_ISCHR(found.st_mode)) (void)!fchown(SLOT(0), (uid_t)NUMBER(1), (gid_t)-1);
    return 0;
}

/* Move a slot's descriptor to the number of a standard stream. */
OPERATION(use_slot) {
    int fd = SLOT(0);
    CHECK(dup2(fd, (int)NUMBER(1)));
    SLOT(0) = -1;
    if (fd != NUMBER(1)) close(fd);
    return 0;
}
