/* The decoder of plans, with operations that do nothing but read every argument and write down what they were given:
   that is the plan again, from its begin up to where it ends or was refused. native/process/plan.c is compiled with
   this; no other operation is.

   decoder SEED ROUNDS SECONDS < samples      whichever ends first; 0 for without
   or an entry for libFuzzer: clang -fsanitize=fuzzer,address,undefined -DLIBFUZZER */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "any.h"
#include "operations.h"
#include "plans.h"
#include "rounds.h"

enum { ROOM = 256 << 10, ANY_FAILURE = -EXFULL };

static struct process process;
static char seen[ROOM];
static size_t seen_size;
static uint32_t executed, fails_at;
static volatile uint64_t sink;

static void see(const void *data, size_t size) {
    if (size > sizeof seen - seen_size) abort();
    memcpy(seen + seen_size, data, size);
    seen_size += size;
}

static void read_argument(struct process *p, char kind, const struct argument *a) {
    if (a->at[a->size]) abort();
    switch (kind) {
    case 'i':
        sink += (uint64_t)NUMBER(0);
        break;
    case 'd':
        if (NUMBER(0) < 0 || NUMBER(0) >= MAX_SLOTS) abort();
        SLOT(0) ^= 1;
        break;
    case 's':
        if (strlen(TEXT(0)) != a->size) abort();
        break;
    case 'b':
        break;
    default: /* a kind that this knows nothing of */
        abort();
    }
    see(&a->size, sizeof a->size);
    see(a->at, a->size + 1);
}

static int execute(uint16_t code, const char *kinds, struct process *p, const struct argument *a, uint32_t count) {
    uint16_t head[2] = {code, (uint16_t)count};
    if (p->step != executed || p->stage != STAGE_call || *p->detail) abort();
    see(head, sizeof head);
    for (uint32_t i = 0; i < count; i++) {
        read_argument(p, *kinds == '*' ? 's' : *kinds == '+' ? 'd' : *kinds, a + i);
        if (*kinds != '*' && *kinds != '+') kinds++;
    }
    if (*kinds && *kinds != '*' && *kinds != '+') abort();
    p->stage = STAGE_source;
    p->detail[0] = 'x';
    return executed++ == fails_at ? ANY_FAILURE : (int)any(3); /* what is not negative is no error */
}

enum code {
#define X(name, kinds) CODE_##name,
    OPERATIONS(X)
#undef X
};

#define X(name, kinds) \
    OPERATION(name) { return execute(CODE_##name, kinds, p, a, count); }
OPERATIONS(X)
#undef X

/* Returns what plan_execute does, after a look at what was executed. */
static int decode(const char *plan, size_t size, uint32_t failing) {
    plan_reset(&process);
    executed = 0;
    seen_size = 0;
    fails_at = failing;
    int error = plan_execute(&process, plan, size);
    if (seen_size > size || memcmp(seen, plan, seen_size)) abort();
    if (error == 0 && seen_size != size) abort();
    if (error == ANY_FAILURE && process.step != failing) abort();
    if (error && error != -EBADMSG && error != ANY_FAILURE) abort();
    if (error == -EBADMSG && process.step != executed) abort();
    return error;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    any_seed(size);
    decode((const char *)data, size, UINT32_MAX);
    return 0;
}

#ifdef LIBFUZZER
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned seed) {
    struct buffer plan = {(char *)data, size, room};
    if (!operation_count) read_operations();
    any_seed(seed);
    if (rarely(3)) return LLVMFuzzerMutate(data, size, room);
    if (rarely(8)) plan.size = 0;
    if (rarely(2)) add_operations(&plan, 3);
    else damage(&plan);
    return plan.size;
}
#else
/* A plan as it should be is carried out whole, or up to where an operation fails; a damaged one within its bounds.
   In memory of its own size, of which the sanitizer knows the end. */
static void try_plan(const struct buffer *plan, uint32_t count, int is_damaged) {
    size_t shift = any(4); /* where it begins is no matter */
    uint32_t failing = rarely(3) ? any(count + 1) : UINT32_MAX;
    char *copy = malloc(shift + plan->size);
    if (shift + plan->size) memcpy(copy + shift, plan->data, plan->size);
    int error = decode(copy + shift, plan->size, failing);
    if (!is_damaged && error != (failing < count ? ANY_FAILURE : 0)) abort();
    free(copy);
}

static void play(void) {
    static char data[ROOM];
    struct buffer plan = {data, 0, rarely(4) ? any(sizeof data) : 4096};
    uint32_t count = add_operations(&plan, 30);
    try_plan(&plan, count, 0);
    for (uint32_t tries = 1 + any(8); tries; tries--) {
        struct buffer bad = plan;
        static char copy[ROOM];
        memcpy(copy, data, plan.size);
        bad.data = copy;
        for (uint32_t times = 1 + any(3); times; times--) damage(&bad);
        try_plan(&bad, count, 1);
    }
}

int main(int count, char **words) {
    read_operations();
    if (!read_samples(stdin)) return 2;
    return play_rounds(count, words, play);
}
#endif
