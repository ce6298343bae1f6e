/* A plan: the operations of a process of a container, as a flat list. Python builds it, this library executes it. The
   library makes no decisions and builds no texts: an error is a step, an errno and a stage of that step.

   An operation is encoded as its code and the number of its arguments (u16 each), then each argument as its length
   (u32), its bytes and a NUL. A number is 8 bytes; a slot is a number. All in the byte order of the machine. */
#ifndef PELAGOS_PLAN_H
#define PELAGOS_PLAN_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pelagos_engine.h"

enum { MAX_SLOTS = 1024, MAX_ARGUMENTS = 8192, MAX_PATH = 4096, MAX_DETAIL = 4096 };

struct argument {
    const char *at;
    uint32_t size;
};

/* The slots that operations use without naming them in an argument; Python assigns the other numbers. */
#define SLOTS(X) X(control) X(root)

enum slot {
#define X(name) SLOT_##name,
    SLOTS(X)
#undef X
};

/* The stage at which an operation fails, for Python's error text; `call` for an operation with one stage. */
#define STAGES(X) \
    X(call) X(source) X(kind) X(attributes) X(map_ids) X(target) X(attach) X(options) X(copy) X(limit) \
    X(find_directory) X(find_file) X(find) X(make_directory) X(make_file) X(host) X(open_root) \
    X(kernel_view) X(device) X(block_device) X(look) X(load)

enum stage {
#define X(name) STAGE_##name,
    STAGES(X)
#undef X
};

/* The state that the operations of one process share. Python accesses the fields up to `detail`
   (pelagos_core/native/process.py). */
struct process {
    int32_t slot[MAX_SLOTS]; /* descriptors; -1 for an empty slot */
    uint32_t step;           /* index of the current operation in the plan */
    int32_t stage;
    char root_path[MAX_PATH]; /* path of the root on the host */
    char detail[MAX_DETAIL];  /* the failed object, if the plan does not name it: a path, an engine's text */
    uint32_t plan; /* number of earlier parts of the plan */
    const struct pelagos_engine *engine;
    struct pelagos_guest guest;
    int exit_code;
    uint32_t device_count;
    int32_t devices[256]; /* the mounts of single devices, which `forbid_devices` exempts from nodev */
};

/* Execute a plan. Returns 0, or -errno with `step` and `stage` set. -EBADMSG: malformed plan. */
int plan_execute(struct process *process, const char *plan, size_t size);
/* One line for each operation: its name, and the kinds of its arguments, one letter each. Python builds its table from
   it. */
const char *plan_operations(void);
const char *plan_slots(void);
const char *plan_stages(void);
/* A digest of all three tables and the sources: a plan is valid only for the build whose tables encoded it. */
void plan_identity(char hex[65]);
size_t plan_process_size(void);
void plan_reset(struct process *process);
#endif
