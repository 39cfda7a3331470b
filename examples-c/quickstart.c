/* The main job in one file: open a channel, send, receive, close.
 *
 * Run it twice with a path (quickstart /tmp/orders) and the second run continues where the first
 * stopped: the channel and the group's place in it are on disk.
 *
 * Prints last: received 3 orders */
#include <disk_chan.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Codes are 0, positive (no message now, go on) or negative (it did not happen, and this is why). */
static void check(int code, const char *what) {
    if (code >= 0) return;
    fprintf(stderr, "%s: %s: %s\n", what, dc_error_name(code), dc_last_error());
    exit(1);
}

int main(int argc, char **argv) {
    char directory[] = "/tmp/disk_chan.XXXXXX", fresh[64];
    if (argc < 2) {
        if (!mkdtemp(directory)) return perror(directory), 1;
        snprintf(fresh, sizeof fresh, "%s/channel", directory);
    }
    const char *path = argc < 2 ? fresh : argv[1];

    /* NULL options: 16 pages of 16 MiB, the oldest page goes when a new one is needed. */
    dc_channel *channel = NULL;
    check(dc_open(path, NULL, &channel), "open");

    /* Any number of threads and processes may have producers; a handle belongs to one thread at a time. */
    dc_producer *producer = NULL;
    check(dc_producer_open(channel, &producer), "producer");
    const char *orders[] = {"one coffee", "two teas", "three cakes"};
    for (int i = 0; i < 3; i++) check(dc_send(producer, orders[i], strlen(orders[i]), -1), "send");

    /* A group is a named place in the channel. Its consumers share the messages; another group gets
     * every message as well. DC_AUTO_NEXT_PAGE: we use a message before we ask for the next one. */
    dc_subscribe_options options = DC_SUBSCRIBE_OPTIONS_INIT;
    options.flags = DC_AUTO_NEXT_PAGE;
    dc_consumer *consumer = NULL;
    check(dc_subscribe(channel, "kitchen", &options, &consumer), "subscribe");

    int count = 0;
    for (;;) {
        dc_message message; /* points into the mapped page: nothing is copied */
        int code = dc_recv(consumer, &message, 0);
        if (code == DC_AGAIN) break; /* nothing more for now */
        check(code, "recv");
        if (code == DC_LAGGED) continue; /* the ring dropped some before we came */
        printf("%.*s\n", (int)message.len, (const char *)message.data);
        count++;
    }

    /* Asking again acknowledged the last one; what a closed or dead consumer left goes to another. */
    dc_consumer_close(consumer);
    dc_producer_close(producer);
    dc_close(channel);
    if (argc < 2) {
        check(dc_destroy(path), "destroy");
        rmdir(directory);
    }
    printf("received %d orders\n", count);
    return 0;
}
