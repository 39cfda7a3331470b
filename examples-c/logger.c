/* A thread that must never wait (audio, control loop) writes a log.
 *
 * Timeout 0: never waits for room. DC_PREPARED_ONLY: never even creates a page itself; the library's
 * own thread prepares pages ahead, and when it did not keep up, the line is dropped and counted.
 *
 * Prints last: every line accounted for */
#include "example.h"

enum { LINES = 200000 };

static dc_channel *channel;
static _Atomic unsigned long logged, dropped;

static void *realtime(void *argument) {
    dc_producer *producer = argument; /* opened outside: opening allocates */
    for (unsigned long i = 0; i < LINES; i++) {
        char line[64];
        int len = snprintf(line, sizeof line, "tick %lu, all is well", i);
        int code = dc_send(producer, line, (size_t)len, 0);
        if (code == DC_OK) logged++;
        else if (code == DC_AGAIN) dropped++;
        else MUST(code);
    }
    return NULL;
}

int main(int argc, char **argv) {
    const char *path = example_channel(argc, argv, 1);
    dc_options options = DC_OPTIONS_INIT;
    options.page_size = 1 << 20;
    options.max_pages = 8; /* a ring: the log's disk space is bounded, the oldest page goes */
    options.flags = DC_PREPARED_ONLY;
    dc_producer *producer = NULL;
    dc_consumer *consumer = NULL;
    dc_subscribe_options how = DC_SUBSCRIBE_OPTIONS_INIT;
    how.flags = DC_AUTO_NEXT_PAGE;
    MUST(dc_open(path, &options, &channel));
    MUST(dc_producer_open(channel, &producer));
    MUST(dc_subscribe(channel, "disk writer", &how, &consumer));

    pthread_t thread;
    MUST_BE(!pthread_create(&thread, NULL, realtime, producer));
    unsigned long received = 0, gaps = 0;
    int ended = 0;
    for (;;) {
        dc_message message;
        int code = dc_recv(consumer, &message, ended ? 0 : 20);
        if (code == DC_OK) {
            MUST_BE(message.len > 5 && memcmp(message.data, "tick ", 5) == 0);
            received++;
        } else if (code == DC_LAGGED) {
            gaps++; /* the writer was too slow: the ring dropped some, the stats say how many */
        } else {
            MUST_BE(code == DC_AGAIN);
            if (ended) break;
            ended = logged + dropped == LINES; /* one more round for what came since */
        }
    }
    MUST_BE(!pthread_join(thread, NULL));
    dc_consumer_info info = DC_CONSUMER_INFO_INIT;
    MUST(dc_consumer_stats(consumer, &info));
    printf("%lu logged, %lu dropped at the source\n", (unsigned long)logged, (unsigned long)dropped);
    printf("%lu written, %lu overrun in %lu gaps\n", received, (unsigned long)info.lost, gaps);
    MUST_BE(logged + dropped == LINES);
    MUST_BE(received + info.lost == logged);
    dc_consumer_close(consumer);
    dc_producer_close(producer);
    dc_close(channel);
    example_remove(path);
    puts("every line accounted for");
    return 0;
}
