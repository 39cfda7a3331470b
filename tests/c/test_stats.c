/* The figures: exact when nothing moves. */
#include "files.h"

/* [S41 S7 S6] */
TEST(s115_channel_figures_are_exact) {
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    dc_channel *channel = open_at(chan_path, &o);
    dc_channel_info i = channel_info(channel);
    CHECK(i.size == sizeof i && i.page_size == 64 * 1024 && i.max_pages == 4 && i.max_messages_per_page == 16);
    CHECK(i.retention == DC_RETAIN_UNREAD && i.checksum == DC_CHECKSUM_ON && i.format_version >= 1);
    CHECK(i.max_message > 0 && i.max_message <= i.page_size);
    CHECK(i.oldest == i.end && i.messages == 0 && i.bytes == 0);
    CHECK(i.producers == 0 && i.consumers == 0);
    CHECK(i.abandoned == 0 && i.recoveries == 0 && i.discarded == 0 && i.poisoned == 0);
    dc_producer *p = producer_of(channel), *q = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT), *ob = subscribe(channel, NULL, NULL);
    i = channel_info(channel);
    CHECK(i.producers == 2 && i.consumers == 2);
    uint64_t bytes = 0;
    char text[64] = {0};
    for (uint64_t n = 0; n < 40; n++) {
        CHECK_OK(dc_send(n % 2 ? p : q, text, n, 0));
        bytes += n;
        i = channel_info(channel);
        CHECK_EQ(i.messages, n + 1);
        CHECK_EQ(i.bytes, bytes);
        CHECK(i.end > dc_sent_position(n % 2 ? p : q));
        CHECK(i.oldest < i.end);
    }
    uint64_t oldest = i.oldest;
    for (int n = 0; n < 40; n++) CHECK_EQ(take(c).len, (uint64_t)n);
    take_nothing(c); /* all acknowledged: they may go when room is needed, and are kept until then */
    i = channel_info(channel);
    CHECK(i.oldest >= oldest && i.messages <= 40);
    send_until_full(p, 0);
    i = channel_info(channel);
    CHECK(i.oldest > oldest && i.messages <= 64);
    dc_consumer_close(ob);
    dc_consumer_close(c);
    dc_producer_close(p);
    dc_producer_close(q);
    i = channel_info(channel);
    CHECK(i.producers == 0 && i.consumers == 0);
}

/* Handles of other processes count; those of dead ones do not. */
static void has_handles(void *stage) {
    dc_channel *channel = open_flags(DC_EXISTING);
    for (int i = 0; i < 3; i++) producer_of(channel), subscribe(channel, "g", NULL), subscribe(channel, NULL, NULL);
    atomic_store((_Atomic int *)stage, 1);
    for (;;) pause();
}

TEST(s115_only_the_living_are_counted) {
    _Atomic int *stage = shared_memory(4096);
    dc_channel *channel = open_small();
    producer_of(channel);
    pid_t pid = spawn(has_handles, stage);
    await(stage, 1);
    CHECK_EQ(channel_info(channel).producers, 4);
    CHECK_EQ(channel_info(channel).consumers, 6);
    CHECK_EQ(group_info(channel, "g").consumers, 3);
    kill_and_wait(pid);
    CHECK_EQ(channel_info(channel).producers, 1);
    CHECK_EQ(channel_info(channel).consumers, 0);
    CHECK_EQ(group_info(channel, "g").consumers, 0);
}

TEST(s115_disk_bytes_are_what_the_files_take) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 200);
    int64_t limit = now_ms() + LONG_MS;
    while (channel_info(channel).disk_bytes != disk_of(chan_path)) { /* a page may be in preparation */
        if (now_ms() > limit) CHECK_EQ(channel_info(channel).disk_bytes, disk_of(chan_path));
        sleep_ms(50);
    }
}

TEST(s117_consumer_figures_are_exact) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 20);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL), *ob = subscribe_ack(channel, NULL, 0);
    dc_consumer_info i = consumer_info(c);
    CHECK(i.lag == 20 && i.unacked == 0 && i.lost == 0 && i.redelivered == 0 && i.corrupt == 0);
    dc_message m = take_first(c, 0);
    for (uint64_t n = 1; n < 7; n++) m = take_first(c, n);
    i = consumer_info(c);
    CHECK_EQ(i.lag, 13);
    CHECK_EQ(i.unacked, 7);
    CHECK(i.position > m.position);
    CHECK_OK(dc_ack(c, m.position));
    CHECK_EQ(consumer_info(c).unacked, 0);
    m = take_first(c, 7);
    CHECK_OK(dc_nack(c));
    take_again(c, 7, 2);
    i = consumer_info(c);
    CHECK(i.redelivered == 1 && i.unacked == 1 && i.lag == 12);
    CHECK_OK(dc_ack(c, UINT64_MAX - 1));
    take_numbers(ob, 0, 5);
    i = consumer_info(ob);
    CHECK(i.lag == 15 && i.unacked == 0 && i.lost == 0 && i.redelivered == 0);
    send_numbers(p, 20, 1000);
    for (int code, n = 0; n < 2; n++) {
        dc_consumer *who = n ? ob : c;
        uint64_t got = n ? 5 : 8;
        while ((code = receive(who, &m, 0)) != DC_AGAIN) {
            CHECK(code == DC_OK || code == DC_LAGGED);
            got += code == DC_OK;
        }
        i = consumer_info(who);
        CHECK_EQ(i.lost, 1000 - got);
        CHECK_EQ(i.lag, 0);
    }
}

/* Messages of no length, and sizes that need rounding, in the counts of bytes. */
TEST(s115_bytes_are_payload_bytes) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    size_t lengths[] = {0, 1, 7, 8, 9, 100, 1000}, total = 0;
    static char text[1000];
    for (int i = 0; i < 7; i++) {
        CHECK_OK(dc_send(p, text, lengths[i], 0));
        total += lengths[i];
    }
    void *data;
    CHECK_OK(dc_reserve(p, 500, 0, &data));
    memset(data, 0, 500);
    CHECK_OK(dc_commit(p, 3));
    CHECK_EQ(channel_info(channel).bytes, total + 3);
    CHECK_EQ(channel_info(channel).messages, 8);
    CHECK_EQ(verify_info(chan_path).bytes, total + 3);
}
