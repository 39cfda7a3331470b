/* Delivery: exactly one consumer a group, acknowledging in three ways, and giving back. */
#include "chan.h"

#include <pthread.h>

/* A consumer that claims nothing ahead: what it was not handed stays with the group. */
static dc_consumer *subscribe_plain(dc_channel *channel, const char *group, uint32_t ack) {
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.ack = ack;
    o.prefetch = 1;
    o.flags = DC_AUTO_NEXT_PAGE;
    return subscribe(channel, group, &o);
}

/* [S76 S4 S48] */
TEST(s004_one_consumer_of_every_group) {
    dc_options o = small_options();
    o.max_pages = 16;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    dc_consumer *one[3], *two[2], *observers[2];
    for (int i = 0; i < 2; i++) one[i] = subscribe_ack(channel, "one", DC_ACK_NEXT);
    CHECK_OK(dc_consumer_clone(one[0], &one[2]));
    for (int i = 0; i < 2; i++) two[i] = subscribe_ack(channel, "two", DC_ACK_MANUAL);
    for (int i = 0; i < 2; i++) observers[i] = subscribe_ack(channel, NULL, 0);
    enum { COUNT = 200 };
    unsigned char in_one[COUNT] = {0}, in_two[COUNT] = {0};
    send_numbers(p, 0, COUNT);
    dc_message m;
    for (int left = COUNT, i = 0; left > 0; i++)
        if (receive(one[i % 3], &m, 0) == DC_OK) left--, in_one[number_of(&m)]++;
    for (int left = COUNT, i = 0; left > 0; i++)
        if (receive(two[i % 2], &m, 0) == DC_OK) left--, in_two[number_of(&m)]++;
    for (int i = 0; i < COUNT; i++) CHECK(in_one[i] == 1 && in_two[i] == 1);
    for (int i = 0; i < 3; i++) take_nothing(one[i]);
    for (int i = 0; i < 2; i++) take_nothing(two[i]);
    for (int i = 0; i < 2; i++) take_numbers(observers[i], 0, COUNT);
}

struct sender {
    dc_producer *p;
    uint32_t id;
    uint64_t count;
};

static void *sends(void *argument) {
    struct sender *s = argument;
    unsigned char load[200];
    for (uint64_t n = 0; n < s->count; n++) CHECK_OK(dc_send(s->p, load, load_make(load, s->id, n, 16 + n % 150), -1));
    return NULL;
}

struct receiver {
    dc_consumer *c;
    uint64_t next[4]; /* of each producer */
    _Atomic uint64_t *left;
};

static void *receives(void *argument) {
    struct receiver *r = argument;
    dc_message m;
    while (atomic_load(r->left) > 0) {
        int code = receive(r->c, &m, 10);
        if (code == DC_AGAIN) continue;
        CHECK_OK(code);
        CHECK_EQ(m.flags, 0);
        struct load l = load_check(&m);
        CHECK(l.producer < 4 && l.sequence >= r->next[l.producer]);
        r->next[l.producer] = l.sequence + 1;
        atomic_fetch_sub(r->left, 1);
    }
    return NULL;
}

/* [S3 S76] */
TEST(s077_each_producers_messages_come_in_order) {
    enum { EACH = 20000 };
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    o.max_messages_per_page = 1000;
    dc_channel *channel = open_at(chan_path, &o);
    struct sender s[4];
    struct receiver r[4];
    pthread_t threads[8];
    _Atomic uint64_t left = 4 * EACH;
    for (uint32_t i = 0; i < 4; i++) {
        s[i] = (struct sender){producer_of(channel), i, EACH};
        r[i] = (struct receiver){subscribe_ack(channel, "g", DC_ACK_NEXT), {0, 0, 0, 0}, &left};
    }
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, sends, &s[i]) == 0);
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[4 + i], NULL, receives, &r[i]) == 0);
    for (int i = 0; i < 8; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < 4; i++) take_nothing(r[i].c);
    CHECK_EQ(group_info(channel, "g").lag, 0);
    CHECK_EQ(group_info(channel, "g").unacked, 0);
}

