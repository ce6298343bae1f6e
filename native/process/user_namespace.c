/* User namespaces for mounts: see user_namespace.h. */
#define _GNU_SOURCE
#include "user_namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"
#include "operations.h"

/* In the child: send its name in /proc, and wait until it is killed or the other end is closed. Not getpid(2), which
   may be a number in another pid namespace than that of /proc. */
static _Noreturn void send_name_and_wait(int parent) {
    char name[32];
    ssize_t size = readlink("/proc/self", name, sizeof name);
    if (size > 0 && send(parent, name, (size_t)size, MSG_NOSIGNAL) == size) (void)!read(parent, name, 1);
    _exit(0);
}

/* A map must be written in one write(2). */
static int write_map(struct process *p, const char *child, const char *name, const char *map) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%.20s/%s", child, name);
    strcpy(p->detail, name);
    return write_file(path, map, strlen(map));
}

int write_maps(struct process *p, const char *name, const char *gid_map, const char *uid_map) {
    int error = write_map(p, name, "gid_map", gid_map);
    if (!error) error = write_map(p, name, "uid_map", uid_map);
    if (!error) p->detail[0] = 0;
    return error;
}

static int map_and_open(struct process *p, int child, const char *gid_map, const char *uid_map) {
    char name[32], path[64];
    ssize_t size = recv(child, name, sizeof name - 1, 0);
    if (size <= 0) return size < 0 ? -errno : -ESRCH;
    name[size] = 0;
    int error = write_maps(p, name, gid_map, uid_map);
    if (error) return error;
    snprintf(path, sizeof path, "/proc/%.20s/ns/user", name);
    int namespace = open(path, O_RDONLY | O_CLOEXEC);
    return namespace < 0 ? -errno : namespace;
}

int make_user_namespace(struct process *p, const char *gid_map, const char *uid_map) {
    int end[2];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, end));
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (!pid) {
        close(end[0]);
        send_name_and_wait(end[1]);
    }
    int namespace = pid < 0 ? -errno : 0;
    close(end[1]);
    if (pid > 0) {
        namespace = map_and_open(p, end[0], gid_map, uid_map);
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
    }
    close(end[0]);
    return namespace;
}
