/* Files cut under their mappings, with DC_SIGBUS_GUARD: a code from every call, wherever it was.
 *
 * This program defines some of the system calls that the library makes. The dynamic linker lets the library
 * use them too, so that a file can be cut just before the k-th of them within any call: between the look
 * at a file's length and its mapping, between mapping and first use, in the middle of a recovery. */
#include "files.h"

#include <sys/syscall.h>

static char cut_path[1200]; /* the file to cut ... */
static off_t cut_len;       /* ... to this length ... */
static long cut_after;      /* ... before this system call; 0: now is not the time */

static int newest_at = -1;  /* ... or, where this is the `channel` file, NEWEST becomes this again */
static uint64_t newest;

static void point(void) {
    if (cut_after <= 0 || --cut_after != 0) return;
    if (newest_at < 0) SYS(truncate(cut_path, cut_len));
    else CHECK(pwrite(newest_at, &newest, sizeof newest, 8320) == sizeof newest);
}

int fcntl(int fd, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    point();
    return (int)syscall(SYS_fcntl, fd, command, argument);
}
int fstat(int fd, struct stat *st) { return point(), (int)syscall(SYS_fstat, fd, st); }
void *mmap(void *at, size_t len, int access, int flags, int fd, off_t from) {
    void *map = (void *)syscall(SYS_mmap, at, len, access, flags, fd, from);
    if (fd >= 0) point(); /* after it: what is mapped and not looked at yet */
    return map;
}
void *mmap64(void *at, size_t len, int access, int flags, int fd, off_t from) { return mmap(at, len, access, flags, fd, from); }
int madvise(void *at, size_t len, int advice) { return point(), (int)syscall(SYS_madvise, at, len, advice); }
int fdatasync(int fd) { return point(), (int)syscall(SYS_fdatasync, fd); }
int ftruncate(int fd, off_t len) { return point(), (int)syscall(SYS_ftruncate, fd, len); }
int fchmod(int fd, mode_t mode) { return point(), (int)syscall(SYS_fchmod, fd, mode); }
int fallocate(int fd, int mode, off_t from, off_t len) { return point(), (int)syscall(SYS_fallocate, fd, mode, from, len); }
int unlinkat(int fd, const char *name, int flags) { return point(), (int)syscall(SYS_unlinkat, fd, name, flags); }

/* A channel in use. */
struct use {
    dc_channel *channel;
    dc_producer *p;
    dc_consumer *c, *o; /* of a group, with messages in hand; an observer */
};

static int guarded_open(dc_channel **channel) {
    dc_options o = DC_OPTIONS_INIT;
    o.flags = DC_EXISTING | DC_SIGBUS_GUARD | DC_NO_THREAD;
    o.stall_timeout_ms = 5;
    return dc_open(chan_path, &o, channel);
}

static struct use begin(void) {
    struct use u;
    dc_message m;
    dc_options o = small_options();
    o.flags = DC_NEW | DC_SIGBUS_GUARD | DC_NO_THREAD;
    o.stall_timeout_ms = 5;
    u.channel = open_at(chan_path, &o);
    u.p = producer_of(u.channel);
    u.c = subscribe_ack(u.channel, "g", DC_ACK_MANUAL);
    u.o = subscribe_ack(u.channel, NULL, 0);
    send_numbers(u.p, 0, 40);
    for (int n = 0; n < 20; n++) CHECK_OK(dc_recv(u.c, &m, 0));
    CHECK_OK(dc_recv(u.o, &m, 0));
    return u;
}

static void end(struct use *u) {
    dc_consumer_close(u->c);
    dc_consumer_close(u->o);
    dc_producer_close(u->p);
    dc_close(u->channel);
}

