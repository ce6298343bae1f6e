/* The entry point of a process, and other files that the daemon requests.

   The files are described to the daemon and not parsed here. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <linux/memfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "message.h"
#include "operations.h"
#include "resolve.h"
#include "sha256.h"

enum { FIRST_BYTES = 8, HEAD_BYTES = 4096, CHUNK = 64 << 10, MOST_BYTES = 1 << 30 };

/* The type is checked on an O_PATH descriptor first: opening a FIFO waits for a writer, opening a device may have any
   effect. */
static int open_regular(struct process *p, const char *path, struct stat *status) {
    int place = open_in_root(p, path, O_PATH);
    if (place < 0) return place;
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", place);
    int file = fstat(place, status) ? -errno : !S_ISREG(status->st_mode) ? -EINVAL : open(link, O_RDONLY | O_CLOEXEC);
    if (file == -1) file = -errno;
    close(place);
    return file;
}

/* -EFBIG above MOST_BYTES: a file of a volume may have any size, and may grow during the read. */
static int digest_of(int file, char hex[65]) {
    static unsigned char chunk[CHUNK];
    struct sha256 digest;
    off_t at = 0;
    ssize_t size;
    sha256_begin(&digest);
    while ((size = pread(file, chunk, sizeof chunk, at)) != 0) {
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return -errno;
        sha256_add(&digest, chunk, (size_t)size);
        if ((at += size) > MOST_BYTES) return -EFBIG;
    }
    sha256_end(&digest, hex);
    return 0;
}

static int begins_with(const char *head, ssize_t size, const struct argument *magic) {
    return (size_t)size >= magic->size && !memcmp(head, magic->at, magic->size);
}

/* Open the first existing path into a slot and describe it to the daemon: ["Found", index, mode, first bytes in hex,
   digest]. For a file that begins with the first or second text (native program, script) more bytes are sent. Only a
   file that begins with the third text (module) has a digest, unless it is larger than engines accept. */
OPERATION(find_entrypoint) {
    static char text[2 * HEAD_BYTES + 256], head[HEAD_BYTES];
    struct stat status;
    int file = -ENOENT;
    enum { FIRST_PATH = 4 };
    uint32_t at = FIRST_PATH;
    for (; at < count; at++) {
        file = open_regular(p, TEXT(at), &status);
        if (file != -ENOENT && file != -ENOTDIR) break;
    }
    AT(find);
    if (file < 0) return file;
    SLOT(0) = file;
    char digest[65] = "";
    ssize_t size = pread(file, head, sizeof head, 0);
    CHECK(size);
    int is_native = begins_with(head, size, a + 1) || begins_with(head, size, a + 2);
    int is_module = begins_with(head, size, a + 3) && status.st_size <= MOST_BYTES;
    int error = is_module ? digest_of(file, digest) : 0;
    if (error) return error;
    if (!is_native && size > FIRST_BYTES) size = FIRST_BYTES;
    int used = snprintf(text, sizeof text, "[\"Found\",%u,%u,\"", at - FIRST_PATH, (unsigned)status.st_mode);
    for (ssize_t i = 0; i < size; i++) used += snprintf(text + used, 3, "%02x", (unsigned char)head[i]);
    used += snprintf(text + used, sizeof text - (size_t)used, "\",\"%s\"]", digest);
    return message_send(p->slot[SLOT_control], text, (size_t)used, file);
}

/* Send the daemon a copy of a regular file, up to a maximum size: ["Contents"] with a file in memory, empty if the
   file is missing. The daemon itself opens no file of a container, whose file system may hang. */
OPERATION(send_contents) {
    static char chunk[CHUNK];
    struct stat status;
    int copy = (int)syscall(SYS_memfd_create, "contents", MFD_CLOEXEC); /* not in glibc 2.17 */
    CHECK(copy);
    int file = open_regular(p, TEXT(0), &status);
    int64_t left = NUMBER(1);
    while (file >= 0 && left > 0) {
        ssize_t size = read(file, chunk, left < CHUNK ? (size_t)left : CHUNK);
        if (size < 0 && errno == EINTR) continue;
        if (size <= 0 || write(copy, chunk, (size_t)size) != size) break;
        left -= size;
    }
    if (file >= 0) close(file);
    int error = message_send(p->slot[SLOT_control], "[\"Contents\"]", 12, copy);
    close(copy);
    return error;
}

/* Open a file of the host, before the change of root. If the file is missing, the slot stays empty. */
OPERATION(open_file) {
    int fd = open(TEXT(0), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? 0 : -errno;
    SLOT(1) = fd;
    return 0;
}
