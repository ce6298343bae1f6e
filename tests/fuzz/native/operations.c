/* The operations of plans as they are, in a sandbox: whatever they are given, none reads or writes where it may not,
   leaves a descriptor open, or closes one that is not its own.

   operations SEED ROUNDS SECONDS < samples      whichever ends first; 0 for without; with VERBOSE set, how often each
                                                 has done its work

   A round is a process with a few operations, one after the other, so that it is known which one a fault is of: any, or
   those of a sample on standard input, most of which are as they were. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "any.h"
#include "message.h"
#include "operations.h"
#include "plans.h"
#include "rounds.h"
#include "sandbox.h"

enum { OPEN = 64, MOST_OPERATIONS = 30, FAULT = 99, MILLISECONDS = 200, ROOM = 256 << 10 };

/* What the process of a round leaves for its parent: it may end at any place. */
static struct shared {
    char report[32 << 10];
    size_t report_size;
    uint32_t code, number; /* the operation of the moment, and its place in the round */
    uint64_t tried[MAX_OPERATIONS], done[MAX_OPERATIONS], late;
} *shared;

static void report(const char *text) {
    size_t size = strlen(text), room = sizeof shared->report - 1 - shared->report_size;
    if (size > room) size = room;
    memcpy(shared->report + shared->report_size, text, size);
    shared->report_size += size;
}

static void fault(const char *what, int number) {
    char text[200];
    snprintf(text, sizeof text, "%s: %d\n", what, number);
    report(text);
    _exit(FAULT);
}

/* What the sanitizers find: stderr may be closed, or be anything. */
void __asan_set_error_report_callback(void (*callback)(const char *));
void __ubsan_on_report(void);
void __ubsan_get_current_report_data(const char **kind, const char **message, const char **file, unsigned *line,
                                     unsigned *column, char **memory);
void __ubsan_on_report(void) {
    const char *kind = "", *message = "", *file = "";
    unsigned line = 0, column = 0;
    char *memory, text[600];
    __ubsan_get_current_report_data(&kind, &message, &file, &line, &column, &memory);
    snprintf(text, sizeof text, "%s:%u:%u: %s: %s\n", file, line, column, kind, message);
    report(text);
}

/* Descriptors: which are open, and which the process has by its slots. */
struct descriptors {
    unsigned char open[OPEN], held[OPEN];
};

static void hold(struct descriptors *in, int fd) {
    if (fd >= 0 && fd < OPEN) in->held[fd]++;
}

static void look(struct descriptors *at, const struct process *p) {
    memset(at->held, 0, sizeof at->held);
    for (int fd = 0; fd < OPEN; fd++) at->open[fd] = fcntl(fd, F_GETFD) >= 0;
    for (int i = 0; i < MAX_SLOTS; i++) hold(at, p->slot[i]);
    for (uint32_t i = 0; i < p->device_count; i++) hold(at, p->devices[i]);
}

static int is_one_of(const char *names, const char *name) {
    char word[80];
    snprintf(word, sizeof word, " %s ", name);
    return strstr(names, word) != NULL;
}

/* Those whose work it is to open or close what no slot has. */
static const char OPENS[] = " use_slot receive_plan ", CLOSES[] = " use_slot place_slot close_from keep_slots read_nothing receive_plan ";

static void compare(const struct descriptors *before, const struct descriptors *after, const char *name) {
    for (int fd = 3; fd < OPEN; fd++) {
        if (after->open[fd] && !before->open[fd] && !after->held[fd] && !is_one_of(OPENS, name)) fault("left open", fd);
        if (before->open[fd] && !after->open[fd] && !before->held[fd] && !is_one_of(CLOSES, name)) fault("not its own, closed", fd);
        if (before->open[fd] && !after->open[fd] && after->held[fd] && before->held[fd] < 2 && !is_one_of(CLOSES, name))
            fault("closed, but still in a slot", fd);
    }
}

/* Those from before the operation of the moment. close(2) is this (ld(1), --wrap): what is not open and in no slot was
   closed before, and may be another's by now. */
static const struct descriptors *owned;
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd) {
    int done = __real_close(fd), error = errno;
    if (done < 0 && error == EBADF && owned && fd >= 0 && (fd >= OPEN || !owned->held[fd])) fault("closed, but not open", fd);
    errno = error;
    return done;
}

static void check(const struct process *p, int error, const char *name) {
    if (error < -4095) fault("no errno", error);
    if (error == -EFAULT && strcmp(name, "refuse")) fault("memory that is not there", error);
    if (!memchr(p->detail, 0, sizeof p->detail)) fault("a detail without an end", 0);
    if (p->stage < 0 || p->device_count > sizeof p->devices / sizeof *p->devices) fault("stage", p->stage);
}

