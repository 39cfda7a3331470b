/* What the system refuses: memory, flushes, file systems.
 *
 * This program defines malloc, fdatasync, statfs and their relatives itself. The dynamic linker lets the
 * library use them too, so each can be made to fail, for the calling thread or for everybody. */
#include "chan.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#ifdef DC_SANITIZED
TEST(s031_no_memory) { SKIP("a sanitizer has its own malloc"); }
#else
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static _Thread_local int counting;            /* this thread's allocations are counted ... */
static _Thread_local long allocations;        /* ... here ... */
static _Thread_local long fail_from, fail_to; /* ... and fail with these numbers */

static int refused(void) {
    if (!counting) return 0;
    allocations++;
    if (allocations < fail_from || allocations >= fail_to) return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t n) { return refused() ? NULL : __libc_malloc(n); }
void *calloc(size_t a, size_t b) { return refused() ? NULL : __libc_calloc(a, b); }
void *realloc(void *p, size_t n) { return refused() ? NULL : __libc_realloc(p, n); }
void *memalign(size_t a, size_t n) { return refused() ? NULL : __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { return refused() ? NULL : __libc_memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n) {
    if (refused()) return ENOMEM;
    *p = __libc_memalign(a, n);
    return *p ? 0 : ENOMEM;
}
#endif

static _Atomic int flush_errno; /* what every flush gives, when not 0 */
static _Atomic long flushes, flush_ms;

static int flushed(void) {
    atomic_fetch_add(&flushes, 1);
    if (atomic_load(&flush_ms)) sleep_ms(atomic_load(&flush_ms));
    errno = atomic_load(&flush_errno);
    return errno ? -1 : 0;
}

int fsync(int fd) { return flushed() ? -1 : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return flushed() ? -1 : (int)syscall(SYS_fdatasync, fd); }
int syncfs(int fd) { return flushed() ? -1 : (int)syscall(SYS_syncfs, fd); }
int msync(void *p, size_t n, int flags) { return flushed() ? -1 : (int)syscall(SYS_msync, p, n, flags); }

static long file_system; /* the magic number of the file system there seems to be */

static int pretend(int code, struct statfs *s) {
    if (code == 0 && file_system) s->f_type = file_system;
    return code;
}

int statfs(const char *path, struct statfs *s) { return pretend((int)syscall(SYS_statfs, path, s), s); }
int fstatfs(int fd, struct statfs *s) { return pretend((int)syscall(SYS_fstatfs, fd, s), s); }
int statfs64(const char *path, struct statfs64 *s) { return pretend((int)syscall(SYS_statfs, path, s), (struct statfs *)s); }
int fstatfs64(int fd, struct statfs64 *s) { return pretend((int)syscall(SYS_fstatfs, fd, s), (struct statfs *)s); }

#ifndef DC_SANITIZED
/* The call must succeed or say -ENOMEM; a success leaves `handle` set, a failure NULL. */
#define TRIES(call) (code = (call), CHECKS(code == DC_OK || code == -ENOMEM, #call, code), code == DC_OK)
static void CHECKS(int fine, const char *call, int code) {
    counting = 0;
    if (!fine) test_fail(__FILE__, __LINE__, "allocation %ld refused: %s gives %s", fail_from, call, code_text(code));
    counting = 1;
}

/* Everything that may allocate, with allocations from..to refused. Returns whether it came that far. */
static int without_memory(long from, long to) {
    dc_options o = small_options();
    dc_channel *channel = NULL;
    dc_producer *p = NULL, *q = NULL;
    dc_consumer *c = NULL, *d = NULL;
    dc_channel_info ci = DC_CHANNEL_INFO_INIT;
    dc_group_info gi = DC_GROUP_INFO_INIT;
    dc_verify_info vi = DC_VERIFY_INFO_INIT;
    char name[256];
    int code;
    allocations = 0;
    fail_from = from;
    fail_to = to;
    counting = 1;
    if (TRIES(dc_open(chan_path, &o, &channel))) {
        (void)TRIES(dc_channel_stats(channel, &ci));
        if (TRIES(dc_producer_open(channel, &p))) {
            for (int n = 0; n < 40; n++) (void)TRIES(dc_send(p, "x", 1, 0));
            (void)TRIES(dc_producer_clone(p, &q));
            (void)TRIES(dc_sync(p, -1));
        }
        if (TRIES(dc_subscribe(channel, "g", NULL, &c))) {
            dc_message m;
            for (int n = 0; n < 20; n++) {
                code = dc_recv(c, &m, 0);
                if (code == DC_END_OF_PAGE) (void)TRIES(dc_next_page(c));
            }
            (void)TRIES(dc_consumer_clone(c, &d));
            int fd = dc_consumer_fd(c);
            CHECKS(fd >= 0 || fd == -ENOMEM || fd == -EAGAIN, "dc_consumer_fd", fd);
            (void)TRIES(dc_group_stats(channel, "g", &gi));
            (void)TRIES(dc_group_next(channel, NULL, name, sizeof name));
        }
        (void)TRIES(dc_channel_sync(channel, -1));
        (void)TRIES(dc_verify(chan_path, &vi));
    }
    dc_consumer_close(c);
    dc_consumer_close(d);
    dc_producer_close(p);
    dc_producer_close(q);
    if (channel && dc_group_delete(channel, "g") == -ENOMEM) (void)!dc_last_error();
    dc_close(channel);
    if (dc_destroy(chan_path) == -ENOMEM) (void)!dc_last_error();
    counting = 0;
    long total = allocations;
    fail_from = fail_to = 0;
    /* What is left of it works. */
    channel = open_at(chan_path, &o);
    p = producer_of(channel);
    send_numbers(p, 0, 20);
    dc_producer_close(p);
    dc_close(channel);
    CHECK_EQ(verify_info(chan_path).corrupt, 0);
    CHECK_OK(dc_destroy(chan_path));
    return total >= from;
}

TEST(s031_the_nth_allocation_fails) {
    long n = 1;
    while (without_memory(n, n + 1)) n++;
    CHECK(n > 10); /* or the library does not use this malloc, and the test shows nothing */
}

TEST(s031_all_allocations_from_the_nth_fail) {
    long n = 1;
    for (; without_memory(n, 1000000) && n < 2000; n++) {}
    CHECK(n > 10);
}

TEST(s031_send_and_receive_never_allocate) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL), *o = subscribe_ack(channel, NULL, 0);
    dc_message m;
    size_t n;
    struct iovec parts[2] = {{&channel, 8}, {&p, 8}};
    send_numbers(p, 0, 100); /* the library thread is started, once a process, by whoever needs it first */
    while (receive(c, &m, 0) != DC_AGAIN || dc_ack(c, UINT64_MAX - 1) != DC_OK) {}
    while (receive(o, &m, 0) != DC_AGAIN) {}
    for (int i = 0; i < 2000; i++) {
        counting = 1;
        allocations = 0;
        void *data;
        int sent = dc_send(p, &i, sizeof i, 0) || dc_sendv(p, parts, 2, 0) || dc_send_batch(p, parts, 2, 0, &n) || dc_reserve(p, 8, 0, &data) || dc_commit(p, 8);
        int got = dc_recv(c, &m, 0) || dc_recv(c, &m, 0) || dc_nack(c) || dc_recv_batch(c, &m, 1, 0, &n) || dc_ack(c, m.position);
        while (dc_recv(c, &m, 0) == DC_OK && dc_ack(c, m.position) == DC_OK) {}
        while (dc_recv(o, &m, 0) == DC_OK) {}
        counting = 0;
        CHECK(!sent && !got);
        if (allocations) test_fail(__FILE__, __LINE__, "%ld allocations in round %d", allocations, i);
    }
}
#endif

