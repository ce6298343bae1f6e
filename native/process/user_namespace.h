/* User namespaces for mounts whose ids are mapped. Source: user_namespaces(7), mount_setattr(2). */
#ifndef PELAGOS_USER_NAMESPACE_H
#define PELAGOS_USER_NAMESPACE_H
#include "plan.h"

/* A descriptor of a user namespace with these maps and no process in it. `detail` names the map that the kernel has
   refused. In a process with the privileges of the host. */
int make_user_namespace(struct process *p, const char *gid_map, const char *uid_map);
#endif
