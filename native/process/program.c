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

/* Restore every signal's default action and unblock all: execve(2) keeps ignored and blocked signals. By the system
   call, for the two signals that the C library reserves (nptl(7)). */
static void reset_signals(void) {
    static const uint64_t action[4]; /* the kernel's struct sigaction; SIG_DFL is 0 */
    sigset_t none;
    for (int number = 1; number < NSIG; number++) syscall(SYS_rt_sigaction, number, action, NULL, sizeof(uint64_t));
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Whether this process' user may execute the file at a path. */
static int is_executable(const char *path) {
    struct stat status;
    return !stat(path, &status) && S_ISREG(status.st_mode) && !faccessat(AT_FDCWD, path, X_OK, AT_EACCESS);
}

static const char *program;

/* Choose the first path that this process' user may execute, for `execute_program`. */
OPERATION(choose_program) {
    for (uint32_t i = 0; i < count; i++)
        if (is_executable(TEXT(i))) {
            program = TEXT(i);
            return 0;
        }
    return -EACCES;
}

/* Check before Start that the interpreter of a program exists, if that program was chosen. */
OPERATION(require_interpreter) {
    struct stat status;
    if (program && !strcmp(program, TEXT(0))) CHECK(stat(TEXT(1), &status));
    return 0;
}

/* Execute the chosen program with the guest's arguments. On failure write a line to stderr that begins with the text
   and the path, and set the exit code. Arguments: text, code for a missing program, code for any other error. */
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
