/* Sending: one message, gathered, in batches, in place; all or nothing each time. */
#include "chan.h"

#include <pthread.h>

static dc_channel *open_lossless(uint64_t pages, uint32_t messages, uint32_t stall_ms) {
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    o.max_pages = pages;
    o.max_messages_per_page = messages;
    o.stall_timeout_ms = stall_ms;
    return open_at(chan_path, &o);
}

/* [S70] */
TEST(s049_lengths_from_empty_to_the_largest) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    size_t max = channel_info(channel).max_message;
    CHECK(max >= 32 * 1024);
    size_t lengths[] = {0, 1, 2, 7, 8, 9, 100, 4095, 4096, max - 1, max, max, 0, max};
    unsigned char *bytes = malloc(max);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        memset(bytes, (int)i + 1, max);
        CHECK_OK(dc_send(p, bytes, lengths[i], 0));
        dc_message m = take(c);
        CHECK_EQ(m.len, lengths[i]);
        CHECK(m.data != NULL);
        CHECK(!memcmp(m.data, bytes, m.len));
    }
    take_nothing(c);
    free(bytes);
}

TEST(s049_an_empty_message_needs_no_pointer) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    struct iovec none = {NULL, 0};
    CHECK_OK(dc_send(p, NULL, 0, 0));
    CHECK_OK(dc_sendv(p, NULL, 0, 0));
    CHECK_OK(dc_sendv(p, &none, 1, 0));
    for (int i = 0; i < 3; i++) {
        dc_message m = take(c);
        CHECK_EQ(m.len, 0);
        CHECK(m.data != NULL);
    }
    take_nothing(c);
}

/* [S137] */
TEST(s016_too_big_leaves_the_channel_untouched) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    send_numbers(p, 0, 3);
    dc_channel_info before = channel_info(channel);
    size_t max = before.max_message;
    size_t lengths[] = {max + 1, max * 2, 1ull << 32, (1ull << 32) + 8, SIZE_MAX / 2, SIZE_MAX - 7, SIZE_MAX};
    char *bytes = calloc(1, max * 2);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        void *data = &data;
        int code = lengths[i] > SIZE_MAX / 2 ? DC_E_ARGUMENT : DC_E_TOO_BIG; /* what no memory can hold is no length */
        CHECK_CODE(dc_send(p, bytes, lengths[i], -1), code);
        CHECK_CODE(dc_reserve(p, lengths[i], -1, &data), code);
        CHECK(data == NULL);
        struct iovec part = {bytes, lengths[i]};
        CHECK_CODE(dc_sendv(p, &part, 1, -1), code);
    }
    struct iovec halves[2] = {{bytes, max}, {bytes, 1}};
    CHECK_CODE(dc_sendv(p, halves, 2, -1), DC_E_TOO_BIG);
    struct iovec overflow[2] = {{bytes, SIZE_MAX / 2 + 1}, {bytes, SIZE_MAX / 2 + 5}};
    int code = dc_sendv(p, overflow, 2, -1);
    CHECK(code == DC_E_TOO_BIG || code == DC_E_ARGUMENT);
    dc_channel_info after = channel_info(channel);
    CHECK(!memcmp(&before, &after, sizeof before));
    take_numbers(c, 0, 3);
    send_number(p, 3);
    take_numbers(c, 3, 4);
    free(bytes);
}

TEST(s050_parts_become_one_message) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    struct iovec few[4] = {{(void *)"one", 3}, {NULL, 0}, {(void *)"-", 1}, {(void *)"two", 3}};
    CHECK_OK(dc_sendv(p, few, 4, 0));
    dc_message m = take(c);
    CHECK_EQ(m.len, 7);
    CHECK(!memcmp(m.data, "one-two", 7));
    enum { MANY = 3000 }; /* more than IOV_MAX: nothing here is the kernel's business */
    static unsigned char bytes[MANY];
    static struct iovec many[MANY];
    for (int i = 0; i < MANY; i++) {
        bytes[i] = (unsigned char)(i * 7);
        many[i] = (struct iovec){bytes + i, 1};
    }
    CHECK_OK(dc_sendv(p, many, MANY, 0));
    m = take(c);
    CHECK_EQ(m.len, MANY);
    CHECK(!memcmp(m.data, bytes, MANY));
    take_nothing(c);
}

