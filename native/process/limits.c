/* Resource limits, OOM score, scheduling and personality.

   Source: prlimit(2), sched_setattr(2), ioprio_set(2), personality(2), proc(5). */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files.h"
#include "operations.h"

enum { OF_PROCESS = 1 }; /* ioprio_set(2): IOPRIO_WHO_PROCESS */

/* Arguments: score, whether a failure is an error. A lower score than the present one needs CAP_SYS_RESOURCE on the
   host (proc(5)). EACCES and EPERM are ignored: else no process could run without the capability, as in a container. */
OPERATION(set_oom_score) {
    char text[24];
    int size = snprintf(text, sizeof text, "%d", (int)NUMBER(0));
    int error = write_file("/proc/self/oom_score_adj", text, (size_t)size);
    return !NUMBER(1) || error == -EACCES || error == -EPERM ? 0 : error;
}

/* Arguments: resource, soft limit, hard limit; -1 for no limit. */
OPERATION(set_rlimit) {
    struct rlimit64 limit = {(rlim64_t)NUMBER(1), (rlim64_t)NUMBER(2)};
    CHECK(syscall(SYS_prlimit64, 0, (unsigned)NUMBER(0), &limit, NULL));
    return 0;
}

/* Raise a hard limit to at least this value, which only the host's root may do. The soft limit is unchanged. */
OPERATION(allow_rlimit) {
    struct rlimit64 limit;
    CHECK(syscall(SYS_prlimit64, 0, (unsigned)NUMBER(0), NULL, &limit));
    if ((rlim64_t)NUMBER(1) <= limit.rlim_max) return 0;
    limit.rlim_max = (rlim64_t)NUMBER(1);
    CHECK(syscall(SYS_prlimit64, 0, (unsigned)NUMBER(0), &limit, NULL));
    return 0;
}

/* Arguments: policy, flags, nice, priority; runtime, deadline and period in nanoseconds. */
OPERATION(set_scheduler) {
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {
        sizeof attributes, (uint32_t)NUMBER(0), (uint64_t)NUMBER(1), (int32_t)NUMBER(2), (uint32_t)NUMBER(3),
        (uint64_t)NUMBER(4), (uint64_t)NUMBER(5), (uint64_t)NUMBER(6),
    };
    CHECK(syscall(SYS_sched_setattr, 0, &attributes, 0U));
    return 0;
}

OPERATION(set_io_priority) {
    CHECK(syscall(SYS_ioprio_set, OF_PROCESS, 0, (int)NUMBER(0)));
    return 0;
}

OPERATION(set_personality) {
    CHECK(personality((unsigned long)NUMBER(0)));
    return 0;
}
