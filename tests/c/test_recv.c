/* Receiving: pages, batches, and pointers that stay good however far the ring moves on. */
#include "chan.h"

#include <pthread.h>

/* [S12] */
TEST(s070_every_length_is_aligned_and_not_null) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    unsigned char bytes[200];
    for (size_t len = 0; len < sizeof bytes; len++) {
        memset(bytes, (int)len, len);
        CHECK_OK(dc_send(p, bytes, len, 0));
        dc_message m = take(c);
        CHECK(m.data != NULL && (uintptr_t)m.data % 8 == 0);
        CHECK_EQ(m.len, len);
        CHECK(!memcmp(m.data, bytes, len));
    }
}

TEST(s012_the_end_of_a_page_is_told_until_next_page) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    send_numbers(p, 0, 40); /* pages of 16 */
    dc_message m;
    for (uint64_t n = 0; n < 40; n++) {
        if (n > 0 && n % 16 == 0) {
            CHECK_CODE(dc_recv(c, &m, 0), DC_END_OF_PAGE);
            CHECK_CODE(dc_recv(c, &m, -1), DC_END_OF_PAGE);
            CHECK_OK(dc_next_page(c));
        }
        CHECK_OK(dc_recv(c, &m, 0));
        CHECK_EQ(number_of(&m), n);
    }
    CHECK_CODE(dc_recv(c, &m, 0), DC_AGAIN);
}

TEST(s072_next_page_called_early_skips_nothing) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    CHECK_OK(dc_next_page(c));
    send_numbers(p, 0, 60);
    dc_message m;
    for (uint64_t n = 0; n < 60; n++) {
        CHECK_OK(dc_next_page(c));
        CHECK_OK(dc_next_page(c));
        CHECK_OK(receive(c, &m, 0));
        CHECK_EQ(number_of(&m), n);
    }
    for (int i = 0; i < 10; i++) CHECK_OK(dc_next_page(c));
    take_nothing(c);
    send_number(p, 60);
    take_first(c, 60);
}

TEST(s075_auto_next_page_moves_on_by_itself) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    dc_message m;
    for (uint64_t n = 0; n < 200; n++) {
        send_number(p, n);
        CHECK_OK(dc_recv(c, &m, 0));
        CHECK_EQ(number_of(&m), n);
    }
    send_numbers(p, 200, 250);
    for (uint64_t n = 200; n < 250; n++) {
        CHECK_OK(dc_recv(c, &m, 0));
        CHECK_EQ(number_of(&m), n);
    }
    CHECK_CODE(dc_recv(c, &m, 0), DC_AGAIN);
}

/* [S80] Whatever the ring did meanwhile, the last message received is there until the next call. */
TEST(s075_its_pointers_live_until_the_next_receiving_call) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_RECEIVE);
    dc_message m;
    unsigned char load[2000];
    for (uint64_t round = 0; round < 20; round++) {
        for (uint64_t n = 0; n < 16; n++) CHECK_OK(dc_send(p, load, load_make(load, 1, round * 300 + n, sizeof load), 0));
        int code = dc_recv(c, &m, 0);
        if (code == DC_LAGGED) code = dc_recv(c, &m, 0);
        CHECK_OK(code);
        for (uint64_t n = 16; n < 300; n++) CHECK_OK(dc_send(p, load, load_make(load, 1, round * 300 + n, sizeof load), 0));
        load_check(&m);
    }
}

static void batches(uint32_t flags) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.flags = flags;
    dc_consumer *c = subscribe(channel, "g", &o);
    dc_message m[100], untouched;
    size_t received = 77;
    memset(&untouched, 0xAB, sizeof untouched);
    memset(m, 0xAB, sizeof m);
    CHECK_CODE(dc_recv_batch(c, m, 100, 0, &received), DC_AGAIN);
    CHECK_EQ(received, 0);
    send_numbers(p, 0, 50);
    uint64_t next = 0;
    int ends = 0;
    while (next < 50) {
        received = 77;
        int code = dc_recv_batch(c, m, 100, LONG_MS, &received);
        if (code == DC_END_OF_PAGE) {
            CHECK_EQ(received, 0);
            CHECK_EQ(next % 16, 0);
            CHECK_OK(dc_next_page(c));
            ends++;
            continue;
        }
        CHECK_OK(code);
        CHECK_RANGE(received, 1, 16 - next % 16);
        for (size_t i = 0; i < received; i++) CHECK_EQ(number_of(&m[i]), next++);
        CHECK(!memcmp(&m[received], &untouched, sizeof untouched));
        memset(m, 0xAB, sizeof m);
    }
    CHECK_EQ(ends, flags ? 0 : 3);
    CHECK_CODE(dc_recv_batch(c, m, 100, 0, &received), DC_AGAIN);
    CHECK_EQ(received, 0);
    send_numbers(p, 50, 54);
    CHECK_OK(dc_recv_batch(c, m, 1, 0, &received));
    CHECK_EQ(received, 1);
    CHECK_EQ(number_of(m), 50);
    take_numbers(c, 51, 54);
}

