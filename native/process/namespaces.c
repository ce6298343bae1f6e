/* Joining control groups and namespaces, and settings of new namespaces.

   Source: namespaces(7), cgroups(7), time_namespaces(7), netdevice(7). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "operations.h"

/* Whether a list of pids contains this process; no if it cannot be read. */
static int lists_us(const char *path) {
    char text[4096];
    ssize_t size;
    int found = 0;
    unsigned long number = 0, own = (unsigned long)getpid();
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    while (!found && (size = read(fd, text, sizeof text)) > 0)
        for (ssize_t i = 0; !found && i < size; i++) {
            int digit = text[i] >= '0' && text[i] <= '9';
            found = !digit && number == own;
            number = digit ? number * 10 + (unsigned long)(text[i] - '0') : 0;
        }
    close(fd);
    return found;
}

/* Argument: the file cgroup.procs of a group (v2). A move of a process takes nearly a millisecond, since it waits for
   all forks of the system, even if the process is in the group already; so it is skipped then. */
OPERATION(join_cgroup) { return lists_us(TEXT(0)) ? 0 : write_file(TEXT(0), "0", 1); /* 0 is the writer */ }

OPERATION(unshare) {
    CHECK(unshare((int)NUMBER(0)));
    return 0;
}

static int is_same(int fd, const char *path) {
    struct stat one, other;
    CHECK(fstat(fd, &one));
    CHECK(stat(path, &other));
    return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

/* Arguments: path, type, and the path of a namespace that must be another one, or empty. */
OPERATION(join_namespace) {
    int fd = open(TEXT(0), O_RDONLY | O_CLOEXEC);
    CHECK(fd);
    int error = *TEXT(2) ? is_same(fd, TEXT(2)) : 0;
    if (error > 0) AT(host), error = -EPERM;
    if (!error && setns(fd, (int)NUMBER(1))) error = -errno;
    close(fd);
    return error;
}

/* Bring the loopback device up; the kernel creates it down. */
OPERATION(bring_loopback_up) {
    struct ifreq loopback = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(fd);
    int error = ioctl(fd, SIOCGIFFLAGS, &loopback) ? -errno : 0;
    loopback.ifr_flags |= IFF_UP;
    if (!error && ioctl(fd, SIOCSIFFLAGS, &loopback)) error = -errno;
    close(fd);
    return error;
}

OPERATION(set_host_name) {
    CHECK(sethostname(TEXT(0), a[0].size));
    return 0;
}

OPERATION(set_domain_name) {
    CHECK(setdomainname(TEXT(0), a[0].size));
    return 0;
}
