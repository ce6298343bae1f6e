/* Id maps, and user namespaces for id-mapped mounts. Source: user_namespaces(7), mount_setattr(2). */
#ifndef PELAGOS_USER_NAMESPACE_H
#define PELAGOS_USER_NAMESPACE_H
#include "plan.h"

/* Write the id maps of a process in a new user namespace. `name`: in /proc. If the kernel refuses a map, `detail` names
   it. The calling process must have the privileges of the host. */
int write_maps(struct process *p, const char *name, const char *gid_map, const char *uid_map);
/* Return a descriptor of a user namespace with these maps and without a process. Errors as in `write_maps`. */
int make_user_namespace(struct process *p, const char *gid_map, const char *uid_map);
#endif