static dc_channel *open_durable(uint32_t durability) {
    dc_options o = small_options();
    o.durability = durability;
    o.sync_interval_ms = 20;
    return open_at(chan_path, &o);
}

static void also_poisoned(void *argument) {
    dc_channel *channel = open_flags(0);
    dc_producer *p = producer_of(channel);
    _Atomic int *stage = argument;
    atomic_store(stage, 1);
    await(stage, 2);
    uint64_t n = 9;
    CHECK_CODE(dc_send(p, &n, sizeof n, 0), DC_E_POISONED); /* for every process */
    CHECK_EQ(channel_info(channel).poisoned, 1);
    take_numbers(subscribe_ack(channel, "h", DC_ACK_NEXT), 0, 5); /* receiving goes on */
}

/* [S64 S125] */
TEST(s023_a_failed_flush_poisons_the_channel) {
    _Atomic int *stage = shared_memory(4096);
    dc_channel *channel = open_durable(DC_SYNC_ALWAYS);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    CHECK(dc_consumer_fd(c) >= 0);
    send_numbers(p, 0, 5);
    take_numbers(c, 0, 5);
    pid_t pid = spawn(also_poisoned, stage);
    await(stage, 1);
    atomic_store(&flush_errno, EIO);
    uint64_t n = 5;
    CHECK_CODE(dc_send(p, &n, sizeof n, -1), DC_E_POISONED);
    CHECK(dc_last_error()[0] != 0);
    atomic_store(&flush_errno, 0); /* never tried again into a false success */
    CHECK_CODE(dc_send(p, &n, sizeof n, -1), DC_E_POISONED);
    CHECK_CODE(dc_sync(p, -1), DC_E_POISONED);
    CHECK_CODE(dc_channel_sync(channel, -1), DC_E_POISONED);
    CHECK_EQ(channel_info(channel).poisoned, 1);
    atomic_store(stage, 2);
    wait_success(pid);
    dc_message m;
    int code = receive(c, &m, 0); /* whether 5 was sent is unknown; it is not torn */
    CHECK((code == DC_OK && number_of(&m) == 5) || code == DC_AGAIN || code == DC_E_POISONED);
    dc_channel *second = open_flags(0);
    dc_consumer_close(c);
    dc_producer_close(p);
    dc_close(channel);
    p = producer_of(second);
    CHECK_CODE(dc_send(p, &n, sizeof n, 0), DC_E_POISONED); /* not all have closed */
    dc_producer_close(p);
    dc_close(second);
    channel = open_durable(DC_SYNC_ALWAYS);
    CHECK_EQ(channel_info(channel).poisoned, 0);
    p = producer_of(channel);
    send_number(p, 6);
    c = subscribe_ack(channel, NULL, 0);
    take_numbers(c, 0, 5);
    uint64_t last = take_number(c);
    if (last == 5) last = take_number(c);
    CHECK_EQ(last, 6);
}

