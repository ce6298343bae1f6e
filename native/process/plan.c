/* Decoding and executing a plan. */
#define _GNU_SOURCE
#include "plan.h"

#include <errno.h>
#include <string.h>

#include "operations.h"

static struct argument arguments[MAX_ARGUMENTS];

static const struct {
    const char *kinds;
    operation *run;
} table[] = {
#define X(name, kinds) {kinds, op_##name},
    OPERATIONS(X)
#undef X
};

enum { OPERATION_COUNT = sizeof table / sizeof table[0] };

const char *plan_operations(void) {
    return ""
#define X(name, kinds) #name " " kinds "\n"
        OPERATIONS(X)
#undef X
        ;
}

const char *plan_slots(void) {
    return ""
#define X(name) #name "\n"
        SLOTS(X)
#undef X
        ;
}

const char *plan_stages(void) {
    return ""
#define X(name) #name "\n"
        STAGES(X)
#undef X
        ;
}

size_t plan_process_size(void) { return sizeof(struct process); }

void plan_reset(struct process *process) {
    memset(process, 0, sizeof *process);
    for (size_t i = 0; i < MAX_SLOTS; i++) process->slot[i] = -1;
}

int64_t argument_number(const struct argument *argument) {
    int64_t value;
    memcpy(&value, argument->at, sizeof value);
    return value;
}

static int is_of_kind(char kind, const struct argument *argument) {
    switch (kind) {
    case 'b': return 1;
    case 'i': return argument->size == sizeof(int64_t);
    case 'd':
        if (argument->size != sizeof(int64_t)) return 0;
        return argument_number(argument) >= 0 && argument_number(argument) < MAX_SLOTS;
    default: return memchr(argument->at, 0, argument->size) == NULL;
    }
}

static int are_of_kinds(const char *kinds, const struct argument *argument, uint32_t count) {
    for (; *kinds && *kinds != '*' && *kinds != '+'; kinds++, argument++, count--)
        if (!count || !is_of_kind(*kinds, argument)) return 0;
    if (!*kinds) return !count;
    for (; count; argument++, count--)
        if (!is_of_kind(*kinds == '+' ? 'd' : 's', argument)) return 0;
    return 1;
}

static int take(const char **at, const char *end, void *to, size_t size) {
    if ((size_t)(end - *at) < size) return 0;
    memcpy(to, *at, size);
    *at += size;
    return 1;
}

/* The arguments of one operation, as pointers into the plan. */
static int take_arguments(const char **at, const char *end, struct argument *to, uint16_t count) {
    for (; count; count--, to++) {
        if (!take(at, end, &to->size, sizeof to->size)) return 0;
        if ((size_t)(end - *at) <= to->size || (*at)[to->size]) return 0;
        to->at = *at;
        *at += to->size + 1;
    }
    return 1;
}

int plan_execute(struct process *process, const char *plan, size_t size) {
    const char *at = plan, *end = plan + size;
    for (process->step = 0; at < end; process->step++) {
        uint16_t code, count;
        process->stage = STAGE_call;
        process->detail[0] = 0;
        if (!take(&at, end, &code, sizeof code) || !take(&at, end, &count, sizeof count)) return -EBADMSG;
        if (code >= OPERATION_COUNT || count > MAX_ARGUMENTS) return -EBADMSG;
        if (!take_arguments(&at, end, arguments, count)) return -EBADMSG;
        if (!are_of_kinds(table[code].kinds, arguments, count)) return -EBADMSG;
        int error = table[code].run(process, arguments, count);
        if (error < 0) return error;
    }
    return 0;
}
