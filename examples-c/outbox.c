/* An outbox: orders are written down without waiting for the disk, confirmed once they are durable,
 * and delivered to a remote that fails now and then.
 *
 * Sending side: dc_sent_position beside `durable` of the stats is asynchronous commit. Delivering
 * side: DC_ACK_MANUAL, dc_ack for what the remote took, dc_nack to try the rest again.
 *
 * Prints last: 20 orders: all durable, all delivered, 7 of them at the second attempt */
#include "example.h"

enum { ORDERS = 20, BATCH = 10, BREAKS_AT = 3 };

static uint64_t durable(dc_channel *channel) {
    dc_channel_info info = DC_CHANNEL_INFO_INIT;
    MUST(dc_channel_stats(channel, &info));
    return info.durable; /* everything before this position is on stable storage */
}

/* The remote breaks down once, in the middle of the first batch. */
static int remote_accepts(const dc_message *message) {
    static int calls, number;
    if (calls++ == BREAKS_AT) return 0;
    int order;
    memcpy(&order, message->data, sizeof order);
    MUST_BE(order == number++); /* in order, none twice */
    return 1;
}

static void deliver(dc_channel *channel, int *delivered, int *again) {
    dc_subscribe_options options = DC_SUBSCRIBE_OPTIONS_INIT;
    options.ack = DC_ACK_MANUAL;
    dc_consumer *consumer = NULL;
    MUST(dc_subscribe(channel, "mailer", &options, &consumer));
    while (*delivered < ORDERS) {
        dc_message batch[BATCH];
        size_t n = 0, accepted = 0;
        int code = dc_recv_batch(consumer, batch, BATCH, 1000, &n);
        if (code == DC_END_OF_PAGE) {
            MUST(dc_next_page(consumer));
            continue;
        }
        MUST(code);
        while (accepted < n && remote_accepts(&batch[accepted])) {
            *again += (batch[accepted].flags & DC_MESSAGE_REDELIVERED) != 0;
            accepted++;
        }
        if (accepted > 0) MUST(dc_ack(consumer, batch[accepted - 1].position)); /* it and all before */
        if (accepted < n) MUST(dc_nack(consumer));                             /* the others come again */
        *delivered += (int)accepted;
    }
    dc_consumer_close(consumer);
}

int main(int argc, char **argv) {
    const char *path = example_channel(argc, argv, 1);
    dc_options options = DC_OPTIONS_INIT;
    options.retention = DC_RETAIN_UNREAD;
    options.durability = DC_SYNC_INTERVAL; /* one flush serves whatever came since the last one */
    options.sync_interval_ms = 20;
    dc_channel *channel = NULL;
    dc_producer *producer = NULL;
    MUST(dc_open(path, &options, &channel));
    MUST(dc_producer_open(channel, &producer));

    uint64_t position[ORDERS];
    for (int i = 0; i < ORDERS; i++) {
        MUST(dc_send(producer, &i, sizeof i, -1)); /* returns at once */
        position[i] = dc_sent_position(producer);
    }
    /* Meanwhile other work goes on; now and then a look shows which customers can be told. */
    int confirmed = 0;
    for (int look = 0; confirmed < ORDERS; look++) {
        uint64_t until = durable(channel);
        while (confirmed < ORDERS && position[confirmed] < until) confirmed++;
        MUST_BE(look < 10000);
        example_pause(1);
    }
    printf("%d orders confirmed\n", confirmed);

    int delivered = 0, again = 0;
    deliver(channel, &delivered, &again);
    dc_producer_close(producer);
    dc_close(channel);
    example_remove(path);
    printf("%d orders: all durable, all delivered, %d of them at the second attempt\n", delivered, again);
    return 0;
}