/* A limit without which a sanitizer lacks what it needs. */
static int takes_memory(const struct buffer *plan, const char *name) {
    int64_t resource;
    memcpy(&resource, plan->data + 2 * sizeof(uint16_t) + sizeof(uint32_t), sizeof resource);
    return is_one_of(" set_rlimit allow_rlimit ", name) && (resource == RLIMIT_AS || resource == RLIMIT_DATA || resource == RLIMIT_STACK);
}

/* A copy at the end of a page with none behind it, so that the kernel cannot read more than there is either. It is kept:
   an operation may leave words there for later ones. */
static const char *copy_of(const struct buffer *plan) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (plan->size + page - 1) / page * page;
    char *pages = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + size, page, PROT_NONE)) fault("mmap", errno);
    return memcpy(pages + size - plan->size, plan->data, plan->size);
}

/* Returns whether to go on. */
static int execute(struct process *p, struct descriptors *before, const struct buffer *plan, const char *name) {
    static struct descriptors after;
    owned = before;
    int error = plan_execute(p, copy_of(plan), plan->size);
    owned = NULL;
    look(&after, p);
    check(p, error, name);
    compare(before, &after, name);
    *before = after;
    shared->done[shared->code] += error == 0;
    return error || !takes_memory(plan, name);
}

enum { INPUT = 2, OUTPUT, ERRORS, CONTAINER, CODE_DIRECTORY, ENTRYPOINT, ENGINE_ROOT, SOURCE };

static int clone_tree(const char *path) { return (int)syscall(SYS_open_tree, AT_FDCWD, path, 1 /* OPEN_TREE_CLONE */ | O_CLOEXEC); }

/* What the daemon sends: a plan, with descriptors. */
static void send_plan(int daemon) {
    static struct plan_head head;
    static char data[MAX_PLAN];
    int fds[MAX_RECEIVED];
    struct buffer plan = {data, 0, sizeof data};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof fds)];
    } along = {.space = {0}};
    struct iovec parts[] = {{&head, sizeof head}, {data, 0}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    uint32_t count = rarely(2) ? any(MAX_RECEIVED + 1) : 0;
    head.count = rarely(20) ? any(20) : count;
    for (uint32_t i = 0; i < count; i++) {
        head.slots[i] = rarely(8) ? -1 - (int32_t)any(3) : (int32_t)any(10);
        fds[i] = open("/f", O_RDONLY | O_CLOEXEC);
    }
    parts[1].iov_len = add_operations(&plan, 8) ? plan.size : 0;
    along.header = (struct cmsghdr){CMSG_LEN(count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&along.header), fds, count * sizeof(int));
    if (count) message.msg_control = &along, message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    sendmsg(daemon, &message, MSG_NOSIGNAL);
    while (count) close(fds[--count]);
}

/* All that the daemon says in a round, and mostly that it has ended. */
static void speak(int daemon) {
    for (uint32_t left = any(5); left; left--) {
        if (rarely(3)) send_plan(daemon);
        else send(daemon, rarely(8) ? "no" : "go", 2, MSG_NOSIGNAL);
    }
    if (!rarely(50)) shutdown(daemon, SHUT_WR);
}

/* An engine that reads everything that it gets about a guest. */
static volatile size_t read_sum;

static void read_words(const struct pelagos_words *words) {
    for (uint32_t i = 0; i < words->count; i++) read_sum += strlen(words->at[i]);
    if (words->at && words->at[words->count]) fault("words without an end", (int)words->count);
}

static int use_guest(const struct pelagos_guest *guest, char *error, size_t size) {
    read_words(&guest->arguments);
    read_words(&guest->environment);
    read_words(&guest->calls);
    for (uint32_t i = 0; i < guest->directory_count; i++)
        read_sum += strlen(guest->directories[i].name) + strlen(guest->directories[i].path);
    for (uint32_t i = 0; i < guest->memory_count; i++) read_sum += (size_t)guest->memories[i];
    if (guest->allows_memory) read_sum += (size_t)guest->allows_memory(any_number() >> any(64));
    memset(error, 'x', size - 1);
    error[rarely(2) ? size - 1 : any((uint32_t)size)] = 0;
    return rarely(3) ? -1 : (int)any(256);
}

static int load(const struct pelagos_guest *guest, const char *code, char *error, size_t size) {
    read_sum += strlen(code);
    int used = use_guest(guest, error, size);
    return used < 0 ? -ESTALE : 0;
}

static int run(const struct pelagos_guest *guest, char *error, size_t size) {
    int code = use_guest(guest, error, size);
    if (guest->leave && rarely(4)) guest->leave(code);
    return code;
}

static const struct pelagos_engine engine = {PELAGOS_ENGINE_VERSION, NULL, load, run};

/* To open a FIFO waits for its other end. */
static void keep_open(const char *path) {
    if (open(path, O_RDWR | O_CLOEXEC) < 0) fault(path, errno);
}