TEST(s078_the_next_receiving_call_acknowledges) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 10);
    dc_consumer *c = subscribe_ack(channel, "g", 0); /* the default */
    take_first(c, 0);
    CHECK_EQ(consumer_info(c).unacked, 1);
    take_first(c, 1);
    CHECK_EQ(consumer_info(c).unacked, 1);
    dc_consumer_close(c);
    c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    take_again(c, 1, 2);
    dc_message m[20];
    size_t received = 0, total = 0;
    while (total < 8) {
        CHECK_OK(dc_recv_batch(c, m, 20, 0, &received));
        for (size_t i = 0; i < received; i++) CHECK(m[i].flags == 0 && number_of(&m[i]) == 2 + total + i);
        CHECK_EQ(consumer_info(c).unacked, received);
        total += received;
    }
    take_nothing(c); /* a receiving call that finds nothing acknowledges, too */
    CHECK_EQ(group_info(channel, "g").unacked, 0);
    dc_consumer_close(c);
    take_nothing(subscribe_ack(channel, "g", DC_ACK_NEXT));
}

/* What a batch hands out is acknowledged by the call after it, not by its own later messages. */
TEST(s078_a_batch_acknowledges_none_of_its_own) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    dc_message m[20];
    size_t received;
    send_numbers(p, 0, 12);
    CHECK_OK(dc_recv_batch(c, m, 10, 0, &received));
    CHECK_EQ(received, 10);
    CHECK_EQ(consumer_info(c).unacked, 10);
    CHECK_EQ(group_info(channel, "g").unacked, 10);
    dc_consumer_close(c);
    c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    for (uint64_t n = 0; n < 10; n++) take_again(c, n, 2);
    take_first(c, 10);
    take_first(c, 11);
    take_nothing(c);
    /* On receipt all of them are. */
    c = subscribe_ack(channel, "h", DC_ACK_RECEIVE);
    CHECK_OK(dc_recv_batch(c, m, 10, 0, &received));
    CHECK_EQ(consumer_info(c).unacked, 0);
    dc_consumer_close(c);
    take_first(subscribe_ack(channel, "h", DC_ACK_NEXT), 10);
}

/* [S58] */
TEST(s079_manual_acknowledging) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 20);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    uint64_t positions[20];
    for (uint64_t n = 0; n < 10; n++) positions[n] = take_first(c, n).position;
    CHECK_EQ(consumer_info(c).unacked, 10);
    CHECK_EQ(group_info(channel, "g").unacked, 10);
    CHECK_OK(dc_ack(c, positions[4]));
    CHECK_EQ(consumer_info(c).unacked, 5);
    CHECK_OK(dc_ack(c, positions[4]));
    CHECK_OK(dc_ack(c, positions[0]));
    CHECK_EQ(group_info(channel, "g").unacked, 5);
    dc_consumer_close(c);
    c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    for (uint64_t n = 5; n < 10; n++) CHECK_EQ(take_again(c, n, 2).position, positions[n]);
    for (uint64_t n = 10; n < 20; n++) positions[n] = take_first(c, n).position;
    take_nothing(c);
    CHECK_EQ(group_info(channel, "g").unacked, 15);
    CHECK_OK(dc_ack(c, positions[19]));
    CHECK_EQ(group_info(channel, "g").unacked, 0);
    dc_consumer_close(c);
    take_nothing(subscribe_ack(channel, "g", DC_ACK_MANUAL));
}

/* [S149] Two consumers take turns: each holds every other message, acknowledged in the wrong order. */
TEST(s058_acknowledging_touches_only_ones_own) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 20);
    dc_consumer *a = subscribe_plain(channel, "g", DC_ACK_MANUAL), *b = subscribe_plain(channel, "g", DC_ACK_MANUAL);
    uint64_t at[20];
    for (uint64_t n = 0; n < 20; n++) at[n] = take_first(n % 2 ? b : a, n).position;
    CHECK_EQ(group_info(channel, "g").unacked, 20);
    CHECK_OK(dc_ack(b, at[19]));
    CHECK_EQ(group_info(channel, "g").unacked, 10);
    CHECK_OK(dc_ack(a, at[9])); /* 0 2 4 6 8 */
    CHECK_EQ(consumer_info(a).unacked, 5);
    dc_consumer_close(a);
    for (uint64_t n = 10; n < 20; n += 2) take_again(b, n, 2);
    take_nothing(b);
    CHECK_OK(dc_ack(b, UINT64_MAX - 1));
    CHECK_EQ(group_info(channel, "g").unacked, 0);
}

