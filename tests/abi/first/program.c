/* A program of the days of the first header (beside it), run with the library of today. Neither is ever changed. */
#include <disk_chan.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IS(call, code) is((call), (code), #call)
static void is(int found, int wanted, const char *call) {
    if (found == wanted) return;
    fprintf(stderr, "%s: %d instead of %d: %s\n", call, found, wanted, dc_last_error());
    exit(1);
}

#define SO(condition) ((condition) ? (void)0 : (fprintf(stderr, "not so: %s\n", #condition), exit(1)))

/* What a struct's end may not be written beyond, nor read. */
static struct { dc_channel_info info; unsigned char after[64]; } channel_info = {DC_CHANNEL_INFO_INIT, {0}};
static struct { dc_group_info info; unsigned char after[64]; } group_info = {DC_GROUP_INFO_INIT, {0}};
static struct { dc_consumer_info info; unsigned char after[64]; } consumer_info = {DC_CONSUMER_INFO_INIT, {0}};
static struct { dc_verify_info info; unsigned char after[64]; } verify_info = {DC_VERIFY_INFO_INIT, {0}};

static void untouched(const unsigned char *after) {
    for (int i = 0; i < 64; i++) SO(after[i] == 0xA5);
}

int main(void) {
    const char *path = "channel";
    struct { dc_options options; unsigned char after[64]; } open = {DC_OPTIONS_INIT, {0}};
    struct { dc_subscribe_options options; unsigned char after[64]; } sub = {DC_SUBSCRIBE_OPTIONS_INIT, {0}};
    dc_channel *channel;
    dc_producer *producer;
    dc_consumer *consumer;
    dc_message message, batch[4];
    struct iovec parts[2] = {{(char[]){"one"}, 3}, {(char[]){"two"}, 3}};
    void *place;
    size_t n;
    char name[DC_GROUP_NAME_MAX + 1];
    memset(open.after, 0xA5, 64), memset(sub.after, 0xA5, 64);
    memset(channel_info.after, 0xA5, 64), memset(group_info.after, 0xA5, 64);
    memset(consumer_info.after, 0xA5, 64), memset(verify_info.after, 0xA5, 64);

    SO(dc_version() >= DC_VERSION && dc_version_string()[0]);
    open.options.page_size = 65536, open.options.max_pages = 4, open.options.max_messages_per_page = 100;
    open.options.retention = DC_RETAIN_UNREAD, open.options.checksum = DC_CHECKSUM_ON;
    open.options.flags = DC_NEW | DC_NO_THREAD;
    IS(dc_open(path, &open.options, &channel), DC_OK);
    IS(dc_producer_open(channel, &producer), DC_OK);
    sub.options.ack = DC_ACK_MANUAL, sub.options.max_unacked = 10, sub.options.flags = DC_AUTO_NEXT_PAGE;
    IS(dc_subscribe(channel, "old", &sub.options, &consumer), DC_OK);

    IS(dc_send(producer, "hello", 5, -1), DC_OK);
    IS(dc_sendv(producer, parts, 2, -1), DC_OK);
    IS(dc_send_batch(producer, parts, 2, -1, &n), DC_OK);
    IS(dc_reserve(producer, 8, -1, &place), DC_OK);
    memcpy(place, "in place", 8);
    IS(dc_commit(producer, 8), DC_OK);
    IS(dc_sync(producer, -1), DC_OK);

    IS(dc_recv(consumer, &message, -1), DC_OK);
    SO(message.len == 5 && !memcmp(message.data, "hello", 5) && message.deliveries == 1 && !message.flags);
    IS(dc_recv(consumer, &message, -1), DC_OK);
    SO(message.len == 6 && !memcmp(message.data, "onetwo", 6));
    IS(dc_ack(consumer, message.position), DC_OK);
    IS(dc_recv_batch(consumer, batch, 4, -1, &n), DC_OK);
    SO(n == 3 && !memcmp(batch[2].data, "in place", 8));
    IS(dc_consumer_stats(consumer, &consumer_info.info), DC_OK);
    SO(consumer_info.info.unacked == 3 && consumer_info.info.lag == 0);
    IS(dc_nack(consumer), DC_OK);
    IS(dc_recv(consumer, &message, -1), DC_OK);
    SO(message.flags == DC_MESSAGE_REDELIVERED && message.deliveries == 2);

    IS(dc_group_stats(channel, "old", &group_info.info), DC_OK);
    IS(dc_channel_stats(channel, &channel_info.info), DC_OK);
    SO(channel_info.info.messages == 5 && group_info.info.consumers == 1);
    IS(dc_group_next(channel, NULL, name, sizeof name), DC_OK);
    SO(!strcmp(name, "old"));
    dc_consumer_close(consumer);
    dc_producer_close(producer);
    dc_close(channel);
    IS(dc_verify(path, &verify_info.info), DC_OK);
    SO(verify_info.info.messages == 5 && verify_info.info.corrupt == 0);
    IS(dc_open(path, &open.options, &channel), -17); /* -EEXIST: DC_NEW */
    SO(!strcmp(dc_error_name(DC_AGAIN), "DC_AGAIN"));
    IS(dc_destroy(path), DC_OK);
    untouched(open.after), untouched(sub.after), untouched(channel_info.after);
    untouched(group_info.after), untouched(consumer_info.after), untouched(verify_info.after);
    puts("works");
    return 0;
}
