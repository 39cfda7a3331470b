/* Backpressure in an event loop: the producer never blocks inside the library.
 *
 * dc_send with timeout 0 says DC_AGAIN when the channel is full; that arms the producer's eventfd,
 * and poll() tells when there may be room. The consumer is slower, and the channel small on purpose.
 *
 * Prints last: 20000 messages through 2 small pages, none lost */
#include "example.h"

#include <poll.h>

enum { MESSAGES = 20000, BYTES = 100 };

static void *slow_consumer(void *argument) {
    dc_consumer *consumer = argument;
    for (int expected = 0; expected < MESSAGES; expected++) {
        dc_message message;
        int number;
        MUST(dc_recv(consumer, &message, -1));
        memcpy(&number, message.data, sizeof number);
        MUST_BE(message.len == BYTES && number == expected);
        if (expected % 1000 == 999) example_pause(10);
    }
    dc_consumer_close(consumer); /* gives back what it did not acknowledge, and frees the page it holds */
    return NULL;
}

int main(int argc, char **argv) {
    const char *path = example_channel(argc, argv, 1);
    dc_options options = DC_OPTIONS_INIT;
    options.page_size = 64 * 1024;
    options.max_pages = 2;
    options.retention = DC_RETAIN_UNREAD; /* full means full: nothing unread is dropped */
    dc_channel *channel = NULL;
    dc_producer *producer = NULL;
    dc_consumer *consumer = NULL;
    dc_subscribe_options how = DC_SUBSCRIBE_OPTIONS_INIT;
    how.flags = DC_AUTO_NEXT_PAGE;
    pthread_t thread;
    MUST(dc_open(path, &options, &channel));
    MUST(dc_producer_open(channel, &producer));
    MUST(dc_subscribe(channel, "slow", &how, &consumer));

    int room = dc_producer_fd(producer); /* the handle's own: never read, written or closed by us */
    MUST(room < 0 ? room : DC_OK);
    MUST_BE(!pthread_create(&thread, NULL, slow_consumer, consumer));

    int sent = 0, waits = 0;
    char bytes[BYTES] = {0};
    while (sent < MESSAGES) {
        memcpy(bytes, &sent, sizeof sent);
        int code = dc_send(producer, bytes, sizeof bytes, 0);
        if (code == DC_AGAIN) {
            /* A real loop has other descriptors here, and would stop reading its own input. */
            struct pollfd fds[] = {{.fd = room, .events = POLLIN}};
            MUST_BE(poll(fds, 1, -1) >= 0 || errno == EINTR);
            waits++;
            continue;
        }
        MUST(code);
        sent++;
    }
    MUST_BE(!pthread_join(thread, NULL));
    MUST_BE(waits > 0);
    printf("the producer waited %d times\n", waits);
    dc_producer_close(producer);
    dc_close(channel);
    example_remove(path);
    printf("%d messages through 2 small pages, none lost\n", sent);
    return 0;
}
