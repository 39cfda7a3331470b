/* Processes killed and stopped at random, hundreds of times, while others go on.
 *
 * What each producer's sends returned is kept in memory that all share, and so is what each consumer did:
 * at the end nothing that was sent was left undone, nothing was torn, and what came twice said so. */
#include "files.h"

enum { PRODUCERS = 3, CONSUMERS = 4, GROUPS = 2, MOST = 400000 };

/* The group in which nothing is claimed ahead. What a killed consumer had claimed ahead and not received comes without
 * a flag, and may come behind later messages of its producer (docs/CONCURRENCY.md, Redelivery): the more often, the
 * longer a consumer is alone in its group, on slow machines and under sanitizers. */
enum { ORDERED = 0 };

struct shared {
    _Atomic int stop, drained;
    _Atomic uint64_t started[PRODUCERS];                   /* sequences handed out, never twice */
    _Atomic unsigned char returned[PRODUCERS][MOST];       /* its send said DC_OK */
    _Atomic unsigned char fresh[GROUPS][PRODUCERS][MOST];  /* deliveries without the flag ... */
    _Atomic unsigned char again[GROUPS][PRODUCERS][MOST];  /* ... and with it (255: that many or more) */
    _Atomic unsigned char done[GROUPS][PRODUCERS][MOST];   /* about to be acknowledged, or acknowledged */
    _Atomic uint64_t received;
};

static struct shared *s;
static const char *names[GROUPS] = {"one", "two"};

static void tally(_Atomic unsigned char *n) {
    if (atomic_load(n) < 255) atomic_fetch_add(n, 1);
}

static void produces(void *argument) {
    uint32_t id = *(uint32_t *)argument;
    uint64_t random = (uint64_t)getpid();
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_producer *p = producer_of(channel);
    unsigned char load[8][300];
    struct iovec parts[8];
    while (!atomic_load(&s->stop)) {
        uint64_t many = random_number(&random) % 4 == 0 ? random_number(&random) % 8 + 1 : 1;
        uint64_t n = atomic_fetch_add(&s->started[id], many);
        CHECK(n + many < MOST);
        size_t len = 16 + random_number(&random) % 280;
        for (uint64_t i = 0; i < many; i++) parts[i] = (struct iovec){load[i], load_make(load[i], id, n + i, len)};
        size_t sent = 0;
        int code;
        if (many > 1) {
            code = dc_send_batch(p, parts, many, -1, &sent);
        } else if (random_number(&random) % 3 == 0) {
            void *data;
            CHECK_OK(dc_reserve(p, len, -1, &data));
            memcpy(data, load[0], len);
            if (random_number(&random) % 2) usleep(random_number(&random) % 1000); /* here to be killed or stopped */
            while ((code = dc_commit(p, len)) == DC_AGAIN) sleep_ms(1);
            sent = 1;
        } else {
            code = dc_send(p, load[0], len, -1);
            sent = 1;
        }
        CHECK_OK(code);
        for (uint64_t i = 0; i < sent; i++) atomic_store(&s->returned[id][n + i], 1);
        if (random_number(&random) % 40 == 0) sleep_ms(1 + random_number(&random) % 3);
    }
}

struct held {
    struct load load;
    uint64_t position;
};

/* Done is what is about to be acknowledged: what was only received must come again if this process dies. */
static void done(int g, struct held *held, size_t *count, uint64_t position) {
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        if (held[i].position <= position) atomic_store(&s->done[g][held[i].load.producer][held[i].load.sequence], 1);
        else held[kept++] = held[i];
    }
    *count = kept;
}

