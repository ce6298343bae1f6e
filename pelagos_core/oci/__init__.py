"""The part of the OCI runtime spec (config.json) that pelagos supports, parsed and checked.

No value is trusted: a wrong type, a NUL byte or a value out of range is refused with the path of the field, such as
`config.json: process.args[0]: not a string`.
"""

from pelagos_core.oci.config import MAX_CONFIG_BYTES, Root, Spec, parse
from pelagos_core.oci.devices import Device
from pelagos_core.oci.hooks import Hook, Hooks
from pelagos_core.oci.id_maps import IdMap, IdMaps
from pelagos_core.oci.mounts import Mount
from pelagos_core.oci.namespaces import Namespace, TimeOffset
from pelagos_core.oci.process import Capabilities, Process, User, parse_process
from pelagos_core.oci.resources import Resources
from pelagos_core.oci.scheduling import IoPriority, Rlimit, Scheduler

__all__ = [
    "MAX_CONFIG_BYTES",
    "Capabilities",
    "Device",
    "Hook",
    "Hooks",
    "IdMap",
    "IdMaps",
    "IoPriority",
    "Mount",
    "Namespace",
    "Process",
    "Resources",
    "Rlimit",
    "Root",
    "Scheduler",
    "Spec",
    "TimeOffset",
    "User",
    "parse",
    "parse_process",
]
