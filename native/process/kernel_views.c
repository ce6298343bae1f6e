/* What keeps a Wasm guest from its own engine: no mount of its container shows the kernel.

   A guest has `/` preopened. If it could open /proc/self/mem there, by whatever name, it would write to the
   engine's memory and leave the Wasm sandbox; all engines open it for it. So the mounts are looked at as they are
   in the end, not as they were asked for. What does not fit, or cannot be looked at, is an error. */
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

/* What a file system shows, by its type alone: files, devices among which single ones may do no harm, the kernel. */
enum content { FILES, DEVICES, KERNEL };

struct mount {
    int number, parent;  /* the kernel's own */
    int below;           /* the place in the table of the mount that it is on */
    uint32_t path, type; /* where in `text`; the path is from the root on, "" for the root itself */
    uint32_t shown;      /* the same: which part of which file system */
    uint16_t path_size;
    uint8_t content, is_whole, forbids_devices; /* is_whole: all of its file system is shown */
    uint8_t is_inside;     /* in the container's root, or the root itself */
    int8_t way_is_covered; /* -1: it has not been looked for */
    uint8_t is_asked;
    int view_error, view_stage; /* of a view: what an error about it says; else 0 */
};

/* The mounts whose path is that of the root or below. Pages that nothing was written to cost nothing. */
static struct {
    int count, root;
    size_t used;
    struct mount mount[MAX_MOUNTS];
    char text[MAX_TEXT];
} table;

/* What is looked for: the types between spaces, and the numbers of the devices that do no harm. */
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

/* What of a path comes after that of the root; at is NULL if it is not there or below. */
static struct text inside(struct text path, const char *top, size_t top_size) {
    if (path.size < top_size || memcmp(path.at, top, top_size)) return (struct text){NULL, 0};
    struct text rest = {path.at + top_size, path.size - top_size};
    if (rest.size && *rest.at != '/') return (struct text){NULL, 0};
    if (rest.size == 1) rest.size = 0; /* the host's own root, whose path ends in a slash */
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

/* Tell what is mounted on what, and which mounts are in the root in the end. What else has a path below the root's
   is covered by the root, and out of reach once the root is `/`. A mount may come before the one that it is on. */
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

/* Read the mounts at and below the root anew. */
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

/* Whether a mount lies on the root of this one. */
static int is_covered(const struct mount *at) {
    for (const struct mount *each = table.mount; each < table.mount + table.count; each++)
        if (each->parent == at->number && each != at && each->path_size == at->path_size &&
            !memcmp(path_of(each), path_of(at), at->path_size))
            return 1;
    return 0;
}

/* Whether another mount on the same one lies on a directory that the path goes through. */
static int is_way_covered(struct mount *at) {
    if (at->way_is_covered >= 0) return at->way_is_covered;
    at->way_is_covered = 0;
    for (const struct mount *each = table.mount; each < table.mount + table.count; each++)
        if (each->parent == at->parent && each->path_size < at->path_size && path_of(at)[each->path_size] == '/' &&
            !memcmp(path_of(each), path_of(at), each->path_size))
            at->way_is_covered = 1;
    return at->way_is_covered;
}

/* Whether others cover it, so that no path leads into it. A walk along a path goes over to what is mounted on a
   directory as soon as it comes to it, and on the root of that to what is mounted there. */
static int is_hidden(struct mount *at) {
    if (is_covered(at)) return 1;
    for (; at != table.mount + table.root; at = table.mount + at->below)
        if (is_way_covered(at)) return 1;
    return 0;
}

/* One that is not hidden and shows the same at the same path, as where a whole tree is mounted twice. */
static struct mount *twin_in_sight(const struct mount *at) {
    for (struct mount *each = table.mount; each < table.mount + table.count; each++)
        if (each->is_inside && !strcmp(path_of(each), path_of(at)) &&
            !strcmp(table.text + each->shown, table.text + at->shown) && !is_hidden(each))
            return each;
    return NULL;
}

/* Open what is mounted, found from the root: the directories above are the host's, and in a user namespace they may
   be closed to this process. -ESTALE: something else is there, on top of it or since it was moved. */
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

/* What is shown by a part of a file system, which may be a single device: 0 if it is nothing of the kernel's. */
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

/* Whether a mount shows the kernel: -errno then, and the stage says what. */
static int see(struct process *p, const struct search *search, struct mount *at) {
    int is_root = at == table.mount + table.root;
    /* By its type alone where that is enough: what lies at the path may be another mount on top, or have been moved
       by a process that shares the directory. */
    if (at->content == KERNEL || (at->content == DEVICES && (at->is_whole || is_root))) return AT(kernel_view), -EPERM;
    if (at->is_whole || is_root) return 0; /* both are directories */
    if (!is_hidden(at)) return look(p, search, at);
    /* No path leads there, so it cannot be looked at. Should another container that shares a directory move it into
       sight, it shows files: no device is opened through it. */
    if (at->forbids_devices) return 0;
    struct mount *twin = twin_in_sight(at);
    return look(p, search, twin ? twin : at);
}

/* Find the views. Returns how many there are. */
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

/* Tell which mounts were asked for: those at `count` paths of the container. */
static void mark_asked(struct process *p, const struct argument *path, uint32_t count) {
    for (; count; path++, count--) {
        int fd = open_in_root(p, path->at, O_PATH);
        int place = fd < 0 ? NOWHERE : place_of((int)mount_number(fd));
        if (fd >= 0) close(fd);
        if (place != NOWHERE) table.mount[place].is_asked = 1;
    }
}

/* Refuse the first view, or the first of those that were asked for. The error's detail says which mount it is about:
   its type, and its path in the container. */
static int refuse_view(struct process *p, int asked) {
    for (struct mount *each = table.mount; each < table.mount + table.count; each++) {
        if (!each->view_error || (asked && !each->is_asked)) continue;
        p->stage = each->view_stage;
        snprintf(p->detail, sizeof p->detail, "%s %s", table.text + each->type, each->path_size ? path_of(each) : "/");
        return each->view_error;
    }
    return 0;
}

/* Unmount the views, what is on top first. What cannot be unmounted is gone with what it was on, or found again. */
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

/* Take every view of the kernel out of the root. Arguments: the types that show the kernel, those that show it
   unless a single device is mounted that does no harm, the numbers of such devices (8 bytes each), and the paths of
   the mounts that are asked for. What one of those brings along is unmounted; a view that is one itself is refused,
   with -EPERM or the error of looking at it: the detail is its type, a space, and its path as the kernel writes it. */
OPERATION(remove_kernel_views) {
    struct search search = {TEXT(0), TEXT(1), a + 2};
    AT(attributes);
    /* What the host mounts later is not to come in. */
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

/* Look again: what was mounted since. The arguments are the first three of above. */
OPERATION(check_kernel_views) {
    return look_again(p, &(struct search){TEXT(0), TEXT(1), a + 2});
}
