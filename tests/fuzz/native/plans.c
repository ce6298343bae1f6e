#define _GNU_SOURCE
#include "plans.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "any.h"
#include "plan.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

struct operation_line operation_lines[MAX_OPERATIONS];
uint32_t operation_count;

void read_operations(void) {
    char *text = strdup(plan_operations()), *line;
    for (operation_count = 0; (line = strsep(&text, "\n")) && *line;) {
        if (operation_count == MAX_OPERATIONS) abort();
        operation_lines[operation_count].name = strsep(&line, " ");
        operation_lines[operation_count++].kinds = line;
    }
}

/* An operation of a sample: where its arguments are in `text`, and how many. */
enum { MAX_SAMPLES = 4 << 20, MAX_SAMPLE_OPERATIONS = 1 << 16, MAX_PLANS = 1024 };
static struct {
    char text[MAX_SAMPLES];
    struct {
        uint32_t at;
        uint16_t code, count;
    } operation[MAX_SAMPLE_OPERATIONS];
    struct sample plan[MAX_PLANS];
    uint32_t operations, plans;
} samples;

static int add(struct buffer *to, const void *data, size_t size) {
    if (size > to->room - to->size) return 0;
    memcpy(to->data + to->size, data, size);
    to->size += size;
    return 1;
}

/* An argument: its length, its bytes and a NUL. */
static int add_argument(struct buffer *to, const void *data, size_t size) {
    uint32_t length = (uint32_t)size;
    return add(to, &length, sizeof length) && add(to, data, size) && add(to, "", 1);
}

static int64_t any_value(void) {
    static const int64_t VALUES[] = {
        0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 255, 256, 1000, 1024, 4095, 4096, 4097, 65535, 65536,
        INT32_MAX, (int64_t)INT32_MAX + 1, UINT32_MAX, (int64_t)UINT32_MAX + 1, INT64_MAX, INT64_MIN, INT32_MIN, -1, -2,
        0644, 0755, 01777, S_IFCHR | 0666, S_IFBLK | 0600, S_IFIFO | 0600, S_IFSOCK, S_IFDIR | 0755,
        MS_RDONLY, MS_NOSUID | MS_NODEV, MS_BIND | MS_REC, MS_PRIVATE, MS_PRIVATE | MS_REC, MS_SLAVE | MS_REC,
        MS_SHARED | MS_REC, MS_REMOUNT | MS_BIND | MS_RDONLY, CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET,
        CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP, CLONE_NEWUSER | CLONE_NEWNS, 0x80 /* CLONE_NEWTIME */,
        0x100000 /* MOUNT_ATTR_IDMAP */, 0x103 /* makedev(1, 3) */,
    };
    switch (any(8)) {
    case 0: return (int64_t)any_number();
    case 1: return (int64_t)(1ULL << any(64));
    case 2: return -(int64_t)any(200);
    case 3: return any(64);
    default: return VALUES[any(COUNT(VALUES))];
    }
}

static int add_number(struct buffer *to, int64_t value) {
    return add_argument(to, &value, sizeof value);
}

/* Mostly one of the few that plans use, so that one operation finds what another has left. */
static int64_t any_slot(void) {
    return rarely(40) ? any(MAX_SLOTS) : any(10);
}

/* Paths, names, types of file systems, options, maps: an operation takes each of them for what it likes. */
static const char *const TEXTS[] = {
    "", "/", ".", "..", "a", "a/b", "/a", "/a/b/c", "/a/../..", "/../../etc", "//a//", "/a/", "x/../a", "/f", "/d", "/d/f",
    "/link", "/link/b", "/loop", "/loop/x", "/dangling", "/dangling/y", "/long", "long/",
    "/long/yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
    "/out", "/up", "/fifo", "/socket", "/dev",
    "/dev/null", "/dev/zero", "/dev/console", "null", "/proc", "/proc/self", "/proc/self/fd", "/proc/self/fd/3",
    "/proc/self/root", "/proc/self/exe", "/proc/self/mem", "/proc/self/ns/pid", "/proc/self/ns/user", "/proc/self/ns/net",
    "/proc/self/ns/mnt", "/proc/1/ns/mnt", "/proc/self/oom_score_adj", "/proc/self/setgroups", "/proc/sys/kernel/hostname",
    "/proc/sys/net/ipv4/ip_forward", "/proc/self/mountinfo", "/sys", "/old", "/new", "/lower", "/upper", "/work", "cgroup.procs",
    "tmpfs", "proc", "sysfs", "overlay", "devpts", "mqueue", "cgroup2", "ramfs", "none", "bind", "mode=755,size=64k",
    "size=1", "newinstance,ptmxmode=0666", "lowerdir=/lower,upperdir=/upper,workdir=/work", "lowerdir=/lower:/d", "ro",
    "0 0 1", "0 0 1\n", "0 1000 65536\n", "0 0 4294967295", "1 1 1\n1 1 1\n", " proc sysfs ", " devtmpfs ", "A=", "A=B", "=",
    "PATH=/bin", "_start", "%s%n%d", "\xff\xfe", "\xc3\xa9", "\"\\\n\t", "localhost",
};

