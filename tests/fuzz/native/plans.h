/* Plans at random: what the table of operations allows, with arguments that are hostile; and damage to them.

   Some arguments are those of real plans, which lead further in: of samples, each a plan with its length (u32) before it. */
#ifndef FUZZ_PLANS_H
#define FUZZ_PLANS_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { MAX_OPERATIONS = 256 };

struct operation_line {
    const char *name, *kinds;
};

/* What plan_operations() says, line by line. */
extern struct operation_line operation_lines[MAX_OPERATIONS];
extern uint32_t operation_count;
void read_operations(void);

/* The samples, from a file; none if it is at its end. Returns whether they are what they should be. */
int read_samples(FILE *file);
/* A sample, as the places of its operations: add_sample_operation() knows each. 0 if there is none. */
struct sample {
    uint32_t first, count;
};
struct sample any_sample(void);

struct buffer {
    char *data;
    size_t size, room;
};

/* Add one operation, with the arguments of a sample here and there. If something does not fit, nothing is added.
   Returns whether it was. */
int add_operation(struct buffer *to, uint32_t code);
/* Add one of a sample, with another argument here and there. */
int add_sample_operation(struct buffer *to, uint32_t place);
uint32_t sample_code(uint32_t place);
/* Add one to `most` operations. Returns how many. */
uint32_t add_operations(struct buffer *to, uint32_t most);
/* Make a mistake: in a byte, a length, a count, or in the order of parts. */
void damage(struct buffer *plan);
#endif
