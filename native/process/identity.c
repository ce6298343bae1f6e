/* Session, umask and working directory of the process. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "operations.h"

/* Create a session, so that a signal to the daemon's process group does not reach this process. */
OPERATION(new_session) {
    CHECK(setsid());
    return 0;
}

OPERATION(set_umask) {
    umask((mode_t)NUMBER(0));
    return 0;
}

/* For a directory outside the root getcwd(2) returns a text that begins with "(unreachable)". */
OPERATION(enter_working_directory) {
    char path[PATH_MAX];
    CHECK(chdir(TEXT(0)));
    CHECK(syscall(SYS_getcwd, path, sizeof path));
    return *path == '/' ? 0 : -ENOENT;
}
