/* A plan: what a process of a container does, as a flat list of operations. Python makes it, this carries it
   out. Nothing is decided here, and no text is made: an error is a step, a number and a stage of that step.

   An operation is its code and the number of its arguments (u16 each), then each argument as its length (u32),
   its bytes and a NUL. A number is 8 bytes, a slot is a number too. All is in the byte order of the machine. */
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

/* The slots that operations use without naming them; Python gives the others numbers of its own. */
#define SLOTS(X) X(control) X(root)

enum slot {
#define X(name) SLOT_##name,
    SLOTS(X)
#undef X
};

/* What an operation is at when it fails, for Python's words; `call` where there is but one thing to do. */
#define STAGES(X) \
    X(call) X(source) X(kind) X(attributes) X(map_ids) X(target) X(attach) X(options) X(copy) X(limit) \
    X(find_directory) X(find_file) X(find) X(make_directory) X(make_file) X(host) X(open_root) \
    X(kernel_view) X(device) X(block_device) X(look) X(load)

enum stage {
#define X(name) STAGE_##name,
    STAGES(X)
#undef X
};

/* What the operations of one process leave for its later ones. Python sees the fields up to `detail`
   (pelagos_core/native/process.py). */
struct process {
    int32_t slot[MAX_SLOTS]; /* descriptors, -1 where there is none */
    uint32_t step;           /* the operation of the moment, by its place in the plan */
    int32_t stage;
    char root_path[MAX_PATH]; /* of the root on the host */
    char detail[MAX_DETAIL];  /* what failed, where the step does not tell: a path, an engine's text */
    uint32_t plan; /* how many plans came before this one */
    const struct pelagos_engine *engine;
    struct pelagos_guest guest;
    int exit_code;
    uint32_t device_count;
    int32_t devices[256]; /* the mounts of single devices, which may be opened after `forbid_devices` */
};

/* Carry a plan out. Returns 0, or -errno; `step` and `stage` say of what. -EBADMSG: it is no plan. */
int plan_execute(struct process *process, const char *plan, size_t size);
/* One line for each operation: its name, and the kinds of its arguments, a letter each. Python has its table from this. */
const char *plan_operations(void);
const char *plan_slots(void);
const char *plan_stages(void);
/* A digest of all three and of the sources: a plan means something only to what was compiled with the table that it was
   made by. */
void plan_identity(char hex[65]);
size_t plan_process_size(void);
void plan_reset(struct process *process);
#endif