TEST(s080_acknowledged_on_receipt) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 10);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_RECEIVE);
    take_first(c, 0);
    take_first(c, 1);
    CHECK_EQ(consumer_info(c).unacked, 0);
    CHECK_EQ(group_info(channel, "g").unacked, 0);
    CHECK_OK(dc_nack(c)); /* nothing to give back */
    dc_consumer_close(c);
    c = subscribe_ack(channel, "g", DC_ACK_RECEIVE);
    for (uint64_t n = 2; n < 10; n++) take_first(c, n);
    take_nothing(c);
}

/* [S82] */
TEST(s059_nack_gives_all_back_in_order_before_new_ones) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 40);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    CHECK_OK(dc_nack(c));
    uint64_t second = 0;
    for (uint64_t n = 0; n < 20; n++) { /* over a page's end */
        dc_message m = take_first(c, n);
        if (n == 1) second = m.position;
    }
    CHECK_OK(dc_ack(c, second));
    CHECK_OK(dc_nack(c));
    CHECK_EQ(consumer_info(c).unacked, 0);
    for (uint64_t n = 2; n < 20; n++) take_again(c, n, 2);
    CHECK_OK(dc_nack(c));
    for (uint64_t n = 2; n < 20; n++) take_again(c, n, 3);
    for (uint64_t n = 20; n < 40; n++) take_first(c, n);
    CHECK_OK(dc_ack(c, UINT64_MAX - 1));
    take_nothing(c);
    CHECK_EQ(consumer_info(c).redelivered, 36);
    CHECK_EQ(group_info(channel, "g").redelivered, 36);
    dc_consumer *next = subscribe_ack(channel, "h", DC_ACK_NEXT);
    take_first(next, 0);
    CHECK_OK(dc_nack(next));
    take_again(next, 0, 2);
    take_first(next, 1);
}

/* A poison message: nobody can do it, and its count tells so. (It may stop counting above 1,000.) */
TEST(s082_deliveries_count_up) {
    dc_channel *channel = open_small();
    send_numbers(producer_of(channel), 7, 9);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    take_first(c, 7);
    for (uint32_t n = 2; n < 1500; n++) {
        if (n % 3) {
            CHECK_OK(dc_nack(c));
        } else {
            dc_consumer_close(c);
            c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
        }
        dc_message m = take(c);
        CHECK(number_of(&m) == 7 && m.flags == DC_MESSAGE_REDELIVERED);
        CHECK_RANGE(m.deliveries, n < 1000 ? n : 1000, n);
    }
    take_first(c, 8);
}

/* [S73 S71] Given back on three pages, they come again page by page; a batch's pointers all stay good. */
TEST(s059_redelivered_in_batches) {
    for (int first = 0; first < 38; first += 9) {
        char group[16];
        snprintf(group, sizeof group, "%d", first);
        dc_channel *channel = open_small();
        dc_producer *p = producer_of(channel);
        dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
        o.start = DC_LATEST;
        o.ack = DC_ACK_MANUAL;
        o.flags = DC_AUTO_NEXT_PAGE;
        dc_consumer *c = subscribe(channel, group, &o);
        unsigned char load[1000];
        for (uint64_t n = 0; n < 40; n++) CHECK_OK(dc_send(p, load, load_make(load, 1, n, sizeof load), 0));
        for (int n = 0; n < 40; n++) {
            dc_message m = take(c);
            if (n == first) CHECK_OK(dc_ack(c, m.position));
        }
        CHECK_OK(dc_nack(c));
        dc_message m[100];
        size_t received;
        CHECK_OK(dc_recv_batch(c, m, 100, 0, &received));
        CHECK_RANGE(received, 1, 16);
        for (uint64_t n = 0; n < 1000; n++) CHECK_OK(dc_send(p, load, load_make(load, 2, n, sizeof load), 0));
        for (size_t i = 0; i < received; i++) {
            struct load l = load_check(&m[i]);
            CHECK(l.producer == 1 && l.sequence == (uint64_t)first + 1 + i);
            CHECK(m[i].flags == DC_MESSAGE_REDELIVERED && m[i].deliveries == 2);
        }
        dc_consumer_close(c);
        dc_producer_close(p);
        dc_close(channel);
    }
}

