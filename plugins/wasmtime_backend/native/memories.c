/* The linear memories of a guest, created here and not by Wasmtime, so that each growth is checked against the
   container's present limit. Does in C what memory.py does, where the reasons are, and reads image.py's list of pages
   behind the code. A process has one guest. */
#define _GNU_SOURCE
#include "memories.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const size_t ROOM = (size_t)16 << 30;        /* for the growth of a 64-bit memory, which is never moved */
static const size_t RESERVATION = (size_t)4 << 30;  /* the size that Wasmtime reserves for any memory */
static const size_t MOST = (size_t)1 << 47;         /* the address space of a process on x86-64 */
static const char MAGIC[] = "pelagos1";
enum { MOST_RUNS = 1000, RESERVED = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE };

/* Consecutive pages: address in the memory, offset in the file, and length in bytes. The format of the file. */
struct run {
    uint64_t address, offset, length;
};

struct tail {
    char magic[sizeof MAGIC - 1];
    uint64_t count;
};

struct memory {
    struct memory *next;
    uint8_t *base;
    size_t size, capacity;
};

static struct {
    int (*allows)(uint64_t size);
    struct memory *memories;
    struct run *runs;
    uint64_t run_count;
    int image; /* -1 without any */
} guest = {.image = -1};

static size_t whole_pages(size_t length) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (length + page - 1) / page * page;
}

/* An error for errno, with the text that Python prints. */
static wasmtime_error_t *failed(void) {
    char text[128];
    snprintf(text, sizeof text, "[Errno %d] %s", errno, strerror(errno));
    return wasmtime_error_new(text);
}

static int open_pages(struct memory *memory, size_t begin, size_t end) {
    begin = whole_pages(begin), end = whole_pages(end);
    return end > begin ? mprotect(memory->base + begin, end - begin, PROT_READ | PROT_WRITE) : 0;
}

static uint8_t *get(void *env, size_t *size, size_t *capacity) {
    struct memory *memory = env;
    *size = memory->size, *capacity = memory->capacity;
    return memory->base;
}

static wasmtime_error_t *grow(void *env, size_t size) {
    struct memory *memory = env;
    size_t others = 0;
    for (struct memory *each = guest.memories; each; each = each->next) others += each == memory ? 0 : each->size;
    if (!guest.allows(others + size)) return wasmtime_error_new("the container's limit");
    if (size > memory->capacity) return wasmtime_error_new("no address space is left");
    if (open_pages(memory, memory->size, size)) return failed();
    memory->size = size;
    return NULL;
}

/* The finalizer of memories, which are never freed: the process ends with the guest. */
static void keep(void *env) { (void)env; }

/* Map the pages of the file into the first memory that is large enough: smaller ones are the engine's own, for garbage
   collection. */
static int map_image(struct memory *memory) {
    if (guest.image < 0) return 0;
    const struct run *last = guest.runs + guest.run_count - 1;
    if (memory->size < last->address + last->length) return 0;
    for (const struct run *run = guest.runs; run <= last; run++)
        if (mmap(memory->base + run->address, run->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, guest.image,
                 (off_t)run->offset) == MAP_FAILED)
            return -1;
    close(guest.image);
    guest.image = -1;
    return 0;
}

/* Create a memory. Compiled code depends on the size `reserved` and on the guard behind it. */
static wasmtime_error_t *make(void *env, const wasm_memorytype_t *type, size_t size, size_t maximum, size_t reserved,
                              size_t guard, wasmtime_linear_memory_t *made) {
    (void)env, (void)type;
    if (size > MOST || reserved > MOST || guard > MOST) return errno = ENOMEM, failed();
    size_t capacity = size + ROOM < maximum ? size + ROOM : maximum;
    if (capacity < reserved) capacity = reserved;
    if (capacity < size) capacity = size;
    capacity = whole_pages(capacity), guard = whole_pages(guard);
    /* A guard before it too, as for Wasmtime's own memories: protection against a bug in its compiler. */
    uint8_t *base = mmap(NULL, guard + capacity + guard, PROT_NONE, RESERVED, -1, 0);
    if (base == MAP_FAILED) return failed();
    struct memory *memory = malloc(sizeof *memory);
    if (!memory) return failed();
    *memory = (struct memory){guest.memories, base + guard, size, capacity};
    guest.memories = memory;
    if (open_pages(memory, 0, size) || map_image(memory)) return failed();
    *made = (wasmtime_linear_memory_t){memory, get, grow, keep};
    return NULL;
}