static void consumes(void *argument) {
    enum { HELD = 30 };
    uint32_t id = *(uint32_t *)argument;
    int g = (int)id % GROUPS, manual = id >= GROUPS;
    uint64_t next[PRODUCERS] = {0}, random = (uint64_t)getpid();
    struct held held[HELD];
    size_t count = 0;
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.ack = manual ? DC_ACK_MANUAL : DC_ACK_NEXT;
    o.prefetch = g == ORDERED ? 1 : 0;
    o.flags = DC_AUTO_NEXT_PAGE;
    dc_consumer *c = subscribe(channel, names[g], &o);
    while (!atomic_load(&s->drained)) {
        dc_message m;
        if (!manual) done(g, held, &count, UINT64_MAX);
        int code = dc_recv(c, &m, 50);
        if (code == DC_OK) {
            struct load l = load_check(&m);
            CHECK(l.producer < PRODUCERS && l.sequence < atomic_load(&s->started[l.producer]));
            CHECK_EQ(m.flags, m.deliveries > 1 ? DC_MESSAGE_REDELIVERED : 0);
            if (m.flags == 0 && g == ORDERED) {
                CHECK(l.sequence >= next[l.producer]);
                next[l.producer] = l.sequence + 1;
            }
            tally(m.flags ? &s->again[g][l.producer][l.sequence] : &s->fresh[g][l.producer][l.sequence]);
            atomic_fetch_add(&s->received, 1);
            held[count++] = (struct held){l, m.position};
        } else {
            CHECK_CODE(code, DC_AGAIN);
        }
        if (!manual || count == 0) continue;
        if (code == DC_OK && random_number(&random) % 50 == 0) {
            CHECK_OK(dc_nack(c));
            count = 0;
        } else if (code == DC_AGAIN || count == HELD || random_number(&random) % 10 == 0) {
            uint64_t position = code == DC_AGAIN || count == HELD ? UINT64_MAX - 1 : held[random_number(&random) % count].position;
            done(g, held, &count, position);
            CHECK_OK(dc_ack(c, position));
        }
    }
}

static pid_t start(uint32_t i) {
    uint32_t id = i < PRODUCERS ? i : i - PRODUCERS;
    return spawn(i < PRODUCERS ? produces : consumes, &id);
}

/* A process that ended by itself has failed a check, and said so. */
static void end(pid_t pid) {
    int status;
    kill(pid, SIGKILL);
    SYS(waitpid(pid, &status, 0));
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) test_fail(__FILE__, __LINE__, "a process ended by itself: status 0x%x", (unsigned)status);
}

static uint64_t missing(int g) {
    uint64_t n = 0;
    for (int p = 0; p < PRODUCERS; p++)
        for (uint64_t i = 0; i < s->started[p]; i++) n += s->returned[p][i] && !s->done[g][p][i];
    return n;
}

/* Somebody must receive within the limit, whoever was killed or stopped just now. */
static void progress(uint64_t *last, int64_t *since) {
    uint64_t now = atomic_load(&s->received);
    if (now != *last) *last = now, *since = now_ms();
    if (now_ms() - *since > 30000 * test_scale()) test_fail(__FILE__, __LINE__, "nobody has received anything for 30 s");
}

