/* Files of the kernel's, by which it is told something: in /proc, in /sys, of control groups. */
#ifndef PELAGOS_FILES_H
#define PELAGOS_FILES_H
#include <stddef.h>

/* Each of them takes the whole of what it is told in one write. Returns 0, or -errno. */
int write_file(const char *path, const void *data, size_t size);
#endif
