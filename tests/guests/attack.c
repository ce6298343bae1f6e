/* Tries to leave its sandbox: every spelling of every path through every directory that it has.
 *
 * Prints `OPENED how path` for whatever it gets. The first arguments are directories in which it
 * may write; those after `--` are further paths to try. `control` is a file that it may read.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wasi/api.h>

enum { MAX_FD = 64, MAX_PATH = 4096 };

static __wasi_fd_t roots[MAX_FD];
static int root_count;
static long tried, opened;

static void got(const char *how, const char *path) {
    opened++;
    printf("OPENED %s %s\n", how, path);
}

/* One path below one directory, in each way that an engine tells apart. */
static void open_below(__wasi_fd_t root, const char *path) {
    static const struct { const char *how; __wasi_oflags_t flags; __wasi_rights_t rights; } ways[] = {
        {"read", 0, __WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_SEEK},
        {"write", 0, __WASI_RIGHTS_FD_WRITE | __WASI_RIGHTS_FD_SEEK},
        {"list", __WASI_OFLAGS_DIRECTORY, __WASI_RIGHTS_FD_READDIR | __WASI_RIGHTS_PATH_OPEN},
    };
    for (unsigned way = 0; way < sizeof ways / sizeof *ways; way++)
        for (__wasi_lookupflags_t follow = 0; follow < 2; follow++) {
            __wasi_fd_t fd;
            tried++;
            if (__wasi_path_open(root, follow, path, ways[way].flags, ways[way].rights, ways[way].rights, 0, &fd))
                continue;
            got(ways[way].how, path);
            (void)!__wasi_fd_close(fd);
        }
    __wasi_filestat_t status;
    tried++;
    if (!__wasi_path_filestat_get(root, 1, path, &status)) got("stat", path);
    char target[MAX_PATH];
    __wasi_size_t size;
    tried++;
    if (!__wasi_path_readlink(root, path, (uint8_t *)target, sizeof target - 1, &size)) {
        target[size] = 0;
        /* A link of our own making tells nothing; a magic one tells a path of the host. */
        if (!strncmp(path, "proc/", 5) || !strncmp(path, "dev/fd", 6)) got("readlink", path);
    }
}

static void open_everywhere(const char *path) {
    for (int n = 0; n < root_count; n++) open_below(roots[n], path);
    int fd = open(path, O_RDONLY); /* and as libc spells it, which looks for a preopen by itself */
    tried++;
    if (fd >= 0) { got("libc", path); close(fd); }
    fd = open(path, O_RDWR);
    tried++;
    if (fd >= 0) { got("libc-write", path); close(fd); }
}

static void spellings(const char *path) { /* path has no leading slash */
    static const char *const prefixes[] = {
        "", "/", "//", "./", "/./", "../", "../../", "../../../../../../../../", "/../", "./../",
        "x/../", "x/../../", "control/../", "dev/../", "..//../", ".//",
    };
    static const char *const suffixes[] = {"", "/", "/.", "//"};
    char spelling[MAX_PATH];
    for (unsigned p = 0; p < sizeof prefixes / sizeof *prefixes; p++)
        for (unsigned s = 0; s < sizeof suffixes / sizeof *suffixes; s++) {
            snprintf(spelling, sizeof spelling, "%s%s%s", prefixes[p], path, suffixes[s]);
            open_everywhere(spelling);
        }
}

/* Links of our own making, in a directory that can be written to. */
static void by_links(const char *directory, const char *path) {
    static const char *const starts[] = {"/", "../", "../../../../../../../../", "/proc/self/root/", "/proc/self/cwd/"};
    char link[MAX_PATH], target[MAX_PATH];
    for (unsigned n = 0; n < sizeof starts / sizeof *starts; n++) {
        snprintf(target, sizeof target, "%s%s", starts[n], path);
        snprintf(link, sizeof link, "%s/link", directory);
        if (symlink(target, link)) continue;
        open_everywhere(link + 1);
        snprintf(link, sizeof link, "%s/link/", directory);
        open_everywhere(link + 1);
        snprintf(link, sizeof link, "%s/link", directory);
        char hard[MAX_PATH];
        snprintf(hard, sizeof hard, "%s/hard", directory);
        for (int root = 0; root < root_count; root++) {
            tried++;
            if (!__wasi_path_link(roots[root], 1, path, roots[0], "hard-link")) got("hard link of", path);
            tried++;
            if (!__wasi_path_rename(roots[root], path, roots[0], "renamed")) got("rename of", path);
        }
        unlink(link);
        snprintf(target, sizeof target, "%s", starts[n]); /* a link to a directory, and on from there */
        if (symlink(target, link)) continue;
        snprintf(link, sizeof link, "%s/link/%s", directory, path);
        open_everywhere(link + 1);
        snprintf(link, sizeof link, "%s/link", directory);
        unlink(link);
    }
}

