/* The second process of a container with a user namespace: see pelagos_core/isolation/second_stage.py.

   Source: user_namespaces(7), clone(2). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "operations.h"
#include "user_namespace.h"

static const char GO[] = "go"; /* from the daemon; messages in both directions: pelagos_core/launch/messages.py */
enum { MAPPED = 'x' };
/* No other flag of clone(2): with CLONE_VM both processes would be on one stack. */
static const int64_t NAMESPACES = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

static ssize_t read_again(int fd, void *to, size_t size) {
    ssize_t done;
    while ((done = read(fd, to, size)) < 0 && errno == EINTR) continue;
    return done;
}

/* In the second process: wait until the first process has mapped the ids and sent this process' pid to the daemon; exit
   if it has ended before. Then wait for GO from the daemon. */
static void wait_for_both(int first, int daemon) {
    char mapped, go[sizeof GO];
    if (read_again(first, &mapped, 1) != 1) _exit(1);
    if (read_again(daemon, go, sizeof go) != (ssize_t)strlen(GO) || memcmp(go, GO, strlen(GO))) _exit(1);
}

static int send_pid(int daemon, pid_t pid) {
    char text[48];
    int size = snprintf(text, sizeof text, "[\"SecondStage\", %d]", pid);
    CHECK(write(daemon, text, (size_t)size));
    return 0;
}

/* In the first process. The pid is valid for the daemon: both are in the same pid namespace. */
static int hand_over(struct process *p, pid_t pid, int second, const char *gid_map, const char *uid_map) {
    char name[16], mapped = MAPPED;
    snprintf(name, sizeof name, "%d", pid);
    AT(map_ids);
    int error = *gid_map || *uid_map ? write_maps(p, name, gid_map, uid_map) : 0;
    if (error) return error;
    AT(attach);
    error = send_pid(p->slot[SLOT_control], pid);
    if (error) return error;
    CHECK(write(second, &mapped, 1));
    return 0;
}

/* Clone the second process, a child of the daemon: flags of clone(2), such as CLONE_NEWUSER, and maps of groups and
   users, or none. Returns in the second process only; in the first if clone(2) fails. */
OPERATION(begin_second_stage) {
    int line[2];
    if (NUMBER(0) & ~NAMESPACES) return -EINVAL;
    CHECK(pipe2(line, O_CLOEXEC));
    pid_t pid = (pid_t)syscall(SYS_clone, (unsigned long)NUMBER(0) | CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (!pid) {
        close(line[1]);
        wait_for_both(line[0], p->slot[SLOT_control]);
        close(line[0]);
        return 0;
    }
    int error = pid < 0 ? -errno : hand_over(p, pid, line[1], TEXT(1), TEXT(2));
    if (!error) _exit(0);
    close(line[0]);
    close(line[1]);
    return error;
}
