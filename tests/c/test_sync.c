/* Stable storage: what `durable` says, and the three ways to get there. */
#include "chan.h"

#include <pthread.h>
#include <sys/vfs.h>

static dc_channel *open_durable(uint32_t durability, uint32_t flags) {
    dc_options o = small_options();
    o.durability = durability;
    o.sync_interval_ms = 20;
    o.flags = flags;
    return open_at(chan_path, &o);
}

/* Bytes of files that this process has made the kernel write, or will have. */
static uint64_t written(void) {
    FILE *io = fopen("/proc/self/io", "r");
    char line[100];
    unsigned long long bytes = 0;
    CHECK(io != NULL);
    while (fgets(line, sizeof line, io) != NULL) sscanf(line, "write_bytes: %llu", &bytes);
    fclose(io);
    return bytes;
}

TEST(s054_sync_moves_durable_past_what_was_sent) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel), *other = producer_of(channel);
    CHECK_OK(dc_sync(p, 0)); /* nothing sent: nothing to wait for */
    for (uint64_t n = 0; n < 100; n++) {
        send_number(p, n);
        send_number(other, n);
        CHECK_OK(dc_sync(p, LONG_MS));
        CHECK(channel_info(channel).durable > dc_sent_position(p));
        CHECK(channel_info(channel).durable <= channel_info(channel).end);
    }
    CHECK_OK(dc_channel_sync(channel, -1));
    CHECK_EQ(channel_info(channel).durable, channel_info(channel).end);
}

/* A message of a few bytes costs the flush of a few blocks, on pages made in a hurry too, not of the large pieces that the kernel
 * caches a file in which is written in one go. */
TEST(s042_a_flush_writes_little) {
    struct statfs fs;
    SYS(statfs(".", &fs));
    if (fs.f_type == 0x01021994) SKIP("the tests' directory is on a tmpfs");
    dc_options o = retain_options(DC_RETAIN_RING);
    o.page_size = 0;
    o.max_messages_per_page = 0;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    send_number(p, 0);
    CHECK_OK(dc_sync(p, -1));
    uint64_t page = dc_sent_position(p) >> 16;
    uint64_t n = 1;
    for (unsigned char load[100]; dc_sent_position(p) >> 16 == page; n++) CHECK_OK(dc_send(p, load, load_make(load, 0, n, sizeof load), 0));
    CHECK_OK(dc_sync(p, -1));
    uint64_t before = written();
    for (int i = 0; i < 200; i++) {
        send_number(p, n++);
        CHECK_OK(dc_sync(p, -1));
    }
    uint64_t each = (written() - before) / 200;
    CHECK(each > 0 && each < 100 << 10);
}

/* [S55] */
TEST(s055_durable_is_an_asynchronous_commit) {
    dc_channel *channel = open_durable(DC_SYNC_INTERVAL, 0);
    dc_producer *p = producer_of(channel);
    send_number(p, 0);
    uint64_t position = dc_sent_position(p);
    int64_t limit = now_ms() + LONG_MS;
    while (channel_info(channel).durable <= position) {
        CHECK(now_ms() < limit);
        sleep_ms(1);
    }
}

TEST(s042_channel_sync_covers_everybodys) {
    dc_channel *channel = open_small(), *other = open_flags(DC_EXISTING);
    dc_producer *p = producer_of(other);
    dc_consumer *c = subscribe_ack(other, "g", DC_ACK_MANUAL);
    CHECK_OK(dc_channel_sync(channel, 0));
    send_numbers(p, 0, 10);
    dc_message m = take_first(c, 0);
    CHECK_OK(dc_ack(c, m.position));
    CHECK_OK(dc_channel_sync(channel, LONG_MS));
    CHECK_EQ(channel_info(channel).durable, channel_info(channel).end);
}

/* An unpublished message in front holds durability back; the timeout bounds the wait for it. */
TEST(s054_durable_stops_at_an_unpublished_message) {
    dc_options o = small_options();
    o.stall_timeout_ms = 60000;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel), *holder = producer_of(channel);
    send_number(p, 0);
    void *data;
    CHECK_OK(dc_reserve(holder, 8, 0, &data));
    send_number(p, 1);
    CHECK_CODE(dc_sync(p, 0), DC_AGAIN);
    CHECK_CODE(dc_sync(p, 100), DC_AGAIN);
    CHECK_CODE(dc_channel_sync(channel, 100), DC_AGAIN);
    CHECK(channel_info(channel).durable <= dc_sent_position(p));
    memset(data, 0, 8);
    CHECK_OK(dc_commit(holder, 8));
    CHECK_OK(dc_sync(p, LONG_MS));
    CHECK(channel_info(channel).durable > dc_sent_position(p));
}