/* What tests/fuzz/sample_plans.py has in these slots, or something else. An end of a socket and of pipes is in no slot. */
static void fill_slots(struct process *p) {
    int control[2], output[2], trees = rarely(4); /* to close one takes milliseconds */
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) || pipe2(output, O_CLOEXEC | O_NONBLOCK)) fault("socketpair", errno);
    speak(control[1]);
    keep_open("/fifo");
    keep_open("/c/fifo");
    p->slot[SLOT_control] = control[0];
    p->slot[SLOT_root] = open("/c", O_PATH | O_DIRECTORY | O_CLOEXEC);
    p->slot[INPUT] = open("/c/f", O_RDONLY | O_CLOEXEC);
    p->slot[OUTPUT] = output[1];
    p->slot[ERRORS] = rarely(2) ? open("/c/d/f", O_RDWR | O_CLOEXEC) : output[0];
    p->slot[CONTAINER] = (int)syscall(SYS_pidfd_open, rarely(2) ? 1 : getpid(), 0);
    p->slot[CODE_DIRECTORY] = open("/c/d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    p->slot[ENTRYPOINT] = rarely(4) ? open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC) : open("/c/lower/f", O_RDONLY | O_CLOEXEC);
    p->slot[ENGINE_ROOT] = trees ? clone_tree("/c") : open("/c/upper", O_PATH | O_CLOEXEC);
    p->slot[SOURCE] = trees ? clone_tree("/c/a/b") : -1;
}

static void live(void) {
    static struct process process;
    static struct descriptors open_now;
    static char data[ROOM];
    struct rlimit seconds = {2, 2};
    setrlimit(RLIMIT_CPU, &seconds);
    if (unshare(CLONE_NEWNS) || mount("c", "/c", "tmpfs", 0, "mode=755,size=1m,nr_inodes=500")) fault("mount", errno);
    furnish("/c");
    for (int fd = 0; fd < 3; fd++) dup2(open("/dev/null", O_RDWR | O_CLOEXEC), fd);
    syscall(SYS_close_range, 3, ~0U, 0);
    plan_reset(&process);
    process.engine = rarely(20) ? NULL : &engine;
    strcpy(process.root_path, rarely(20) ? "/none" : "/c");
    fill_slots(&process);
    look(&open_now, &process);
    struct sample sample = rarely(2) ? any_sample() : (struct sample){0, 0};
    uint32_t count = sample.count ? sample.count : 1 + any(MOST_OPERATIONS);
    for (; shared->number < count; shared->number++) {
        struct buffer plan = {data, 0, sizeof data};
        uint32_t place = sample.first + shared->number;
        if (sample.count && rarely(20)) continue;
        shared->code = sample.count && !rarely(10) ? sample_code(place) : any(operation_count);
        int is_kept = sample.count && shared->code == sample_code(place);
        if (!(is_kept ? add_sample_operation(&plan, place) : add_operation(&plan, shared->code))) continue;
        shared->tried[shared->code]++;
        if (!execute(&process, &open_now, &plan, operation_lines[shared->code].name)) break;
    }
    _exit(0);
}

/* Others are those of a filter, a limit, a terminal, or what a plan asks for. */
static int is_fault_of_memory(int signal) {
    return signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE || signal == SIGABRT || signal == SIGTRAP;
}

static int is_fault(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) == FAULT : is_fault_of_memory(WTERMSIG(status));
}

/* Wait for all children: a process may go on as another one, which is a child too. Returns the status of a fault, else 0. */
static int wait_for_all(void) {
    struct timespec patience = {0, MILLISECONDS * 1000000L};
    sigset_t ended;
    int status, found = 0;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) >= 0;) {
        if (pid && is_fault(status)) found = status;
        if (pid || sigtimedwait(&ended, NULL, &patience) == SIGCHLD) continue;
        shared->late++;
        kill(-1, SIGKILL);
        patience.tv_sec = 60;
    }
    return found;
}

static void play(void) {
    shared->report_size = shared->number = 0;
    pid_t child = fork();
    if (!child) live();
    int status = wait_for_all();
    if (!status && !shared->report_size) return;
    shared->report[shared->report_size] = 0;
    fprintf(stderr, "seed %llu, operation %u of the round, %s: status %#x\n%s", (unsigned long long)round_seed,
            shared->number, operation_lines[shared->code].name, (unsigned)status, shared->report);
    exit(1);
}

static void tell(void) {
    for (uint32_t i = 0; i < operation_count; i++)
        printf("%10llu of %10llu  %s\n", (unsigned long long)shared->done[i], (unsigned long long)shared->tried[i], operation_lines[i].name);
    printf("%llu took too long\n", (unsigned long long)shared->late);
}

int main(int count, char **words) {
    sigset_t ended;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 2;
    read_operations();
    if (!read_samples(stdin)) return 2;
    __asan_set_error_report_callback(report);
    enter_sandbox();
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, NULL);
    int code = play_rounds(count, words, play);
    if (getenv("VERBOSE")) tell();
    fflush(stdout);
    return code;
}
