/* The mounts of single devices in the root: the only ones that open a device once `forbid_devices` has come. */
#ifndef PELAGOS_MOUNTED_DEVICES_H
#define PELAGOS_MOUNTED_DEVICES_H
#include <sys/types.h>

#include "plan.h"

/* Remember a mount if what it shows has the mode of a device; the caller closes its own descriptor. */
int keep_device(struct process *p, int mount, mode_t mode);
#endif
