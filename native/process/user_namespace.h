/* Maps of ids, and user namespaces for mounts that have one. Source: user_namespaces(7), mount_setattr(2). */
#ifndef PELAGOS_USER_NAMESPACE_H
#define PELAGOS_USER_NAMESPACE_H
#include "plan.h"

/* Map the ids of a process that was born into a new user namespace, by the name that /proc has for it. `detail` names the
   map that the kernel has refused. In a process with the privileges of the host. */
int write_maps(struct process *p, const char *name, const char *gid_map, const char *uid_map);
/* A descriptor of a user namespace with these maps and no process in it. As `write_maps`. */
int make_user_namespace(struct process *p, const char *gid_map, const char *uid_map);
#endif
