/* Plans at random: what the table of operations allows, with arguments that are hostile; and damage to them. */
#ifndef FUZZ_PLANS_H
#define FUZZ_PLANS_H
#include <stddef.h>
#include <stdint.h>

enum { MAX_OPERATIONS = 256 };

struct operation_line {
    const char *name, *kinds;
};

/* What plan_operations() says, line by line. */
extern struct operation_line operation_lines[MAX_OPERATIONS];
extern uint32_t operation_count;
void read_operations(void);

struct buffer {
    char *data;
    size_t size, room;
};

/* Add one operation. If something does not fit, nothing is added. Returns whether it was. */
int add_operation(struct buffer *to, uint32_t code);
/* Add one to `most` operations. Returns how many. */
uint32_t add_operations(struct buffer *to, uint32_t most);
/* Make a mistake: in a byte, a length, a count, or in the order of parts. */
void damage(struct buffer *plan);
#endif
