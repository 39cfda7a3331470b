/* Whose files these are: other users, read-only observers, and what somebody else planted under the names of a
 * channel's files. Nothing but a regular file of the channel is followed, waited for or written to. */
#include "files.h"

#include <spawn.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

extern char **environ;

/* Opens every file of the channel as somebody else: 0 where it may be read. */
static int readable_files(const char *path) {
    int n = 0;
    DIR *d = opendir(path);
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d));) {
        char child[1200];
        if (e->d_name[0] == '.') continue;
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        int fd = open(child, O_RDONLY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT) continue; /* listed, and renamed since by the library's thread */
        if (fd < 0) CHECK_EQ(errno, EACCES);
        n += fd >= 0;
        if (fd >= 0) close(fd);
        CHECK(open(child, O_WRONLY | O_CLOEXEC) < 0 && (errno == EACCES || errno == ENOENT));
    }
    closedir(d);
    return n;
}

static void become_nobody(void) {
    SYS(setgid(65534));
    SYS(setuid(65534));
}

static void reads_nothing(void *unused) {
    (void)unused;
    become_nobody();
    CHECK_EQ(readable_files(chan_path), 0);
    static const uint32_t flags[] = {0, DC_EXISTING, DC_READ_ONLY};
    for (size_t i = 0; i < 3; i++) {
        dc_options o = DC_OPTIONS_INIT;
        dc_channel *channel = (dc_channel *)&channel;
        o.flags = flags[i];
        CHECK_CODE(dc_open(chan_path, &o, &channel), -EACCES);
        CHECK(channel == NULL);
    }
    dc_verify_info v = DC_VERIFY_INFO_INIT;
    CHECK_CODE(dc_verify(chan_path, &v), -EACCES);
    CHECK_CODE(dc_destroy(chan_path), -EACCES);
}

/* [S135] The files themselves are closed to others, not only the directory: it may be opened up for a listing. */
TEST(s101_a_0600_channel_is_not_readable) {
    if (geteuid() != 0) SKIP("needs root, to become somebody else");
    if (!nobody_can_come()) SKIP("no way to %s for another user", test_dir);
    dc_options o = small_options();
    umask(0);
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    for (uint64_t n = 0; n < 300; n++) { /* files made, made ahead and used again */
        send_number(p, n);
        take_first(c, n);
    }
    SYS(chmod(chan_path, 0777));
    wait_success(spawn(reads_nothing, NULL));
    send_number(p, 300);
    take_first(c, 300);
}

/* What this process has open of the channel, and how. */
struct access {
    int files, maps, writable_files, writable_maps, inherited;
};

static int flags_of(const char *fd) {
    char path[300], line[200];
    unsigned long flags = 0;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%s", fd);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "flags: %lo", &flags) == 1) break;
    if (f) fclose(f);
    return (int)flags;
}

static void look_at_files(struct access *a) {
    DIR *d = opendir("/proc/self/fd");
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d));) {
        char path[300], target[1200] = {0};
        snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
        if (e->d_name[0] == '.' || atoi(e->d_name) == dirfd(d) || readlink(path, target, sizeof target - 1) < 0) continue;
        int ours = strstr(target, test_dir) != NULL, event = strstr(target, "eventfd") != NULL, flags = flags_of(e->d_name);
        if (!ours && !event) continue;
        a->inherited += !(flags & O_CLOEXEC);
        a->files += ours;
        a->writable_files += ours && (flags & O_ACCMODE) != O_RDONLY;
    }
    closedir(d);
}

/* Mappings that may be written, or could be made so. */
static void look_at_maps(struct access *a) {
    char line[2048], perms[8];
    unsigned long from, to;
    FILE *f = fopen("/proc/self/maps", "re");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f)) {
        if (!strstr(line, test_dir) || sscanf(line, "%lx-%lx %7s", &from, &to, perms) != 3) continue;
        a->maps++;
        a->writable_maps += strchr(perms, 'w') != NULL || mprotect((void *)from, to - from, PROT_READ | PROT_WRITE) == 0;
    }
    fclose(f);
}

