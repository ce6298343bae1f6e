/* A place in which no operation can harm the machine. */
#ifndef FUZZ_SANDBOX_H
#define FUZZ_SANDBOX_H

/* Go on in a process that is the first of a pid namespace, in namespaces of all kinds, with a file system in memory and
   /proc as all its files. It is root in a user namespace whose ids are of no user of the machine, so it owns nothing
   there, no file of /proc/sys either. The caller waits for it, and ends as it does. Needs root. */
void enter_sandbox(void);
/* Make files, directories, links and special files in a directory: what paths of `plans.c` lead to. */
void furnish(const char *directory);
#endif
