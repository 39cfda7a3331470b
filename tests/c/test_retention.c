/* What is kept when a channel is full: the ring, the live, the unread; and how much disk that takes. */
#include "files.h"

#include <pthread.h>

/* Pages of 16 messages, 4 of them: what a full channel holds. */
#define FULL 64

static dc_channel *open_retain(uint32_t retention) {
    dc_options o = retain_options(retention);
    return open_at(chan_path, &o);
}

/* [S2 S144] */
TEST(s102_a_ring_never_refuses_and_drops_the_oldest) {
    dc_channel *channel = open_retain(0);
    dc_producer *p = producer_of(channel);
    subscribe(channel, "lagging", NULL);
    for (uint64_t n = 0; n < 1000; n++) {
        CHECK_OK(dc_send(p, &n, sizeof n, 0));
        CHECK_RANGE(channel_info(channel).messages, 1, FULL);
    }
    dc_channel_info i = channel_info(channel);
    CHECK_RANGE(i.messages, FULL - 16, FULL);
    dc_consumer *c = subscribe_ack(channel, "new", DC_ACK_NEXT);
    CHECK_EQ(group_info(channel, "new").lag, i.messages);
    take_numbers(c, 1000 - i.messages, 1000);
    take_nothing(c);
    CHECK_EQ(group_info(channel, "new").lost, 0);
}

TEST(s103_live_keeps_what_a_live_group_has_not_acknowledged) {
    dc_channel *channel = open_retain(DC_RETAIN_LIVE);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    uint64_t sent = send_until_full(p, 0);
    CHECK_RANGE(sent, FULL - 16, FULL);
    for (uint64_t n = 0; n < sent; n++) take_first(c, n);
    CHECK_CODE(dc_send(p, &sent, sizeof sent, 50), DC_AGAIN); /* received, but not acknowledged */
    CHECK_OK(dc_ack(c, UINT64_MAX - 1));
    uint64_t more = send_until_full(p, sent);
    CHECK(more > sent);
    for (uint64_t n = sent; n < more; n++) take_first(c, n);
    take_nothing(c);
    CHECK_EQ(consumer_info(c).lost, 0);
}

/* A group without a live consumer holds nothing back, nor does a channel without groups. */
TEST(s103_live_drops_what_only_absent_groups_want) {
    dc_channel *channel = open_retain(DC_RETAIN_LIVE);
    dc_producer *p = producer_of(channel);
    for (uint64_t n = 0; n < 300; n++) CHECK_OK(dc_send(p, &n, sizeof n, 0));
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    uint64_t first = take_number(c), full = send_until_full(p, 300);
    CHECK(first >= 300 - FULL && full - first <= FULL);
    dc_consumer_close(c);
    uint64_t n = full;
    for (; n < full + 200; n++) CHECK_OK(dc_send(p, &n, sizeof n, LONG_MS));
    c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    dc_message m;
    CHECK_CODE(receive(c, &m, 0), DC_LAGGED);
    uint64_t kept = channel_info(channel).messages;
    for (uint64_t k = n - kept; k < n; k++) CHECK_EQ(take_number(c), k);
    CHECK_EQ(group_info(channel, "g").lost, n - kept - first);
}

static void holds_and_waits(void *stage) {
    dc_channel *channel = open_flags(DC_EXISTING);
    take_first(subscribe_ack(channel, "g", DC_ACK_MANUAL), 0);
    atomic_store((_Atomic int *)stage, 1);
    for (;;) pause();
}

/* [S81] The dead hold nothing back. */
TEST(s103_live_lets_go_of_the_dead) {
    _Atomic int *stage = shared_memory(4096);
    dc_channel *channel = open_retain(DC_RETAIN_LIVE);
    dc_producer *p = producer_of(channel);
    send_number(p, 0);
    pid_t pid = spawn(holds_and_waits, stage);
    await(stage, 1);
    uint64_t sent = send_until_full(p, 1);
    CHECK_CODE(dc_send(p, &sent, sizeof sent, 200), DC_AGAIN);
    kill_and_wait(pid);
    for (int n = 0; n < 200; n++) CHECK_OK(dc_send(p, &sent, sizeof sent, LONG_MS));
}

/* [S63] */
TEST(s104_unread_keeps_all_even_with_no_group) {
    dc_channel *channel = open_retain(DC_RETAIN_UNREAD);
    dc_producer *p = producer_of(channel);
    uint64_t sent = send_until_full(p, 0);
    CHECK_RANGE(sent, FULL - 16, FULL);
    CHECK_CODE(dc_send(p, &sent, sizeof sent, 0), DC_AGAIN);
    CHECK_CODE(dc_send(p, &sent, sizeof sent, 50), DC_AGAIN);
    CHECK_EQ(channel_info(channel).messages, sent);
    dc_consumer *observer = subscribe_ack(channel, NULL, 0); /* observers hold nothing, and free nothing */
    take_numbers(observer, 0, sent);
    take_nothing(observer);
    CHECK_CODE(dc_send(p, &sent, sizeof sent, 0), DC_AGAIN);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    take_numbers(c, 0, sent);
    take_nothing(c);
    send_number(p, sent);
    take_first(c, sent);
}

