/* The sources of host names for the C library. */
#ifndef NAME_SOURCES_H
#define NAME_SOURCES_H

/* Restrict them to /etc/hosts and DNS. Returns 0 or -errno. The first call reads the host's nsswitch.conf, which takes
   0.1 ms; later calls in this process and its forks do not. */
int name_sources_fix(void);
#endif
