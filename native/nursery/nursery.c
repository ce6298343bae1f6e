/* The nursery of a pod: a process with a loaded engine that serves each request by one clone(2). It is small, so that a
   fork copies little and is fast. Each daemon executes its own nursery, so that pods do not share an address layout and
   a guest's process has no pages of the daemon.

   Arguments: the identity of the library that encodes plans; then, unless it loads no engine, the native part of a
   backend, the engine's library, and settings for the native part. */
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
#include "name_sources.h"
#include "plan.h"

enum { REQUESTS = 3, IDENTITY = 1, PART, LIBRARY, SETTINGS, ENGINE_WORDS };
static const char FORKED = '!'; /* sent by a child; the receiver gets its pid by SCM_CREDENTIALS (unix(7)) */
static char plan[MAX_PLAN];
static struct process process;

static int has_one_thread(void) {
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks) return 1; /* no /proc: unknown */
    for (struct dirent *each; (each = readdir(tasks));) count += each->d_name[0] != '.';
    closedir(tasks);
    return count == 1;
}

/* Load the engine. Returns NULL with a line on stderr on failure. */
static const struct pelagos_engine *warm(char **words) {
    char error[1024] = "";
    void *part = dlopen(words[PART], RTLD_NOW | RTLD_LOCAL);
    const struct pelagos_engine *engine = part ? dlsym(part, "pelagos_engine") : NULL;
    if (!engine) fprintf(stderr, "pelagos-nursery: %s\n", dlerror());
    else if (engine->version != PELAGOS_ENGINE_VERSION) fprintf(stderr, "pelagos-nursery: %s: another version\n", words[PART]);
    else if (engine->warm(words[LIBRARY], words[SETTINGS], error, sizeof error)) fprintf(stderr, "pelagos-nursery: %s: %s\n", words[LIBRARY], error);
    else if (!has_one_thread()) fprintf(stderr, "pelagos-nursery: %s: it has started a thread\n", words[LIBRARY]);
    else return name_sources_fix(), engine; /* a step of the plan repeats it, fast then, and checks the result */
    return NULL;
}

/* In the child: fill the slots, execute the plan; if it returns, send the failure. */
static void run_child(const struct plan_head *head, const int *fds, size_t size) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    /* The child sends its pid itself, so that the daemon gets it even if the nursery is killed now. */
    if (send(REQUESTS, &FORKED, 1, MSG_NOSIGNAL) != 1) _exit(1);
    close(REQUESTS); /* else the daemon would not read end of file when the nursery ends */
    for (uint32_t i = 0; i < head->count; i++)
        if (head->slots[i] >= 0) process.slot[head->slots[i]] = fds[i];
    int error = plan_execute(&process, plan, size);
    if (!error) _exit(process.exit_code);
    message_stopped(&process, -error);
    _exit(1);
}

/* Clone a child of the daemon (CLONE_PARENT), which reaps it. By syscall(2), since the C library has no fork with this
   flag. If the kernel refuses CLONE_INTO_CGROUP, the child joins the group in a later step, which reports a better
   error. clone3(2) accepts no exit signal with CLONE_PARENT: the child's is that of the nursery, SIGCHLD. */
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

/* The same in an existing pid namespace, by its descriptor or by a pidfd of a process in it (setns(2)). Other processes
   of that namespace could read the child's memory when its capabilities are no more than theirs (as in CVE-2016-9962).
   So the child is not dumpable, and ptrace(2) refuses access, until execve(2) resets it. */
static int clone_beside(uint64_t flags, int cgroup, int namespace) {
    static int own = -1;
    if (own < 0) own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    if (own < 0 || setns(namespace, CLONE_NEWPID)) return -errno;
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    int pid = clone_sibling(flags, cgroup);
    if (pid == 0) return 0;
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    if (setns(own, CLONE_NEWPID)) _exit(1); /* else later children would be created there */
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
        int cgroup = descriptor_for(&head, fds, CLONE_IN_GROUP);
        int namespace = descriptor_for(&head, fds, CLONE_IN_NAMESPACE);
        pid = namespace < 0 ? clone_sibling(head.flags, cgroup) : clone_beside(head.flags, cgroup, namespace);
    }
    if (pid == 0) run_child(&head, fds, (size_t)size);
    for (uint32_t i = 0; size > 0 && i < head.count; i++) close(fds[i]);
    /* Sent even if there is a child: it does not send its pid if its pid namespace ends before. */
    return send(REQUESTS, &pid, sizeof pid, MSG_NOSIGNAL) == sizeof pid;
}

/* Whether the daemon's library and this program are of the same build. After an upgrade an old daemon still runs, and
   its plans are not valid for another table of operations. */
static int is_of_our_build(const char *identity) {
    char own[65];
    plan_identity(own);
    if (!strcmp(identity, own)) return 1;
    fprintf(stderr, "pelagos-nursery: its build differs from that of the daemon's library\n");
    return 0;
}

int main(int argc, char **argv) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    prctl(PR_SET_NAME, "pelagos-nursery", 0, 0, 0);
    syscall(SYS_close_range, REQUESTS + 1, ~0U, 0); /* descriptors that the daemon has left open in execve(2) */
    if (argc <= IDENTITY || !is_of_our_build(argv[IDENTITY])) return 1;
    plan_reset(&process);
    process.guest.memory = process.guest.fuel = process.guest.module = -1;
    if (argc >= ENGINE_WORDS && !(process.engine = warm(argv))) return 1;
    while (serve_one()) {}
    return 0;
}
