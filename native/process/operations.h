/* All operations, each once. The letters are the kinds of its arguments: i a number, d a slot, s a string without
   a NUL in it, b bytes; * any number of strings. */
#ifndef PELAGOS_OPERATIONS_H
#define PELAGOS_OPERATIONS_H
#include "plan.h"

#define OPERATIONS(X)                                                                                        \
    /* identity.c: what the process is */                                                                    \
    X(die_with_parent, "i")                                                                                  \
    X(new_session, "")                                                                                       \
    X(set_umask, "i")                                                                                        \
    X(forbid_new_privileges, "")                                                                             \
    /* descriptors.c */                                                                                      \
    X(close_slot, "d")

typedef int operation(struct process *, const struct argument *, uint32_t count);
#define X(name, kinds) operation op_##name;
OPERATIONS(X)
#undef X

#define OPERATION(name) \
    int op_##name(struct process *p __attribute__((unused)), const struct argument *a __attribute__((unused)), \
                  uint32_t count __attribute__((unused)))
/* The arguments of the operation of the moment. */
#define TEXT(i) (a[i].at)
#define NUMBER(i) argument_number(a + (i))
#define SLOT(i) (p->slot[NUMBER(i)])
/* Leave the operation if a system call has failed. */
#define CHECK(call) \
    do {            \
        if ((call) < 0) return -errno; \
    } while (0)
#define AT(name) (p->stage = STAGE_##name)

int64_t argument_number(const struct argument *argument);
#endif