/* A directory that is moved up while it is open: `..` may lead above the root. */
static void by_moving(const char *directory, const char *path) {
    char outer[MAX_PATH], inner[MAX_PATH], moved[MAX_PATH], up[MAX_PATH];
    snprintf(outer, sizeof outer, "%s/outer", directory);
    snprintf(inner, sizeof inner, "%s/outer/inner", directory);
    snprintf(moved, sizeof moved, "%s/moved", directory);
    if (mkdir(outer, 0777) || mkdir(inner, 0777)) return;
    int fd = open(inner, O_RDONLY | O_DIRECTORY);
    if (fd < 0) return;
    rename(inner, moved);
    for (int depth = 1; depth < 8; depth++) {
        up[0] = 0;
        for (int n = 0; n < depth; n++) strcat(up, "../");
        strcat(up, path);
        open_below(fd, up);
    }
    close(fd);
    rmdir(moved);
    rmdir(outer);
}

/* Descriptors that nobody gave us, and those that we have under other numbers. */
static void by_numbers(void) {
    for (__wasi_fd_t fd = 3 + root_count; fd < 1024; fd++) {
        __wasi_fdstat_t status;
        tried++;
        if (!__wasi_fd_fdstat_get(fd, &status)) {
            char name[32];
            snprintf(name, sizeof name, "%u", fd);
            got("descriptor", name);
        }
    }
    int fd = open("control", O_RDONLY);
    if (fd < 0) fd = open("/control", O_RDONLY);
    for (__wasi_fd_t target = 1000; target < 1010; target++) {
        tried++;
        (void)!__wasi_fd_renumber(fd, target);
        char byte;
        __wasi_iovec_t vector = {(uint8_t *)&byte, 1};
        __wasi_size_t count = 0;
        for (__wasi_fd_t other = target + 1; other < target + 5; other++)
            if (!__wasi_fd_read(other, &vector, 1, &count)) got("renumbered", "descriptor");
    }
}

static void find_roots(void) {
    for (__wasi_fd_t fd = 3; fd < MAX_FD; fd++) {
        __wasi_prestat_t status;
        if (__wasi_fd_prestat_get(fd, &status)) break;
        roots[root_count++] = fd;
    }
}

int main(int argc, char **argv) {
    static const char *const names[] = {
        "mem", "environ", "exe", "maps", "fd", "fd/0", "fd/3", "fd/4", "root/etc/passwd", "cwd", "task", "ns/mnt",
        "mountinfo", "auxv", "map_files", "syscall",
    };
    static const char *const others[] = {
        "proc", "proc/kcore", "proc/kallsyms", "proc/sysrq-trigger", "proc/mounts", "proc/sys/kernel/core_pattern",
        "dev/mem", "dev/kmem", "dev/port", "dev/fd", "dev/fd/0", "dev/fd/3", "dev/fd/4", "dev/fd/5", "dev/stdin",
        "dev/core", "dev/pts", "dev/ptmx", "dev/kmsg", "dev/tty", "dev/console", "dev/mqueue",
        "sys", "sys/kernel", "sys/fs/cgroup", "sys/fs/cgroup/cgroup.procs", "sys/kernel/debug", "sys/kernel/security",
        "etc/passwd", "etc/shadow", "usr/bin/env", "usr/lib", "lib64", "guest", "root/.ssh",
    };
    char path[MAX_PATH];
    find_roots();
    int argument = 1;
    for (; argument < argc && strcmp(argv[argument], "--"); argument++) {}
    for (unsigned n = 0; n < sizeof names / sizeof *names; n++) {
        static const char *const processes[] = {"self", "thread-self", "1", "2", "3", "self/task/1"};
        for (unsigned p = 0; p < sizeof processes / sizeof *processes; p++) {
            snprintf(path, sizeof path, "proc/%s/%s", processes[p], names[n]);
            n == 0 && p == 0 ? spellings(path) : open_everywhere(path);
        }
    }
    for (unsigned n = 0; n < sizeof others / sizeof *others; n++) open_everywhere(others[n]);
    for (int writable = 1; writable < argument; writable++) {
        by_links(argv[writable], "proc/self/mem");
        by_links(argv[writable], "etc/passwd");
        by_moving(argv[writable], "proc/self/mem");
        by_moving(argv[writable], "etc/passwd");
        for (int n = argument + 1; n < argc; n++) {
            by_links(argv[writable], argv[n]);
            by_moving(argv[writable], argv[n]);
        }
    }
    for (int n = argument + 1; n < argc; n++) spellings(argv[n]);
    by_numbers();
    printf("%ld tried, %ld opened\n", tried, opened);
    return opened != 0;
}