/* [S74] */
TEST(s073_a_batch_never_crosses_a_page) { batches(0); }

TEST(s073_a_batch_under_auto_next_page) { batches(DC_AUTO_NEXT_PAGE); }

/* However large the page and the array: some hundreds at once at most, and all of them in the end. */
TEST(s073_batches_from_a_large_page) {
    dc_options o = DC_OPTIONS_INIT;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    static dc_message m[2000];
    send_numbers(p, 0, 2000);
    for (uint64_t next = 0; next < 2000;) {
        size_t received;
        CHECK_OK(dc_recv_batch(c, m, 2000, 0, &received));
        CHECK_RANGE(received, 1, 255);
        for (size_t i = 0; i < received; i++) CHECK_EQ(number_of(&m[i]), next++);
    }
}

TEST(s074_out_is_written_only_with_a_message) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    dc_message m, untouched;
    memset(&m, 0xAB, sizeof m);
    memset(&untouched, 0xAB, sizeof untouched);
    CHECK_CODE(dc_recv(c, &m, 0), DC_AGAIN);
    CHECK(!memcmp(&m, &untouched, sizeof m));
    CHECK_CODE(dc_recv(c, &m, 20), DC_AGAIN);
    CHECK(!memcmp(&m, &untouched, sizeof m));
    CHECK_OK(dc_interrupt(c));
    CHECK_CODE(dc_recv(c, &m, -1), -ECANCELED);
    CHECK(!memcmp(&m, &untouched, sizeof m));
    send_numbers(p, 0, 200); /* the ring dropped most of them */
    int lagged = 0, ended = 0;
    for (int code = DC_OK; code != DC_AGAIN;) {
        memset(&m, 0xAB, sizeof m);
        code = dc_recv(c, &m, 0);
        if (code != DC_OK) CHECK(!memcmp(&m, &untouched, sizeof m));
        if (code == DC_END_OF_PAGE) CHECK_OK(dc_next_page(c));
        lagged += code == DC_LAGGED;
        ended += code == DC_END_OF_PAGE;
    }
    CHECK(lagged == 1 && ended >= 1);
}

struct kept {
    dc_message m;
    unsigned char bytes[3000];
};

/* Holds a page's messages while the ring wraps many times, then reads on: nothing changed under the
 * pointers, everything is either received or counted as lost, and each gap is told once. */
static void slow_consumer(const char *group, uint32_t ack, uint32_t open_with) {
    dc_channel *writer = open_small(), *channel = open_with ? open_flags(open_with) : writer;
    dc_producer *p = producer_of(writer);
    unsigned char load[3000];
    uint64_t sent = 0, received = 0, lagged = 0;
    for (; sent < 20; sent++) CHECK_OK(dc_send(p, load, load_make(load, 1, sent, sizeof load), 0));
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.ack = ack;
    dc_consumer *c = subscribe(channel, group, &o);
    static struct kept kept[16];
    for (; received < 12; received++) {
        kept[received].m = take(c);
        CHECK_EQ(load_check(&kept[received].m).sequence, received);
        memcpy(kept[received].bytes, kept[received].m.data, sizeof load);
    }
    for (int wrap = 0; wrap < 40; wrap++) {
        for (int n = 0; n < 64; n++, sent++) CHECK_OK(dc_send(p, load, load_make(load, 1, sent, sizeof load), 0));
        for (int i = 0; i < 12; i++) CHECK(!memcmp(kept[i].bytes, kept[i].m.data, sizeof load));
    }
    dc_message m;
    uint64_t expected = received;
    for (int code; (code = receive(c, &m, 0)) != DC_AGAIN;) {
        if (code == DC_LAGGED) {
            lagged++;
            continue;
        }
        CHECK_OK(code);
        uint64_t sequence = load_check(&m).sequence;
        CHECK(sequence >= expected);
        expected = sequence + 1;
        received++;
    }
    CHECK_EQ(expected, sent);
    CHECK_EQ(lagged, 1);
    CHECK_EQ(received + consumer_info(c).lost, sent);
    CHECK(consumer_info(c).lost > 0);
    if (group) CHECK_EQ(group_info(channel, group).lost, consumer_info(c).lost);
}

