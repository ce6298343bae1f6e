/* Code that the native parts of engines share: error texts, and loading the engine's library. */
#ifndef PELAGOS_PART_H
#define PELAGOS_PART_H
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Write a text, truncated if it is too long; return `number`. */
__attribute__((format(printf, 4, 5))) static inline int part_say(int number, char *error, size_t size,
                                                                 const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, size, format, arguments);
    va_end(arguments);
    return number;
}

/* device:inode:size:time of a file, as in the `settings` of NativePart.of. */
static inline int part_identify(const char *path, char *text, size_t size) {
    struct stat status;
    if (stat(path, &status)) return -1;
    long long nanoseconds = status.st_mtim.tv_sec * 1000000000LL + status.st_mtim.tv_nsec;
    snprintf(text, size, "%llu:%llu:%lld:%lld", (unsigned long long)status.st_dev, (unsigned long long)status.st_ino,
             (long long)status.st_size, nanoseconds);
    return 0;
}

/* Load the engine's library, if it is the file that Python has checked. Returns its handle, or NULL and an error text. */
static inline void *part_load(const char *library, const char *identity, char *error, size_t size) {
    char found[128];
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle) return part_say(0, error, size, "%s", dlerror()), NULL;
    /* Checked after dlopen(3): a file that was replaced before it has another identity. */
    if (!part_identify(library, found, sizeof found) && !strcmp(found, identity)) return handle;
    return part_say(0, error, size, "%s is another file than the one that was checked", library), NULL;
}

/* 0 if this process has one thread: fork(2) copies locks, but not the threads that hold them. */
static inline int part_check_threads(char *error, size_t size) {
    DIR *tasks = opendir("/proc/self/task");
    int count = -2; /* `.` and `..` */
    while (tasks && readdir(tasks)) count++;
    if (tasks) closedir(tasks);
    return count == 1 ? 0 : part_say(-EINVAL, error, size, "it has started threads: there are %d", count);
}
#endif
