/* Writing to files of the kernel: in /proc, in /sys, of control groups. */
#ifndef PELAGOS_FILES_H
#define PELAGOS_FILES_H
#include <stddef.h>

/* Write the whole text in one write(2), as these files require. Returns 0 or -errno. */
int write_file(const char *path, const void *data, size_t size);
#endif
