#define _GNU_SOURCE
#include "sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIRST_ID = 1870000000, IDS = 65536 };
static const int NAMESPACES =
    CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

static void must(int done, const char *what) {
    if (done) return;
    perror(what);
    _exit(2);
}

/* Go on in a child. The parent gets ready what the child waits for, and ends as the child does. */
static void go_on_in_child(int flags, void (*ready)(pid_t child)) {
    int line[2];
    char byte;
    int status;
    must(!pipe2(line, O_CLOEXEC), "pipe");
    fflush(NULL);
    pid_t child = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    must(child >= 0, "clone");
    if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(line[1]);
        if (read(line[0], &byte, 1) != 1) _exit(2); /* the parent has ended */
        close(line[0]);
        return;
    }
    close(line[0]);
    if (ready) ready(child);
    must(write(line[1], "", 1) == 1, "write");
    while (waitpid(child, &status, 0) < 0) continue;
    if (WIFSIGNALED(status)) fprintf(stderr, "ended by signal %d\n", WTERMSIG(status));
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 3);
}

static void put_bytes(const char *path, const char *bytes, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    must(fd >= 0 && write(fd, bytes, size) == (ssize_t)size, path);
    close(fd);
}

static void put(const char *path, const char *text) { put_bytes(path, text, strlen(text)); }

static void map_ids_of(pid_t child) {
    char path[64], map[64];
    snprintf(map, sizeof map, "0 %d %d\n", FIRST_ID, IDS);
    snprintf(path, sizeof path, "/proc/%d/gid_map", child);
    put(path, map);
    snprintf(path, sizeof path, "/proc/%d/uid_map", child);
    put(path, map);
}

/* While this is the machine's root, which can make device nodes. No round changes what others find: no process in there
   can make the file system writable again. */
static void leave_files_of_the_machine(void) {
    must(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private mounts");
    must(!mount("fuzz", "/tmp", "tmpfs", 0, "mode=755,size=16m,nr_inodes=10000"), "tmpfs");
    must(!chdir("/tmp") && !mkdir("proc", 0755) && !mkdir("dev", 0755), "directories");
    must(!mknod("dev/null", S_IFCHR | 0666, makedev(1, 3)) && !chmod("dev/null", 0666), "/dev/null");
    must(!mount("proc", "proc", "proc", 0, NULL), "/proc");
    must(!syscall(SYS_pivot_root, ".", "."), "pivot_root");
    must(!umount2(".", MNT_DETACH) && !chdir("/"), "leave");
    must(!chown(".", FIRST_ID, FIRST_ID) && !chown("dev", FIRST_ID, FIRST_ID), "chown");
    setfsgid(FIRST_ID);
    setfsuid(FIRST_ID);
    furnish("/");
    must(!mkdir("/c", 0755), "/c");
    setfsuid(0);
    setfsgid(0);
    must(!mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL), "read-only");
}

static void limit(int resource, rlim_t most) {
    struct rlimit limit = {most, most};
    must(!setrlimit((__rlimit_resource_t)resource, &limit), "setrlimit");
}

void enter_sandbox(void) {
    go_on_in_child(NAMESPACES, NULL);
    syscall(SYS_close_range, 3, ~0U, 0);
    leave_files_of_the_machine();
    go_on_in_child(NAMESPACES | CLONE_NEWUSER, map_ids_of);
    must(!setgroups(0, NULL) && !setresgid(0, 0, 0) && !setresuid(0, 0, 0), "ids");
    prctl(PR_SET_DUMPABLE, 1); /* else the files of /proc/self are not its own: proc(5) */
    must(!mount("proc", "/proc", "proc", 0, NULL), "/proc of its own");
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_FSIZE, 1 << 20);
    limit(RLIMIT_NOFILE, 64);
    limit(RLIMIT_NPROC, 100);
}

void furnish(const char *directory) {
    static const char *const DIRECTORIES[] = {
        "a", "a/b", "a/b/c", "d", "dev", "proc", "sys", "old", "new", "lower", "upper", "work",
    };
    static const char *const LINKS[][2] = {
        {"link", "a"}, {"loop", "loop"}, {"dangling", "not/there"}, {"out", "/../../../.."}, {"up", ".."}, {"abs", "/a/b"},
        {"magic", "/proc/self/root"}, {"lower/l", "../d/f"}, {"a/far", "../../../../../../a"},
    };
    char path[4000] = "";
    must(!chdir(directory), directory);
    for (size_t i = 0; i < sizeof DIRECTORIES / sizeof *DIRECTORIES; i++) (void)!mkdir(DIRECTORIES[i], 0755);
    for (size_t i = 0; i < sizeof LINKS / sizeof *LINKS; i++) must(!symlink(LINKS[i][1], LINKS[i][0]), LINKS[i][0]);
    for (size_t i = 0; i + 1 < sizeof path; i++) path[i] = "x/"[i % 2];
    must(!symlink(path, "long"), "a long link"); /* along which nothing is there: it is walked name by name */
    must(!mkfifo("fifo", 0600) && !mknod("socket", S_IFSOCK | 0600, 0), "special files");
    put("f", "0123456789");
    put("d/f", "");
    put_bytes("app.wasm", "\0asm\1\0\0", 8);
    put("lower/f", "\177ELF");
    must(!chdir("/"), "/");
}
