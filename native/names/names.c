/* Where glibc looks host names up in an engine's program: `fix_name_sources` of ../process/name_sources.c, for a process
   that executes another program. The engine root has it as a library that is loaded first (ld.so(8), LD_PRELOAD).

   A program reads /etc/nsswitch.conf at the first look-up, when its root shows the files of the image. It is linked to
   nothing: what it calls is the C library of the program, whatever that is. */
#include <stddef.h>

extern int __nss_configure_lookup(const char *, const char *) __attribute__((weak));
extern const char *gnu_get_libc_version(void) __attribute__((weak));
extern long write(int, const void *, size_t) __attribute__((weak));
extern void _exit(int) __attribute__((weak));

enum { MAJOR = 2, MINOR = 34, CANNOT_EXECUTE = 126 };
static const char REFUSAL[] =
    "pelagos: this engine's C library, glibc before 2.34, would load libraries of the image for host names\n";

/* Whether glibc has the sources `files` and `dns` in itself: since 2.34. `version`: such as 2.36. */
static int has_sources(const char *version) {
    int number[2] = {0, 0}, part = 0;
    for (; *version; version++)
        if (*version == '.') {
            if (++part == 2) break;
        } else number[part] = number[part] * 10 + *version - '0';
    return number[0] > MAJOR || (number[0] == MAJOR && number[1] >= MINOR);
}

__attribute__((constructor)) static void fix_name_sources(void) {
    if (!gnu_get_libc_version || !__nss_configure_lookup) return; /* musl: no libraries for names */
    if (has_sources(gnu_get_libc_version()) && !__nss_configure_lookup("hosts", "files dns")) return;
    if (write(2, REFUSAL, sizeof REFUSAL - 1)) _exit(CANNOT_EXECUTE);
}