/* Every call there is. */
static int do_send(struct use *u) { return dc_send(u->p, "message", 7, 0); }
static int do_send_page(struct use *u) {
    int code = DC_OK;
    for (int n = 0; n < 20 && code == DC_OK; n++) code = dc_send(u->p, &n, sizeof n, 0);
    return code;
}
static int do_batch(struct use *u) {
    struct iovec v[3] = {{"a", 1}, {"bc", 2}, {NULL, 0}};
    size_t sent;
    return dc_send_batch(u->p, v, 3, 0, &sent);
}
static int do_reserve(struct use *u) {
    void *data;
    int code = dc_reserve(u->p, 5000, 0, &data);
    if (code != DC_OK) return code;
    memset(data, 7, 5000); /* the caller's own store, to a page that may be gone */
    point();
    return dc_commit(u->p, 5000);
}
static int do_recv(struct use *u) {
    dc_message m;
    int code = dc_recv(u->c, &m, 0);
    volatile unsigned char sum = 0;
    for (size_t i = 0; code == DC_OK && i < m.len; i++) sum ^= ((const unsigned char *)m.data)[i];
    return code;
}
static int do_recv_all(struct use *u) {
    int code;
    while ((code = do_recv(u)) == DC_OK) {}
    return code;
}
static int do_observe(struct use *u) {
    dc_message m;
    int code;
    while ((code = receive(u->o, &m, 2)) == DC_OK || code == DC_LAGGED) {}
    return code;
}
static int do_recv_batch(struct use *u) {
    dc_message m[9];
    size_t n;
    return dc_recv_batch(u->c, m, 9, 0, &n);
}
static int do_ack(struct use *u) { return dc_ack(u->c, UINT64_MAX); }
static int do_nack(struct use *u) { return dc_nack(u->c); }
static int do_next_page(struct use *u) { return dc_next_page(u->c); }
static int do_seek(struct use *u) { return dc_seek(u->c, DC_EARLIEST); }
static int do_seek_observer(struct use *u) { return dc_seek(u->o, DC_LAST(10)); }
static int do_stats(struct use *u) {
    dc_channel_info i = DC_CHANNEL_INFO_INIT;
    return dc_channel_stats(u->channel, &i);
}
static int do_group_stats(struct use *u) {
    dc_group_info i = DC_GROUP_INFO_INIT;
    return dc_group_stats(u->channel, "g", &i);
}
static int do_consumer_stats(struct use *u) {
    dc_consumer_info i = DC_CONSUMER_INFO_INIT;
    return dc_consumer_stats(u->c, &i);
}
static int do_verify(struct use *u) {
    dc_verify_info i = DC_VERIFY_INFO_INIT;
    (void)u;
    return dc_verify(chan_path, &i);
}
static int do_sync(struct use *u) { return dc_channel_sync(u->channel, 10); }
static int do_maintain(struct use *u) { return dc_maintain(u->channel, 0); }
static int do_new_group(struct use *u) {
    dc_consumer *c = NULL;
    int code = dc_subscribe(u->channel, "new", NULL, &c);
    dc_consumer_close(c);
    return code;
}
static int do_clone(struct use *u) {
    dc_consumer *c = NULL;
    dc_producer *p = NULL;
    int code = dc_consumer_clone(u->c, &c);
    if (code == DC_OK) code = dc_producer_clone(u->p, &p);
    dc_producer_close(p);
    dc_consumer_close(c);
    return code;
}
static int do_open(struct use *u) {
    dc_channel *channel = NULL;
    (void)u;
    int code = guarded_open(&channel);
    dc_close(channel);
    return code;
}
static int do_delete(struct use *u) { return dc_group_delete(u->channel, "new"); }
static int do_close(struct use *u) {
    end(u);
    memset(u, 0, sizeof *u);
    return DC_OK;
}
/* Another boot: the open recovers every page and group. */
static int do_recover(struct use *u) {
    static const unsigned char other[16] = {1, 2, 3};
    long armed = cut_after;
    cut_after = 0;
    do_close(u);
    int fd = open(cut_path, O_RDWR | O_CLOEXEC); /* only to see that there is a file to cut */
    if (fd >= 0) close(fd);
    char path[700];
    snprintf(path, sizeof path, "%s/channel", chan_path);
    fd = open(path, O_RDWR | O_CLOEXEC);
    SYS(fd);
    CHECK(pwrite(fd, other, sizeof other, 9088) == sizeof other);
    close(fd);
    cut_after = armed;
    int code = guarded_open(&u->channel);
    if (code != DC_OK) return code;
    code = dc_subscribe(u->channel, NULL, NULL, &u->o);
    if (code != DC_OK) return code;
    return do_observe(u);
}

