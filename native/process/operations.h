/* The table of operations. The letters are the kinds of the arguments: i a number, d a slot, s a string without a NUL,
   b bytes; at the end * any number of strings, + any number of slots. */
#ifndef PELAGOS_OPERATIONS_H
#define PELAGOS_OPERATIONS_H
#include "plan.h"

#define OPERATIONS(X)                                                                                        \
    /* identity.c: session, umask, working directory */                                                      \
    X(new_session, "")                                                                                       \
    X(set_umask, "i")                                                                                        \
    X(enter_working_directory, "s")                                                                          \
    /* name.c */                                                                                             \
    X(take_name, "sb")                                                                                       \
    /* signals.c */                                                                                          \
    X(die_with_parent, "i")                                                                                  \
    X(end_with_parent, "d")                                                                                  \
    X(restore_signals, "")                                                                                   \
    X(block_signals, "i")                                                                                    \
    X(report_signals, "id")                                                                                  \
    X(ignore_signals, "i")                                                                                   \
    /* terminal.c */                                                                                         \
    X(use_own_terminal, "idddds")                                                                            \
    X(take_terminal, "d")                                                                                    \
    X(leave_terminal, "")                                                                                    \
    /* limits.c: resource limits and scheduling */                                                           \
    X(set_oom_score, "ii")                                                                                   \
    X(set_rlimit, "iii")                                                                                     \
    X(allow_rlimit, "ii")                                                                                    \
    X(set_scheduler, "iiiiiii")                                                                              \
    X(set_io_priority, "i")                                                                                  \
    X(set_personality, "i")                                                                                  \
    /* credentials.c: user, groups and capabilities */                                                       \
    X(limit_bounding_set, "i")                                                                               \
    X(keep_capabilities, "i")                                                                                \
    X(set_user, "iib")                                                                                       \
    X(set_capabilities, "iiii")                                                                              \
    X(new_session_keyring, "")                                                                               \
    X(forbid_new_privileges, "")                                                                             \
    /* root.c: the root as a whole */                                                                        \
    X(name_root, "s")                                                                                        \
    X(open_root, "")                                                                                         \
    X(make_parent_private, "")                                                                               \
    X(cover_root, "d")                                                                                       \
    X(uncover_root, "")                                                                                      \
    X(chdir_to_root, "")                                                                                     \
    X(rebind_root, "")                                                                                       \
    X(change_root, "")                                                                                       \
    X(set_propagation, "i")                                                                                  \
    /* mounts.c: mounts in it */                                                                             \
    X(open_tree, "dsi")                                                                                      \
    X(copy_tree, "dsi")                                                                                      \
    X(change_tree, "diiii")                                                                                  \
    X(map_ids, "diss")                                                                                       \
    X(attach_tree, "ds")                                                                                     \
    X(mount_file_system, "sssissi")                                                                          \
    X(change_mount, "siiii")                                                                                 \
    X(refuse_links, "s")                                                                                     \
    X(mask_path, "s")                                                                                        \
    X(protect_path, "s")                                                                                     \
    X(make_directory, "s")                                                                                   \
    X(make_link, "sssi")                                                                                     \
    X(try_link, "sss")                                                                                       \
    /* devices.c */                                                                                          \
    X(make_device, "sssiiiii")                                                                               \
    X(forbid_devices, "")                                                                                    \
    /* system_calls.c */                                                                                     \
    X(filter_system_calls, "bi")                                                                             \
    /* files.c: writing to files of the kernel */                                                            \
    X(write_file, "sb")                                                                                      \
    X(require_file, "s")                                                                                     \
    X(require_switch, "s")                                                                                   \
    X(open_first, "ds*")                                                                                     \
    X(write_slot, "db")                                                                                      \
    /* namespaces.c: joining and settings */                                                                 \
    X(join_cgroup, "s")                                                                                      \
    X(unshare, "i")                                                                                          \
    X(join_namespace, "sis")                                                                                 \
    X(bring_loopback_up, "")                                                                                 \
    X(fix_name_sources, "")                                                                                  \
    X(set_host_name, "s")                                                                                    \
    X(set_domain_name, "s")                                                                                  \
    /* second_stage.c */                                                                                     \
    X(begin_second_stage, "iss")                                                                             \
    /* descriptors.c */                                                                                      \
    X(close_slot, "d")                                                                                       \
    X(lift_slot, "di")                                                                                       \
    X(place_slot, "di")                                                                                      \
    X(close_from, "i")                                                                                       \
    X(keep_slots, "+")                                                                                       \
    X(cut_streams, "")                                                                                       \
    X(read_nothing, "d")                                                                                     \
    X(give_slot, "di")                                                                                       \
    X(use_slot, "di")                                                                                        \
    /* refusal.c */                                                                                          \
    X(refuse, "i")                                                                                           \
    /* kernel_views.c: mounts that a Wasm guest must not have */                                             \
    X(remove_kernel_views, "ssb*")                                                                           \
    X(check_kernel_views, "ssb")                                                                             \
    /* relative_links.c */                                                                                   \
    X(show_relative_links, "*")                                                                              \
    /* joining.c: joining a running container */                                                             \
    X(join_namespaces, "di")                                                                                 \
    X(find_container_root, "d")                                                                              \
    X(copy_container, "dsd")                                                                                 \
    X(enter_container_root, "d")                                                                             \
    X(check_directory, "s")                                                                                  \
    /* engine_root.c */                                                                                      \
    X(make_tmpfs, "dsssi")                                                                                   \
    X(surround_root, "ds")                                                                                   \
    X(make_directory_in, "dsi")                                                                              \
    X(change_mode_in, "dsi")                                                                                 \
    X(open_file_in, "dsd")                                                                                   \
    X(copy_file, "dssi")                                                                                 \
    /* entrypoint.c: the entry point, and its description for the daemon */                                  \
    X(find_entrypoint, "dbbb*")                                                                              \
    X(send_contents, "si")                                                                                   \
    X(open_file, "sd")                                                                                       \
    /* guest.c: a Wasm guest and its engine */                                                               \
    X(guest_arguments, "*")                                                                                  \
    X(guest_environment, "*")                                                                                \
    X(guest_working_directory, "s")                                                                          \
    X(guest_calls, "*")                                                                                      \
    X(guest_directory, "ss")                                                                                 \
    X(guest_is_component, "i")                                                                               \
    X(guest_memory, "bi")                                                                                    \
    X(guest_memory_limit, "dissss")                                                                          \
    X(guest_fuel, "i")                                                                                       \
    X(guest_network, "issss*")                                                                               \
    X(guest_module, "d")                                                                                     \
    X(load_guest, "ds")                                                                                      \
    X(run_guest, "isi")                                                                                      \
    X(say, "s")                                                                                              \
    /* program.c: a native program */                                                                        \
    X(choose_program, "*")                                                                                   \
    X(require_interpreter, "ss")                                                                               \
    X(execute_program, "sii")                                                                                \
    /* conversation.c: messages to and from the daemon */                                                    \
    X(receive_plan, "")                                                                                      \
    X(wait_for_start, "")                                                                                    \
    X(hand_over, "ds")

typedef int operation(struct process *, const struct argument *, uint32_t count);
#define X(name, kinds) operation op_##name;
OPERATIONS(X)
#undef X

#define OPERATION(name) \
    int op_##name(struct process *p __attribute__((unused)), const struct argument *a __attribute__((unused)), \
                  uint32_t count __attribute__((unused)))
/* The arguments of the current operation. */
#define TEXT(i) (a[i].at)
#define NUMBER(i) argument_number(a + (i))
#define SLOT(i) (p->slot[NUMBER(i)])
/* Return -errno from the operation if a system call has failed. */
#define CHECK(call) \
    do {            \
        if ((call) < 0) return -errno; \
    } while (0)
#define AT(name) (p->stage = STAGE_##name)

int64_t argument_number(const struct argument *argument);
#endif
