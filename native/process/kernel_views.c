/* Removes "kernel views" from a Wasm guest's root: mounts that give access to the kernel or to processes.

   A guest has `/` preopened. If it could open /proc/self/mem there, by any path, it could write to the engine's memory
   and leave the Wasm sandbox: no engine refuses to open it. So the actual mounts are checked, not those of the spec. A
   mount that cannot be checked is an error. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount_calls.h"
#include "mountinfo.h"
#include "operations.h"
#include "resolve.h"

enum { MAX_MOUNTS = 8192, MAX_TEXT = 1 << 20, NOWHERE = -1 };

/* The class of a file system by its type: files; devices, where single ones may be harmless; views of the kernel. */
enum content { FILES, DEVICES, KERNEL };

struct mount {
    int number, parent;  /* its mount id and its parent's (proc(5)) */
    int below;           /* index of the parent in `table` */
    uint32_t path, type; /* offsets in `text`; the path is relative to the root, "" for the root itself */
    uint32_t shown;      /* offset in `text`: the device and the mounted part of the file system */
    uint16_t path_size;
    uint8_t content, is_whole, forbids_devices; /* is_whole: the whole file system is mounted */
    uint8_t is_inside;     /* whether it is the root or below it */
    int8_t way_is_covered; /* -1: not determined yet */
    uint8_t is_asked;
    int view_error, view_stage; /* of a view: the errno to report; else 0 */
};

/* The mounts at or below the root's path. Pages that are never written take no memory. */
static struct {
    int count, root;
    size_t used;
    struct mount mount[MAX_MOUNTS];
    char text[MAX_TEXT];
} table;

/* The search: types separated by spaces, and the numbers of harmless devices. */
struct search {
    const char *kernel, *devices;
    const struct argument *harmless;
};

static const char *path_of(const struct mount *at) {
    return table.text + at->path;
}

static int is_listed(const char *types, const char *type) {
    char word[64];
    int size = snprintf(word, sizeof word, " %s ", type);
    return size < (int)sizeof word && strstr(types, word);
}

static int keep_text(struct text text, uint32_t *at) {
    if (text.size >= sizeof table.text - table.used) return -EOVERFLOW;
    *at = (uint32_t)table.used;
    memcpy(table.text + table.used, text.at, text.size);
    table.used += text.size;
    table.text[table.used++] = 0;
    return 0;
}

static int keep(const struct search *search, const struct mount_line *line, struct text path) {
    if (table.count == MAX_MOUNTS || path.size > UINT16_MAX) return -EOVERFLOW;
    struct mount *to = table.mount + table.count++;
    *to = (struct mount){.number = line->number, .parent = line->parent, .below = NOWHERE, .way_is_covered = -1};
    to->path_size = (uint16_t)path.size;
    struct text shown = {line->device.at, (size_t)(line->root.at + line->root.size - line->device.at)};
    if (keep_text(path, &to->path) || keep_text(shown, &to->shown) || keep_text(line->type, &to->type)) return -EOVERFLOW;
    const char *type = table.text + to->type;
    to->content = is_listed(search->kernel, type) ? KERNEL : is_listed(search->devices, type) ? DEVICES : FILES;
    to->is_whole = line->root.size == 1;
    to->forbids_devices = (uint8_t)mount_line_has(line, "nodev");
    return 0;
}

/* The part of a path after the root's path; `at` is NULL for a path outside. */
static struct text inside(struct text path, const char *top, size_t top_size) {
    if (path.size < top_size || memcmp(path.at, top, top_size)) return (struct text){NULL, 0};
    struct text rest = {path.at + top_size, path.size - top_size};
    if (rest.size && *rest.at != '/') return (struct text){NULL, 0};
    if (rest.size == 1) rest.size = 0; /* the root is the host's `/`, whose path ends in a slash */
    return rest;
}

static int read_lines(const struct search *search, struct mount_list *list, const char *top) {
    struct mount_line line;
    size_t size = strcmp(top, "/") ? strlen(top) : 0;
    int error;
    table.count = 0;
    table.used = 0;
    while ((error = mount_list_next(list, &line)) > 0) {
        struct text path = inside(line.path, top, size);
        if (path.at && (error = keep(search, &line, path))) break;
    }
    return error;
}

static int place_of(int number) {
    for (int i = 0; i < table.count; i++)
        if (table.mount[i].number == number) return i;
    return NOWHERE;
}

