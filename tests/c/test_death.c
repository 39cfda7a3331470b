/* What dead, closed and stopped workers leave: it comes again, flagged, and only what they were handed. */
#include "chan.h"

#include <pthread.h>

/* A process that receives so many of the messages, under this acknowledging, and waits to be killed. */
struct holder {
    uint64_t take;
    uint32_t ack, prefetch;
    _Atomic int stage;
};

static void holds(void *argument) {
    struct holder *h = argument;
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.ack = h->ack;
    o.prefetch = h->prefetch;
    o.flags = DC_AUTO_NEXT_PAGE;
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe(channel, "g", &o);
    for (uint64_t n = 0; n < h->take; n++) take_first(c, n);
    atomic_store(&h->stage, 1);
    for (;;) pause();
}

static struct holder *start_holder(uint64_t count, uint32_t ack, uint32_t prefetch, pid_t *pid) {
    struct holder *h = shared_memory(sizeof *h);
    *h = (struct holder){count, ack, prefetch, 0};
    *pid = spawn(holds, h);
    await(&h->stage, 1);
    return h;
}

/* Takes every number of [from, end) once, in whatever order a death is noticed: those below `handed` were
 * handed out before and say so, the others were not. */
static void take_all(dc_consumer *c, uint64_t from, uint64_t handed, uint64_t end) {
    unsigned char seen[256] = {0};
    for (uint64_t left = end - from; left > 0; left--) {
        dc_message m = take(c);
        uint64_t n = number_of(&m);
        CHECK_RANGE(n, from, end - 1);
        CHECK(!seen[n]++);
        CHECK_EQ(m.flags, n < handed ? DC_MESSAGE_REDELIVERED : 0);
        CHECK_EQ(m.deliveries, n < handed ? 2 : 1);
    }
    take_nothing(c);
}

/* [S129 S82] */
TEST(s081_a_killed_consumers_messages_come_again) {
    dc_channel *channel = open_small();
    send_numbers(producer_of(channel), 0, 10);
    pid_t pid;
    start_holder(3, DC_ACK_MANUAL, 1, &pid);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    take_first(c, 3);
    kill_and_wait(pid);
    dc_message m = take(c);
    while (m.flags == 0) m = take(c); /* new ones, until the death is known */
    CHECK(number_of(&m) == 0 && m.deliveries == 2);
    take_again(c, 1, 2);
    take_again(c, 2, 2);
}

static void *waits_for_three(void *c) {
    for (uint64_t n = 0; n < 3; n++) take_again(c, n, 2);
    return NULL;
}

TEST(s081_a_waiting_consumer_notices_a_death) {
    dc_channel *channel = open_small();
    send_numbers(producer_of(channel), 0, 3);
    pid_t pid;
    start_holder(3, DC_ACK_MANUAL, 0, &pid);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, waits_for_three, c) == 0);
    sleep_ms(100);
    kill_and_wait(pid);
    CHECK(pthread_join(thread, NULL) == 0);
    take_nothing(c);
}

/* [S138] Nobody is left to notice: the next one to open does. */
TEST(s081_a_death_nobody_saw) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 5);
    dc_producer_close(p);
    dc_close(channel);
    pid_t pid;
    start_holder(2, DC_ACK_NEXT, 1, &pid);
    kill_and_wait(pid);
    dc_consumer *c = subscribe_ack(open_flags(DC_EXISTING), "g", DC_ACK_NEXT);
    take_all(c, 1, 2, 5); /* 0 was acknowledged by the call that received 1 */
}

static void prefetched(uint32_t ack, uint32_t prefetch, uint64_t handed) {
    dc_channel *channel = open_small();
    send_numbers(producer_of(channel), 0, 40);
    pid_t pid;
    start_holder(handed, ack, prefetch, &pid);
    kill_and_wait(pid);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    take_all(c, ack == DC_ACK_RECEIVE ? handed : ack == DC_ACK_NEXT ? handed - 1 : 0, handed, 40);
}

TEST(s083_prefetched_by_a_killed_one) { prefetched(DC_ACK_NEXT, 32, 3); }

TEST(s083_prefetched_by_a_killed_one_with_manual_acks) { prefetched(DC_ACK_MANUAL, 32, 3); }

