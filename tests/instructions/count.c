/* What scripts/instructions.sh counts: ten thousand messages of 100 bytes through one call of each kind.
 *
 * count CALL CHECKSUM CONSUMERS: CALL is send, recv, send_batch or recv_batch (of 16). */
#include <disk_chan.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 10000, BATCH = 16, LEN = 100 };

#define OK(call) (void)((call) == DC_OK || (fprintf(stderr, "%s: %s\n", #call, dc_last_error()), exit(1), 0))

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    const char *call = argv[1], *path = "channel";
    dc_options o = DC_OPTIONS_INIT;
    o.flags = DC_NEW | DC_NO_THREAD;
    o.retention = DC_RETAIN_UNREAD;
    o.checksum = strcmp(argv[2], "on") ? DC_CHECKSUM_OFF : DC_CHECKSUM_ON;
    dc_subscribe_options s = DC_SUBSCRIBE_OPTIONS_INIT;
    s.flags = DC_AUTO_NEXT_PAGE;
    dc_channel *channel;
    dc_producer *producer;
    dc_consumer *consumers[8];
    int others = atoi(argv[3]);
    if (others < 1 || others > 8) return 2;
    OK(dc_open(path, &o, &channel));
    OK(dc_producer_open(channel, &producer));
    for (int i = 0; i < others; i++) OK(dc_subscribe(channel, "g", &s, &consumers[i]));

    static char payload[LEN];
    struct iovec parts[BATCH];
    for (int i = 0; i < BATCH; i++) parts[i] = (struct iovec){payload, LEN};
    dc_message messages[BATCH];
    size_t n = 1;
    for (int i = 0; i < COUNT; i += (int)n) {
        if (!strcmp(call, "send_batch")) OK(dc_send_batch(producer, parts, BATCH, -1, &n));
        else OK(dc_send(producer, payload, LEN, -1));
    }
    n = 1;
    for (int i = 0; i < COUNT; i += (int)n) {
        if (!strcmp(call, "recv_batch")) OK(dc_recv_batch(consumers[0], messages, BATCH, -1, &n));
        else OK(dc_recv(consumers[0], messages, -1));
    }
    for (int i = 0; i < others; i++) dc_consumer_close(consumers[i]);
    dc_producer_close(producer);
    dc_close(channel);
    OK(dc_destroy(path));
    return 0;
}
