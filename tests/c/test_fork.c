/* fork, with and without exec, and a raw clone: the child's handles are dead, the parent's live on. */
#include "chan.h"

#include <pthread.h>
#include <sys/syscall.h>

static dc_channel *channel;
static dc_producer *producer;
static dc_consumer *consumer, *ahead, *observer; /* `ahead` has claimed more than it was given */

static void open_all(void) {
    channel = open_small();
    producer = producer_of(channel);
    consumer = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    ahead = subscribe_ack(channel, "h", DC_ACK_NEXT);
    observer = subscribe_ack(channel, NULL, 0);
    (void)!dc_consumer_fd(consumer);
    send_numbers(producer, 0, 3);
    take_first(consumer, 0);
    take_first(ahead, 0);
    take_first(observer, 0);
}

/* The parent's handles work as if nothing had been; what it holds was given to nobody. */
static void parent_is_unaffected(void) {
    take_first(consumer, 1);
    for (uint64_t n = 1; n < 3; n++) take_first(ahead, n);
    send_number(producer, 3);
    take_first(consumer, 2);
    take_first(consumer, 3);
    CHECK_OK(dc_ack(consumer, UINT64_MAX - 1));
    take_nothing(consumer);
    for (uint64_t n = 1; n < 4; n++) take_first(observer, n);
    CHECK_EQ(channel_info(channel).producers, 1);
    CHECK_EQ(group_info(channel, "g").consumers, 1);
    CHECK_EQ(group_info(channel, "g").unacked, 0);
    send_numbers(producer, 4, 500);
    uint64_t got = 3;
    dc_message m;
    for (int code; (code = receive(consumer, &m, 0)) != DC_AGAIN;)
        if (code == DC_OK) got = number_of(&m);
    CHECK_EQ(got, 499);
}

static void every_call_is_forked(void) {
    dc_channel_info ci = DC_CHANNEL_INFO_INIT;
    dc_group_info gi = DC_GROUP_INFO_INIT;
    dc_consumer_info si = DC_CONSUMER_INFO_INIT;
    struct iovec part = {&part, 1};
    dc_producer *p = NULL;
    dc_consumer *c = NULL;
    dc_message m;
    size_t n;
    void *data;
    char name[256];
    CHECK_CODE(dc_channel_stats(channel, &ci), DC_E_FORKED);
    CHECK_CODE(dc_channel_sync(channel, 0), DC_E_FORKED);
    CHECK_CODE(dc_group_stats(channel, "g", &gi), DC_E_FORKED);
    CHECK_CODE(dc_group_next(channel, NULL, name, sizeof name), DC_E_FORKED);
    CHECK_CODE(dc_group_delete(channel, "g"), DC_E_FORKED);
    CHECK_CODE(dc_maintain(channel, 0), DC_E_FORKED);
    CHECK_CODE(dc_producer_open(channel, &p), DC_E_FORKED);
    CHECK_CODE(dc_subscribe(channel, "g", NULL, &c), DC_E_FORKED);
    CHECK_CODE(dc_producer_clone(producer, &p), DC_E_FORKED);
    CHECK_CODE(dc_send(producer, "x", 1, -1), DC_E_FORKED);
    CHECK_CODE(dc_sendv(producer, &part, 1, -1), DC_E_FORKED);
    CHECK_CODE(dc_send_batch(producer, &part, 1, -1, &n), DC_E_FORKED);
    CHECK_CODE(dc_reserve(producer, 1, -1, &data), DC_E_FORKED);
    CHECK_CODE(dc_sync(producer, -1), DC_E_FORKED);
    CHECK_CODE(dc_producer_fd(producer), DC_E_FORKED);
    CHECK_CODE(dc_consumer_clone(consumer, &c), DC_E_FORKED);
    CHECK_CODE(dc_recv(consumer, &m, -1), DC_E_FORKED);
    CHECK_CODE(dc_recv_batch(consumer, &m, 1, -1, &n), DC_E_FORKED);
    CHECK_CODE(dc_next_page(consumer), DC_E_FORKED);
    CHECK_CODE(dc_ack(consumer, UINT64_MAX - 1), DC_E_FORKED);
    CHECK_CODE(dc_nack(consumer), DC_E_FORKED);
    CHECK_CODE(dc_seek(consumer, DC_EARLIEST), DC_E_FORKED);
    CHECK_CODE(dc_consumer_stats(consumer, &si), DC_E_FORKED);
    CHECK_CODE(dc_consumer_fd(consumer), DC_E_FORKED);
    CHECK_CODE(dc_recv(ahead, &m, -1), DC_E_FORKED);
    CHECK_CODE(dc_recv(observer, &m, -1), DC_E_FORKED);
    CHECK(!p && !c);
}

static void close_all(void) {
    dc_consumer_close(consumer);
    dc_consumer_close(ahead);
    dc_consumer_close(observer);
    dc_producer_close(producer);
    dc_close(channel);
}

static void uses_them(void *unused) {
    (void)unused;
    every_call_is_forked();
    close_all();
}

TEST(s022_handles_are_dead_in_the_child) {
    open_all();
    wait_success(spawn(uses_them, NULL));
    parent_is_unaffected();
}

