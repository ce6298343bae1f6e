/* What the process is: session, user, privileges, limits, labels, system calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "operations.h"

/* The kernel forgets it when credentials change, and in a fork (prctl(2)): a plan says it again then. */
OPERATION(die_with_parent) {
    CHECK(prctl(PR_SET_PDEATHSIG, NUMBER(0), 0, 0, 0));
    return 0;
}

/* A signal to the daemon's process group is not one to this process. */
OPERATION(new_session) {
    CHECK(setsid());
    return 0;
}

OPERATION(set_umask) {
    umask((mode_t)NUMBER(0));
    return 0;
}

OPERATION(forbid_new_privileges) {
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    return 0;
}
