/* Numbers at random from a seed: the same seed gives the same numbers, so that what was found is found again. */
#ifndef FUZZ_ANY_H
#define FUZZ_ANY_H
#include <stdint.h>

extern uint64_t any_state;

void any_seed(uint64_t seed);
uint64_t any_number(void);
/* Less than this, which is not 0. */
uint32_t any(uint32_t below);
/* One time in so many. */
int rarely(uint32_t times);
#endif