/* The slowest group decides, whether its consumers live or not; deleting it lets go. */
TEST(s104_unread_waits_for_the_slowest_group) {
    dc_channel *channel = open_retain(DC_RETAIN_UNREAD);
    dc_producer *p = producer_of(channel);
    dc_consumer *fast = subscribe_ack(channel, "fast", DC_ACK_NEXT);
    dc_consumer *slow = subscribe_ack(channel, "slow", DC_ACK_MANUAL);
    dc_consumer_close(slow);
    uint64_t sent = send_until_full(p, 0);
    take_numbers(fast, 0, sent);
    take_nothing(fast);
    CHECK_CODE(dc_send(p, &sent, sizeof sent, 0), DC_AGAIN);
    slow = subscribe_ack(channel, "slow", DC_ACK_MANUAL);
    take_numbers(slow, 0, sent);
    CHECK_CODE(dc_send(p, &sent, sizeof sent, 0), DC_AGAIN);
    CHECK_OK(dc_ack(slow, UINT64_MAX - 1));
    uint64_t more = send_until_full(p, sent);
    CHECK(more > sent);
    take_numbers(fast, sent, more);
    take_nothing(fast);
    dc_consumer_close(slow);
    CHECK_CODE(dc_send(p, &more, sizeof more, 0), DC_AGAIN);
    CHECK_OK(dc_group_delete(channel, "slow"));
    send_number(p, more);
    take_first(fast, more);
}

/* Acknowledging one page makes room for one page, not less. */
TEST(s104_room_comes_with_each_page_acknowledged) {
    dc_channel *channel = open_retain(DC_RETAIN_UNREAD);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    uint64_t sent = send_until_full(p, 0), taken = 0;
    for (int page = 0; page < 50; page++) {
        for (int n = 0; n < 16; n++) take_first(c, taken++);
        dc_message m = take_first(c, taken++);
        CHECK_OK(dc_ack(c, m.position));
        uint64_t now = send_until_full(p, sent);
        CHECK_RANGE(now - taken, FULL - 32, FULL);
        CHECK(now > sent || sent - taken > FULL - 32);
        sent = now;
    }
    for (; taken < sent; taken++) take_first(c, taken);
    take_nothing(c);
}

static void *sends_thousands(void *p) {
    for (uint64_t n = 0; n < 20000; n++) CHECK_OK(dc_send(p, &n, sizeof n, -1));
    return NULL;
}

TEST(s104_a_waiting_send_goes_on_after_each_acknowledgement) {
    dc_channel *channel = open_retain(DC_RETAIN_UNREAD);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, sends_thousands, p) == 0);
    for (uint64_t n = 0; n < 20000; n++) take_first(c, n);
    CHECK(pthread_join(thread, NULL) == 0);
    take_nothing(c);
}

TEST(s099_unlimited_keeps_everything) {
    dc_options o = retain_options(DC_RETAIN_RING);
    o.max_pages = DC_UNLIMITED;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 3000);
    CHECK_EQ(channel_info(channel).messages, 3000);
    take_numbers(subscribe_ack(channel, "g", DC_ACK_NEXT), 0, 3000);
}

/* [S134] A page here takes 1 MiB and its table; all else is small beside eight of them. */
TEST(s121_disk_is_bounded) {
    enum { PAGE = 1 << 20, PINS = 3 };
    dc_options o = small_options();
    o.page_size = PAGE;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    dc_consumer *pinned[PINS];
    static unsigned char load[60000];
    uint64_t sent = 0;
    for (int i = 0; i < PINS; i++) {
        for (int n = 0; n < 100; n++) CHECK_OK(dc_send(p, load, load_make(load, 0, sent++, sizeof load), 0));
        pinned[i] = subscribe(channel, NULL, NULL);
        take(pinned[i]);
    }
    for (int n = 0; n < 1000; n++) {
        CHECK_OK(dc_send(p, load, load_make(load, 0, sent++, sizeof load), 0));
        if (n % 50 == 0) CHECK_RANGE(disk_of(chan_path), 1, (4 + 2 + PINS) * (PAGE + 65536ull) + (2 << 20));
    }
    CHECK_RANGE(channel_info(channel).disk_bytes, PAGE, (4 + 2 + PINS) * (PAGE + 65536ull) + (2 << 20));
    for (int i = 0; i < PINS; i++) dc_consumer_close(pinned[i]);
}

/* [S6 S105] What was kept is there after everybody closed, with the same positions; new ones are higher. */
TEST(s105_what_was_sent_survives_closing) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 50);
    uint64_t last = dc_sent_position(p), positions[50];
    dc_consumer *c = subscribe_ack(channel, NULL, 0);
    for (uint64_t n = 0; n < 50; n++) positions[n] = take_first(c, n).position;
    dc_consumer_close(c);
    dc_producer_close(p);
    dc_close(channel);
    channel = open_flags(DC_EXISTING);
    CHECK_EQ(channel_info(channel).messages, 50);
    p = producer_of(channel);
    send_number(p, 50);
    CHECK(dc_sent_position(p) > last);
    c = subscribe_ack(channel, NULL, 0);
    for (uint64_t n = 0; n < 50; n++) CHECK_EQ(take_first(c, n).position, positions[n]);
    take_first(c, 50);
}

static void sends_and_waits(void *stage) {
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 50);
    atomic_store((_Atomic int *)stage, 1);
    for (;;) pause();
}

/* [S138 S129] */
TEST(s105_what_was_sent_survives_a_kill) {
    dc_close(open_small());
    _Atomic int *stage = shared_memory(4096);
    pid_t pid = spawn(sends_and_waits, stage);
    await(stage, 1);
    kill_and_wait(pid);
    dc_channel *channel = open_flags(DC_EXISTING);
    take_numbers(subscribe_ack(channel, "g", DC_ACK_NEXT), 0, 50);
    CHECK_EQ(channel_info(channel).recoveries, 0); /* no machine crash: nothing to repair */
    CHECK_EQ(verify_info(chan_path).corrupt, 0);
}