static void only_exits(void *unused) { (void)unused; }

TEST(s022_a_child_that_exits_harms_nobody) {
    open_all();
    wait_success(spawn(only_exits, NULL));
    parent_is_unaffected();
}

/* The child lives on: the death of its parent must still be noticed. */
static void parent_dies(void *argument) {
    _Atomic int *stage = argument;
    open_all();
    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, 0);
        for (;;) pause(); /* the runner ends it */
    }
    atomic_store(stage, 1);
    for (;;) pause();
}

/* [S81] */
TEST(s022_a_child_does_not_keep_a_dead_parent_alive) {
    _Atomic int *stage = shared_memory(4096);
    pid_t pid = spawn(parent_dies, stage);
    await(stage, 1);
    kill_and_wait(pid);
    channel = open_flags(DC_EXISTING);
    consumer = subscribe_ack(channel, "g", DC_ACK_NEXT);
    unsigned seen = 0;
    for (int i = 0; i < 3; i++) seen |= 1u << take_number(consumer);
    CHECK_EQ(seen, 7);
    CHECK_EQ(channel_info(channel).producers, 0);
}

static void opens_anew(void *unused) {
    (void)unused;
    dc_channel *mine = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe_ack(mine, "child", DC_ACK_NEXT);
    for (uint64_t n = 0; n < 3; n++) take_first(c, n);
    dc_producer *p = producer_of(mine);
    send_number(p, 100);
    take_first(c, 100);
    CHECK(dc_consumer_fd(c) >= 0); /* a library thread of its own */
    close_all();                   /* the dead ones, beside the new ones */
    send_number(p, 101);
    take_first(c, 101);
    dc_consumer_close(c);
    dc_producer_close(p);
    dc_close(mine);
}

TEST(s022_the_child_opens_anew) {
    open_all();
    wait_success(spawn(opens_anew, NULL));
    take_first(consumer, 1);
    take_first(consumer, 2);
    take_first(consumer, 100);
    take_first(consumer, 101);
    CHECK_EQ(channel_info(channel).producers, 1);
}

/* A reservation held over fork is the parent's; the child's close must not give it back. */
static void closes_producer(void *unused) {
    (void)unused;
    CHECK_CODE(dc_commit(producer, 8), DC_E_FORKED);
    CHECK_CODE(dc_abort(producer), DC_E_FORKED);
    dc_producer_close(producer);
}

TEST(s022_a_reservation_belongs_to_the_parent) {
    dc_options o = small_options();
    o.stall_timeout_ms = 60000;
    channel = open_at(chan_path, &o);
    producer = producer_of(channel);
    consumer = subscribe(channel, "g", NULL);
    void *data;
    uint64_t n = 7;
    CHECK_OK(dc_reserve(producer, 8, 0, &data));
    wait_success(spawn(closes_producer, NULL));
    memcpy(data, &n, 8);
    CHECK_OK(dc_commit(producer, 8));
    take_first(consumer, 7);
    CHECK_EQ(channel_info(channel).abandoned, 0);
}

/* [S123] No descriptor of the library survives an exec. */
TEST(s022_fork_and_exec) {
    open_all();
    (void)!dc_producer_fd(producer);
    pid_t pid = fork();
    SYS(pid);
    if (pid == 0) {
        char script[900];
        snprintf(script, sizeof script, "for f in /proc/self/fd/*; do case $(readlink $f) in *%s*|*eventfd*) exit 3;; esac; done; exit 0", test_dir);
        execl("/bin/sh", "sh", "-c", script, (char *)NULL);
        _exit(4);
    }
    wait_success(pid);
    parent_is_unaffected();
}

/* A clone that no fork handler sees. */
TEST(s022_a_raw_clone) {
    open_all();
    long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    SYS(pid);
    if (pid == 0) {
        dc_message m;
        int ok = dc_send(producer, "x", 1, 0) == DC_E_FORKED && dc_recv(consumer, &m, 0) == DC_E_FORKED && dc_recv(observer, &m, 0) == DC_E_FORKED;
        close_all();
        _exit(ok ? 0 : 1);
    }
    wait_success((pid_t)pid);
    parent_is_unaffected();
}

static _Atomic int forks_stop;

static void *forks(void *unused) {
    (void)unused;
    for (int i = 0; i < 100 && !atomic_load(&forks_stop); i++) {
        pid_t pid = fork();
        if (pid == 0) {
            dc_message m;
            int ok = dc_recv(observer, &m, 0) == DC_E_FORKED;
            dc_consumer_close(observer);
            _exit(ok ? 0 : 1);
        }
        wait_success(pid);
    }
    atomic_store(&forks_stop, 1);
    return NULL;
}

/* Forking while another thread sends and receives: whatever lock fork finds held, nothing hangs. */
TEST(s022_forking_amid_traffic) {
    open_all();
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, forks, NULL) == 0);
    take_first(consumer, 1);
    take_first(consumer, 2);
    for (uint64_t n = 3; !atomic_load(&forks_stop); n++) {
        send_number(producer, n);
        take_first(consumer, n);
        CHECK_OK(dc_ack(consumer, UINT64_MAX - 1));
    }
    CHECK(pthread_join(thread, NULL) == 0);
}
