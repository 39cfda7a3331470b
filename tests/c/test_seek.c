/* Positions: where a group or an observer starts, and going back and forth. */
#include "chan.h"

static dc_consumer *subscribe_at(dc_channel *channel, const char *group, uint64_t start) {
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.start = start;
    o.flags = DC_AUTO_NEXT_PAGE;
    return subscribe(channel, group, &o);
}

/* A channel with 60 numbers and their positions. */
static uint64_t positions[61];

static dc_channel *open_sixty(dc_producer **p) {
    dc_channel *channel = open_small();
    *p = producer_of(channel);
    for (uint64_t n = 0; n < 60; n++) {
        send_number(*p, n);
        positions[n] = dc_sent_position(*p);
    }
    return channel;
}

/* [S6] */
TEST(s007_positions_order_messages) {
    dc_producer *p;
    dc_channel *channel = open_sixty(&p);
    dc_channel_info i = channel_info(channel);
    dc_consumer *c = subscribe_at(channel, "g", 0);
    uint64_t before = 0;
    for (uint64_t n = 0; n < 60; n++) {
        dc_message m = take_first(c, n);
        CHECK(m.position > before);
        CHECK_EQ(m.position, positions[n]);
        before = m.position;
    }
    CHECK(i.oldest > 0 && i.oldest <= positions[0]);
    CHECK(i.end > positions[59]);
    send_numbers(p, 60, 2000);
    dc_channel_info later = channel_info(channel);
    CHECK(later.oldest > i.oldest && later.end > i.end && later.oldest < later.end);
}

TEST(s112_a_new_group_starts_where_it_says) {
    dc_producer *p;
    dc_channel *channel = open_sixty(&p);
    CHECK_EQ(take_number(subscribe_at(channel, "default", 0)), 0);
    CHECK_EQ(take_number(subscribe_at(channel, "earliest", DC_EARLIEST)), 0);
    CHECK_EQ(take_number(subscribe_at(channel, "at", positions[20])), 20);
    CHECK_EQ(take_number(subscribe_at(channel, "after", positions[15] + 1)), 16); /* over a page's end */
    CHECK_EQ(take_number(subscribe_at(channel, "last one", DC_LAST(1))), 59);
    CHECK_EQ(take_number(subscribe_at(channel, "last 25", DC_LAST(25))), 35);
    CHECK_EQ(take_number(subscribe_at(channel, "more than all", DC_LAST(1000))), 0);
    CHECK_EQ(group_info(channel, "last 25").lag + group_info(channel, "last 25").unacked, 25);
    dc_consumer *latest = subscribe_at(channel, "latest", DC_LATEST), *end = subscribe_at(channel, "end", channel_info(channel).end);
    take_nothing(latest);
    take_nothing(end);
    send_number(p, 60);
    take_first(latest, 60);
    take_first(end, 60);
}

TEST(s112_an_observer_starts_where_it_says) {
    dc_producer *p;
    dc_channel *channel = open_sixty(&p);
    uint64_t starts[] = {0, DC_EARLIEST, positions[20], positions[15] + 1, DC_LAST(1), DC_LAST(25), DC_LAST(1000)};
    uint64_t first[] = {0, 0, 20, 16, 59, 35, 0};
    for (int read_only = 0; read_only < 2; read_only++) {
        dc_channel *reader = open_flags(read_only ? DC_READ_ONLY : 0);
        for (int i = 0; i < 7; i++) {
            dc_consumer *c = subscribe_at(reader, NULL, starts[i]);
            take_numbers(c, first[i], 60);
            take_nothing(c);
        }
        dc_consumer *latest = subscribe_at(reader, NULL, DC_LATEST);
        take_nothing(latest);
    }
    dc_consumer *latest = subscribe_at(channel, NULL, DC_LATEST);
    send_number(p, 60);
    CHECK_EQ(take_number(latest), 60);
}

/* The start is for a new group: one that exists goes on where it was. */
TEST(s112_an_old_group_goes_on_where_it_was) {
    dc_producer *p;
    dc_channel *channel = open_sixty(&p);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_RECEIVE);
    take_numbers(c, 0, 10);
    dc_consumer_close(c);
    c = subscribe_at(channel, "g", DC_LATEST);
    take_first(c, 10);
    dc_consumer_close(c);
    c = subscribe_at(channel, "g", DC_EARLIEST);
    take_again(c, 10, 2);
}

