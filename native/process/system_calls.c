/* System call filters: seccomp(2). */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "operations.h"

/* Install a classic BPF program: program, flags. Needs no_new_privs, or CAP_SYS_ADMIN in the user namespace. */
OPERATION(filter_system_calls) {
    union {
        const char *bytes;
        struct sock_filter *instructions;
    } program = {TEXT(0)};
    size_t size = a[0].size / sizeof(struct sock_filter);
    if (NUMBER(1) & SECCOMP_FILTER_FLAG_NEW_LISTENER) return -EINVAL; /* returns a descriptor, which has no slot */
    if (a[0].size % sizeof(struct sock_filter) || size > BPF_MAXINSNS) return -EINVAL;
    struct sock_fprog whole = {(unsigned short)size, program.instructions};
    long done = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (unsigned)NUMBER(1), &whole);
    CHECK(done);
    return done ? -EBUSY : 0; /* SECCOMP_FILTER_FLAG_TSYNC: the id of a thread with other filters */
}