static struct access look(void) {
    struct access a = {0, 0, 0, 0, 0};
    look_at_files(&a);
    look_at_maps(&a);
    return a;
}

struct seen {
    _Atomic int stage;
    _Atomic uint64_t taken;
};

/* In a process of its own that inherits nothing: everything it has open is the reader's. */
static void only_reads(void *argument) {
    struct seen *s = argument;
    await(&s->stage, 1);
    dc_channel *channel = open_flags(DC_READ_ONLY);
    dc_consumer *c = subscribe_ack(channel, NULL, 0), *by_fd = subscribe(channel, NULL, NULL);
    CHECK(dc_consumer_fd(by_fd) >= 0);
    atomic_store(&s->stage, 2);
    for (uint64_t n = 0; n < 500; n++) {
        CHECK_EQ(take_number(c), n);
        atomic_store(&s->taken, n + 1);
        if (n % 50 != 0) continue;
        channel_info(channel);
        group_info(channel, "g");
        CHECK_EQ(verify_info(chan_path).corrupt, 0);
        struct access a = look();
        CHECK(a.files >= 3 && a.maps >= 2); /* or nothing was looked at */
        CHECK_EQ(a.writable_files, 0);
        CHECK_EQ(a.writable_maps, 0);
        CHECK_EQ(a.inherited, 0);
    }
}

/* [S122 S109] Whatever goes wrong in it, a reader's process cannot change a byte of the channel. */
TEST(s005_an_observer_has_nothing_open_for_writing) {
    struct seen *s = shared_memory(sizeof *s);
    pid_t pid = spawn(only_reads, s);
    dc_options o = small_options();
    o.max_pages = 8;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    dc_consumer_close(subscribe(channel, "g", NULL));
    atomic_store(&s->stage, 1);
    await(&s->stage, 2);
    for (uint64_t n = 0; n < 500; n++) {
        send_number(p, n);
        int64_t limit = now_ms() + (int64_t)LONG_MS * 2 * test_scale();
        while (atomic_load(&s->taken) + 64 < n) { /* never so far ahead that the ring drops what it has not seen */
            CHECK(now_ms() < limit);
            sleep_ms(1);
        }
    }
    wait_success(pid);
}

static void uses_all_kinds(void) {
    dc_options o = small_options();
    o.flags = DC_SIGBUS_GUARD;
    dc_channel *channel = open_at(chan_path, &o), *reader = open_flags(DC_READ_ONLY);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL), *r = subscribe_ack(reader, NULL, 0);
    CHECK(dc_consumer_fd(c) >= 0 && dc_consumer_fd(r) >= 0 && dc_producer_fd(p) >= 0);
    for (uint64_t n = 0; n < 200; n++) {
        send_number(p, n);
        take_first(c, n);
        take_first(r, n);
    }
    CHECK_OK(dc_channel_sync(channel, LONG_MS));
}

static char script[1400];

static char **listing(void) {
    static char *arguments[] = {"sh", "-c", script, NULL};
    snprintf(script, sizeof script, "for f in /proc/self/fd/*; do case $(readlink $f) in *%s*|*eventfd*) exit 3;; esac; done; exit 0", test_dir);
    return arguments;
}

static void execs_itself(void *unused) {
    (void)unused;
    snprintf(chan_path, sizeof chan_path, "%s/another", test_dir);
    uses_all_kinds();
    execv("/bin/sh", listing());
    _exit(4);
}

/* [S123] Not by the fork handlers, which close them as well: a process that calls exec itself, posix_spawn. */
TEST(s153_exec_closes_every_descriptor) {
    uses_all_kinds();
    struct access a = look();
    CHECK(a.files >= 6);
    CHECK_EQ(a.inherited, 0);
    pid_t pid;
    CHECK_EQ(posix_spawn(&pid, "/bin/sh", NULL, NULL, listing(), environ), 0);
    wait_success(pid);
    wait_success(spawn(execs_itself, NULL));
}

/* ---- what is planted ---- */

enum kind { LINK, DANGLING, DIRECTORY, PIPE, SOCKET, DEVICE, HARD, KINDS };
static const char *kind_names[KINDS] = {"a symbolic link", "a dangling link", "a directory", "a pipe", "a socket", "a device", "a hard link"};

