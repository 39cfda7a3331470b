/* What every consumer project builds: one message through a channel. Prints last: consumer: ok */
#include <disk_chan.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    dc_channel *channel = NULL;
    dc_producer *producer = NULL;
    dc_consumer *consumer = NULL;
    dc_message message;
    if (dc_open("consumer.chan", NULL, &channel) || dc_producer_open(channel, &producer) ||
        dc_subscribe(channel, "group", NULL, &consumer) || dc_send(producer, "ok", 2, -1) ||
        dc_recv(consumer, &message, -1)) {
        fprintf(stderr, "%s\n", dc_last_error());
        return 1;
    }
    if (dc_version() != DC_VERSION) {
        fprintf(stderr, "header %#x, library %#x\n", (unsigned)DC_VERSION, (unsigned)dc_version());
        return 1;
    }
    if (message.len != 2 || memcmp(message.data, "ok", 2) != 0) return 1;
    dc_consumer_close(consumer);
    dc_producer_close(producer);
    dc_close(channel);
    if (dc_destroy("consumer.chan")) {
        fprintf(stderr, "%s\n", dc_last_error());
        return 1;
    }
    puts("consumer: ok");
    return 0;
}
