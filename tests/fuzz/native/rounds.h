/* Rounds of a game at random, until there were so many or the time is over. */
#ifndef FUZZ_ROUNDS_H
#define FUZZ_ROUNDS_H
#include <stdint.h>

/* The words of the command line: SEED ROUNDS SECONDS, whichever ends first; 0 for without. Each round begins with a
   seed of its own, SEED + its number: so one of them can be played alone. Returns an exit code. */
extern uint64_t round_seed; /* of the round that is played */
int play_rounds(int count, char **words, void (*play)(void));
#endif
