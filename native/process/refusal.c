/* What is known beforehand to be wrong, but only if the plan comes to it. */
#include "operations.h"

OPERATION(refuse) { return -(int)NUMBER(0); }
