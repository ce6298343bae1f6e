/* An error that is part of the plan. It is reported only if the steps before it succeed. */
#include <errno.h>

#include "operations.h"

enum { MAX_ERRNO = 4095 };

/* Fail with this errno; -EINVAL for a number that is not an errno, so that the step never succeeds. */
OPERATION(refuse) { return NUMBER(0) > 0 && NUMBER(0) <= MAX_ERRNO ? -(int)NUMBER(0) : -EINVAL; }
