/* What native/process/kernel_views.c, which is compiled with this, makes of a text that could be the kernel's list of
   mounts.

   mount_list SEED ROUNDS SECONDS       damaged texts, until whichever ends first; 0 for without
   mount_list show TOP ROOT < text      a line for each mount at TOP and below; ROOT: the number of the root's mount
   or an entry for libFuzzer: clang -fsanitize=fuzzer,address,undefined -DLIBFUZZER */
#include "kernel_views.c"

#include <stdlib.h>
#include <sys/mman.h>

#include "any.h"
#include "rounds.h"

enum { MOST = 1 << 20 };

static int use(const void *text, size_t size, const char *top, int root) {
    static struct mount_list list;
    struct search search = {" proc sysfs ", " devtmpfs ", NULL};
    list = (struct mount_list){.fd = memfd_create("mountinfo", MFD_CLOEXEC)};
    if (list.fd < 0 || write(list.fd, text, size) != (ssize_t)size || lseek(list.fd, 0, SEEK_SET)) abort();
    int error = read_lines(&search, &list, top);
    close(list.fd);
    return error ? error : join_lines(root);
}

static void check(struct mount *at) {
    char path[MAX_PATH], escaped[4 * MAX_PATH], again[MAX_PATH];
    int steps = 0, hidden = is_hidden(at);
    struct mount *twin = reachable_twin(at);
    if (at->path_size && *path_of(at) != '/') abort();
    if (twin && is_hidden(twin)) abort();
    if (twin == at && hidden) abort();
    for (struct mount *each = at; each != table.mount + table.root; each = table.mount + each->below)
        if (steps++ == table.count) abort();
    int size = mount_path_restore(path, sizeof path, path_of(at));
    if (size < 0 || strlen(path) != (size_t)size) return;
    if (mount_path_escape(escaped, sizeof escaped, path) < size) abort();
    if (mount_path_restore(again, sizeof again, escaped) != size || strcmp(again, path)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!use(data, size, "/r", 10))
        for (int i = 0; i < table.count; i++)
            if (table.mount[i].is_inside) check(table.mount + i);
    return 0;
}

#ifndef LIBFUZZER
static const char LIST[] =
    "10 1 0:1 / /r rw,relatime - ext4 a rw\n"
    "11 10 0:2 /one /r/a rw,nodev shared:13 master:1 - ext4 a rw\n"
    "12 11 0:3 /two /r/a/b ro,nosuid,nodev,noexec unbindable - ext4 a rw\n"
    "13 11 0:4 / /r/a rw - tmpfs c rw,size=65536k,mode=755\n"
    "14 13 0:5 /in /r/a/c rw - ext4 a rw\n"
    "15 10 0:6 /x\\040y /r/d/e\\040\\134f rw - ext4 a rw\n"
    "16 15 0:7 / /r/d/e\\040\\134f/f rw - proc a rw\n"
    "17 10 0:8 / /r/d rw - tmpfs c rw\n"
    "18 10 0:9 /null /r/dd rw - devtmpfs a rw,size=4096k\n"
    "8 1 0:1 / /other rw - ext4 a rw\n"
    "9 8 0:21 / /r/p rw,nodev - sysfs sysfs rw\n";

/* A place where a line begins. */
static size_t any_line(const char *text, size_t size) {
    const char *newline = memchr(text + any((uint32_t)size), '\n', 1);
    for (int tries = 0; tries < 64 && !newline; tries++) newline = memchr(text + any((uint32_t)size), '\n', 1);
    return newline ? (size_t)(newline + 1 - text) : 0;
}

static size_t insert(char *text, size_t size, size_t at, const char *from, size_t count) {
    static char copy[MOST];
    if (count > MOST - size) return size;
    memcpy(copy, from, count);
    memmove(text + at + count, text + at, size - at);
    memcpy(text + at, copy, count);
    return size + count;
}

static size_t damage(char *text, size_t size) {
    static const char ODD[] = {'/', ' ', '\n', '\\', '-', '0', '1', '9', '\0', (char)0xff};
    size_t at = any((uint32_t)size), from = any((uint32_t)size), count;
    char byte = ODD[any(sizeof ODD)];
    switch (any(7)) {
    case 0: text[at] = byte; return size;
    case 1: text[at] ^= (char)(1 << any(8)); return size;
    case 2: return insert(text, size, at, &byte, 1);
    case 3: /* something goes */
        count = 1 + any(any(8) ? 8 : 400);
        if (count >= size - at) return size;
        memmove(text + at, text + at + count, size - at - count);
        return size - count;
    case 4: /* something comes again elsewhere: a field, or some lines */
        count = 1 + any(any(4) ? 40 : 4000);
        return insert(text, size, at, text + from, count > size - from ? size - from : count);
    case 5: /* lines are in another order, with their numbers */
        at = any_line(text, size), from = any_line(text, size);
        count = any(400);
        return insert(text, size, at, text + from, count > size - from ? size - from : count);
    default: /* sometimes a long field */
        for (int doubling = any(40) ? 0 : 9; doubling; doubling--)
            size = insert(text, size, at, text + at, size - at > 400 ? 400 : size - at);
        return size;
    }
}

static void play(void) {
    static char text[MOST];
    size_t size = sizeof LIST - 1;
    memcpy(text, LIST, size);
    for (uint32_t times = 1 + any(6); times && size; times--) size = damage(text, size);
    LLVMFuzzerTestOneInput((const uint8_t *)text, size);
}

static int show(const char *top, int root) {
    static char text[MOST];
    int error = use(text, fread(text, 1, sizeof text, stdin), top, root);
    if (error) printf("error %d\n", -error);
    for (struct mount *each = table.mount; !error && each < table.mount + table.count; each++)
        printf("%d %s %s %s%s\n", each->number, each->path_size ? path_of(each) : "/", table.text + each->type,
               each->is_inside ? "inside" : "outside", each->is_inside && is_hidden(each) ? " hidden" : "");
    return 0;
}

int main(int count, char **words) {
    if (count == 4 && !strcmp(words[1], "show")) return show(words[2], atoi(words[3]));
    return play_rounds(count, words, play);
}
#endif
