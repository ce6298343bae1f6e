/* Takes more of the host than a guest should, by one way for each first argument. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

static int files(void) { /* never closes one */
    int count = 0;
    while (count < 200000 && open("/file", O_RDONLY) >= 0) count++;
    printf("%s\n", count < 200000 ? "refused" : "all");
    return 0;
}

static int numbers(void) { /* descriptors moved to numbers far away, and over one another */
    for (unsigned n = 0; n < 20000; n++) {
        int fd = open("/file", O_RDONLY);
        if (fd < 0) break;
        (void)!__wasi_fd_renumber(fd, fd + (n % 7 ? 1 : 1u << 30));
        (void)!__wasi_fd_renumber(fd + 1, fd);
        close(fd);
        close(fd + 1);
    }
    return 0;
}

static int waits(void) { /* a poll for very many things at once, and for more than there is memory */
    enum { COUNT = 100000 };
    __wasi_subscription_t *in = calloc(COUNT, sizeof *in);
    __wasi_event_t *out = calloc(COUNT, sizeof *out);
    __wasi_size_t ready;
    for (int n = 0; n < COUNT; n++) in[n].u.tag = __WASI_EVENTTYPE_CLOCK;
    (void)!__wasi_poll_oneoff(in, out, COUNT, &ready);
    (void)!__wasi_poll_oneoff(in, out, 0, &ready);
    return __wasi_poll_oneoff(in, out, 0x7fffffff, &ready) == 0;
}

static int bytes(void) { /* more random bytes than there is memory, and lists of buffers that lie */
    static uint8_t buffer[1 << 20];
    __wasi_iovec_t lists[3] = {{buffer, 0xffffffff}, {(uint8_t *)0xfffffff0, 64}, {buffer, sizeof buffer}};
    __wasi_size_t count;
    for (int n = 0; n < 64; n++)
        if (__wasi_random_get(buffer, sizeof buffer)) return 2;
    int fd = open("/file", O_RDONLY);
    for (int n = 0; n < 2; n++)
        if (!__wasi_fd_read(fd, &lists[n], 1, &count) && count > 1024) return 3;
    return __wasi_random_get(buffer, 0xffff0000) == 0 ? 4 : 0;
}

static int paths(void) { /* names that are longer than any, with every odd byte */
    static char name[1 << 20];
    memset(name, 'a', sizeof name - 1);
    if (open(name, O_RDONLY) >= 0) return 5;
    for (unsigned n = 0; n + 1 < sizeof name; n += 2) name[n] = '/';
    if (open(name, O_RDONLY) >= 0) return 6;
    for (int byte = 1; byte < 256; byte++) {
        char odd[] = {'/', (char)byte, (char)0xff, (char)byte, 0};
        int fd = open(odd, O_RDONLY);
        if (fd >= 0) close(fd);
    }
    return 0;
}

static int deep(volatile int n) { return n < 0 ? 0 : 1 + deep(n + 1) + deep(n + 2); }

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "files")) return files();
    if (!strcmp(what, "numbers")) return numbers();
    if (!strcmp(what, "waits")) return waits();
    if (!strcmp(what, "bytes")) return bytes();
    if (!strcmp(what, "paths")) return paths();
    if (!strcmp(what, "deep")) return deep(1);
    return 64;
}