/* Set the parent of each mount, and whether it is in the root. Other mounts whose path is below the root's path are
   covered by the root, and not accessible after pivot_root(2). A mount may be listed before its parent. */
static int join_lines(int root) {
    table.root = place_of(root);
    if (table.root == NOWHERE) return -ESTALE;
    for (int i = 0; i < table.count; i++) {
        struct mount *each = table.mount + i;
        each->below = i == table.root ? NOWHERE : place_of(each->parent);
    }
    for (int i = 0; i < table.count; i++) {
        int at = i, steps = 0;
        while (at != NOWHERE && at != table.root && steps++ < table.count) at = table.mount[at].below;
        table.mount[i].is_inside = at == table.root;
    }
    return 0;
}

/* Read the mounts at and below the root again. */
static int read_table(struct process *p, const struct search *search) {
    static struct mount_list list;
    char link[32], path[MAX_PATH], top[4 * MAX_PATH];
    snprintf(link, sizeof link, "/proc/self/fd/%d", p->slot[SLOT_root]);
    ssize_t size = readlink(link, path, sizeof path);
    CHECK(size);
    if (size == sizeof path) return -ENAMETOOLONG;
    path[size] = 0;
    int64_t root = mount_number(p->slot[SLOT_root]);
    if (root < 0) return (int)root;
    int error = mount_path_escape(top, sizeof top, path);
    if (error >= 0) error = mount_list_open(&list);
    if (error < 0) return error;
    error = read_lines(search, &list, top);
    close(list.fd);
    return error ? error : join_lines((int)root);
}

/* Whether another mount covers the root of this one. */
static int is_covered(const struct mount *at) {
    for (const struct mount *each = table.mount; each < table.mount + table.count; each++)
        if (each->parent == at->number && each != at && each->path_size == at->path_size &&
            !memcmp(path_of(each), path_of(at), at->path_size))
            return 1;
    return 0;
}

/* Whether a sibling is mounted on a directory of its path. */
static int is_way_covered(struct mount *at) {
    if (at->way_is_covered >= 0) return at->way_is_covered;
    at->way_is_covered = 0;
    for (const struct mount *each = table.mount; each < table.mount + table.count; each++)
        if (each->parent == at->parent && each->path_size < at->path_size && path_of(at)[each->path_size] == '/' &&
            !memcmp(path_of(each), path_of(at), each->path_size))
            at->way_is_covered = 1;
    return at->way_is_covered;
}

/* Whether other mounts cover it, so that no path leads into it. Path resolution enters a mount at its mount point, and
   then the mounts on the root of that mount. */
static int is_hidden(struct mount *at) {
    if (is_covered(at)) return 1;
    for (; at != table.mount + table.root; at = table.mount + at->below)
        if (is_way_covered(at)) return 1;
    return 0;
}

/* A mount that is not hidden, of the same files at the same path, as when a tree is mounted twice. */
static struct mount *reachable_twin(const struct mount *at) {
    for (struct mount *each = table.mount; each < table.mount + table.count; each++)
        if (each->is_inside && !strcmp(path_of(each), path_of(at)) &&
            !strcmp(table.text + each->shown, table.text + at->shown) && !is_hidden(each))
            return each;
    return NULL;
}

/* Open a mount by its path below the root: in a user namespace the host's directories above it may not be accessible.
   -ESTALE: the path leads to another mount, which covers it or was moved there. */
static int open_mount(struct process *p, const struct mount *at) {
    char path[MAX_PATH];
    int error = mount_path_restore(path, sizeof path, at->path_size ? path_of(at) : "/");
    if (error < 0) return error;
    int fd = open_at(p->slot[SLOT_root], path, O_PATH | O_NOFOLLOW, IN_ROOT | RESOLVE_NO_SYMLINKS);
    if (fd < 0 || mount_number(fd) == at->number) return fd;
    close(fd);
    return -ESTALE;
}

static int is_harmless(const struct search *search, dev_t device) {
    for (uint32_t at = 0; at + sizeof(uint64_t) <= search->harmless->size; at += sizeof(uint64_t)) {
        uint64_t harmless;
        memcpy(&harmless, search->harmless->at + at, sizeof harmless);
        if (harmless == device) return 1;
    }
    return 0;
}

