/* Descriptors: those in slots, the standard streams, and all that a fork takes along. */
#define _GNU_SOURCE
#include <errno.h>
#include <unistd.h>

#include "operations.h"

OPERATION(close_slot) {
    int fd = SLOT(0);
    SLOT(0) = -1;
    CHECK(close(fd));
    return 0;
}
