/* No copies: the producer writes into the page, the consumer reads there.
 *
 * dc_reserve gives room in the mapped page, dc_commit publishes it (shorter, if it turned out so),
 * dc_abort gives it back. On the other side a whole page of messages is kept as pointers.
 *
 * Prints last: 3000 records of 2 fields, added up in place */
#include "example.h"

enum { RECORDS = 3000, LONGEST = 128 };

static void produce(dc_producer *producer) {
    for (int i = 0; i < RECORDS; i++) {
        void *room = NULL;
        MUST(dc_reserve(producer, LONGEST, -1, &room));
        int len = snprintf(room, LONGEST, "%d,%d", i, i * 2); /* straight into the page */
        if (i % 1000 == 999) {
            MUST(dc_abort(producer)); /* second thoughts: nobody ever sees it */
            MUST(dc_reserve(producer, LONGEST, -1, &room));
            len = snprintf(room, LONGEST, "%d,%d", i, i * 2);
        }
        /* Readers wait behind an open reservation, so keep it short; stall_timeout_ms bounds it. */
        MUST(dc_commit(producer, (size_t)len));
    }
}

/* Two numbers, read where they lie: a message has a length and no terminating zero. */
static long add(const dc_message *message) {
    const char *text = message->data;
    long sum = 0, field = 0;
    for (size_t i = 0; i < message->len; i++) {
        if (text[i] == ',') {
            sum += field;
            field = 0;
        } else {
            field = field * 10 + (text[i] - '0');
        }
    }
    return sum + field;
}

int main(int argc, char **argv) {
    const char *path = example_channel(argc, argv, 1);
    dc_options options = DC_OPTIONS_INIT;
    options.page_size = 64 * 1024; /* small, to show the end of a page */
    dc_channel *channel = NULL;
    dc_producer *producer = NULL;
    dc_consumer *consumer = NULL;
    MUST(dc_open(path, &options, &channel));
    MUST(dc_producer_open(channel, &producer));
    MUST(dc_subscribe(channel, "adder", NULL, &consumer));
    produce(producer);

    /* Pointers stay valid and unchanged until dc_next_page, whatever producers do meanwhile. So a
     * page's messages may be collected first and used together. (Acknowledging is another matter:
     * by default the next receiving call acknowledges, DC_ACK_MANUAL leaves it to dc_ack.) */
    static dc_message page[RECORDS];
    size_t held = 0;
    long records = 0, sum = 0;
    for (;;) {
        int code = dc_recv(consumer, &page[held], 0);
        if (code == DC_OK) {
            held++;
            continue;
        }
        for (size_t i = 0; i < held; i++) sum += add(&page[i]);
        records += (long)held;
        held = 0;
        if (code == DC_AGAIN) break;
        MUST_BE(code == DC_END_OF_PAGE);
        MUST(dc_next_page(consumer)); /* from here on the pointers are gone */
    }
    MUST_BE(records == RECORDS);
    MUST_BE(sum == 3L * (RECORDS - 1) * RECORDS / 2);

    dc_consumer_close(consumer);
    dc_producer_close(producer);
    dc_close(channel);
    example_remove(path);
    printf("%ld records of 2 fields, added up in place\n", records);
    return 0;
}
