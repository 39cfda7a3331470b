/* No wakeup is ever lost: two processes that answer each other, 100,000 times and with random pauses,
 * by waiting calls and by epoll, on channels whose pages end often; and sleepers that are killed.
 * DC_TEST_PINGS says how often. Only a hang fails here, never a speed. */
#include "files.h"

#include <sys/epoll.h>

static char ping_path[700], pong_path[700];

static void make_channels(void) {
    snprintf(ping_path, sizeof ping_path, "%s/ping", test_dir);
    snprintf(pong_path, sizeof pong_path, "%s/pong", test_dir);
    dc_options o = small_options();
    o.max_messages_per_page = 500;
    dc_close(open_at(ping_path, &o));
    dc_close(open_at(pong_path, &o));
}

struct end {
    dc_producer *p;
    dc_consumer *c;
    int ep;
    uint64_t random;
};

/* How long a pause takes is chance: none, a few spins, a yield, or a sleep. */
static void chance(struct end *e) {
    uint32_t n = random_number(&e->random) % 64;
    for (volatile uint32_t i = 0; n < 40 && i < n * 50; i++) {}
    if (n == 62) usleep(0);
    if (n == 63) usleep(random_number(&e->random) % 200);
}

static struct end open_end(const char *in, const char *out, int use_epoll, uint64_t random) {
    struct end e = {producer_of(open_at(out, NULL)), subscribe_ack(open_at(in, NULL), "g", DC_ACK_NEXT), -1, random};
    if (use_epoll) {
        struct epoll_event event = {use_epoll == 2 ? EPOLLIN | EPOLLET : EPOLLIN, {0}};
        e.ep = epoll_create1(EPOLL_CLOEXEC);
        int fd = dc_consumer_fd(e.c);
        CHECK(fd >= 0);
        SYS(epoll_ctl(e.ep, EPOLL_CTL_ADD, fd, &event));
    }
    return e;
}

static uint64_t next_number(struct end *e) {
    dc_message m;
    int code;
    if (e->ep < 0) {
        CHECK_OK(dc_recv(e->c, &m, LONG_MS * 2 * test_scale()));
        return number_of(&m);
    }
    while ((code = dc_recv(e->c, &m, 0)) == DC_AGAIN) {
        struct epoll_event event;
        int n = epoll_wait(e->ep, &event, 1, LONG_MS * 2 * test_scale());
        if (n != 1) test_fail(__FILE__, __LINE__, "epoll_wait gives %d: a wakeup was lost", n);
    }
    CHECK_OK(code);
    return number_of(&m);
}

struct game {
    long count;
    int use_epoll;
};

/* A sleep that nobody ended but its own bound looks like a lost wakeup healed: there may be a few on a busy
 * machine, but not one in two thousand. */
static void not_too_many(long slow, long count) {
    if (slow) fprintf(stderr, "    %ld of %ld answers took more than 150 ms\n", slow, count);
    CHECK(slow < count / 2000 + 10);
}

static void answers(void *argument) {
    struct game *g = argument;
    struct end e = open_end(ping_path, pong_path, g->use_epoll, 7);
    for (long n = 0; n < g->count; n++) {
        CHECK_EQ(next_number(&e), n);
        chance(&e);
        send_number(e.p, (uint64_t)n);
    }
}

static void play(long count, int use_epoll) {
    struct game g = {count, use_epoll};
    make_channels();
    pid_t pid = spawn(answers, &g);
    struct end e = open_end(pong_path, ping_path, use_epoll, 3);
    long slow = 0;
    for (long n = 0; n < count; n++) {
        int64_t start = now_ms();
        send_number(e.p, (uint64_t)n);
        chance(&e);
        CHECK_EQ(next_number(&e), n);
        slow += now_ms() - start > 150;
    }
    wait_success(pid);
    not_too_many(slow, count);
}

/* [S34] */
TEST_LIMIT(s127_pingpong_by_waiting, 180) { play(env_number("DC_TEST_PINGS", 100000), 0); }

/* [S124] */
TEST_LIMIT(s127_pingpong_by_level_triggered_epoll, 180) { play(env_number("DC_TEST_PINGS", 100000) / 2, 1); }

/* [S124] */
TEST_LIMIT(s127_pingpong_by_edge_triggered_epoll, 180) { play(env_number("DC_TEST_PINGS", 100000) / 2, 2); }

/* One of several that wait for the same pings; it may be killed at any moment. */
static void sleeps(void *argument) {
    struct end e = open_end(ping_path, pong_path, *(int *)argument, 1);
    for (;;) {
        dc_message m;
        int code;
        if (e.ep < 0) {
            code = dc_recv(e.c, &m, -1);
        } else {
            struct epoll_event event;
            code = dc_recv(e.c, &m, 0);
            if (code == DC_AGAIN && epoll_wait(e.ep, &event, 1, -1) < 0) CHECK_EQ(errno, EINTR);
            if (code == DC_AGAIN) continue;
        }
        CHECK_OK(code);
        send_number(e.p, number_of(&m));
    }
}

/* Three sleepers, one ping at a time; the one that is woken may die or be stopped before it receives. */
static void killed_sleepers(int use_epoll, long rounds) {
    enum { SLEEPERS = 3 };
    make_channels();
    pid_t pids[SLEEPERS];
    uint64_t random = 11;
    for (int i = 0; i < SLEEPERS; i++) pids[i] = spawn(sleeps, &use_epoll);
    struct end e = open_end(pong_path, ping_path, 0, 3);
    for (long n = 0; n < rounds; n++) {
        uint32_t victim = random_number(&random) % SLEEPERS;
        int how = (int)(random_number(&random) % 10); /* 0: killed; 1: stopped until the pong; else left alone */
        if (how < 2 && random_number(&random) % 2) sleep_ms(random_number(&random) % 3); /* let all fall asleep */
        send_number(e.p, (uint64_t)n);
        if (how < 2)
            for (volatile uint32_t i = 0, spins = random_number(&random) % 20000; i < spins; i++) {}
        if (how == 0) kill_and_wait(pids[victim]);
        if (how == 1) SYS(kill(pids[victim], SIGSTOP));
        uint64_t got;
        dc_message m;
        int waited = 0;
        do { /* a stopped one may hold the ping: it keeps it, as it must, until it goes on */
            int code = dc_recv(e.c, &m, how == 1 && !waited ? 1500 : LONG_MS);
            if (code == DC_AGAIN && how == 1 && !waited) {
                waited = 1;
                SYS(kill(pids[victim], SIGCONT));
                got = UINT64_MAX;
                continue;
            }
            CHECK_OK(code);
            got = number_of(&m);
            CHECK(got <= (uint64_t)n); /* an older one may come again: its sleeper died before acknowledging */
        } while (got != (uint64_t)n);
        if (how == 1) SYS(kill(pids[victim], SIGCONT));
        if (how == 0) pids[victim] = spawn(sleeps, &use_epoll);
    }
    for (int i = 0; i < SLEEPERS; i++) kill_and_wait(pids[i]);
}

/* [S129 S81] */
TEST_LIMIT(s127_killed_sleepers, 120) { killed_sleepers(0, env_number("DC_TEST_SLEEPERS", 300)); }

/* [S129 S81] */
TEST_LIMIT(s127_killed_sleepers_in_epoll, 120) { killed_sleepers(1, env_number("DC_TEST_SLEEPERS", 300)); }
