/* Threads: small stacks, handles that move, channels that many share, and the library's own thread. */
#include "chan.h"

#include <pthread.h>

static void run_with_stack(size_t bytes, void *(*run)(void *), void *argument) {
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, bytes) == 0);
    CHECK(pthread_create(&thread, &attributes, run, argument) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* Everything once, failures and roll-overs included. */
static void *everything(void *unused) {
    (void)unused;
    dc_channel *channel = open_small(), *none;
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL), *o = subscribe_ack(channel, NULL, 0);
    CHECK(dc_consumer_fd(c) >= 0);
    for (uint64_t n = 0; n < 200; n++) {
        send_number(p, n);
        CHECK_EQ(take_number(c), n);
        CHECK_EQ(take_number(o), n);
    }
    CHECK_OK(dc_ack(c, UINT64_MAX - 1));
    send_number(p, 200);
    take_first(c, 200);
    CHECK_OK(dc_nack(c));
    take_again(c, 200, 2);
    CHECK_OK(dc_ack(c, UINT64_MAX - 1));
    CHECK_OK(dc_sync(p, LONG_MS));
    CHECK_OK(dc_channel_sync(channel, LONG_MS));
    dc_message m;
    CHECK_CODE(receive(c, &m, 700), DC_AGAIN);
    CHECK_OK(dc_seek(c, DC_LAST(3)));
    take(c);
    CHECK_CODE(dc_open("/proc/none", NULL, &none) >= 0, 0);
    dc_verify_info v = verify_info(chan_path);
    CHECK_EQ(v.corrupt, 0);
    char name[256];
    CHECK_OK(dc_group_next(channel, NULL, name, sizeof name));
    channel_info(channel);
    group_info(channel, "g");
    consumer_info(c);
    dc_consumer_close(c);
    CHECK_OK(dc_group_delete(channel, "g"));
    dc_consumer_close(o);
    dc_producer_close(p);
    dc_close(channel);
    CHECK_OK(dc_destroy(chan_path));
    return NULL;
}

TEST(s136_stacks_of_64_kib) {
    for (int i = 0; i < 3; i++) run_with_stack(64 * 1024, everything, NULL);
}

struct moved {
    dc_producer *p;
    dc_consumer *c;
    uint64_t n;
};

static void *sends_and_receives(void *argument) {
    struct moved *m = argument;
    for (int i = 0; i < 20; i++, m->n++) {
        send_number(m->p, m->n);
        take_first(m->c, m->n);
    }
    return NULL;
}

/* Each thread that used the handles is gone before the next one does. */
TEST(s003_handles_move_between_threads) {
    dc_channel *channel = open_small();
    struct moved m = {producer_of(channel), subscribe_ack(channel, "g", DC_ACK_NEXT), 0};
    for (int i = 0; i < 50; i++) run_with_stack(64 * 1024, sends_and_receives, &m);
    CHECK_EQ(m.n, 1000);
    dc_producer_close(m.p);
    dc_consumer_close(m.c);
    dc_close(channel);
}

struct user {
    dc_channel *channel;
    int number;
};

static void *uses_the_channel(void *argument) {
    struct user *u = argument;
    char group[32];
    snprintf(group, sizeof group, "group %d", u->number);
    for (int i = 0; i < 30; i++) {
        dc_producer *p = producer_of(u->channel);
        dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
        o.flags = DC_AUTO_NEXT_PAGE;
        o.start = DC_LATEST;
        dc_consumer *c = subscribe(u->channel, group, &o);
        char name[256];
        CHECK_OK(dc_group_next(u->channel, NULL, name, sizeof name));
        uint64_t mine = (uint64_t)u->number << 32 | (uint64_t)i;
        send_number(p, mine);
        dc_message m;
        int code, found = 0;
        while (!found && (code = receive(c, &m, LONG_MS)) != DC_AGAIN) found = code == DC_OK && number_of(&m) == mine;
        CHECK(found);
        channel_info(u->channel);
        group_info(u->channel, group);
        dc_producer_close(p);
        dc_consumer_close(c);
        CHECK_OK(dc_group_delete(u->channel, group));
    }
    return NULL;
}

