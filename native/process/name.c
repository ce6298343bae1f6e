/* Sets the name and the command line of a forked process, which it has inherited from its parent.

   Source: prctl(2), proc(5). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "operations.h"

/* proc(5) numbers the fields of /proc/PID/stat from one; the third is the first after the name. */
enum { FIRST_FIELD = 3, START_CODE = 26, END_CODE, START_STACK, START_DATA = 45, END_DATA, START_BRK, ARG_START, ARG_END,
       ENV_START, ENV_END, FIELDS };
enum { MAX_LINE = (128 << 10) + 1 };
/* The new command line. At each read of /proc/PID/cmdline the kernel reads it from the process' memory, which must be
   anonymous (FOLL_ANON in fs/proc/base.c), so it is not in a variable. */
static char *shown;

static int read_fields(uint64_t *fields) {
    char text[4096];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    CHECK(fd);
    ssize_t size = read(fd, text, sizeof text - 1);
    int error = size < 0 ? -errno : 0;
    close(fd);
    if (error) return error;
    text[size] = 0;
    char *at = strrchr(text, ')'); /* the name may contain parentheses */
    if (!at) return -EBADMSG;
    for (int field = FIRST_FIELD; field < FIELDS; field++) {
        at = strchr(at, ' ');
        if (!at) return -EBADMSG;
        fields[field] = strtoull(++at, NULL, 10);
    }
    return 0;
}

/* Set the address of the command line. Needs no capability, but a kernel with CONFIG_CHECKPOINT_RESTORE. PR_SET_MM_MAP
   also sets the end of the heap, to its present value: no other thread may change it meanwhile. /proc/PID/environ
   becomes empty: it was the parent's. */
static int point_at(const uint64_t *fields, size_t size) {
    uint64_t begin = (uint64_t)(uintptr_t)shown, end = begin + size;
    struct prctl_mm_map map = {
        .start_code = fields[START_CODE], .end_code = fields[END_CODE],
        .start_data = fields[START_DATA], .end_data = fields[END_DATA],
        .start_brk = fields[START_BRK], .brk = (uint64_t)syscall(SYS_brk, 0UL),
        .start_stack = fields[START_STACK], .arg_start = begin, .arg_end = end, .env_start = end, .env_end = end,
        .exe_fd = (uint32_t)-1,
    };
    CHECK(prctl(PR_SET_MM, (unsigned long)PR_SET_MM_MAP, &map, sizeof map, 0UL));
    return 0;
}

static int fill(int memory, uint64_t at, uint64_t end) {
    static const char nothing[4096];
    while (at < end) {
        ssize_t done = pwrite(memory, nothing, end - at < sizeof nothing ? end - at : sizeof nothing, (off_t)at);
        CHECK(done);
        at += (uint64_t)done;
    }
    return 0;
}

/* Overwrite the arguments of execve(2), and the environment behind them. If the last byte of the arguments is not a
   NUL, the kernel returns the memory up to the first NUL: so a longer command line is shown as one word. */
static int write_over(const uint64_t *fields, size_t size) {
    uint64_t begin = fields[ARG_START], end = fields[ARG_END];
    uint64_t last = fields[ENV_START] == end ? fields[ENV_END] : end;
    if (begin >= last) return -ENOSPC;
    if (size > end - begin) {
        if (size > last - begin) size = last - begin;
        for (size_t i = 0; i + 1 < size; i++)
            if (!shown[i]) shown[i] = ' ';
        shown[size - 1] = 0;
    }
    int memory = open("/proc/self/mem", O_WRONLY | O_CLOEXEC);
    CHECK(memory);
    int error = pwrite(memory, shown, size, (off_t)begin) < 0 ? -errno : fill(memory, begin + size, last);
    close(memory);
    return error;
}

/* Arguments: name, cut to 15 bytes; words, each followed by a NUL. If the kernel refuses, nothing changes and there is
   no error. */
OPERATION(take_name) {
    uint64_t fields[FIELDS];
    size_t size = a[1].size < MAX_LINE ? a[1].size : MAX_LINE;
    prctl(PR_SET_NAME, TEXT(0), 0UL, 0UL, 0UL);
    if (!shown) {
        void *memory = mmap(NULL, MAX_LINE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) return 0;
        shown = memory;
    }
    memcpy(shown, TEXT(1), size);
    if (!read_fields(fields) && point_at(fields, size)) write_over(fields, size);
    return 0;
}
