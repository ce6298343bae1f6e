/* The process among others: its session, its umask, its working directory. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "operations.h"

/* A signal to the daemon's process group is not one to this process. */
OPERATION(new_session) {
    CHECK(setsid());
    return 0;
}

OPERATION(set_umask) {
    umask((mode_t)NUMBER(0));
    return 0;
}

/* Of a directory outside the root the kernel says so in place of a path: "(unreachable)". */
OPERATION(enter_working_directory) {
    char path[PATH_MAX];
    CHECK(chdir(TEXT(0)));
    CHECK(syscall(SYS_getcwd, path, sizeof path));
    return *path == '/' ? 0 : -ENOENT;
}
