/* The nursery of a pod: an engine is warm here, and each request is one clone(2). A small process, so that what its
   children share with it is little, and they begin at once. A daemon executes its own: so each pod has an address
   layout of its own, and no page of the daemon's is in a guest's process.

   Words: the identity of the library by which plans are made; the native part of a backend, the engine's library,
   settings for it, none of them for no engine. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "message.h"
#include "plan.h"

enum { REQUESTS = 3, IDENTITY = 1, PART, LIBRARY, SETTINGS, ENGINE_WORDS };
static const char FORKED = '!'; /* from a child, whose pid the kernel tells (unix(7), SCM_CREDENTIALS) */
static char plan[MAX_PLAN];
static struct process process;

static int has_one_thread(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks) return 1; /* no /proc: it cannot be told */
    for (struct dirent *each; (each = readdir(tasks));) count += each->d_name[0] != '.';
    closedir(tasks);
    return count == 1;
}

/* Load the engine. Returns it, or NULL with a line on stderr. */
static const struct pelagos_engine *warm(char **words) {
    char error[1024] = "";
    void *part = dlopen(words[PART], RTLD_NOW | RTLD_LOCAL);
    const struct pelagos_engine *engine = part ? dlsym(part, "pelagos_engine") : NULL;
    if (!engine) fprintf(stderr, "pelagos-nursery: %s\n", dlerror());
    else if (engine->version != PELAGOS_ENGINE_VERSION) fprintf(stderr, "pelagos-nursery: %s: another version\n", words[PART]);
    else if (engine->warm(words[LIBRARY], words[SETTINGS], error, sizeof error)) fprintf(stderr, "pelagos-nursery: %s: %s\n", words[LIBRARY], error);
    else if (!has_one_thread()) fprintf(stderr, "pelagos-nursery: %s: it has started a thread\n", words[LIBRARY]);
    else return engine;
    return NULL;
}

/* In the child: its descriptors to their slots, the plan, and what went wrong if it comes back. */
static void become(const struct plan_head *head, const int *fds, size_t size) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    /* Of itself, so that it is not lost with a nursery that is lost in this moment. */
    if (send(REQUESTS, &FORKED, 1, MSG_NOSIGNAL) != 1) _exit(1);
    close(REQUESTS); /* with a copy of it the daemon would not see the end of the nursery */
    for (uint32_t i = 0; i < head->count; i++)
        if (head->slots[i] >= 0) process.slot[head->slots[i]] = fds[i];
    int error = plan_execute(&process, plan, size);
    if (!error) _exit(process.exit_code);
    message_stopped(&process, -error);
    _exit(1);
}

/* No wrapper of the C library: it is a child of our parent, which reaps it. Where it cannot be born in the control
   group, it joins that as any process, or has the better error from there. clone3(2) takes no signal of a sibling's end:
   it is that of ours, SIGCHLD. */
static int clone_sibling(uint64_t flags, int cgroup) {
    struct clone_args args = {.flags = flags | CLONE_PARENT};
    if (cgroup >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup;
        long pid = syscall(SYS_clone3, &args, sizeof args);
        if (pid >= 0) return (int)pid;
    }
    long pid = syscall(SYS_clone, flags | CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
    return pid < 0 ? -errno : (int)pid;
}

/* The same in a pid namespace that there is: that of a descriptor, or of the process that it stands for (setns(2)).
   The child is among foreign processes, which could read its memory once its capabilities are no more than theirs (as in
   CVE-2016-9962). ptrace(2): not if it cannot be dumped, which execve(2) undoes. It is born so. */
static int clone_beside(uint64_t flags, int cgroup, int namespace) {
    static int own = -1;
    if (own < 0) own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    if (own < 0 || setns(namespace, CLONE_NEWPID)) return -errno;
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    int pid = clone_sibling(flags, cgroup);
    if (pid == 0) return 0;
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    if (setns(own, CLONE_NEWPID)) _exit(1); /* else later children would be born there */
    return pid;
}

static int descriptor_for(const struct plan_head *head, const int *fds, int use) {
    for (uint32_t i = 0; i < head->count; i++)
        if (head->slots[i] == use) return fds[i];
    return -1;
}

static int serve_one(void) {
    static struct plan_head head;
    int fds[MAX_RECEIVED];
    ssize_t size = message_receive(REQUESTS, &head, plan, fds);
    if (size == 0) return 0;
    int pid = size < 0 ? (int)size : -EINVAL;
    /* With another flag of clone(2), such as CLONE_VM, both processes would be on one stack. */
    if (size > 0 && !(head.flags & ~(uint64_t)CLONE_NEWPID)) {
        int cgroup = descriptor_for(&head, fds, BIRTH_GROUP), namespace = descriptor_for(&head, fds, BIRTH_NAMESPACE);
        pid = namespace < 0 ? clone_sibling(head.flags, cgroup) : clone_beside(head.flags, cgroup, namespace);
    }
    if (pid == 0) become(&head, fds, (size_t)size);
    for (uint32_t i = 0; size > 0 && i < head.count; i++) close(fds[i]);
    /* The child may not come to send anything: in the pid namespace of a container that ends it is killed at once. */
    return send(REQUESTS, &pid, sizeof pid, MSG_NOSIGNAL) == sizeof pid;
}

/* Whether the daemon's library was compiled together with this program. A daemon outlives an upgrade, and to another
   table of operations its plans would be other ones. */
static int is_of_our_build(const char *identity) {
    char own[65];
    plan_identity(own);
    if (!strcmp(identity, own)) return 1;
    fprintf(stderr, "pelagos-nursery: it is of another build than the daemon's library\n");
    return 0;
}

int main(int argc, char **argv) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    prctl(PR_SET_NAME, "pelagos-nursery", 0, 0, 0);
    syscall(SYS_close_range, REQUESTS + 1, ~0U, 0); /* what a daemon may have left open in an execve(2) */
    if (argc <= IDENTITY || !is_of_our_build(argv[IDENTITY])) return 1;
    plan_reset(&process);
    process.guest.memory = process.guest.fuel = process.guest.module = -1;
    if (argc >= ENGINE_WORDS && !(process.engine = warm(argv))) return 1;
    while (serve_one()) {}
    return 0;
}