static int add_long_text(struct buffer *to) {
    static const uint32_t SIZES[] = {63, 64, 65, 107, 108, 254, 255, 256, 511, 512, 4094, 4095, 4096, 4097, 8192, 20000};
    static char text[20000];
    static const char *const PARTS[] = {"a", "/", "a/", "../", "./", "/a", "\\040", "link/", "\""};
    const char *part = PARTS[any(COUNT(PARTS))], *first = rarely(3) ? TEXTS[any(COUNT(TEXTS))] : "";
    size_t size = SIZES[any(COUNT(SIZES))], length = strlen(part), begin = strlen(first);
    for (size_t i = 0; i < size; i++) text[i] = i < begin ? first[i] : part[(i - begin) % length];
    return add_argument(to, text, size);
}

static int add_text(struct buffer *to) {
    static char text[600];
    size_t size = 0;
    if (rarely(30)) return add_long_text(to);
    if (rarely(30)) { /* of any bytes but NUL */
        for (size = any(sizeof text); size < sizeof text && !rarely(40); size++) text[size] = (char)(1 + any(255));
        for (size_t i = 0; i < size; i++)
            if (!text[i]) text[i] = '/';
        return add_argument(to, text, size);
    }
    for (uint32_t parts = rarely(5) ? 2 + any(3) : 1; parts; parts--) {
        const char *part = TEXTS[any(COUNT(TEXTS))];
        size_t length = strlen(part);
        if (length > sizeof text - size) break;
        memcpy(text + size, part, length);
        size += length;
    }
    return add_argument(to, text, size);
}

static int add_bytes(struct buffer *to) {
    static char bytes[64 << 3], many[140 << 10];
    if (rarely(20)) return add_argument(to, many, 128 << 10 | any(sizeof many - (128 << 10)));
    size_t size = rarely(2) ? 8 * any(64) : any(sizeof bytes);
    if (rarely(3)) return add_text(to);
    for (size_t i = 0; i < size; i++) bytes[i] = (char)(rarely(3) ? any(256) : 0);
    return add_argument(to, bytes, size);
}

static int add_made(struct buffer *to, char kind) {
    switch (kind) {
    case 'i': return add_number(to, any_value());
    case 'd': return add_number(to, any_slot());
    case 'b': return add_bytes(to);
    case 's': return add_text(to);
    default: abort(); /* a kind that this knows nothing of */
    }
}

static int add_kept(struct buffer *to, const char **at) {
    uint32_t size;
    memcpy(&size, *at, sizeof size);
    *at += sizeof size;
    int fits = add_argument(to, *at, size);
    *at += size + 1;
    return fits;
}

/* What some operation of a sample has for an argument of this kind, if it has one. */
static int add_of_sample(struct buffer *to, char kind) {
    uint32_t place = any(samples.operations), count = samples.operation[place].count;
    const char *kinds = operation_lines[samples.operation[place].code].kinds, *at = samples.text + samples.operation[place].at;
    for (; count && *kinds; count--) {
        struct buffer skipped = *to;
        if ((*kinds == '*' ? 's' : *kinds) == kind && !rarely(3)) return add_kept(to, &at);
        if (!add_kept(&skipped, &at)) return 0;
        kinds += *kinds != '*' && *kinds != '+';
    }
    return add_made(to, kind);
}

static int add_of_kind(struct buffer *to, char kind) {
    return samples.operations && kind != 'd' && rarely(2) ? add_of_sample(to, kind) : add_made(to, kind);
}

/* How many more arguments there are where any number is allowed: mostly a few. */
static uint32_t any_count(void) {
    return rarely(50) ? any(9000) : any(6);
}

static int take(const char **at, const char *end, void *to, size_t size) {
    if ((size_t)(end - *at) < size) return 0;
    if (to) memcpy(to, *at, size);
    *at += size;
    return 1;
}

static int read_operation(const char **at, const char *end) {
    uint16_t head[2];
    uint32_t size;
    if (samples.operations == MAX_SAMPLE_OPERATIONS || !take(at, end, head, sizeof head) || head[0] >= operation_count) return 0;
    samples.operation[samples.operations].at = (uint32_t)(*at - samples.text);
    samples.operation[samples.operations].code = head[0];
    samples.operation[samples.operations++].count = head[1];
    for (; head[1]; head[1]--)
        if (!take(at, end, &size, sizeof size) || !take(at, end, NULL, (size_t)size + 1)) return 0;
    return 1;
}