/* Check a mounted part of a file system, which may be a single device: 0 if it is no view of the kernel. */
static int look(struct process *p, const struct search *search, const struct mount *at) {
    struct stat found;
    AT(look);
    int fd = open_mount(p, at);
    if (fd < 0) return fd;
    int error = fstat(fd, &found) ? -errno : 0;
    close(fd);
    if (error) return error;
    if (S_ISBLK(found.st_mode)) return AT(block_device), -EPERM;
    if (S_ISCHR(found.st_mode)) return is_harmless(search, found.st_rdev) ? 0 : (AT(device), -EPERM);
    return at->content == FILES ? 0 : (AT(kernel_view), -EPERM);
}

/* Check a mount: -errno if it is a view of the kernel; the stage has the kind. */
static int see(struct process *p, const struct search *search, struct mount *at) {
    int is_root = at == table.mount + table.root;
    /* By its type alone if that is enough: the path may lead to another mount, which covers it or was moved there by a
       process that shares the directory. */
    if (at->content == KERNEL || (at->content == DEVICES && (at->is_whole || is_root))) return AT(kernel_view), -EPERM;
    if (at->is_whole || is_root) return 0; /* both are directories */
    if (!is_hidden(at)) return look(p, search, at);
    /* No path leads to it, so it cannot be opened. With nodev it gives access to files only, even if another container
       that shares the directory removes the mounts that cover it. */
    if (at->forbids_devices) return 0;
    struct mount *twin = reachable_twin(at);
    return look(p, search, twin ? twin : at);
}

/* Find the views of the kernel. Returns their number. */
static int find_views(struct process *p, const struct search *search) {
    int count = 0;
    for (struct mount *each = table.mount; each < table.mount + table.count; each++) {
        each->view_error = each->is_inside ? see(p, search, each) : 0;
        each->view_stage = p->stage;
        count += each->view_error < 0;
    }
    AT(call);
    return count;
}

/* Mark the requested mounts: those at `count` paths of the container. */
static void mark_asked(struct process *p, const struct argument *path, uint32_t count) {
    for (; count; path++, count--) {
        int fd = open_in_root(p, path->at, O_PATH);
        int place = fd < 0 ? NOWHERE : place_of((int)mount_number(fd));
        if (fd >= 0) close(fd);
        if (place != NOWHERE) table.mount[place].is_asked = 1;
    }
}

/* Refuse the first view, or the first requested one. The detail of the error is the type and the path in the
   container. */
static int refuse_view(struct process *p, int asked) {
    for (struct mount *each = table.mount; each < table.mount + table.count; each++) {
        if (!each->view_error || (asked && !each->is_asked)) continue;
        p->stage = each->view_stage;
        snprintf(p->detail, sizeof p->detail, "%s %s", table.text + each->type, each->path_size ? path_of(each) : "/");
        return each->view_error;
    }
    return 0;
}

/* Unmount the views, the topmost first. A view that cannot be unmounted was unmounted with its parent, or `look_again`
   finds it. */
static void unmount_views(struct process *p) {
    for (int going = 1; going;) {
        going = 0;
        for (struct mount *each = table.mount + table.count; each-- > table.mount;) {
            int fd = each->view_error ? open_mount(p, each) : NOWHERE;
            if (fd < 0) continue;
            going |= !unmount(fd);
            close(fd);
        }
    }
}

static int look_again(struct process *p, const struct search *search) {
    int error = read_table(p, search);
    if (error) return error;
    return find_views(p, search) ? refuse_view(p, 0) : 0;
}

/* Remove every view of the kernel from the root. Arguments: types that are views, types that are views unless a single
   harmless device is mounted, the numbers of such devices (8 bytes each), and the paths of the requested mounts. Views
   below a requested mount are unmounted; a requested mount that is a view is refused, with -EPERM or the error of its
   check. The detail is its type, a space, and its path in the kernel's encoding. */
OPERATION(remove_kernel_views) {
    struct search search = {TEXT(0), TEXT(1), a + 2};
    AT(attributes);
    /* Later mounts of the host must not propagate to the root. */
    int error = change_mount(p->slot[SLOT_root], RECURSIVE, (struct mount_change){.propagation = MS_PRIVATE});
    AT(call);
    if (!error) error = read_table(p, &search);
    if (error || !find_views(p, &search)) return error;
    mark_asked(p, a + 3, count - 3);
    error = refuse_view(p, 1);
    if (error) return error;
    unmount_views(p);
    return look_again(p, &search);
}

/* Check for views that were mounted since. Arguments: the first three of `remove_kernel_views`. */
OPERATION(check_kernel_views) {
    return look_again(p, &(struct search){TEXT(0), TEXT(1), a + 2});
}
