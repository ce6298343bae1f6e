/* The program that containerd executes. For `start` and `delete` it sends a request to the zygote of this Python
   environment (messages: pelagos_core/shim/zygote_request.py) and prints the answer. Without an answer, and for all
   other actions, it executes the launcher in Python, which serves every action.

   It reads its command line, its environment and its own files in /proc, but no file of a bundle, an image or a guest.
   If input exceeds its buffers, it executes Python. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "settings.h"
#include "sha256.h"

enum { MAX_REQUEST = 128 << 10, MAX_KEY = 64 << 10, MAX_ANSWER = 4096, FIRST_WORD = 5 };
static const char DONE = 'k', START[] = "unix://";
/* Python sets SIGPIPE and SIGXFSZ to be ignored in every process, and CPython 3.13 also 32 and 33, which the C library
   uses (signal(7)). The key must be equal in C and Python, so both clear these bits. */
static const unsigned long long IGNORED_BY_PYTHON = 1ULL << (SIGPIPE - 1) | 1ULL << (SIGXFSZ - 1) | 3ULL << 31;
static const struct timeval TIMEOUT = {1, 0};

/* Fields separated by NUL, in a buffer of fixed size; `full` once a field did not fit. */
struct fields {
    char *data;
    size_t used, room;
    int full, any;
};

static void add(struct fields *to, const char *data, size_t size) {
    if (to->full || size > to->room - to->used) {
        to->full = 1;
        return;
    }
    memcpy(to->data + to->used, data, size);
    to->used += size;
}

static void begin_field(struct fields *to) {
    if (to->any) add(to, "", 1);
    to->any = 1;
}

static void add_text(struct fields *to, const char *text) {
    begin_field(to);
    add(to, text, strlen(text));
}

/* The bytes of a file in /proc; none if it cannot be read. */
static void add_file(struct fields *to, const char *path) {
    char part[4096];
    ssize_t size;
    begin_field(to);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    size_t before = to->used;
    while ((size = read(fd, part, sizeof part)) > 0) add(to, part, (size_t)size);
    if (size < 0) to->used = before;
    close(fd);
}

/* The lines of /proc/self/status with attributes that a fork inherits and that cannot be set afterwards. */
static void add_status(struct fields *to) {
    static const char *const NAMES[] = {
        "Uid:", "Gid:", "SigBlk:", "SigIgn:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:",
        "NoNewPrivs:", "Seccomp:", "Cpus_allowed:", "Mems_allowed:",
    };
    char text[1 << 14], line[64], *rest = text, *each;
    struct fields status = {text, 0, sizeof text - 1, 0, 0};
    add_file(&status, "/proc/self/status");
    text[status.used] = 0;
    to->full |= status.full;
    while ((each = strsep(&rest, "\n"))) {
        for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
            size_t size = strlen(NAMES[i]);
            if (strncmp(each, NAMES[i], size)) continue;
            if (!strcmp(NAMES[i], "SigIgn:")) {
                unsigned long long ignored = strtoull(each + size, NULL, 16) & ~IGNORED_BY_PYTHON;
                snprintf(line, sizeof line, "SigIgn:\t%016llx", ignored);
                each = line;
            }
            add_text(to, each);
        }
    }
}

