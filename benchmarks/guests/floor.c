/* What the kernel alone takes for a container: `floor COUNT ROOTFS CGROUP` prints, for each of a
   few steps, its name and the median of COUNT times in microseconds.
   Each step does all that the one before did, in a small process without any language's runtime. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NAMESPACES (CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS)
#define MOST 64

enum step { FORK, ISOLATE, GROUP, ROOT };
static const char *names[] = {"fork, wait", "+ namespaces", "+ cgroups", "+ root, /proc, /dev"};
static char groups[MOST][4096];
static int group_count;
static const char *rootfs;

static void fail(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    _exit(1);
}

/* The cgroup of this name in every hierarchy of version 1, or in the one of version 2. */
static void find_groups(const char *name) {
    FILE *mounts = fopen("/proc/self/mounts", "r");
    char line[8192], path[4000], kind[64];
    while (mounts && fgets(line, sizeof line, mounts) && group_count < MOST)
        if (sscanf(line, "%*s %3999s %63s", path, kind) == 2 && !strcmp(kind, "cgroup"))
            snprintf(groups[group_count++], sizeof groups[0], "%s/%.64s", path, name);
    if (!group_count) snprintf(groups[group_count++], sizeof groups[0], "/sys/fs/cgroup/%.64s", name);
    if (mounts) fclose(mounts);
}

static void join(const char *group) {
    char path[4200];
    snprintf(path, sizeof path, "%s/cgroup.procs", group);
    int fd = open(path, O_WRONLY);
    /* A new cpuset of version 1 is empty and takes nobody. */
    if (fd < 0 || (write(fd, "0", 1) != 1 && errno != ENOSPC)) fail(path);
    close(fd);
}

static void change_root(void) {
    if (mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL)) fail("propagation");
    if (mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL)) fail(rootfs);
    if (mount(NULL, rootfs, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL)) fail("read-only");
    if (chdir(rootfs)) fail(rootfs);
    if (mount("proc", "proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL)) fail("proc");
    if (mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755")) fail("dev");
    if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/")) fail("pivot_root");
}

static void once(enum step step) {
    for (int i = 0; step >= GROUP && i < group_count; i++)
        if (mkdir(groups[i], 0755)) fail(groups[i]);
    int flags = SIGCHLD | (step >= ISOLATE ? NAMESPACES : 0);
    pid_t pid = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
    if (pid < 0) fail("clone");
    if (pid == 0) {
        for (int i = 0; step >= GROUP && i < group_count; i++) join(groups[i]);
        if (step >= ROOT) change_root();
        _exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status) fail("the child");
    for (int i = 0; step >= GROUP && i < group_count; i++)
        if (rmdir(groups[i])) fail(groups[i]);
}

static int ascending(const void *a, const void *b) {
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv) {
    int count = argc == 4 ? atoi(argv[1]) : 0;
    if (count < 1) return fprintf(stderr, "usage: floor COUNT ROOTFS CGROUP\n"), 2;
    double *times = calloc((size_t)count, sizeof *times);
    rootfs = argv[2];
    find_groups(argv[3]);
    for (enum step step = FORK; step <= ROOT; step++) {
        for (int i = 0; i < count; i++) {
            struct timespec before, after;
            clock_gettime(CLOCK_MONOTONIC, &before);
            once(step);
            clock_gettime(CLOCK_MONOTONIC, &after);
            times[i] = (double)(after.tv_sec - before.tv_sec) * 1e6 + (double)(after.tv_nsec - before.tv_nsec) / 1e3;
        }
        qsort(times, (size_t)count, sizeof *times, ascending);
        printf("%s\t%.1f\n", names[step], times[count / 2]);
    }
    return 0;
}
