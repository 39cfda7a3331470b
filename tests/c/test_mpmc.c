/* Four producer and four consumer processes on one channel, every message checked by content:
 * exactly once in each group, in each producer's order. */
#include "chan.h"

enum { PRODUCERS = 4, CONSUMERS = 4, GROUPS = 3 };

struct shared {
    int groups;
    uint64_t each;
    _Atomic uint64_t received[GROUPS];
    _Atomic unsigned char seen[]; /* [group][producer][sequence] */
};

static struct shared *s;

static _Atomic unsigned char *seen(int group, uint32_t producer, uint64_t sequence) {
    return &s->seen[((uint64_t)group * PRODUCERS + producer) * s->each + sequence];
}

static void produces(void *argument) {
    uint32_t id = *(uint32_t *)argument;
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_producer *p = producer_of(channel);
    unsigned char load[5][400];
    struct iovec parts[5];
    for (uint64_t n = 0; n < s->each;) {
        size_t len = 16 + (n * 37 + id) % 380;
        if (n % 11 == 0) { /* in place */
            void *data;
            CHECK_OK(dc_reserve(p, len, -1, &data));
            load_make(data, id, n, len);
            CHECK_OK(dc_commit(p, len));
            n++;
        } else if (n % 7 == 0 && n + 5 <= s->each) { /* in a batch */
            size_t sent;
            for (uint64_t i = 0; i < 5; i++) parts[i] = (struct iovec){load[i], load_make(load[i], id, n + i, len)};
            CHECK_OK(dc_send_batch(p, parts, 5, -1, &sent));
            n += 5;
        } else {
            CHECK_OK(dc_send(p, load, load_make(load, id, n, len), -1));
            n++;
        }
    }
}

static const char *names[GROUPS] = {"one", "two", "three"};

static void record(int group, const dc_message *m, uint64_t next[PRODUCERS]) {
    CHECK_EQ(m->flags, 0);
    struct load l = load_check(m);
    CHECK(l.producer < PRODUCERS && l.sequence < s->each);
    CHECK(l.sequence >= next[l.producer]);
    next[l.producer] = l.sequence + 1;
    CHECK_EQ(atomic_fetch_add(seen(group, l.producer, l.sequence), 1), 0);
    atomic_fetch_add(&s->received[group], 1);
}

static void consumes(void *unused) {
    (void)unused;
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *c[GROUPS];
    static uint64_t next[GROUPS][PRODUCERS];
    int done = 0;
    for (int g = 0; g < s->groups; g++) c[g] = subscribe_ack(channel, names[g], DC_ACK_NEXT);
    while (done < s->groups) {
        done = 0;
        for (int g = 0; g < s->groups; g++) {
            dc_message m[20];
            size_t n = 0;
            int code = s->received[g] % 3 ? dc_recv(c[g], m, 2) : dc_recv_batch(c[g], m, 20, 2, &n);
            if (code == DC_OK && n == 0) n = 1;
            CHECK(code == DC_OK || code == DC_AGAIN);
            for (size_t i = 0; i < n; i++) record(g, &m[i], next[g]);
            done += code == DC_AGAIN && atomic_load(&s->received[g]) == s->each * PRODUCERS;
        }
    }
}

static void four_by_four(int groups, uint64_t each) {
    size_t bytes = sizeof *s + (size_t)groups * PRODUCERS * each;
    s = shared_memory(bytes);
    s->groups = groups;
    s->each = each;
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    o.page_size = 256 * 1024;
    o.max_messages_per_page = 2000;
    o.stall_timeout_ms = 60000; /* nobody is overruled, however busy the machine */
    dc_channel *channel = open_at(chan_path, &o);
    for (int g = 0; g < groups; g++) dc_consumer_close(subscribe(channel, names[g], NULL));
    dc_close(channel);
    pid_t pids[PRODUCERS + CONSUMERS];
    for (uint32_t i = 0; i < PRODUCERS; i++) pids[i] = spawn(produces, &i);
    for (int i = 0; i < CONSUMERS; i++) pids[PRODUCERS + i] = spawn(consumes, NULL);
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++) wait_success(pids[i]);
    for (size_t i = 0; i < (size_t)groups * PRODUCERS * each; i++) CHECK_EQ(s->seen[i], 1);
    channel = open_flags(DC_EXISTING);
    for (int g = 0; g < groups; g++) {
        dc_group_info i = group_info(channel, names[g]);
        CHECK(i.lag == 0 && i.unacked == 0 && i.lost == 0 && i.redelivered == 0);
    }
    CHECK_EQ(channel_info(channel).abandoned, 0);
    CHECK_EQ(verify_info(chan_path).corrupt, 0);
}

/* [S145 S77 S1] */
TEST_LIMIT(s076_four_by_four_processes_in_one_group, 120) { four_by_four(1, (uint64_t)env_number("DC_TEST_EACH", 50000)); }

/* [S4 S77] */
TEST_LIMIT(s076_four_by_four_processes_in_three_groups, 120) { four_by_four(3, (uint64_t)env_number("DC_TEST_EACH", 50000)); }
