/* Terminals: a pseudo-terminal of the container's devpts, and the controlling terminal of the process.

   Source: ioctl_tty(2), pts(4), credentials(7). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "mount_calls.h"
#include "operations.h"
#include "resolve.h"

static const char MULTIPLEXER[] = "/dev/pts/ptmx";

/* -ENOTTY for any other file. The type is checked on an O_PATH descriptor first: an image may have any file there. */
static int open_multiplexer(struct process *p) {
    char link[40];
    struct stat status;
    int found = open_in_root(p, MULTIPLEXER, O_PATH);
    if (found < 0) return found;
    int master = -ENOTTY;
    if (!fstat(found, &status) && S_ISCHR(status.st_mode) && status.st_rdev == makedev(5, 2)) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", found);
        master = open(link, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (master < 0) master = -errno;
    }
    close(found);
    return master;
}

/* Opened by the master (TIOCGPTPEER): a path could lead to another file. */
static int open_slave(int master, uid_t uid) {
    int unlocked = 0;
    CHECK(ioctl(master, TIOCSPTLCK, &unlocked));
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(slave);
    if (!fchown(slave, uid, (gid_t)-1)) return slave;
    int error = -errno;
    close(slave);
    return error;
}

static int show(struct process *p, int file, const char *path) {
    int tree = clone_mount(file, "", 0);
    if (tree < 0) return tree;
    int target = make_file(p, path);
    int error = target;
    if (target >= 0) {
        AT(attach);
        error = attach_mount(tree, target);
        close(target);
    }
    close(tree);
    return error;
}

static int use(struct process *p, int slave, const struct argument *a) {
    for (int stream = 0; stream < 3; stream++) CHECK(dup3(slave, SLOT(2 + stream), O_CLOEXEC));
    return *TEXT(5) ? show(p, slave, TEXT(5)) : 0;
}

/* Use a terminal of the container's devpts as all streams, if there is a devpts: owner, slot of the master, slots of
   the streams, path to bind it on, or empty. */
OPERATION(use_own_terminal) {
    int master = open_multiplexer(p);
    int slave = master < 0 ? master : open_slave(master, (uid_t)NUMBER(0));
    if (slave < 0) {
        if (master >= 0) close(master);
        return 0;
    }
    SLOT(1) = master;
    int error = use(p, slave, a);
    close(slave);
    return error;
}

/* Make the terminal of a slot the controlling terminal. The process must be a session leader. */
OPERATION(take_terminal) {
    CHECK(ioctl(SLOT(0), TIOCSCTTY, 0));
    return 0;
}

/* Release the controlling terminal: when a session leader with a terminal ends, the kernel hangs the terminal up, and
   unread output is lost. By standard output, since a policy may have replaced the input. Errors are ignored: the
   terminal may be hung up already. */
OPERATION(leave_terminal) {
    ioctl(STDOUT_FILENO, TIOCNOTTY);
    return 0;
}