TEST(s003_eight_threads_share_a_channel_handle) {
    dc_options o = small_options();
    o.max_pages = 64;
    dc_channel *channel = open_at(chan_path, &o);
    pthread_t threads[8];
    struct user users[8];
    for (int i = 0; i < 8; i++) {
        users[i] = (struct user){channel, i};
        CHECK(pthread_create(&threads[i], NULL, uses_the_channel, &users[i]) == 0);
    }
    for (int i = 0; i < 8; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    dc_channel_info i = channel_info(channel);
    CHECK(i.producers == 0 && i.consumers == 0 && i.abandoned == 0);
}

/* [S39] */
TEST(s033_closing_in_any_order) {
    for (int order = 0; order < 6; order++) {
        dc_channel *channel = open_small();
        dc_producer *p = producer_of(channel);
        dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_RECEIVE);
        for (int step = 0; step < 3; step++) {
            int which = (order / 2 + (order & 1 ? 3 - step : step)) % 3;
            if (which == 0) dc_close(channel), channel = NULL;
            if (which == 1) dc_producer_close(p), p = NULL;
            if (which == 2) dc_consumer_close(c), c = NULL;
            if (p) send_number(p, 1);
            dc_message m;
            if (c)
                while (receive(c, &m, 0) == DC_OK) {}
        }
        CHECK(!channel && !p && !c);
    }
    dc_close(NULL);
    dc_producer_close(NULL);
    dc_consumer_close(NULL);
}

static int thread_count(uint64_t *blocked) {
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    CHECK(d != NULL);
    *blocked = UINT64_MAX;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        n++;
        if (atoi(e->d_name) == getpid()) continue;
        char path[320], line[256];
        snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
        FILE *f = fopen(path, "r");
        while (f && fgets(line, sizeof line, f))
            if (!strncmp(line, "SigBlk:", 7)) *blocked &= strtoull(line + 7, NULL, 16);
        if (f) fclose(f);
    }
    closedir(d);
    return n;
}

/* However many channels and fds there are: one thread, and every signal is blocked in it that somebody may
 * send it. (A fault of its own cannot be blocked, only made fatal.) */
TEST(s089_one_library_thread_at_most) {
    dc_options o = small_options();
    o.durability = DC_SYNC_INTERVAL;
    o.sync_interval_ms = 20;
    uint64_t blocked;
    CHECK_EQ(thread_count(&blocked), 1);
    for (int i = 0; i < 5; i++) {
        char path[700];
        snprintf(path, sizeof path, "%s/%d", test_dir, i);
        dc_channel *channel = open_at(path, &o);
        dc_producer *p = producer_of(channel);
        dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
        CHECK(dc_consumer_fd(c) >= 0);
        CHECK(dc_producer_fd(p) >= 0);
        for (uint64_t n = 0; n < 100; n++) {
            send_number(p, n);
            take_first(c, n);
        }
        CHECK(thread_count(&blocked) <= 2);
    }
    CHECK_EQ(thread_count(&blocked), 2);
    uint64_t wanted = 0; /* signal 1 is bit 0; 32 and 33 are glibc's */
    static const int not_to_block[] = {SIGKILL, SIGSTOP, 32, 33, SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};
    for (int signal = 1; signal <= 64; signal++) {
        int block = 1;
        for (int i = 0; i < 10; i++) block &= signal != not_to_block[i];
        if (block) wanted |= 1ull << (signal - 1);
    }
    CHECK_EQ(blocked & wanted, wanted);
}

/* [S92] */
TEST(s090_no_thread_and_no_handler) {
    struct sigaction before[65], after;
    for (int s = 1; s <= 64; s++) memset(&before[s], 0, sizeof before[s]), sigaction(s, NULL, &before[s]);
    dc_options o = small_options();
    o.flags = DC_NO_THREAD;
    o.durability = DC_SYNC_INTERVAL;
    o.sync_interval_ms = 20;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    for (uint64_t n = 0; n < 300; n++) {
        send_number(p, n);
        take_first(c, n);
        int code = dc_maintain(channel, 0);
        CHECK(code == DC_OK || code == DC_AGAIN);
    }
    uint64_t blocked;
    CHECK_EQ(thread_count(&blocked), 1);
    for (int s = 1; s <= 64; s++) {
        memset(&after, 0, sizeof after);
        if (sigaction(s, NULL, &after) == 0) CHECK(after.sa_handler == before[s].sa_handler);
    }
}

/* [S47] Where nobody prepares pages, a send does it itself; a real-time thread is told to come back. */
TEST(s091_prepared_only) {
    dc_options o = small_options();
    o.flags = DC_NO_THREAD | DC_PREPARED_ONLY;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    uint64_t sent = 0, taken = 0;
    for (int refused = 0; refused < 5;) {
        int code = dc_send(p, &sent, sizeof sent, 0);
        if (code == DC_OK) {
            sent++;
            continue;
        }
        CHECK_CODE(code, DC_AGAIN);
        refused++;
        for (; taken < sent; taken++) take_first(c, taken);
        take_nothing(c);
        CHECK(sent < 1000);
        while ((code = dc_maintain(channel, 0)) == DC_OK) {}
        CHECK_CODE(code, DC_AGAIN);
        CHECK_OK(dc_send(p, &sent, sizeof sent, 0));
        sent++;
    }
    dc_channel *other = open_flags(DC_NO_THREAD);
    dc_producer *q = producer_of(other);
    for (int n = 0; n < 200; n++) CHECK_OK(dc_send(q, &n, sizeof n, 0));
}