static void *waits_for_one(void *c) {
    take_again(c, 0, 2);
    return NULL;
}

/* [S21] A waiting consumer gets what another one's close gives back. */
TEST(s057_close_returns_what_it_held_at_once) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *a = subscribe_plain(channel, "g", DC_ACK_MANUAL), *b = subscribe_plain(channel, "g", DC_ACK_MANUAL);
    send_number(p, 0);
    take_first(a, 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, waits_for_one, b) == 0);
    sleep_ms(100);
    dc_consumer_close(a);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_EQ(group_info(channel, "g").consumers, 1);
}

/* [S20] */
/* A place that was given back holds no message, also once its page was turned. */
TEST(s113_what_was_given_back_is_not_held) {
    dc_options o = small_options();
    o.max_messages_per_page = 3;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    void *data;
    send_number(p, 0);
    CHECK_OK(dc_reserve(p, 8, 0, &data));
    CHECK_OK(dc_abort(p));
    send_numbers(p, 1, 4);
    dc_subscribe_options so = DC_SUBSCRIBE_OPTIONS_INIT;
    so.ack = DC_ACK_MANUAL;
    so.max_unacked = 3;
    dc_consumer *c = subscribe(channel, "g", &so);
    for (uint64_t n = 0; n < 3; n++) take_first(c, n);
    CHECK_EQ(consumer_info(c).unacked, 3);
    dc_message m;
    CHECK_CODE(receive(c, &m, 0), DC_E_LIMIT);
}

TEST(s113_max_unacked_is_a_limit) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 12);
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.ack = DC_ACK_MANUAL;
    o.max_unacked = 4;
    dc_consumer *c = subscribe(channel, "g", &o);
    dc_message m[10];
    size_t received = 77;
    for (uint64_t n = 0; n < 4; n++) m[n] = take_first(c, n);
    CHECK_CODE(dc_recv(c, &m[5], 0), DC_E_LIMIT);
    CHECK_CODE(dc_recv(c, &m[5], -1), DC_E_LIMIT);
    CHECK_TEXT("4");
    CHECK_CODE(dc_recv_batch(c, &m[5], 1, 0, &received), DC_E_LIMIT);
    CHECK_EQ(received, 0);
    CHECK_OK(dc_ack(c, m[0].position));
    take_first(c, 4);
    CHECK_CODE(dc_recv(c, &m[5], 0), DC_E_LIMIT);
    CHECK_OK(dc_nack(c));
    for (uint64_t n = 1; n < 5; n++) take_again(c, n, 2);
    CHECK_CODE(dc_recv(c, &m[5], 0), DC_E_LIMIT);
    CHECK_OK(dc_ack(c, UINT64_MAX - 1));
    size_t total = 0;
    while (total < 4) {
        CHECK_OK(dc_recv_batch(c, m, 10, 0, &received));
        total += received;
    }
    CHECK_EQ(total, 4);
    CHECK_CODE(dc_recv_batch(c, m, 10, 0, &received), DC_E_LIMIT);
    /* The default holds 1,024. */
    dc_options big = DC_OPTIONS_INIT;
    char path[700];
    snprintf(path, sizeof path, "%s/default", test_dir);
    channel = open_at(path, &big);
    send_numbers(producer_of(channel), 0, 1100);
    c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    take_numbers(c, 0, 1024);
    CHECK_CODE(dc_recv(c, m, 0), DC_E_LIMIT);
}
