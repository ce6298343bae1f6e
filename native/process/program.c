/* A native program in this process. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "operations.h"

/* Have every signal's default action and block none: execve(2) keeps what is ignored. By the system call, for the two
   that the C library keeps for itself (nptl(7)). */
static void reset_signals(void) {
    static const uint64_t action[4]; /* the kernel's struct sigaction: SIG_DFL is 0, and so is the rest */
    sigset_t none;
    for (int number = 1; number < NSIG; number++) syscall(SYS_rt_sigaction, number, action, NULL, sizeof(uint64_t));
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Whether this process' user may execute what is at a path. */
static int is_executable(const char *path) {
    struct stat status;
    return !stat(path, &status) && S_ISREG(status.st_mode) && !faccessat(AT_FDCWD, path, X_OK, AT_EACCESS);
}

static const char *program;

/* The first of the paths that this process' user may execute, for `execute_program`. */
OPERATION(choose_program) {
    for (uint32_t i = 0; i < count; i++)
        if (is_executable(TEXT(i))) {
            program = TEXT(i);
            return 0;
        }
    return -EACCES;
}

/* See that the interpreter of a program is there, before Start; if it is that program which was chosen. */
OPERATION(require_interpreter) {
    struct stat status;
    if (program && !strcmp(program, TEXT(0))) CHECK(stat(TEXT(1), &status));
    return 0;
}

/* Become the program that was chosen, with the words of the guest. Else: a line on stderr that begins with the text and
   its path, and the exit code of a shell, for what is not there and for what cannot be executed. */
OPERATION(execute_program) {
    if (!program || !p->guest.arguments.at || !p->guest.environment.at) return -EINVAL;
    reset_signals();
    execve(program, p->guest.arguments.at, p->guest.environment.at);
    int error = errno;
    char reason[128];
    snprintf(reason, sizeof reason, "%s", strerror(error));
    for (char *at = reason; *at; at++) *at = (char)tolower((unsigned char)*at);
    dprintf(2, "%s'%s': %s\n", TEXT(0), program, reason);
    p->exit_code = (int)NUMBER(error == ENOENT ? 1 : 2);
    return 0;
}