static char victim[700], nothing[700];

/* A file that is nobody's business, as large as a page file: nothing of it may change. */
static void make_victim(void) {
    unsigned char bytes[4096];
    snprintf(victim, sizeof victim, "%s/victim", test_dir);
    snprintf(nothing, sizeof nothing, "%s/nothing", test_dir);
    unlink(victim);
    int fd = open(victim, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    SYS(fd);
    memset(bytes, 0xA5, sizeof bytes);
    for (int i = 0; i < 18; i++) CHECK_EQ(write(fd, bytes, sizeof bytes), sizeof bytes); /* header and table, payload */
    close(fd);
}

static void check_victim(const char *when) {
    struct stat st;
    unsigned char bytes[4096];
    int fd = open(victim, O_RDONLY | O_CLOEXEC);
    SYS(fd);
    SYS(fstat(fd, &st));
    CHECK_EQ(st.st_size, 18 * 4096);
    CHECK_EQ(st.st_mode & 07777, 0600);
    while (read(fd, bytes, sizeof bytes) > 0)
        for (size_t i = 0; i < sizeof bytes; i++)
            if (bytes[i] != 0xA5) test_fail(__FILE__, __LINE__, "%s: the file outside was written to", when);
    close(fd);
    if (lstat(nothing, &st) == 0) test_fail(__FILE__, __LINE__, "%s: a file was made where the link points", when);
}

static int plant_once(enum kind kind, const char *name) {
    char path[1200];
    struct sockaddr_un address = {AF_UNIX, {0}};
    snprintf(path, sizeof path, "%s/%s", chan_path, name);
    unlink(path);
    switch (kind) {
    case LINK: return symlink(victim, path);
    case DANGLING: return symlink(nothing, path);
    case DIRECTORY: return mkdir(path, 0700);
    case PIPE: return mkfifo(path, 0600);
    case DEVICE: return mknod(path, S_IFCHR | 0600, makedev(1, 5)); /* /dev/zero */
    case HARD: return link(victim, path);
    default: break;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    SYS(fd);
    SYS(here);
    SYS(chdir(chan_path)); /* a socket's path is short */
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", name);
    int result = bind(fd, (struct sockaddr *)&address, sizeof address);
    SYS(fchdir(here));
    close(here);
    close(fd);
    return result;
}

/* Once more where the library's thread has made its own file under the name meanwhile, as it does with the next page. */
static int plant(enum kind kind, const char *name) {
    int result = -1;
    for (int i = 0; i < 100 && result != 0; i++) {
        result = plant_once(kind, name);
        if (errno != EEXIST && errno != EADDRINUSE) break;
    }
    return result;
}

/* The names in a channel of 10 messages and one group: page 1 is the newest, page 2 the next. */
static const char *targets[] = {"channel", "page-0000000001", "page-0000000002", "group", "tmp-0123456789abcdef"};
enum { TARGETS = sizeof targets / sizeof targets[0] };

static const char *group_file(void) {
    static char name[256];
    DIR *d = opendir(chan_path);
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d));)
        if (!strncmp(e->d_name, "group-", 6)) snprintf(name, sizeof name, "%s", e->d_name);
    closedir(d);
    return name;
}

/* A code, whichever it is: positive ones are no failure. */
#define ANY(call) ((void)!(call))

/* Everything one does with a channel. */
static void use(void) {
    dc_channel *channel = NULL;
    dc_consumer *c = NULL;
    dc_producer *p = NULL;
    dc_message m;
    dc_group_info gi = DC_GROUP_INFO_INIT;
    dc_channel_info ci = DC_CHANNEL_INFO_INIT;
    dc_verify_info v = DC_VERIFY_INFO_INIT;
    ANY(dc_verify(chan_path, &v));
    if (dc_open(chan_path, NULL, &channel) != DC_OK) return;
    ANY(dc_channel_stats(channel, &ci));
    ANY(dc_group_stats(channel, "g", &gi));
    if (dc_producer_open(channel, &p) == DC_OK)
        for (uint64_t n = 10; n < 200; n++) CHECK_OK(dc_send(p, &n, sizeof n, LONG_MS)); /* round the ring, and round again */
    static const char *groups[] = {"g", NULL, "new"};
    for (int i = 0; i < 3; i++) {
        uint64_t last = 0;
        dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
        o.flags = DC_AUTO_NEXT_PAGE;
        if (dc_subscribe(channel, groups[i], &o, &c) != DC_OK) continue;
        for (int code; (code = dc_recv(c, &m, 0)) != DC_AGAIN;)
            if (code == DC_OK) CHECK_RANGE(last = number_of(&m), last, 199);
        CHECK_EQ(last, 199);
        dc_consumer_close(c);
    }
    ANY(dc_channel_sync(channel, LONG_MS));
    dc_producer_close(p);
    dc_close(channel);
}

