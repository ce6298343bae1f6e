/* A library (reactor): its constructor is run by `_initialize`, which comes before any other export. */
#include <stdio.h>
#include <stdlib.h>

static int ready;

__attribute__((constructor)) static void make_ready(void) { ready++; }

__attribute__((export_name("say"))) void say(void) {
    printf("ready %d time(s)\n", ready);
    fflush(stdout);
}

__attribute__((export_name("leave"))) void leave(void) { exit(ready == 1 ? 7 : 1); }
