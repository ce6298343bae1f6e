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
    /* root.c: the root as a whole */                                                                       \
    X(open_root, "")                                                                                         \
    X(make_parent_private, "")                                                                               \
    X(cover_root, "d")                                                                                       \
    X(uncover_root, "")                                                                                      \
    X(take_root_along, "")                                                                                   \
    X(follow_root, "")                                                                                       \
    X(change_root, "")                                                                                       \
    X(set_propagation, "i")                                                                                  \
    /* mounts.c: what is mounted in it */                                                                    \
    X(open_tree, "dsi")                                                                                      \
    X(copy_tree, "dsi")                                                                                      \
    X(change_tree, "diiii")                                                                                  \
    X(map_ids, "diss")                                                                                       \
    X(attach_tree, "ds")                                                                                     \
    X(mount_file_system, "sssissi")                                                                          \
    X(change_mount, "siiii")                                                                                 \
    X(refuse_links, "s")                                                                                     \
    X(mask_path, "s")                                                                                        \
    X(protect_path, "s")                                                                                     \
    X(make_directory, "s")                                                                                   \
    X(make_link, "sssi")                                                                                     \
    X(try_link, "sss")                                                                                       \
    /* devices.c */                                                                                          \
    X(make_device, "sssiiiii")                                                                               \
    X(forbid_devices, "")                                                                                    \
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
