"""The names and types that WASI defines: backends list names that they provide, and core checks types."""

from __future__ import annotations

from collections.abc import Mapping

WASI_0_1 = "wasi_snapshot_preview1"
"""The module of WASI 0.1 (preview 1): github.com/WebAssembly/WASI, legacy/preview1/docs.md."""

WASI_UNSTABLE = "wasi_unstable"
"""The module of the earlier snapshot (preview 0). It has the same functions except `sock_accept`.

The types of the functions are equal, but some meanings differ: `fd_seek` numbers its whence values in another
order, a file's link count is a u32, and a subscription has another layout. So neither module can replace the other.
"""

# i: i32, I: i64. Each function returns an errno (i32), except proc_exit.
_PARAMETERS = """
    args_get:ii args_sizes_get:ii environ_get:ii environ_sizes_get:ii clock_res_get:ii clock_time_get:iIi
    fd_advise:iIIi fd_allocate:iII fd_close:i fd_datasync:i fd_fdstat_get:ii fd_fdstat_set_flags:ii
    fd_fdstat_set_rights:iII fd_filestat_get:ii fd_filestat_set_size:iI fd_filestat_set_times:iIIi fd_pread:iiiIi
    fd_prestat_get:ii fd_prestat_dir_name:iii fd_pwrite:iiiIi fd_read:iiii fd_readdir:iiiIi fd_renumber:ii
    fd_seek:iIii fd_sync:i fd_tell:ii fd_write:iiii path_create_directory:iii path_filestat_get:iiiii
    path_filestat_set_times:iiiiIIi path_link:iiiiiii path_open:iiiiiIIii path_readlink:iiiiii
    path_remove_directory:iii path_rename:iiiiii path_symlink:iiiii path_unlink_file:iii poll_oneoff:iiii
    proc_exit:i proc_raise:i sched_yield: random_get:ii sock_accept:iii sock_recv:iiiiii sock_send:iiiii
    sock_shutdown:ii
"""
_NO_RESULT = frozenset({"proc_exit"})


def _signature(name: str, parameters: str) -> str:
    words = ", ".join({"i": "i32", "I": "i64"}[letter] for letter in parameters)
    return f"({words}) -> {'()' if name in _NO_RESULT else '(i32)'}"


_SIGNATURES = {
    name: _signature(name, parameters) for name, _, parameters in (word.partition(":") for word in _PARAMETERS.split())
}

WASI_0_1_FUNCTIONS = frozenset(_SIGNATURES)
"""The functions of WASI 0.1."""

WASI_UNSTABLE_FUNCTIONS = WASI_0_1_FUNCTIONS - {"sock_accept"}
"""The functions of the snapshot before WASI 0.1."""

SIGNATURES: Mapping[str, Mapping[str, str]] = {
    WASI_0_1: _SIGNATURES,
    WASI_UNSTABLE: {name: _SIGNATURES[name] for name in WASI_UNSTABLE_FUNCTIONS},
}
"""For each module that WASI defines, the types of its functions, in the notation of `Import.signature`."""


def _interfaces(names: Mapping[str, str]) -> Mapping[str, frozenset[str]]:
    """The interfaces of each package. names: for each package, one string with the interfaces' names."""
    return {package: frozenset(words.split()) for package, words in names.items()}


WASI_0_2_INTERFACES: Mapping[str, frozenset[str]] = _interfaces(
    {
        "wasi:cli@0.2": "environment exit stdin stdout stderr terminal-input terminal-output"
        " terminal-stdin terminal-stdout terminal-stderr",
        "wasi:clocks@0.2": "monotonic-clock wall-clock",
        "wasi:filesystem@0.2": "types preopens",
        "wasi:io@0.2": "error poll streams",
        "wasi:random@0.2": "random insecure insecure-seed",
        "wasi:sockets@0.2": "network instance-network ip-name-lookup tcp tcp-create-socket udp udp-create-socket",
    }
)
"""The interfaces that a command of WASI 0.2 may import, by package and compatible version.

Source: github.com/WebAssembly/WASI, wit-0.2.0, the world `wasi:cli/command`.
"""

OUTGOING_HTTP_0_2: Mapping[str, frozenset[str]] = {"wasi:http@0.2": frozenset({"types", "outgoing-handler"})}
"""The interfaces by which a component of WASI 0.2 sends HTTP requests.

Source: github.com/WebAssembly/WASI, wit-0.2.0, `wasi:http`, the world `imports`.
"""

COMMAND_0_2 = "wasi:cli/run@0.2"
"""The interface that a command of WASI 0.2 exports."""

HANDLER_0_2 = "wasi:http/incoming-handler@0.2"
"""The interface that a component exports if it handles HTTP requests."""

WASI_0_3_INTERFACES: Mapping[str, frozenset[str]] = _interfaces(
    {
        "wasi:cli@0.3": "environment exit types stdin stdout stderr terminal-input terminal-output"
        " terminal-stdin terminal-stdout terminal-stderr",
        "wasi:clocks@0.3": "types monotonic-clock system-clock timezone",
        "wasi:filesystem@0.3": "types preopens",
        "wasi:random@0.3": "random insecure insecure-seed",
        "wasi:sockets@0.3": "types ip-name-lookup",
    }
)
"""The interfaces that a command of WASI 0.3 may import, as `WASI_0_2_INTERFACES`.

Source: github.com/WebAssembly/WASI, 0.3.0, the world `wasi:cli/command`.
"""

HTTP_0_3_INTERFACES: Mapping[str, frozenset[str]] = {"wasi:http@0.3": frozenset({"types", "client", "handler"})}
"""The further interfaces that a component of WASI 0.3 may import if it sends or handles HTTP requests.

Source: github.com/WebAssembly/WASI, 0.3.0, `wasi:http`.
"""

COMMAND_0_3 = "wasi:cli/run@0.3"
"""The interface that a command of WASI 0.3 exports."""

HANDLER_0_3 = "wasi:http/handler@0.3"
"""The interface that a component of WASI 0.3 exports if it handles HTTP requests."""