/* [S106] Interval flushing poisons as well, without anybody waiting for it. */
TEST(s023_a_failed_interval_flush) {
    dc_channel *channel = open_durable(DC_SYNC_INTERVAL);
    dc_producer *p = producer_of(channel);
    atomic_store(&flush_errno, EIO);
    send_number(p, 0);
    int64_t limit = now_ms() + LONG_MS;
    while (!channel_info(channel).poisoned) {
        CHECK(now_ms() < limit);
        sleep_ms(5);
    }
    uint64_t n = 1;
    CHECK_CODE(dc_send(p, &n, sizeof n, 0), DC_E_POISONED);
}

static void *sends_durably(void *p) {
    for (uint64_t n = 0; n < 20; n++) send_number(p, n);
    return NULL;
}

/* Eight threads, flushes of 20 ms: 160 sends, and far fewer flushes. */
TEST(s107_many_producers_share_one_flush) {
    dc_channel *channel = open_durable(DC_SYNC_ALWAYS);
    pthread_t threads[8];
    dc_producer *p[8];
    for (int i = 0; i < 8; i++) p[i] = producer_of(channel);
    long before = atomic_load(&flushes);
    send_number(p[0], 100);
    CHECK(atomic_load(&flushes) > before); /* or the library flushes by other means than these */
    long of_one = atomic_load(&flushes) - before;
    atomic_store(&flush_ms, 20);
    before = atomic_load(&flushes);
    for (int i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, sends_durably, p[i]) == 0);
    for (int i = 0; i < 8; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(atomic_load(&flushes) - before < 160 * of_one / 2);
    CHECK(channel_info(channel).durable >= channel_info(channel).end);
}

/* Who waits for a message in front that is claimed and not published looks again ever more slowly: the sleeps of a
 * second are counted, not timed. */
TEST(s107_waiting_for_a_message_in_front_is_mostly_sleep) {
    dc_options o = small_options();
    o.stall_timeout_ms = 60000;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel), *holder = producer_of(channel);
    struct rusage before, after;
    void *data;
    CHECK_OK(dc_reserve(holder, 8, 0, &data));
    send_number(p, 0);
    SYS(getrusage(RUSAGE_THREAD, &before));
    CHECK_CODE(dc_sync(p, 1000), DC_AGAIN);
    SYS(getrusage(RUSAGE_THREAD, &after));
    CHECK(after.ru_nvcsw > before.ru_nvcsw);
    CHECK(after.ru_nvcsw - before.ru_nvcsw < 1000);
    memset(data, 0, 8);
    CHECK_OK(dc_commit(holder, 8));
    CHECK_OK(dc_sync(p, LONG_MS));
}

TEST(s105_no_flush_without_durability) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    send_number(p, 0);
    long before = atomic_load(&flushes);
    for (uint64_t n = 1; n < 15; n++) send_number(p, n);
    take_numbers(c, 0, 15);
    CHECK_EQ(atomic_load(&flushes), before);
}

TEST(s025_network_file_systems_are_refused) {
    static const long network[] = {0x6969 /* NFS */, 0xFF534D42 /* CIFS */, 0xFE534D42 /* SMB2 */};
    for (int i = 0; i < 3; i++) {
        dc_channel *channel = (dc_channel *)&channel;
        struct stat st;
        file_system = network[i];
        CHECK_CODE(dc_open(chan_path, NULL, &channel), DC_E_UNSUPPORTED);
        CHECK(channel == NULL);
        CHECK_TEXT(chan_path);
        CHECK(stat(chan_path, &st) != 0);
    }
    file_system = 0;
    dc_close(open_small());
    file_system = network[0];
    dc_channel *channel = NULL;
    CHECK_CODE(dc_open(chan_path, NULL, &channel), DC_E_UNSUPPORTED);
}