void memories_use(wasm_config_t *config) {
    wasmtime_memory_creator_t creator = {NULL, make, keep};
    wasmtime_config_memory_init_cow_set(config, false); /* it works only with memories that Wasmtime creates */
    wasmtime_config_host_memory_creator_set(config, &creator);
}

static int no_space(const struct pelagos_guest *of, char *error, size_t size) {
    struct rlimit limit;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < of->memory_count; i++)
        if (__builtin_add_overflow(sum, of->memories[i], &sum)) sum = UINT64_MAX;
    int length = snprintf(error, size, "begins with %llu MiB of memory: no address space for it: ",
                          (unsigned long long)(sum >> 20));
    if (length < 0 || (size_t)length >= size) return -EINVAL;
    if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY)
        snprintf(error + length, size - (size_t)length, "this host does not have it");
    else
        snprintf(error + length, size - (size_t)length, "RLIMIT_AS is %llu", (unsigned long long)limit.rlim_cur);
    return -EINVAL;
}

/* Map the address space of all memories at once, before any is created, and unmap it. */
int memories_check(const struct pelagos_guest *of, char *error, size_t size) {
    void **held = calloc(of->memory_count + 1, sizeof *held);
    uint32_t count = 0;
    if (!held) return no_space(of, error, size);
    for (; count < of->memory_count && of->memories[count] <= MOST; count++) {
        size_t length = whole_pages(of->memories[count] < RESERVATION ? RESERVATION : of->memories[count]);
        held[count] = mmap(NULL, length, PROT_NONE, RESERVED, -1, 0);
        if (held[count] == MAP_FAILED) break;
    }
    int enough = count == of->memory_count;
    while (count--)
        munmap(held[count], whole_pages(of->memories[count] < RESERVATION ? RESERVATION : of->memories[count]));
    free(held);
    return enough ? 0 : no_space(of, error, size);
}

/* Whether a run consists of pages of a memory and of the file. It is not trusted: the module may have taken over the
   compiler that wrote the list, and MAP_FIXED replaces existing mappings. */
static int is_sound(const struct run *run, uint64_t end) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    return !(run->address % page) && !(run->offset % page) && !(run->length % page) && run->length &&
           run->offset <= end && run->length <= end - run->offset && run->address <= MOST && run->length <= MOST;
}

/* Read the list of pages at the end of the file into `guest`. Returns 0, or -1 if there is no valid list. */
static int read_runs(int file) {
    struct stat status;
    struct tail tail;
    if (fstat(file, &status) || status.st_size < (off_t)sizeof tail) return -1;
    uint64_t end = (uint64_t)status.st_size - sizeof tail;
    if (pread(file, &tail, sizeof tail, (off_t)end) != sizeof tail || memcmp(tail.magic, MAGIC, sizeof tail.magic) ||
        tail.count > MOST_RUNS || tail.count > end / sizeof(struct run))
        return -1;
    size_t length = tail.count * sizeof(struct run);
    guest.runs = malloc(length + 1), guest.run_count = tail.count;
    if (!guest.runs || pread(file, guest.runs, length, (off_t)(end - length)) != (ssize_t)length) return -1;
    for (uint64_t i = 0; i < tail.count; i++) {
        if (!is_sound(guest.runs + i, end - length)) return -1;
        if (i && guest.runs[i].address < guest.runs[i - 1].address + guest.runs[i - 1].length) return -1;
    }
    return 0;
}

int memories_prepare(const struct pelagos_guest *of, const char *code, char *error, size_t size) {
    int file = open(code, O_RDONLY | O_CLOEXEC);
    int why = errno;
    if (file < 0) return snprintf(error, size, "the compiled code: %s", strerror(why)), -why;
    guest.allows = of->allows_memory;
    if (read_runs(file)) return close(file), snprintf(error, size, "it has no list of the memory's pages"), -ESTALE;
    if (guest.run_count) guest.image = file;
    else close(file);
    return 0;
}
