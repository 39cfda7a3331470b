/* Many to many: 4 producer and 4 consumer threads share one group on a channel that loses nothing.
 *
 * mpmc [messages [path]]. Every message is checked: its bytes, that it comes exactly once, and that
 * each consumer sees each producer's messages in the order sent.
 *
 * Prints last: 5000000 messages, each exactly once */
#include "example.h"

enum { PRODUCERS = 4, CONSUMERS = 4, BYTES = 100 };
struct load { uint64_t producer, sequence; unsigned char fill[BYTES - 16]; };

static dc_channel *channel;
static uint64_t total = 5000000;
static _Atomic uint64_t received;
static _Atomic unsigned char *seen; /* a bit a message */

static uint64_t share(uint64_t p) { return total / PRODUCERS + (p < total % PRODUCERS); }
static uint64_t first(uint64_t p) { return p * (total / PRODUCERS) + (p < total % PRODUCERS ? p : total % PRODUCERS); }
static unsigned char fill(uint64_t p, uint64_t sequence) { return (unsigned char)(sequence * 131 + p * 17 + 1); }

static void *produce(void *argument) {
    uint64_t p = (uint64_t)(uintptr_t)argument;
    dc_producer *producer = NULL;
    MUST(dc_producer_open(channel, &producer));
    for (uint64_t i = 0; i < share(p); i++) {
        struct load load = {p, i, {0}};
        memset(load.fill, fill(p, i), sizeof load.fill);
        MUST(dc_send(producer, &load, sizeof load, -1)); /* waits while the channel is full */
    }
    dc_producer_close(producer);
    return NULL;
}

static void *consume(void *argument) {
    dc_consumer *consumer = argument;
    uint64_t next[PRODUCERS] = {0};
    for (;;) {
        dc_message message;
        int code = dc_recv(consumer, &message, -1);
        if (code == -ECANCELED) break; /* dc_interrupt: all have arrived */
        MUST(code);
        struct load load, expected = {0, 0, {0}};
        MUST_BE(message.len == sizeof load && !(message.flags & DC_MESSAGE_REDELIVERED));
        memcpy(&load, message.data, sizeof load);
        MUST_BE(load.producer < PRODUCERS && load.sequence < share(load.producer));
        memset(expected.fill, fill(load.producer, load.sequence), sizeof expected.fill);
        MUST_BE(memcmp(load.fill, expected.fill, sizeof load.fill) == 0);
        MUST_BE(load.sequence >= next[load.producer]); /* in order */
        next[load.producer] = load.sequence + 1;
        uint64_t index = first(load.producer) + load.sequence;
        unsigned char bit = (unsigned char)(1u << index % 8);
        MUST_BE(!(atomic_fetch_or(&seen[index / 8], bit) & bit)); /* not twice */
        atomic_fetch_add(&received, 1);
    }
    return NULL;
}

/* Redrawn in place on a terminal; elsewhere a plain line a second. */
static void progress(double start, int end) {
    uint64_t n = received;
    double elapsed = example_seconds() - start;
    int terminal = isatty(STDERR_FILENO);
    fprintf(stderr, "%s%10llu messages  %5.1f %%  %6.2f M/s  %6.1f s%s", terminal ? "\r" : "", (unsigned long long)n,
            100.0 * (double)n / (double)total, (double)n / elapsed / 1e6, elapsed, terminal && !end ? "" : "\n");
}

int main(int argc, char **argv) {
    if (argc > 1) total = strtoull(argv[1], NULL, 10);
    MUST_BE(total > 0 && (seen = calloc(total / 8 + 1, 1)));
    const char *path = example_channel(argc, argv, 2);
    dc_options options = DC_OPTIONS_INIT;
    options.page_size = 1 << 24;
    options.max_pages = 16;
    options.retention = DC_RETAIN_UNREAD; /* nothing unread is dropped: senders wait instead */
    MUST(dc_open(path, &options, &channel));

    dc_subscribe_options how = DC_SUBSCRIBE_OPTIONS_INIT;
    how.flags = DC_AUTO_NEXT_PAGE;
    dc_consumer *consumers[CONSUMERS]; /* before the producers: the group exists from the first message on */
    pthread_t threads[PRODUCERS + CONSUMERS];
    for (int i = 0; i < CONSUMERS; i++) MUST(dc_subscribe(channel, "everyone", &how, &consumers[i]));
    double start = example_seconds();
    for (int i = 0; i < CONSUMERS; i++) MUST_BE(!pthread_create(&threads[i], NULL, consume, consumers[i]));
    for (int i = 0; i < PRODUCERS; i++)
        MUST_BE(!pthread_create(&threads[CONSUMERS + i], NULL, produce, (void *)(uintptr_t)i));

    int every = isatty(STDERR_FILENO) ? 10 : 100; /* hundredths of a second */
    for (int tick = 1; received < total; tick++) {
        example_pause(10);
        if (tick % every == 0) progress(start, 0);
    }
    progress(start, 1);
    for (int i = 0; i < CONSUMERS; i++) MUST(dc_interrupt(consumers[i])); /* sticky: it cannot come too early */
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++) MUST_BE(!pthread_join(threads[i], NULL));
    for (int i = 0; i < CONSUMERS; i++) dc_consumer_close(consumers[i]); /* not while dc_interrupt may run */
    dc_close(channel);
    example_remove(path);
    free((void *)seen);
    printf("%llu messages, each exactly once\n", (unsigned long long)total);
    return 0;
}
