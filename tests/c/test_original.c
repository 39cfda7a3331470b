/* What the crate that this library replaces gets wrong, one test each: all of it must be absent here. */
#include "files.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

/* [S16] There it looped for ever and deleted everything. */
TEST(s137_a_message_larger_than_a_page) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 10);
    char *big = calloc(1, 1 << 20);
    CHECK_CODE(dc_send(p, big, 1 << 20, -1), DC_E_TOO_BIG);
    free(big);
    take_numbers(subscribe(channel, "g", NULL), 0, 10);
}

static void dies_with_everything_open(void *stage) {
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    void *data;
    take_first(c, 0);
    CHECK_OK(dc_reserve(p, 100, 0, &data));
    atomic_store((_Atomic int *)stage, 1);
    for (;;) pause();
}

/* There a file told of a process that was no more. */
TEST(s138_a_stale_lock) {
    _Atomic int *stage = shared_memory(4096);
    dc_channel *channel = open_small();
    send_number(producer_of(channel), 0);
    for (uint32_t n = 0; n < 5; n++) {
        atomic_store(stage, 0);
        if (n) CHECK_OK(dc_group_delete(channel, "g"));
        pid_t pid = spawn(dies_with_everything_open, stage);
        await(stage, 1);
        kill_and_wait(pid);
        dc_close(open_flags(DC_EXISTING));
        dc_producer *p = producer_of(channel);
        send_number(p, n + 1);
        dc_producer_close(p);
    }
    dc_channel_info i = channel_info(channel);
    CHECK(i.producers == 1 && i.consumers == 0);
    dc_consumer *c = subscribe(channel, NULL, NULL);
    take_numbers(c, 0, 6);
    take_nothing(c);
}

static void reads_elsewhere(void *unused) {
    (void)unused;
    /* Whatever the parent's addresses were, these are others. */
    for (int i = 0; i < 64; i++) CHECK(mmap(NULL, (size_t)(i + 1) << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    take_again(c, 4, 2);
    for (uint64_t n = 5; n < 50; n++) take_first(c, n);
    send_number(producer_of(channel), 50);
    take_first(c, 50);
}

TEST(s139_pointers_in_the_file) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    send_numbers(p, 0, 50);
    take_numbers(c, 0, 5);
    dc_consumer_close(c);
    dc_producer_close(p);
    dc_close(channel);
    wait_success(spawn(reads_elsewhere, NULL));
    CHECK_EQ(verify_info(chan_path).corrupt, 0);
}

static void reserves_and_waits(void *stage) {
    dc_channel *channel = open_flags(DC_EXISTING);
    void *data;
    CHECK_OK(dc_reserve(producer_of(channel), 100, 0, &data));
    atomic_store((_Atomic int *)stage, 1);
    for (;;) pause();
}

TEST(s140_a_kill_inside_a_send) {
    _Atomic int *stage = shared_memory(4096);
    dc_options o = small_options();
    o.stall_timeout_ms = 60000;
    dc_channel *channel = open_at(chan_path, &o);
    dc_consumer *c = subscribe(channel, "g", NULL);
    pid_t pid = spawn(reserves_and_waits, stage);
    await(stage, 1);
    send_number(producer_of(channel), 1);
    kill_and_wait(pid);
    take_first(c, 1);
}

static void *sends_slowly(void *p) {
    for (uint64_t n = 0; n < 200; n++) {
        send_number(p, n);
        if (n % 5 == 0) sleep_ms(2);
    }
    return NULL;
}

/* Half of the receives end early, by their timeout or by an interrupt. */
TEST(s141_cancelled_receives) {
    dc_channel *channel = open_at(chan_path, NULL);
    dc_consumer *c = subscribe(channel, "g", NULL);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, sends_slowly, producer_of(channel)) == 0);
    dc_message m;
    for (uint64_t next = 0, calls = 0; next < 200; calls++) {
        if (calls % 3 == 0) CHECK_OK(dc_interrupt(c));
        int code = dc_recv(c, &m, (int)(calls % 3));
        CHECK(code == DC_OK || code == DC_AGAIN || code == -ECANCELED);
        if (code == DC_OK) {
            CHECK_EQ(number_of(&m), next);
            next++;
        }
    }
    CHECK(pthread_join(thread, NULL) == 0);
}