static const struct op {
    const char *name;
    int (*run)(struct use *);
} ops[] = {
    {"send", do_send}, {"send over a page's end", do_send_page}, {"batch", do_batch}, {"reserve", do_reserve},
    {"recv", do_recv}, {"recv all", do_recv_all}, {"observe", do_observe}, {"recv batch", do_recv_batch}, {"ack", do_ack},
    {"nack", do_nack}, {"next page", do_next_page}, {"seek", do_seek}, {"observer's seek", do_seek_observer},
    {"stats", do_stats}, {"group stats", do_group_stats}, {"consumer stats", do_consumer_stats}, {"verify", do_verify},
    {"sync", do_sync}, {"maintain", do_maintain}, {"new group", do_new_group}, {"clone", do_clone}, {"open", do_open},
    {"delete", do_delete}, {"close", do_close}, {"recover", do_recover},
};
#define OPS (sizeof ops / sizeof ops[0])

static void a_code(const char *what, int code, long k) {
    if (code < -4108 || code > DC_LAGGED)
        test_fail(__FILE__, __LINE__, "%s gives %s (%s cut to %ld before system call %ld)", what, code_text(code), cut_path, (long)cut_len, k);
}

/* Where the library is when nobody knows: printed should this process end by a signal. */
static _Atomic int *stage;

static const char *files_to_cut[] = {"channel", "page-0000000001", "page-0000000002", "page-0000000003", "group-"};

static void choose(int which, off_t len) {
    snprintf(cut_path, sizeof cut_path, "%s/%s", chan_path, files_to_cut[which]);
    cut_len = len;
    if (which < 4) return;
    DIR *d = opendir(chan_path);
    for (struct dirent *e; d && (e = readdir(d));)
        if (!strncmp(e->d_name, "group-", 6)) snprintf(cut_path, sizeof cut_path, "%s/%s", chan_path, e->d_name);
    if (d) closedir(d);
}

/* One file, one length: for each call, cut before it, and before each of its system calls. */
static void cut_everywhere(int which, off_t len) {
    long points = 0;
    for (size_t op = 0; op < OPS; op++) {
        for (long k = 0;; k++) {
            struct use u = begin();
            atomic_store(stage, (int)op * 1000 + (int)k);
            choose(which, len);
            if (k == 0) SYS(truncate(cut_path, len));
            cut_after = k;
            int code = ops[op].run(&u);
            int reached = k == 0 || cut_after == 0;
            cut_after = 0;
            a_code(ops[op].name, code, k);
            /* And what may still be done with the handles. */
            for (size_t after = 0; reached && u.p && after < OPS - 2; after++) a_code(ops[after].name, ops[after].run(&u), k);
            end(&u);
            points += reached;
            remove_tree(chan_path);
            if (!reached) break;
        }
    }
    CHECK(points > (long)OPS);
    printf("        %s cut to %ld: %ld points\n", files_to_cut[which], (long)len, points);
    fflush(stdout);
}

static void cut_file(int which) {
    stage = shared_memory(4096);
    /* A thousand channels are made and flushed: in memory, where there is some. */
    char memory[] = "/dev/shm/disk-chan-XXXXXX";
    int in_memory = !getenv("TMPDIR") && mkdtemp(memory) != NULL;
    if (in_memory) snprintf(chan_path, sizeof chan_path, "%s/channel", memory);
    /* All of it; the last byte. */
    static const off_t lengths[] = {0, -1};
    for (int i = 0; i < 2; i++) {
        fflush(NULL);
        pid_t pid = fork();
        SYS(pid);
        if (pid == 0) {
            off_t len = lengths[i];
            if (len < 0) {
                struct stat st;
                struct use u = begin();
                choose(which, 0);
                SYS(stat(cut_path, &st));
                len = st.st_size - 1;
                end(&u);
                remove_tree(chan_path);
            }
            cut_everywhere(which, len);
            _exit(0);
        }
        int status;
        SYS(waitpid(pid, &status, 0));
        if (in_memory && (i == 1 || status != 0)) remove_tree(memory);
        int at = atomic_load(stage);
        if (WIFSIGNALED(status)) test_fail(__FILE__, __LINE__, "%s, cut to %ld before its system call %d: signal %d", ops[at / 1000].name, (long)lengths[i], at % 1000, WTERMSIG(status));
        CHECK(WEXITSTATUS(status) == 0);
    }
}

