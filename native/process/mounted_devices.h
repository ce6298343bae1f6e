/* The mounts of single devices in the root, the only ones without nodev after `forbid_devices`. */
#ifndef PELAGOS_MOUNTED_DEVICES_H
#define PELAGOS_MOUNTED_DEVICES_H
#include <sys/types.h>

#include "plan.h"

/* Record a mount if `mode` is that of a device. The caller still closes its descriptor. */
int keep_device(struct process *p, int mount, mode_t mode);
#endif