/* There the second look at a receive that had nothing yet was the last. */
TEST(s142_looking_twice) {
    dc_channel *channel = open_small();
    dc_consumer *c = subscribe(channel, "g", NULL);
    dc_producer *p = producer_of(channel);
    dc_message m;
    size_t n;
    for (uint64_t round = 0; round < 50; round++) {
        for (int look = 0; look < 20; look++) {
            CHECK_CODE(receive(c, &m, 0), DC_AGAIN);
            CHECK_CODE(dc_recv_batch(c, &m, 1, 0, &n), DC_AGAIN);
            CHECK(dc_consumer_fd(c) >= 0);
        }
        send_number(p, round);
        take_first(c, round);
    }
}

TEST(s143_more_than_sixteen_groups) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c[40];
    char name[16];
    for (int g = 0; g < 40; g++) {
        snprintf(name, sizeof name, "%d", g);
        c[g] = subscribe_ack(channel, name, DC_ACK_NEXT);
    }
    for (uint64_t n = 0; n < 100; n++) {
        send_number(p, n);
        for (int g = 0; g < 40; g++) take_first(c[g], n);
    }
}

TEST(s144_overrun_is_told) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    send_numbers(p, 0, 1000);
    dc_message m;
    uint64_t got = 0, told = 0;
    for (int code; (code = receive(c, &m, 0)) != DC_AGAIN;) {
        told += code == DC_LAGGED;
        got += code == DC_OK;
    }
    CHECK_EQ(told, 1);
    CHECK_EQ(group_info(channel, "g").lost + got, 1000);
}

static void second_process(void *unused) {
    (void)unused;
    dc_channel *channel = open_flags(DC_EXISTING);
    take_first(subscribe(channel, "g", NULL), 7);
    send_number(producer_of(channel), 8);
}

TEST(s145_more_than_one_process) {
    dc_channel *channel = open_small();
    send_number(producer_of(channel), 7);
    wait_success(spawn(second_process, NULL));
    dc_consumer *c = subscribe_ack(channel, NULL, 0);
    take_numbers(c, 7, 9);
}

/* There the offset did not fit. Needs disk: the pages are allocated, not sparse. */
static dc_channel *open_4_gib(uint64_t room) {
    struct statvfs v;
    struct statfs f;
    SYS(statvfs(test_dir, &v));
    SYS(statfs(test_dir, &f));
    if (f.f_type == 0x01021994) SKIP("%s is a tmpfs: it would take memory", test_dir);
    if ((uint64_t)v.f_bavail * v.f_bsize < room) SKIP("needs %llu GiB of free disk", (unsigned long long)(room >> 30));
    dc_options o = small_options();
    o.page_size = 1ull << 32;
    o.max_pages = 2;
    o.max_messages_per_page = 1000;
    return open_at(chan_path, &o);
}

/* [S98] A reservation of nearly everything, committed short: the next message lies just below 4 GiB. */
TEST_LIMIT(s146_a_page_of_4_gib, 240) {
    dc_channel *channel = open_4_gib(20ull << 30);
    dc_producer *p = producer_of(channel);
    uint64_t n = 1, most = channel_info(channel).max_message;
    void *data;
    CHECK_RANGE(most, (1ull << 32) - (1 << 20), 1ull << 32);
    send_number(p, 0);
    CHECK_OK(dc_reserve(p, most - (1 << 20), -1, &data));
    memcpy(data, &n, sizeof n);
    CHECK_OK(dc_commit(p, sizeof n));
    send_numbers(p, 2, 100);
    dc_producer_close(p);
    dc_close(channel);
    channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    take_numbers(c, 0, 100);
    send_numbers(producer_of(channel), 100, 200);
    take_numbers(c, 100, 200);
}

/* [S98] All of it written and read. */
TEST_LIMIT(s146_full_pages_of_4_gib, 240) {
    if (!getenv("DC_TEST_BIG")) SKIP("writes 4 GiB: set DC_TEST_BIG=1");
    dc_channel *channel = open_4_gib(20ull << 30);
    dc_producer *p = producer_of(channel);
    size_t len = 500u << 20;
    for (uint64_t n = 0; n < 8; n++) {
        void *data;
        CHECK_OK(dc_reserve(p, len, -1, &data));
        memcpy(data, &n, sizeof n);
        memcpy((char *)data + len - sizeof n, &n, sizeof n);
        CHECK_OK(dc_commit(p, len));
    }
    dc_producer_close(p);
    dc_close(channel);
    channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    for (uint64_t n = 0; n < 8; n++) {
        dc_message m = take(c);
        CHECK(m.len == len && !memcmp(m.data, &n, sizeof n));
        CHECK(!memcmp((const char *)m.data + len - sizeof n, &n, sizeof n));
    }
    take_nothing(c);
}