struct durable_sender {
    dc_channel *channel;
    dc_producer *p;
};

static void *sends_durably(void *argument) {
    struct durable_sender *s = argument;
    for (uint64_t n = 0; n < 200; n++) {
        send_number(s->p, n);
        CHECK(channel_info(s->channel).durable > dc_sent_position(s->p));
    }
    return NULL;
}

/* [S63] */
TEST(s107_always_from_eight_threads) {
    dc_options o = retain_options(DC_RETAIN_RING);
    o.durability = DC_SYNC_ALWAYS;
    o.max_pages = 200;
    dc_channel *channel = open_at(chan_path, &o);
    struct durable_sender s[8];
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        s[i] = (struct durable_sender){channel, producer_of(channel)};
        CHECK(pthread_create(&threads[i], NULL, sends_durably, &s[i]) == 0);
    }
    for (int i = 0; i < 8; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_EQ(channel_info(channel).messages, 1600);
    CHECK_EQ(channel_info(channel).durable, channel_info(channel).end);
}

/* [S65 S52] */
TEST(s107_always_in_batches_and_in_place) {
    dc_channel *channel = open_durable(DC_SYNC_ALWAYS, 0);
    dc_producer *p = producer_of(channel);
    struct iovec messages[30];
    for (int i = 0; i < 30; i++) messages[i] = (struct iovec){&messages, 8};
    for (int round = 0; round < 10; round++) {
        size_t sent;
        CHECK_OK(dc_send_batch(p, messages, 30, LONG_MS, &sent));
        CHECK(channel_info(channel).durable > dc_sent_position(p));
        void *data;
        CHECK_OK(dc_reserve(p, 100, 0, &data));
        memset(data, 1, 100);
        CHECK_OK(dc_commit(p, 50));
        CHECK(channel_info(channel).durable > dc_sent_position(p));
    }
}

/* [S90 S47] Nobody else flushes: durable moves when the program maintains. */
TEST(s106_interval_without_a_thread) {
    dc_channel *channel = open_durable(DC_SYNC_INTERVAL, DC_NO_THREAD);
    dc_producer *p = producer_of(channel);
    send_number(p, 0);
    int64_t limit = now_ms() + LONG_MS;
    while (channel_info(channel).durable <= dc_sent_position(p)) {
        int code = dc_maintain(channel, 100);
        CHECK(code == DC_OK || code == DC_AGAIN);
        CHECK(now_ms() < limit);
    }
}

/* Messages go round the ring and the interval goes on. */
TEST(s106_interval_with_the_library_thread) {
    dc_channel *channel = open_durable(DC_SYNC_INTERVAL, 0);
    dc_producer *p = producer_of(channel);
    for (int round = 0; round < 5; round++) {
        send_numbers(p, 0, 100);
        int64_t limit = now_ms() + LONG_MS;
        while (channel_info(channel).durable <= dc_sent_position(p)) {
            CHECK(now_ms() < limit);
            sleep_ms(1);
        }
    }
}

/* Two opens of one channel, each with its own way. */
TEST(s107_durability_is_of_the_open) {
    dc_channel *lazy = open_small(), *safe = open_durable(DC_SYNC_ALWAYS, 0);
    dc_producer *p = producer_of(lazy), *q = producer_of(safe);
    send_numbers(p, 0, 10);
    send_number(q, 10);
    CHECK(channel_info(lazy).durable > dc_sent_position(q));
    send_number(p, 11);
    dc_consumer *c = subscribe_ack(safe, "g", DC_ACK_NEXT);
    take_numbers(c, 0, 12); /* seen, durable or not */
}

static void *receives_one(void *c) {
    take_first(c, 0);
    return NULL;
}

/* A consumer need not wait for the flush; what it gets is the message, whole. */
TEST(s069_consumers_may_see_it_before_it_is_durable) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, receives_one, c) == 0);
    send_number(p, 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(channel_info(channel).durable <= dc_sent_position(p)); /* nobody has flushed */
}