/* [S63 S51] */
TEST(s065_a_batch_sends_a_prefix) {
    enum { COUNT = 100 };
    dc_channel *channel = open_lossless(2, 16, 0);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    uint64_t numbers[COUNT];
    struct iovec messages[COUNT];
    for (uint64_t i = 0; i < COUNT; i++) {
        numbers[i] = i;
        messages[i] = (struct iovec){&numbers[i], sizeof numbers[i]};
    }
    size_t sent = 77, total = 0, taken = 0;
    CHECK_OK(dc_send_batch(p, messages, 0, 0, &sent));
    CHECK_EQ(sent, 0);
    CHECK_OK(dc_send_batch(p, messages, 5, 0, &sent));
    CHECK_EQ(sent, 5);
    total = sent;
    while (total < COUNT) {
        sent = 77;
        int code = dc_send_batch(p, messages + total, COUNT - total, 0, &sent);
        CHECK(code == (sent == COUNT - total ? DC_OK : DC_AGAIN));
        CHECK(sent <= 32);
        total += sent;
        CHECK_RANGE(channel_info(channel).messages, 1, 32);
        if (code == DC_OK) break;
        CHECK_CODE(dc_send_batch(p, messages + total, 1, 0, &sent), DC_AGAIN);
        CHECK_EQ(sent, 0);
        take_numbers(c, taken, total);
        taken = total;
        take_nothing(c);
    }
    CHECK_EQ(total, COUNT);
    uint64_t last = 0;
    dc_message m;
    while (receive(c, &m, 0) == DC_OK) last = number_of(&m);
    CHECK_EQ(last, COUNT - 1);
}

/* [S16] The messages before the one that cannot be are sent, or none is; `sent` says which. */
TEST(s065_a_batch_with_one_too_big) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    size_t max = channel_info(channel).max_message, sent = 77;
    char *bytes = calloc(1, max + 1);
    struct iovec messages[4] = {{bytes, 1}, {bytes, 2}, {bytes, max + 1}, {bytes, 4}};
    CHECK_CODE(dc_send_batch(p, messages, 4, -1, &sent), DC_E_TOO_BIG);
    CHECK(sent <= 2);
    for (size_t i = 0; i < sent; i++) CHECK_EQ(take(c).len, i + 1);
    take_nothing(c);
    CHECK_EQ(channel_info(channel).messages, sent);
    free(bytes);
}

/* [S51] */
TEST(s065_batches_of_every_size_arrive_in_order) {
    dc_channel *channel = open_lossless(4, 64, 0);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    uint64_t numbers[400], next = 0;
    struct iovec messages[400];
    for (size_t count = 1; count <= 200; count++) {
        size_t sent = 0;
        for (size_t i = 0; i < count; i++) {
            numbers[i] = next + i;
            messages[i] = (struct iovec){&numbers[i], sizeof numbers[i]};
        }
        for (size_t done = 0; done < count; done += sent) {
            int code = dc_send_batch(p, messages + done, count - done, 0, &sent);
            CHECK(code == DC_OK || code == DC_AGAIN);
            take_numbers(c, next + done, next + done + sent);
            take_nothing(c);
        }
        next += count;
    }
}

TEST(s052_reserve_write_commit) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    size_t max = channel_info(channel).max_message;
    size_t asked[] = {100, 100, 100, 0, max, max, 13}, kept[] = {100, 99, 0, 0, max, 5, 13};
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        void *data = NULL;
        CHECK_OK(dc_reserve(p, asked[i], 0, &data));
        CHECK(data != NULL && (uintptr_t)data % 8 == 0);
        memset(data, 'a' + (int)i, asked[i]);
        take_nothing(c);
        CHECK_OK(dc_commit(p, kept[i]));
        dc_message m = take(c);
        CHECK_EQ(m.len, kept[i]);
        CHECK_EQ(m.position, dc_sent_position(p));
        for (size_t j = 0; j < m.len; j++) CHECK_EQ(((const char *)m.data)[j], 'a' + (int)i);
    }
    take_nothing(c);
}