/* [S13 S144] */
TEST(s071_a_groups_slow_consumer) { slow_consumer("g", DC_ACK_NEXT, 0); }

TEST(s071_a_slow_consumer_acknowledging_on_receipt) { slow_consumer("g", DC_ACK_RECEIVE, 0); }

TEST(s071_a_slow_consumer_acknowledging_by_hand) { slow_consumer("g", DC_ACK_MANUAL, 0); }

/* [S5] */
TEST(s071_a_slow_observer) { slow_consumer(NULL, 0, 0); }

/* [S122] */
TEST(s071_a_slow_read_only_observer) { slow_consumer(NULL, 0, DC_READ_ONLY); }

/* [S144] Several gaps, each told once, before the first message after it; every loss counted. */
TEST(s013_lagged_once_a_gap) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL), *observer = subscribe(channel, NULL, NULL);
    uint64_t sent = 0, received = 0, gaps = 0, seen = 0, observer_gaps = 0;
    for (int round = 1; round <= 5; round++) {
        uint64_t lost = consumer_info(c).lost;
        send_numbers(p, sent, sent + 500);
        sent += 500;
        dc_message m;
        for (int code, fresh = 0; (code = receive(c, &m, 0)) != DC_AGAIN;) {
            if (code == DC_LAGGED) {
                gaps++;
                fresh = 1;
                CHECK(consumer_info(c).lost > lost);
            } else {
                CHECK_OK(code);
                received++;
                if (fresh) CHECK_EQ(received + consumer_info(c).lost, number_of(&m) + 1);
                fresh = 0;
            }
        }
        for (int code; (code = receive(observer, &m, 0)) != DC_AGAIN;) {
            CHECK(code == DC_OK || code == DC_LAGGED);
            observer_gaps += code == DC_LAGGED;
            seen += code == DC_OK;
        }
        CHECK_EQ(gaps, (uint64_t)round);
        CHECK_EQ(observer_gaps, (uint64_t)round);
        CHECK_EQ(received + consumer_info(c).lost, sent);
        CHECK_EQ(seen + consumer_info(observer).lost, sent);
    }
}

static void *sends_late(void *p) {
    for (uint64_t n = 0; n < 3; n++) {
        sleep_ms(100);
        send_number(p, n);
    }
    return NULL;
}

/* [S34] */
TEST(s034_a_waiting_receive_is_woken_by_a_send) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    pthread_t thread;
    dc_message m;
    size_t received;
    CHECK(pthread_create(&thread, NULL, sends_late, p) == 0);
    CHECK_OK(dc_recv(c, &m, -1));
    CHECK_EQ(number_of(&m), 0);
    CHECK_OK(dc_recv(c, &m, LONG_MS));
    CHECK_EQ(number_of(&m), 1);
    CHECK_OK(dc_recv_batch(c, &m, 1, -1, &received));
    CHECK_EQ(number_of(&m), 2);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* [S62] Receives that time out take nothing with them. */
TEST(s141_a_timed_out_receive_loses_no_message) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    pthread_t thread;
    dc_message m;
    CHECK(pthread_create(&thread, NULL, sends_late, p) == 0);
    for (uint64_t next = 0; next < 3;) {
        int code = receive(c, &m, 1);
        CHECK(code == DC_OK || code == DC_AGAIN || code == -ECANCELED);
        if (code == DC_OK) CHECK_EQ(number_of(&m), next++);
        if (next == 1) CHECK_OK(dc_interrupt(c));
    }
    CHECK(pthread_join(thread, NULL) == 0);
}
