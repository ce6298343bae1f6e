#include "any.h"

uint64_t any_state;

/* splitmix64: seeds that are close to each other give numbers that are not */
static uint64_t spread(uint64_t seed) {
    seed += 0x9e3779b97f4a7c15;
    seed = (seed ^ seed >> 30) * 0xbf58476d1ce4e5b9;
    seed = (seed ^ seed >> 27) * 0x94d049bb133111eb;
    return seed ^ seed >> 31;
}

void any_seed(uint64_t seed) {
    any_state = spread(seed);
    if (!any_state) any_state = 1;
}

uint64_t any_number(void) { /* xorshift64 */
    any_state ^= any_state << 13;
    any_state ^= any_state >> 7;
    any_state ^= any_state << 17;
    return any_state;
}

uint32_t any(uint32_t below) {
    return (uint32_t)(any_number() >> 32) % below;
}

int rarely(uint32_t times) {
    return !any(times);
}