TEST_LIMIT(s093_the_channel_file_cut_at_every_point, 600) { cut_file(0); }
TEST_LIMIT(s093_a_dropped_or_old_page_cut_at_every_point, 600) { cut_file(1); }
TEST_LIMIT(s093_the_newest_page_cut_at_every_point, 600) { cut_file(3); }
TEST_LIMIT(s093_a_groups_file_cut_at_every_point, 600) { cut_file(4); }

/* Zeros in place of what was cut are not results: nobody is told that all is well. */
TEST(s093_nothing_is_confirmed_once_the_channel_file_is_cut) {
    struct use u = begin();
    choose(0, 0);
    SYS(truncate(cut_path, 0));
    CHECK_CODE(do_stats(&u), DC_E_CORRUPT);
    CHECK_TEXT(chan_path);
    CHECK_CODE(do_group_stats(&u), DC_E_CORRUPT);
    CHECK_CODE(do_send(&u), DC_E_POISONED);
    CHECK_CODE(do_sync(&u), DC_E_POISONED);
    CHECK_CODE(do_ack(&u), DC_E_CORRUPT);
    CHECK_CODE(do_recv(&u), DC_E_CORRUPT);
    CHECK_CODE(do_new_group(&u), DC_E_CORRUPT);
    CHECK_CODE(do_seek_observer(&u), DC_E_CORRUPT);
    end(&u);
}

TEST(s093_nothing_is_confirmed_once_a_groups_file_is_cut) {
    struct use u = begin();
    choose(4, 0);
    SYS(truncate(cut_path, 0));
    CHECK_CODE(do_recv(&u), DC_E_CORRUPT);
    CHECK_TEXT(chan_path);
    CHECK_CODE(do_recv_batch(&u), DC_E_CORRUPT);
    CHECK_CODE(do_ack(&u), DC_E_CORRUPT);
    CHECK_CODE(do_nack(&u), DC_E_CORRUPT);
    CHECK_CODE(do_seek(&u), DC_E_CORRUPT);
    CHECK_CODE(do_group_stats(&u), DC_E_CORRUPT);
    CHECK_CODE(do_consumer_stats(&u), DC_E_CORRUPT);
    CHECK_OK(do_send(&u)); /* the channel itself is as it was */
    CHECK_OK(do_stats(&u));
    dc_message m;
    CHECK_OK(dc_recv(u.o, &m, 0));
    end(&u);
}

/* A payload that went nowhere is not published, where no checksum would tell: the page is cut while its bytes are
 * being written, and has its length again when they are committed. */
TEST(s093_what_was_written_to_a_cut_page_is_not_sent) {
    struct use u = {0};
    struct stat st;
    dc_message m;
    void *at;
    dc_options o = small_options();
    o.flags = DC_NEW | DC_SIGBUS_GUARD | DC_NO_THREAD;
    o.checksum = DC_CHECKSUM_OFF;
    u.channel = open_at(chan_path, &o);
    u.p = producer_of(u.channel);
    send_numbers(u.p, 0, 3);
    CHECK_OK(dc_reserve(u.p, 20000, -1, &at));
    choose(1, 0);
    SYS(stat(cut_path, &st));
    SYS(truncate(cut_path, st.st_size - 64 * 1024));
    memset(at, 1, 20000);
    SYS(truncate(cut_path, st.st_size));
    CHECK_CODE(dc_commit(u.p, 20000), DC_E_CORRUPT);
    CHECK_TEXT(chan_path);
    dc_channel *other = open_flags(DC_EXISTING);
    u.o = subscribe_ack(other, NULL, 0);
    for (int n = 0; n < 3; n++) CHECK_OK(dc_recv(u.o, &m, 0)); /* before it */
    CHECK_CODE(dc_recv(u.o, &m, 0), DC_AGAIN);
    end(&u);
    dc_close(other);
}

