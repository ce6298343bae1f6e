/* Sets the sources of host names for the C library, before the root is that of an image.

   Source: nsswitch.conf(5), the manual of glibc, "Name Service Switch". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

#include "name_sources.h"
#include "operations.h"

/* The first version of glibc that contains these sources and opens no library for them. */
enum { MAJOR = 2, MINOR = 34 };

static int is_older(const char *version) {
    char *rest;
    long major = strtol(version, &rest, 10), minor = *rest == '.' ? strtol(rest + 1, NULL, 10) : 0;
    return major < MAJOR || (major == MAJOR && minor < MINOR);
}

/* Load the libraries of the two sources: glibc opens libnss_NAME.so.2 by its name, and uses a loaded library of this
   name. */
static int load_sources(void) {
    return dlopen("libnss_files.so.2", RTLD_NOW) && dlopen("libnss_dns.so.2", RTLD_NOW) ? 0 : -ELIBACC;
}

int name_sources_fix(void) {
    int (*configure)(const char *, const char *);
    const char *(*version)(void);
    *(void **)&configure = dlsym(RTLD_DEFAULT, "__nss_configure_lookup");
    *(void **)&version = dlsym(RTLD_DEFAULT, "gnu_get_libc_version");
    if (!configure) return version ? -ENOSYS : 0;
    if (configure("hosts", "files dns")) return errno ? -errno : -EINVAL;
    return version && is_older(version()) ? load_sources() : 0;
}

/* Call it before the change of root.

   getaddrinfo(3) of glibc opens the library of each source in nsswitch.conf, below the root of the process: an image
   could run its own code outside of the Wasm sandbox. After this call glibc does not read that file again. Another C
   library (musl) has no such sources and not this function. */
OPERATION(fix_name_sources) { return name_sources_fix(); }