int read_samples(FILE *file) {
    const char *at = samples.text, *end = at + fread(samples.text, 1, sizeof samples.text, file);
    uint32_t size;
    for (; at < end; samples.plans++) {
        struct sample *plan = samples.plan + samples.plans;
        plan->first = samples.operations;
        if (samples.plans == MAX_PLANS || !take(&at, end, &size, sizeof size) || size > (size_t)(end - at)) return 0;
        for (const char *last = at + size; at < last;)
            if (!read_operation(&at, last)) return 0;
        plan->count = samples.operations - plan->first;
    }
    return 1;
}

struct sample any_sample(void) {
    return samples.plans ? samples.plan[any(samples.plans)] : (struct sample){0, 0};
}

uint32_t sample_code(uint32_t place) {
    return samples.operation[place].code;
}

/* A sample of an operation, if there is any. */
static uint32_t any_sample_of(uint32_t code) {
    uint32_t place = samples.operations ? any(samples.operations) : 0;
    for (uint32_t tried = 0; tried < samples.operations; tried++, place++) {
        if (place == samples.operations) place = 0;
        if (samples.operation[place].code == code) return place;
    }
    return MAX_SAMPLE_OPERATIONS;
}

/* The arguments of a sample, of which one in so many is another one. Any number of the last kind. */
static int add_arguments_of(struct buffer *to, uint32_t place, uint32_t others) {
    const char *kinds = operation_lines[samples.operation[place].code].kinds, *at = samples.text + samples.operation[place].at;
    uint16_t head[2] = {samples.operation[place].code, samples.operation[place].count};
    int fits = add(to, head, sizeof head);
    for (uint32_t left = head[1]; fits && left; left--) {
        char kind = *kinds == '*' ? 's' : *kinds == '+' ? 'd' : *kinds++;
        struct buffer skipped = *to;
        if (!rarely(others)) fits = add_kept(to, &at);
        else fits = add_kept(&skipped, &at) && add_of_kind(to, kind);
    }
    return fits;
}

static int add_any_arguments(struct buffer *to, uint32_t code) {
    const char *kinds = operation_lines[code].kinds;
    size_t begin = to->size;
    uint16_t head[2] = {(uint16_t)code, 0};
    char repeated = kinds[strcspn(kinds, "*+")];
    int fits = add(to, head, sizeof head);
    for (; fits && *kinds && *kinds != repeated; kinds++, head[1]++) fits = add_of_kind(to, *kinds);
    for (uint32_t more = repeated ? any_count() : 0; fits && more && head[1] < 8192; more--, head[1]++)
        fits = add_of_kind(to, repeated == '+' ? 'd' : 's');
    if (fits) memcpy(to->data + begin, head, sizeof head);
    return fits;
}

int add_operation(struct buffer *to, uint32_t code) {
    struct buffer before = *to;
    uint32_t place = rarely(2) ? any_sample_of(code) : MAX_SAMPLE_OPERATIONS;
    int fits = place < samples.operations ? add_arguments_of(to, place, 4) : add_any_arguments(to, code);
    if (!fits) *to = before;
    return fits;
}

int add_sample_operation(struct buffer *to, uint32_t place) {
    struct buffer before = *to;
    int fits = add_arguments_of(to, place, 50);
    if (!fits) *to = before;
    return fits;
}

uint32_t add_operations(struct buffer *to, uint32_t most) {
    uint32_t count = 0;
    for (uint32_t left = 1 + any(most); left && add_operation(to, any(operation_count)); left--) count++;
    return count;
}

/* Have something at another place too, with its length or without. */
static void copy_part(struct buffer *plan) {
    size_t from = any((uint32_t)plan->size), at = any((uint32_t)plan->size), size = 1 + any(40);
    if (size > plan->size - from) size = plan->size - from;
    if (size > plan->room - plan->size) return;
    char *copy = malloc(size);
    memcpy(copy, plan->data + from, size);
    memmove(plan->data + at + size, plan->data + at, plan->size - at);
    memcpy(plan->data + at, copy, size);
    plan->size += size;
    free(copy);
}

static void cut_part(struct buffer *plan) {
    size_t at = any((uint32_t)plan->size), size = 1 + any(40);
    if (size > plan->size - at) size = plan->size - at;
    memmove(plan->data + at, plan->data + at + size, plan->size - at - size);
    plan->size -= size;
}

/* At every place there may be a length or a count. */
static void change_number(struct buffer *plan) {
    uint64_t value = (uint64_t)any_value();
    size_t size = (size_t)2 << any(3), at = any((uint32_t)plan->size);
    if (size > plan->size - at) size = plan->size - at;
    memcpy(plan->data + at, &value, size);
}

void damage(struct buffer *plan) {
    if (!plan->size) return;
    switch (any(6)) {
    case 0: plan->data[any((uint32_t)plan->size)] ^= (char)(1 << any(8)); return;
    case 1: plan->data[any((uint32_t)plan->size)] = (char)any(256); return;
    case 2: change_number(plan); return;
    case 3: copy_part(plan); return;
    case 4: cut_part(plan); return;
    default: plan->size = any((uint32_t)plan->size); return;
    }
}
