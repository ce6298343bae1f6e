/* An error that the plan contains, reported only if this step is reached. */
#include <errno.h>

#include "operations.h"

enum { MAX_ERRNO = 4095 };

/* An errno: no other number can let the plan go on. */
OPERATION(refuse) { return NUMBER(0) > 0 && NUMBER(0) <= MAX_ERRNO ? -(int)NUMBER(0) : -EINVAL; }