/* The zygote's address: zygote_request.socket_path() in C. Returns 0 if PELAGOS_ZYGOTE is `off`, or on an error. */
static int find_zygote(const char *const *texts, struct sockaddr_un *address) {
    static const char *const NAMESPACES[] = {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"};
    static const char *const ENVIRONMENT[] = {"PATH", "PELAGOS_CONFIG"};
    static char data[MAX_KEY];
    struct fields key = {data, 0, sizeof data, 0, 0};
    char path[64], text[64], hex[65];
    const char *directory = getenv("PELAGOS_ZYGOTE");
    struct stat root;
    if (!directory || !*directory) directory = "/run/pelagos/zygote";
    if (!strcmp(directory, "off")) return 0;
    for (int i = 1; i < 4; i++) add_text(&key, texts[i]);
    for (size_t i = 0; i < sizeof NAMESPACES / sizeof *NAMESPACES; i++) {
        snprintf(path, sizeof path, "/proc/self/ns/%s", NAMESPACES[i]);
        ssize_t size = readlink(path, text, sizeof text);
        if (size < 0) return 0;
        begin_field(&key);
        add(&key, text, (size_t)size);
    }
    if (stat("/", &root)) return 0;
    snprintf(text, sizeof text, "%llu:%llu", (unsigned long long)root.st_dev, (unsigned long long)root.st_ino);
    add_text(&key, text);
    for (size_t i = 0; i < sizeof ENVIRONMENT / sizeof *ENVIRONMENT; i++) {
        const char *value = getenv(ENVIRONMENT[i]);
        add_text(&key, value ? value : "");
    }
    add_file(&key, "/proc/self/attr/current");
    snprintf(text, sizeof text, "%d", getpriority(PRIO_PROCESS, 0));
    add_text(&key, text);
    add_status(&key);
    sha256_hex((const unsigned char *)data, key.used, hex);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int size = snprintf(address->sun_path, sizeof address->sun_path, "%s/%s", directory, hex);
    return !key.full && size > 0 && (size_t)size < sizeof address->sun_path;
}

/* The request: zygote_request.Request.encode() in C. */
static void write_request(struct fields *request, int count, char **words) {
    static const char *const KEPT[] = {
        "PATH", "TTRPC_ADDRESS", "PELAGOS_SOCKET_DIR", "PELAGOS_CONFIG", "PELAGOS_CACHE_DIR", "PELAGOS_METRICS",
        "OTEL_SDK_DISABLED", "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    };
    char text[32];
    mode_t mask = umask(077);
    umask(mask);
    snprintf(text, sizeof text, "%u", (unsigned)mask);
    add_text(request, text);
    add_file(request, "/proc/self/oom_score_adj");
    add_file(request, "/proc/self/cgroup");
    add_file(request, "/proc/self/limits");
    snprintf(text, sizeof text, "%d", count);
    add_text(request, text);
    for (int i = 0; i < count; i++) add_text(request, words[i]);
    for (size_t i = 0; i < sizeof KEPT / sizeof *KEPT; i++) {
        const char *value = getenv(KEPT[i]);
        if (!value) continue;
        add_text(request, KEPT[i]);
        add(request, "=", 1);
        add(request, value, strlen(value));
    }
}

/* Send the request with the working directory, and wait for the answer. Returns its size, or -1. */
static ssize_t exchange(const struct sockaddr_un *address, const struct fields *request, char *answer, size_t room) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {request->data, request->used};
    int bundle = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int zygote = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (bundle < 0 || zygote < 0) return -1;
    /* SO_SNDTIMEO also applies to connect(2), which waits if the backlog is full (unix(7)). */
    if (setsockopt(zygote, SOL_SOCKET, SO_RCVTIMEO, &TIMEOUT, sizeof TIMEOUT) ||
        setsockopt(zygote, SOL_SOCKET, SO_SNDTIMEO, &TIMEOUT, sizeof TIMEOUT) ||
        connect(zygote, (const struct sockaddr *)address, sizeof *address) ||
        getsockopt(zygote, SOL_SOCKET, SO_PEERCRED, &peer, &size) || peer.uid != geteuid())
        return -1;
    memset(&control, 0, sizeof control);
    control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof bundle), .cmsg_level = SOL_SOCKET};
    control.header.cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(&control.header), &bundle, sizeof bundle);
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control};
    message.msg_controllen = sizeof control;
    if (sendmsg(zygote, &message, MSG_NOSIGNAL) < 0) return -1;
    /* MSG_TRUNC: returns the full size of the answer. */
    return recv(zygote, answer, room, MSG_TRUNC);
}

/* Print the zygote's answer to this command line and exit; return if Python must serve it. */
static void ask(const char *const *texts, int count, char **words) {
    static char data[MAX_REQUEST], answer[MAX_ANSWER];
    struct fields request = {data, 0, sizeof data, 0, 0};
    struct sockaddr_un address;
    const char *action = words[count - 1];
    int starts = !strcmp(action, "start");
    if (!starts && strcmp(action, "delete")) return;
    if (!find_zygote(texts, &address)) return;
    write_request(&request, count, words);
    if (request.full) return;
    ssize_t size = exchange(&address, &request, answer, sizeof answer);
    if (size < 2 || (size_t)size > sizeof answer || answer[0] != DONE) return;
    if (starts && ((size_t)size <= sizeof START || memcmp(answer + 1, START, sizeof START - 1))) return;
    signal(SIGPIPE, SIG_IGN);
    for (ssize_t at = 1, more; at < size; at += more)
        if ((more = write(STDOUT_FILENO, answer + at, (size_t)(size - at))) <= 0) {
            perror(words[-1]);
            _exit(1);
        }
    _exit(0);
}

/* The launcher in Python, on the same command line: `python -IS -c CODE NAME WORD...`. */
static void execute_python(const char *const *texts, int count, char **words) {
    const char **all = calloc((size_t)count + FIRST_WORD + 1, sizeof *all);
    if (all) {
        const char *const first[FIRST_WORD - 1] = {texts[2], "-IS", "-c", texts[4]};
        memcpy(all, first, sizeof first);
        for (int i = -1; i < count; i++) all[FIRST_WORD + i] = words[i];
        execv(texts[2], (char **)all);
    }
    fprintf(stderr, "%s: %s: %s\n", words[-1], texts[2], strerror(errno));
}

int main(int argc, char **argv) {
    const char *texts[FIRST_WORD], *at = settings;
    /* Open missing standard streams: else the next opened file gets the number of one (standard_streams.py). */
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) return 1;
    for (int i = 0; i < FIRST_WORD; i++) {
        size_t left = (size_t)(settings + SETTINGS_SIZE - at), size = strnlen(at, left);
        if (!size || size == left) {
            fputs("pelagos: this launcher has no settings: run `pelagos install`\n", stderr);
            return 1;
        }
        texts[i] = at;
        at += size + 1;
    }
    if (argc < 1) return 1;
    if (argc > 1) ask(texts, argc - 1, argv + 1);
    execute_python(texts, argc - 1, argv + 1);
    return 1;
}