/* [S85] Its position outlives every process that used it. */
TEST(s112_a_groups_position_survives_closing) {
    dc_producer *p;
    dc_channel *channel = open_sixty(&p);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    take_numbers(c, 0, 26);
    dc_consumer_close(c);
    dc_producer_close(p);
    dc_close(channel);
    channel = open_flags(DC_EXISTING);
    CHECK_EQ(group_info(channel, "g").lag + group_info(channel, "g").unacked, 35);
    c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    take_again(c, 25, 2);
    for (uint64_t n = 26; n < 60; n++) take_first(c, n);
    take_nothing(c);
}

static void seeks(dc_channel *channel, dc_consumer *c, dc_producer *p) {
    uint64_t targets[] = {DC_EARLIEST, DC_LAST(1), positions[30], DC_LAST(25), positions[15] + 1, positions[0], DC_LAST(1000), positions[59]};
    uint64_t first[] = {0, 59, 30, 35, 16, 0, 0, 59};
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        CHECK_OK(dc_seek(c, targets[i]));
        uint64_t until = first[i] + 20 < 60 ? first[i] + 20 : 60;
        for (uint64_t n = first[i]; n < until; n++) CHECK_EQ(take_number(c), n);
    }
    CHECK_OK(dc_seek(c, DC_LATEST));
    take_nothing(c);
    CHECK_OK(dc_seek(c, channel_info(channel).end));
    take_nothing(c);
    send_number(p, 60);
    CHECK_EQ(take_number(c), 60);
}

TEST(s060_a_group_seeks) {
    dc_producer *p;
    dc_channel *channel = open_sixty(&p);
    seeks(channel, subscribe_at(channel, "g", 0), p);
}

TEST(s060_an_observer_seeks) {
    dc_producer *p;
    dc_channel *channel = open_sixty(&p);
    seeks(channel, subscribe_at(channel, NULL, 0), p);
}

/* What it held before a seek is the group's past: messages come from the new place on. */
TEST(s060_a_seek_ends_what_the_handle_held) {
    dc_producer *p;
    dc_channel *channel = open_sixty(&p);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    take_numbers(c, 0, 10);
    CHECK_OK(dc_seek(c, positions[40]));
    CHECK_EQ(consumer_info(c).unacked, 0);
    CHECK_EQ(group_info(channel, "g").unacked, 0);
    CHECK_EQ(group_info(channel, "g").lag, 20);
    take_numbers(c, 40, 60);
    take_nothing(c);
}

/* [S21] */
TEST(s060_seek_is_busy_while_others_hold_messages) {
    dc_producer *p;
    dc_channel *channel = open_sixty(&p);
    dc_consumer *a = subscribe_ack(channel, "g", DC_ACK_MANUAL), *b = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    take_first(a, 0);
    uint64_t at = take_first(b, 1).position;
    CHECK_CODE(dc_seek(a, DC_EARLIEST), DC_E_BUSY);
    take_first(a, 2); /* nothing moved */
    CHECK_OK(dc_ack(b, at));
    CHECK_OK(dc_seek(a, positions[30])); /* b lives, but holds nothing; it moves with the group */
    CHECK_EQ(take_number(b), 30);
    CHECK_EQ(take_number(a), 31);
}

/* Below what is kept: the first message kept, and the loss is not this group's. */
TEST(s060_seek_to_what_is_gone) {
    dc_producer *p;
    dc_channel *channel = open_sixty(&p);
    send_numbers(p, 60, 400);
    dc_consumer *c = subscribe_at(channel, "g", DC_LATEST);
    CHECK_OK(dc_seek(c, positions[0]));
    dc_message m;
    int code = dc_recv(c, &m, 0);
    if (code == DC_LAGGED) code = dc_recv(c, &m, 0);
    CHECK_OK(code);
    CHECK_EQ(number_of(&m), 400 - channel_info(channel).messages);
}

/* [S4] Acknowledged messages can be read again as long as they are kept. */
TEST(s060_a_lossless_channel_seeks_back) {
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_RECEIVE);
    send_numbers(p, 0, 10);
    take_numbers(c, 0, 10);
    CHECK_OK(dc_seek(c, DC_EARLIEST));
    CHECK_EQ(group_info(channel, "g").lag, 10);
    take_numbers(c, 0, 10);
    take_nothing(c);
}