/* Nor is one received, from a claim made before: its payload is cut, and the program's own look at the message in
 * hand is what shows it. */
TEST(s093_what_was_claimed_of_a_cut_page_is_not_received) {
    static const uint32_t acks[] = {DC_ACK_NEXT, DC_ACK_RECEIVE, DC_ACK_MANUAL};
    struct use u = {0};
    struct stat st;
    dc_message m;
    dc_options o = small_options();
    o.flags = DC_NEW | DC_SIGBUS_GUARD | DC_NO_THREAD;
    o.checksum = DC_CHECKSUM_OFF;
    u.channel = open_at(chan_path, &o);
    u.p = producer_of(u.channel);
    send_numbers(u.p, 0, 10);
    choose(1, 0);
    SYS(stat(cut_path, &st));
    for (int n = 0; n < 3; n++) {
        const char group[] = {'g', (char)('0' + n), 0};
        dc_channel *own;
        CHECK_OK(guarded_open(&own));
        dc_consumer *c = subscribe_ack(own, group, acks[n]);
        CHECK_OK(dc_recv(c, &m, 0));
        SYS(truncate(cut_path, 8192)); /* header and slots stay */
        CHECK_EQ(*(const volatile char *)m.data, 0);
        CHECK_CODE(dc_recv(c, &m, 0), DC_E_CORRUPT);
        CHECK_TEXT(chan_path);
        dc_consumer_close(c);
        dc_close(own);
        SYS(truncate(cut_path, st.st_size));
    }
    end(&u);
}

/* dc_verify has no options; the guard is the process's. */
TEST(s093_verify_is_guarded_with_the_process) {
    struct use u = begin();
    struct stat st;
    choose(2, 4096);
    SYS(stat(cut_path, &st));
    dc_verify_info i = DC_VERIFY_INFO_INIT;
    for (long k = 1, reached = 1; reached; k++) {
        cut_after = k;
        a_code("verify", dc_verify(chan_path, &i), k);
        reached = cut_after == 0;
        cut_after = 0;
        SYS(truncate(cut_path, st.st_size));
    }
    SYS(truncate(cut_path, 4096));
    CHECK_OK(dc_verify(chan_path, &i));
    CHECK_EQ(i.corrupt, 1); /* the page that is no page any more */
    end(&u);
}

/* [S132] The number of the newest page is far off when a call begins, and back before its k-th system call:
 * no call goes all the way from the one to the other. */
TEST_LIMIT(s093_the_newest_page_changes_within_a_call, 120) {
    static const uint64_t far = (uint64_t)1 << 37;
    struct op turned[] = {{"send over a page's end", do_send_page}, {"batch", do_batch}, {"sync", do_sync}, {"maintain", do_maintain}, {"stats", do_stats}, {"observe", do_observe}, {"recv all", do_recv_all}};
    for (size_t op = 0; op < sizeof turned / sizeof turned[0]; op++) {
        for (long k = 1, reached = 1; reached; k++) {
            struct use u = begin();
            char path[700];
            snprintf(path, sizeof path, "%s/channel", chan_path);
            newest_at = open(path, O_RDWR | O_CLOEXEC);
            SYS(newest_at);
            CHECK(pread(newest_at, &newest, sizeof newest, 8320) == sizeof newest);
            if (op < 2) /* the page at hand is full */
                for (int n = 0; n < 8; n++) CHECK_OK(do_send(&u));
            CHECK(pwrite(newest_at, &far, sizeof far, 8320) == sizeof far);
            cut_after = k;
            a_code(turned[op].name, turned[op].run(&u), k);
            reached = cut_after == 0;
            cut_after = 0;
            close(newest_at);
            newest_at = -1;
            end(&u);
            remove_tree(chan_path);
        }
    }
}