TEST(s053_an_aborted_reservation_leaves_nothing) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    void *data = NULL;
    send_number(p, 0);
    uint64_t position = dc_sent_position(p);
    CHECK_OK(dc_reserve(p, 64, 0, &data));
    CHECK_OK(dc_abort(p));
    CHECK_EQ(dc_sent_position(p), position);
    CHECK_CODE(dc_abort(p), DC_E_STATE);
    CHECK_CODE(dc_commit(p, 1), DC_E_STATE);
    send_number(p, 1);
    take_numbers(c, 0, 2);
    take_nothing(c);
    dc_channel_info i = channel_info(channel);
    CHECK_EQ(i.messages, 2);
    CHECK_EQ(i.bytes, 16);
    CHECK_EQ(i.abandoned, 0);
    /* Pages full of aborted reservations are gone past as well. */
    for (int n = 0; n < 200; n++) {
        CHECK_OK(dc_reserve(p, 64, 0, &data));
        CHECK_OK(dc_abort(p));
    }
    send_number(p, 2);
    dc_message m;
    int code = receive(c, &m, LONG_MS);
    if (code == DC_LAGGED) code = receive(c, &m, LONG_MS);
    CHECK_OK(code);
    CHECK_EQ(number_of(&m), 2);
    CHECK_EQ(group_info(channel, "g").lost, 0);
}

/* [S24 S48] */
TEST(s068_a_reservation_excludes_other_sends_on_its_handle) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel), *other = NULL;
    dc_consumer *c = subscribe(channel, "g", NULL);
    struct iovec part = {&part, 1};
    void *data = NULL, *more = &more;
    size_t sent = 77;
    CHECK_CODE(dc_commit(p, 0), DC_E_STATE);
    CHECK_CODE(dc_abort(p), DC_E_STATE);
    CHECK_OK(dc_reserve(p, 8, 0, &data));
    CHECK_CODE(dc_send(p, "x", 1, 0), DC_E_STATE);
    CHECK_CODE(dc_sendv(p, &part, 1, 0), DC_E_STATE);
    CHECK_CODE(dc_send_batch(p, &part, 1, 0, &sent), DC_E_STATE);
    CHECK_EQ(sent, 0);
    CHECK_CODE(dc_reserve(p, 8, 0, &more), DC_E_STATE);
    CHECK(more == NULL);
    CHECK_CODE(dc_commit(p, 9), DC_E_ARGUMENT); /* longer than reserved: the reservation stays */
    CHECK_OK(dc_producer_clone(p, &other));
    send_number(other, 2);
    uint64_t one = 1;
    memcpy(data, &one, 8);
    CHECK_OK(dc_commit(p, 8));
    take_numbers(c, 1, 3);
    take_nothing(c);
}

TEST(s066_a_reservation_delays_readers_behind_it) {
    dc_channel *channel = open_lossless(4, 16, 60000);
    dc_producer *a = producer_of(channel), *b = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    void *data = NULL;
    uint64_t zero = 0;
    CHECK_OK(dc_reserve(a, 8, 0, &data));
    send_number(b, 1);
    dc_message m;
    CHECK_CODE(dc_recv(c, &m, 300), DC_AGAIN);
    memcpy(data, &zero, 8);
    CHECK_OK(dc_commit(a, 8));
    take_numbers(c, 0, 2);
}

/* [S73] */
TEST(s068_close_aborts_the_reservation) {
    dc_channel *channel = open_lossless(4, 16, 60000);
    dc_producer *a = producer_of(channel), *b = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    void *data = NULL;
    CHECK_OK(dc_reserve(a, 8, 0, &data));
    send_number(b, 1);
    dc_producer_close(a);
    take_numbers(c, 1, 2);
    take_nothing(c);
}

/* [S130] */
TEST(s067_a_stalled_reservation_is_skipped_and_committed_elsewhere) {
    dc_channel *channel = open_lossless(4, 16, 100);
    dc_producer *a = producer_of(channel), *b = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    void *data = NULL;
    uint64_t two = 2;
    CHECK_OK(dc_reserve(a, 8, 0, &data));
    send_number(b, 1);
    uint64_t first = take(c).position; /* b's message: the others go on */
    memcpy(data, &two, 8);
    CHECK_OK(dc_commit(a, 8));
    dc_message m = take_first(c, 2);
    CHECK(m.position > first);
    CHECK_EQ(m.position, dc_sent_position(a));
    take_nothing(c);
    CHECK_EQ(channel_info(channel).abandoned, 1);
    CHECK_EQ(channel_info(channel).messages, 2);
}

