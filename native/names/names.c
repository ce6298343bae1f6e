/* Sets the sources of host names for glibc in an engine's program, as `fix_name_sources` (../process/name_sources.c)
   does in this project's own processes. The program loads this library first (ld.so(8), LD_PRELOAD).

   glibc reads /etc/nsswitch.conf at the first look-up, when the program's root contains the files of the image. The
   library is linked to no other: it calls functions of the program's C library, if they exist. */
#include <stddef.h>

extern int __nss_configure_lookup(const char *, const char *) __attribute__((weak));
extern const char *gnu_get_libc_version(void) __attribute__((weak));
extern long write(int, const void *, size_t) __attribute__((weak));
extern void _exit(int) __attribute__((weak));

enum { MAJOR = 2, MINOR = 34, CANNOT_EXECUTE = 126 };
static const char REFUSAL[] =
    "pelagos: this engine's C library, glibc before 2.34, would load libraries of the image for host names\n";

/* Whether glibc itself contains the sources `files` and `dns`: since 2.34. `version`: such as 2.36. */
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
