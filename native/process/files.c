/* Writing to files of the kernel: in /proc, in /sys, of control groups. */
#define _GNU_SOURCE
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "operations.h"

static int write_and_close(int fd, const void *data, size_t size) {
    int error = write(fd, data, size) < 0 ? -errno : 0;
    close(fd);
    return error;
}

int write_file(const char *path, const void *data, size_t size) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd);
    return write_and_close(fd, data, size);
}

OPERATION(write_file) { return write_file(TEXT(0), TEXT(1), a[1].size); }

OPERATION(require_file) {
    CHECK(access(TEXT(0), F_OK));
    return 0;
}

/* Check a module parameter with the value Y or N. */
OPERATION(require_switch) {
    char state = 'N';
    int fd = open(TEXT(0), O_RDONLY | O_CLOEXEC);
    CHECK(fd);
    int error = read(fd, &state, 1) < 0 ? -errno : 0;
    close(fd);
    return error ? error : state == 'Y' ? 0 : -ENOTSUP;
}

/* Open the first existing path for writing: slot, paths. */
OPERATION(open_first) {
    int fd = -1;
    for (uint32_t i = 1; i < count; i++) {
        fd = open(TEXT(i), O_WRONLY | O_CLOEXEC);
        if (fd >= 0 || errno != ENOENT) break;
    }
    CHECK(fd);
    SLOT(0) = fd;
    return 0;
}

OPERATION(write_slot) {
    int fd = SLOT(0);
    SLOT(0) = -1;
    return write_and_close(fd, TEXT(1), a[1].size);
}