static void with_planted(enum kind kind, int target, int live) {
    char when[400];
    const char *name = targets[target];
    make_victim();
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer_close(subscribe(channel, "g", NULL));
    send_numbers(p, 0, 10);
    if (!strcmp(name, "group")) name = group_file();
    snprintf(when, sizeof when, "%s as %s%s", kind_names[kind], name, live ? " of an open channel" : "");
    dc_producer_close(p);
    if (!live) dc_close(channel);
    if (plant(kind, name) != 0) {
        if (kind != DEVICE) test_fail(__FILE__, __LINE__, "%s: %s", when, strerror(errno));
        SKIP("mknod: %s", strerror(errno));
    }
    use();
    check_victim(when);
    if (live) dc_close(channel);
    if (!strcmp(name, "channel")) {
        dc_channel *none = (dc_channel *)&none;
        CHECK_CODE(dc_open(chan_path, NULL, &none), DC_E_FORMAT);
        CHECK(none == NULL);
    }
    ANY(dc_destroy(chan_path));
    check_victim(when);
    remove_tree(chan_path);
}

static void plant_all(enum kind kind) {
    for (int target = 0; target < TARGETS; target++)
        for (int live = 0; live < 2; live++) with_planted(kind, target, live);
}

/* [S132] */
TEST(s152_symbolic_links_are_not_followed) { plant_all(LINK); }
TEST(s152_dangling_links_make_no_files) { plant_all(DANGLING); }
TEST(s152_directories_under_the_files_names) { plant_all(DIRECTORY); }
TEST(s152_pipes_are_not_waited_for) { plant_all(PIPE); }
TEST(s152_sockets_under_the_files_names) { plant_all(SOCKET); }
TEST(s152_devices_under_the_files_names) { plant_all(DEVICE); }
TEST(s152_foreign_files_linked_in_are_not_written_to) { plant_all(HARD); }

static unsigned char *bytes_of(const char *path, size_t *len) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    SYS(fd);
    SYS(fstat(fd, &st));
    *len = (size_t)st.st_size;
    unsigned char *bytes = malloc(*len);
    CHECK(bytes && pread(fd, bytes, *len, 0) == st.st_size);
    close(fd);
    return bytes;
}

/* A page of the channel that somebody linked elsewhere, to keep: the channel lets go of it. */
TEST(s152_a_page_with_two_names_is_not_reused) {
    char page[1200], kept[700];
    size_t len, header = 4096; /* its figures are still completed when it is dropped */
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 16);
    snprintf(page, sizeof page, "%s/page-0000000001", chan_path);
    snprintf(kept, sizeof kept, "%s/kept", test_dir);
    SYS(link(page, kept));
    send_number(p, 16); /* page 1 is full and ended */
    unsigned char *before = bytes_of(kept, &len);
    send_numbers(p, 17, 1000);
    CHECK(!memcmp(before + header, bytes_of(kept, &len) + header, len - header));
}

/* The path a program names is its own business, and followed as by open: its directory may be a link. */
TEST(s152_the_channels_own_path_may_be_a_link) {
    char link_path[700];
    snprintf(link_path, sizeof link_path, "%s/link", test_dir);
    dc_channel *channel = open_small();
    send_number(producer_of(channel), 7);
    SYS(symlink(chan_path, link_path));
    dc_channel *other = open_at(link_path, NULL);
    take_first(subscribe(other, "g", NULL), 7);
}