static void kills(uint32_t retention, long rounds, uint64_t seed, int stops) {
    s = shared_memory(sizeof *s);
    dc_options o = retain_options(retention);
    o.max_messages_per_page = 100;
    o.max_pages = 8;
    o.stall_timeout_ms = 200;
    dc_channel *channel = open_at(chan_path, &o);
    for (int g = 0; g < GROUPS; g++) dc_consumer_close(subscribe(channel, names[g], NULL));
    dc_close(channel);
    pid_t pids[PRODUCERS + CONSUMERS];
    for (uint32_t i = 0; i < PRODUCERS + CONSUMERS; i++) pids[i] = start(i);
    uint64_t last = 0;
    int64_t since = now_ms();
    for (long round = 0; round < rounds; round++) {
        sleep_ms(random_number(&seed) % 40);
        uint32_t i = random_number(&seed) % (PRODUCERS + CONSUMERS);
        if (stops && random_number(&seed) % 4 == 0) {
            uint32_t k = random_number(&seed) % (PRODUCERS + CONSUMERS);
            SYS(kill(pids[k], SIGSTOP));
            sleep_ms(random_number(&seed) % 400);
            SYS(kill(pids[k], SIGCONT));
        }
        end(pids[i]);
        pids[i] = start(i);
        progress(&last, &since);
    }
    atomic_store(&s->stop, 1);
    for (int i = 0; i < PRODUCERS; i++) wait_success(pids[i]);
    channel = open_flags(DC_EXISTING);
    for (int g = 0; g < GROUPS; g++) /* what the dead held comes again until all is acknowledged */
        for (since = now_ms(); group_info(channel, names[g]).lag + group_info(channel, names[g]).unacked > 0; sleep_ms(20)) progress(&last, &since);
    atomic_store(&s->drained, 1);
    for (int i = 0; i < CONSUMERS; i++) wait_success(pids[PRODUCERS + i]);
    uint64_t total = 0, repeated = 0;
    for (int p = 0; p < PRODUCERS; p++)
        for (uint64_t i = 0; i < s->started[p]; i++)
            for (int g = 0; g < GROUPS; g++) {
                if (s->fresh[g][p][i] > 1) test_fail(__FILE__, __LINE__, "message %d:%llu came %d times unflagged", p, (unsigned long long)i, s->fresh[g][p][i]);
                total += s->fresh[g][p][i] || s->again[g][p][i];
                repeated += s->again[g][p][i];
            }
    for (int g = 0; g < GROUPS; g++) CHECK_EQ(missing(g), 0);
    CHECK_EQ(verify_info(chan_path).corrupt, 0);
    dc_channel_info i = channel_info(channel);
    CHECK(i.producers == 0 && i.consumers == 0 && i.recoveries == 0 && i.poisoned == 0);
    CHECK_RANGE(disk_of(chan_path), 1, 40 << 20); /* the dead leave no heaps of files */
    CHECK(total > 1000 && repeated > 0 && i.abandoned > 0); /* or nobody was killed where it matters */
}

/* [S76 S81 S82 S140 S138 S134] */
TEST_LIMIT(s129_killed_at_random, 240) { kills(DC_RETAIN_UNREAD, env_number("DC_TEST_KILLS", 300), (uint64_t)env_number("DC_TEST_SEED", 1), 0); }

/* [S130] */
TEST_LIMIT(s130_killed_and_stopped_at_random, 240) { kills(DC_RETAIN_UNREAD, env_number("DC_TEST_KILLS", 300) / 3, (uint64_t)env_number("DC_TEST_SEED", 2), 1); }

static _Atomic int *stage;

static void holds_a_reservation(void *unused) {
    (void)unused;
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_producer *p = producer_of(channel);
    void *data;
    uint64_t n = 4711;
    CHECK_OK(dc_reserve(p, 8, 0, &data));
    atomic_store(stage, 1);
    await(stage, 2); /* stopped in here, inside its send */
    memcpy(data, &n, 8);
    int code;
    while ((code = dc_commit(p, 8)) == DC_AGAIN) sleep_ms(1);
    CHECK_OK(code);
    send_number(p, 4712);
}

/* [S67] */
TEST(s130_stopped_inside_a_send) {
    stage = shared_memory(4096);
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    o.stall_timeout_ms = 200;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    for (uint64_t round = 0; round < 5; round++) {
        atomic_store(stage, 0);
        pid_t pid = spawn(holds_a_reservation, NULL);
        await(stage, 1);
        SYS(kill(pid, SIGSTOP));
        for (uint64_t n = 0; n < 100; n++) { /* the others go on, over many pages */
            send_number(p, n);
            take_first(c, n);
        }
        take_nothing(c);
        atomic_store(stage, 2);
        SYS(kill(pid, SIGCONT));
        take_first(c, 4711); /* exactly once, and in its producer's order */
        take_first(c, 4712);
        wait_success(pid);
        take_nothing(c);
        CHECK_EQ(channel_info(channel).abandoned, round + 1);
    }
}

/* [S140] */
TEST(s129_killed_inside_a_send) {
    stage = shared_memory(4096);
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    o.stall_timeout_ms = 60000; /* the dead are not waited for */
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    for (uint64_t round = 0; round < 20; round++) {
        atomic_store(stage, 0);
        pid_t pid = spawn(holds_a_reservation, NULL);
        await(stage, 1);
        send_number(p, round);
        kill_and_wait(pid);
        take_first(c, round);
        take_nothing(c);
    }
    CHECK_EQ(channel_info(channel).abandoned, 20);
    CHECK_EQ(channel_info(channel).producers, 1);
}
