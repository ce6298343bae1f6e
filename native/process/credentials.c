/* User, groups and capabilities of the process, which has one thread.

   Source: credentials(7), capabilities(7), user_namespaces(7), keyctl(2). */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "operations.h"

enum { HALVES = 2, CAPABILITIES = 64 };

/* Argument: mask of the capabilities that stay in the bounding set. Needs CAP_SETPCAP, so it precedes the others. */
OPERATION(limit_bounding_set) {
    for (unsigned long each = 0; each < CAPABILITIES; each++) {
        if ((uint64_t)NUMBER(0) >> each & 1 || !prctl(PR_CAPBSET_DROP, each, 0UL, 0UL, 0UL)) continue;
        if (errno == EINVAL) return 0; /* the kernel has neither this capability nor later ones */
        int error = -errno;
        if (prctl(PR_CAPBSET_READ, each, 0UL, 0UL, 0UL)) return error; /* else it is not in the set */
    }
    return 0;
}

/* Set or clear PR_SET_KEEPCAPS. Without it a change from root to another uid clears the permitted set. */
OPERATION(keep_capabilities) {
    CHECK(prctl(PR_SET_KEEPCAPS, (unsigned long)NUMBER(0), 0UL, 0UL, 0UL));
    return 0;
}

/* Arguments: uid, gid, supplementary groups as 32-bit numbers. */
OPERATION(set_user) {
    gid_t gid = (gid_t)NUMBER(1);
    uid_t uid = (uid_t)NUMBER(0);
    size_t groups = a[2].size / sizeof gid;
    /* In a user namespace that was created without privileges setgroups(2) is denied: no supplementary groups there. */
    if (setgroups(groups, (const void *)TEXT(2)) && (errno != EPERM || groups)) return -errno;
    CHECK(setresgid(gid, gid, gid));
    CHECK(setresuid(uid, uid, uid));
    return 0;
}

static struct __user_cap_data_struct half_of(uint64_t effective, uint64_t permitted, uint64_t inheritable, int half) {
    int shift = 32 * half;
    return (struct __user_cap_data_struct){
        (uint32_t)(effective >> shift), (uint32_t)(permitted >> shift), (uint32_t)(inheritable >> shift)};
}

/* Masks: effective, permitted, inheritable, ambient. Capabilities that the process itself lacks are left out, such as
   CAP_SYS_RESOURCE when pelagos runs in a container. */
OPERATION(set_capabilities) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[HALVES];
    CHECK(syscall(SYS_capget, &header, data));
    uint64_t own = data[0].permitted | (uint64_t)data[1].permitted << 32;
    uint64_t permitted = (uint64_t)NUMBER(1) & own, effective = (uint64_t)NUMBER(0) & permitted;
    uint64_t inheritable = (uint64_t)NUMBER(2) & own, ambient = (uint64_t)NUMBER(3) & permitted & inheritable;
    for (int half = 0; half < HALVES; half++) data[half] = half_of(effective, permitted, inheritable, half);
    CHECK(syscall(SYS_capset, &header, data));
    CHECK(prctl(PR_CAP_AMBIENT, (unsigned long)PR_CAP_AMBIENT_CLEAR_ALL, 0UL, 0UL, 0UL));
    for (unsigned long each = 0; each < CAPABILITIES; each++)
        if (ambient >> each & 1) CHECK(prctl(PR_CAP_AMBIENT, (unsigned long)PR_CAP_AMBIENT_RAISE, each, 0UL, 0UL));
    return 0;
}

/* Join a new session keyring: a fork has inherited the daemon's. */
OPERATION(new_session_keyring) {
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0) return 0;
    /* Errors are ignored, as in runc: a kernel without keys, a system call filter, or an exhausted quota. */
    return errno == ENOSYS || errno == EPERM || errno == EDQUOT ? 0 : -errno;
}

OPERATION(forbid_new_privileges) {
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL));
    return 0;
}