/* [S19 S111] */
TEST(s147_reopening_with_fewer_pages) {
    dc_channel *channel = open_small(), *fewer = NULL;
    send_numbers(producer_of(channel), 0, 60);
    dc_options o = small_options();
    o.max_pages = 2;
    CHECK_CODE(dc_open(chan_path, &o, &fewer), DC_E_MISMATCH);
    CHECK_TEXT("max_pages");
    take_numbers(subscribe_ack(channel, "g", DC_ACK_NEXT), 0, 60);
}

static void opens_what_is_left(void *unused) {
    (void)unused;
    dc_channel *channel = NULL;
    dc_options o = DC_OPTIONS_INIT;
    if (dc_open(chan_path, &o, &channel) != DC_OK) return;
    dc_producer *p = NULL;
    if (dc_producer_open(channel, &p) == DC_OK) (void)!dc_send(p, "x", 1, 0);
    dc_consumer *c = NULL;
    dc_message m;
    if (dc_subscribe(channel, "g", NULL, &c) == DC_OK)
        for (int n = 0; n < 100; n++) (void)!receive(c, &m, 0);
}

/* [S132] There it grew to 4 GiB. */
TEST(s148_page_files_of_no_length) {
    static struct files f;
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 40);
    dc_producer_close(p);
    dc_close(channel);
    read_files(&f, chan_path);
    for (size_t i = 0; i < f.count; i++)
        if (f.file[i].len >= 64 * 1024) SYS(truncate(f.file[i].path, 0));
    uint64_t before = disk_of(chan_path);
    wait_success(spawn(opens_what_is_left, NULL));
    CHECK_RANGE(disk_of(chan_path), 0, before + (4 << 20));
    static struct files after;
    read_files(&after, chan_path);
    for (size_t i = 0; i < after.count; i++) CHECK_RANGE(after.file[i].len, 0, 16 << 20);
}

static void finishes_out_of_order(void *stage) {
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.ack = DC_ACK_MANUAL;
    o.prefetch = 1;
    dc_consumer *a = subscribe(channel, "g", &o), *b = subscribe(channel, "g", &o);
    take_first(a, 0);
    dc_message second = take_first(b, 1);
    CHECK_OK(dc_ack(b, second.position)); /* 1 is done, 0 is not */
    atomic_store((_Atomic int *)stage, 1);
    for (;;) pause();
}

/* [S58] There 0 was lost, and 1 came again. */
TEST(s149_done_out_of_order_before_a_kill) {
    _Atomic int *stage = shared_memory(4096);
    dc_channel *channel = open_small();
    send_numbers(producer_of(channel), 0, 3);
    pid_t pid = spawn(finishes_out_of_order, stage);
    await(stage, 1);
    kill_and_wait(pid);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    unsigned seen = 0;
    for (int i = 0; i < 2; i++) {
        dc_message m = take(c);
        CHECK_EQ(m.flags, number_of(&m) == 0 ? DC_MESSAGE_REDELIVERED : 0);
        seen |= 1u << number_of(&m);
    }
    CHECK_EQ(seen, 1 | 4);
    take_nothing(c);
}

static void counts_its_memory(void *unused) {
    (void)unused;
    struct rusage before, after;
    SYS(getrusage(RUSAGE_SELF, &before));
    dc_channel *channel = open_flags(DC_EXISTING);
    take(subscribe(channel, "g", NULL));
    send_number(producer_of(channel), 1);
    SYS(getrusage(RUSAGE_SELF, &after));
    CHECK_RANGE(after.ru_maxrss - before.ru_maxrss, 0, 100 * 1024);
}

/* There every header was rewritten: memory as large as the channel. Here it is about 300 MB. */
TEST(s150_reopening_a_million_messages) {
    enum { BATCH = 1000 };
    dc_channel *channel = open_at(chan_path, NULL);
    dc_producer *p = producer_of(channel);
    static char text[200];
    struct iovec messages[BATCH];
    for (int i = 0; i < BATCH; i++) messages[i] = (struct iovec){text, sizeof text};
    for (int i = 0; i < 1000; i++) {
        size_t sent;
        CHECK_OK(dc_send_batch(p, messages, BATCH, LONG_MS, &sent));
    }
    dc_producer_close(p);
    dc_close(channel);
    wait_success(spawn(counts_its_memory, NULL));
}