TEST(s067_commit_without_room_keeps_the_reservation) {
    dc_channel *channel = open_lossless(2, 4, 100);
    dc_producer *a = producer_of(channel), *b = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    void *data = NULL;
    uint64_t mine = 1000;
    CHECK_OK(dc_reserve(a, 8, 0, &data));
    uint64_t count = send_until_full(b, 0);
    CHECK_EQ(take_number(c), 0);
    memcpy(data, &mine, 8);
    CHECK_CODE(dc_commit(a, 8), DC_AGAIN);
    CHECK_OK(dc_producer_interrupt(a));
    CHECK_CODE(dc_commit(a, 8), -ECANCELED);
    CHECK_CODE(dc_commit(a, 8), DC_AGAIN);
    CHECK_CODE(dc_send(a, &mine, 8, 0), DC_E_STATE);
    take_numbers(c, 1, count);
    CHECK_OK(dc_ack(c, UINT64_MAX - 1));
    CHECK_OK(dc_commit(a, 8));
    take_first(c, 1000);
    take_nothing(c);
    CHECK_CODE(dc_abort(a), DC_E_STATE);
}

/* [S6 S48] */
TEST(s055_sent_position_is_that_of_the_last_message) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel), *clone = NULL;
    dc_consumer *c = subscribe(channel, "g", NULL);
    CHECK_EQ(dc_sent_position(p), 0);
    uint64_t before = 0;
    for (uint64_t n = 0; n < 100; n++) {
        send_number(p, n);
        CHECK(dc_sent_position(p) > before);
        before = dc_sent_position(p);
        dc_message m = take_first(c, n);
        CHECK_EQ(m.position, before);
    }
    CHECK_CODE(dc_send(p, "", SIZE_MAX / 2, 0), DC_E_TOO_BIG);
    CHECK_EQ(dc_sent_position(p), before);
    CHECK_OK(dc_producer_clone(p, &clone));
    CHECK_EQ(dc_sent_position(clone), 0);
    send_number(clone, 100);
    CHECK(dc_sent_position(clone) > before);
    CHECK_EQ(dc_sent_position(p), before);
    struct iovec messages[3] = {{&before, 8}, {&before, 8}, {&before, 8}};
    size_t sent;
    CHECK_OK(dc_send_batch(p, messages, 3, 0, &sent));
    dc_message m = take(c);
    for (int i = 0; i < 3; i++) m = take(c);
    CHECK_EQ(m.position, dc_sent_position(p));
}

/* [S34 S63 S104] */
TEST(s062_the_timeout_bounds_the_wait_for_room) {
    dc_channel *channel = open_lossless(2, 8, 0);
    dc_producer *p = producer_of(channel);
    uint64_t sent = send_until_full(p, 0);
    dc_channel_info before = channel_info(channel);
    int64_t start = now_ms();
    CHECK_CODE(dc_send(p, &sent, 8, 150), DC_AGAIN);
    CHECK(now_ms() - start >= 140);
    void *data = &data;
    CHECK_CODE(dc_reserve(p, 8, 0, &data), DC_AGAIN);
    CHECK(data == NULL);
    dc_channel_info after = channel_info(channel);
    CHECK_EQ(before.messages, sent);
    CHECK_EQ(after.messages, sent);
    dc_consumer *c = subscribe_ack(channel, NULL, 0);
    take_numbers(c, 0, sent);
    take_nothing(c);
}

static void *sends_one(void *p) {
    send_number(p, 4711);
    uint64_t n = 4712;
    CHECK_OK(dc_send(p, &n, sizeof n, -1));
    return NULL;
}

/* [S3] */
TEST(s034_a_waiting_send_goes_on_when_there_is_room) {
    dc_channel *channel = open_lossless(2, 8, 0);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    uint64_t sent = send_until_full(p, 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, sends_one, p) == 0);
    sleep_ms(100);
    CHECK_EQ(channel_info(channel).messages, sent);
    take_numbers(c, 0, sent);
    take_numbers(c, 4711, 4713);
    CHECK(pthread_join(thread, NULL) == 0);
}