/* [S80] At most once over a crash: what was received is not repeated; what was not is not lost. */
TEST(s083_prefetched_by_a_killed_one_acknowledging_on_receipt) { prefetched(DC_ACK_RECEIVE, 32, 3); }

TEST(s083_prefetched_by_default) { prefetched(DC_ACK_NEXT, 0, 5); }

TEST(s083_prefetched_by_a_closed_one) {
    dc_channel *channel = open_small();
    send_numbers(producer_of(channel), 0, 40);
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.prefetch = 32;
    o.flags = DC_AUTO_NEXT_PAGE;
    dc_consumer *c = subscribe(channel, "g", &o);
    for (uint64_t n = 0; n < 3; n++) take_first(c, n);
    dc_consumer_close(c);
    c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    take_again(c, 2, 2);
    for (uint64_t n = 3; n < 40; n++) take_first(c, n);
    take_nothing(c);
}

/* A ring does not wait: what a dead consumer held is gone with its page, and nothing else comes in its place. */
TEST(s082_what_the_ring_dropped_does_not_come_again) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 20);
    pid_t pid;
    start_holder(5, DC_ACK_MANUAL, 0, &pid);
    send_numbers(p, 20, 500);
    kill_and_wait(pid);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    dc_message m;
    uint64_t next = 0, lagged = 0;
    for (int code; (code = receive(c, &m, 1500)) != DC_AGAIN;) {
        lagged += code == DC_LAGGED;
        if (code == DC_LAGGED) continue;
        CHECK_OK(code);
        CHECK(number_of(&m) >= next && number_of(&m) < 500);
        CHECK_EQ(m.flags, number_of(&m) < 5 ? DC_MESSAGE_REDELIVERED : 0);
        next = number_of(&m) + 1;
    }
    CHECK(next == 500 && lagged <= 2);
    dc_group_info i = group_info(channel, "g");
    CHECK(i.lag == 0 && i.unacked == 0 && i.lost > 0);
}

static dc_consumer *subscribe_prefetch(dc_channel *channel, const char *group, uint32_t prefetch) {
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.prefetch = prefetch;
    o.ack = DC_ACK_MANUAL;
    return subscribe(channel, group, &o);
}

/* What one consumer claimed ahead, the other does not get: none, so many at most, or none as it is not alone. */
TEST(s114_prefetch_says_how_many_are_claimed_ahead) {
    dc_channel *channel = open_small();
    send_numbers(producer_of(channel), 0, 14);
    static const uint32_t prefetch[] = {1, 8, 0};
    static const uint64_t least[] = {1, 2, 1}, most[] = {1, 8, 1};
    static const char *const groups[] = {"none", "eight", "default"};
    for (int i = 0; i < 3; i++) {
        dc_consumer *a = subscribe_prefetch(channel, groups[i], prefetch[i]), *b = subscribe_prefetch(channel, groups[i], 1);
        take_first(a, 0);
        uint64_t n = take_number(b);
        CHECK_RANGE(n, least[i], most[i]);
        for (uint64_t k = 1; k < n; k++) take_first(a, k);
        dc_consumer_close(a);
        for (uint64_t left = 14 - 1; left > 0; left--) take(b); /* all but its own, the closed one's included */
        take_nothing(b);
    }
}

/* [S104] */
TEST(s084_a_stopped_worker_keeps_what_it_holds) {
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 4);
    pid_t pid;
    start_holder(2, DC_ACK_MANUAL, 1, &pid);
    SYS(kill(pid, SIGSTOP));
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    uint64_t sent = send_until_full(p, 4);
    for (uint64_t n = 2; n < sent; n++) take_first(c, n);
    dc_message m;
    CHECK_CODE(receive(c, &m, 1500), DC_AGAIN);
    CHECK_CODE(dc_send(p, &sent, sizeof sent, 0), DC_AGAIN);
    CHECK_EQ(group_info(channel, "g").unacked, 2);
    kill_and_wait(pid);
    take_again(c, 0, 2);
    take_again(c, 1, 2);
    take_nothing(c);
    send_number(p, sent);
    take_first(c, sent);
}
