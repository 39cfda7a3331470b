/* Runs what docs/snippets shows, and so what the manual pages show: each on a channel of its own. */
#include "fragment.h"

#include <pthread.h>
#include <signal.h>

struct record {
    int id;
    const char *name;
};
struct header {
    uint32_t kind, version;
};
static int handled, refuse_at;
static int handle(const dc_message *message) { return message->len > 0 && ++handled != refuse_at; }
static volatile int stopping;

#include "../../docs/snippets/ack.c"
#include "../../docs/snippets/groups.c"
#include "../../docs/snippets/interrupt.c"
#include "../../docs/snippets/maintain.c"
#include "../../docs/snippets/open.c"
#include "../../docs/snippets/producer_fd.c"
#include "../../docs/snippets/recv.c"
#include "../../docs/snippets/consumer_fd.c"
#include "../../docs/snippets/reserve.c"
#include "../../docs/snippets/seek.c"
#include "../../docs/snippets/send_batch.c"
#include "../../docs/snippets/sendv.c"
#include "../../docs/snippets/sync.c"
#include "../../docs/snippets/verify.c"

#define IS(expected, call) is((expected), (call), #call)
static void is(int expected, int code, const char *call) {
    if (code == expected) return;
    fprintf(stderr, "%s is %d (%s), not %d: %s\n", call, code, dc_error_name(code), expected, dc_last_error());
    exit(1);
}

int main(void) {
    dc_channel *channel;
    dc_producer *producer;
    dc_consumer *consumer;
    dc_message message;
    IS(DC_OK, open_queue("queue", &channel));
    IS(DC_OK, dc_producer_open(channel, &producer));

    /* Three kinds of sends, 1 + 1 + 3 messages; one that is given back. */
    struct record record = {7, "seven"}, long_one = {8, "012345678901234567890123456789012345678901234567890123456789"
                                                        "012345678901234567890123456789012345678901234567890123456789"
                                                        "01234567"};
    struct header header = {1, 2};
    char body[] = "body";
    struct iovec three[] = {{body, 1}, {body, 2}, {body, 3}};
    struct pollfd room = {.fd = -1};
    IS(DC_OK, dc_subscribe(channel, "workers", NULL, &consumer));
    IS(DC_OK, send_record(producer, &record));
    IS(DC_OK, send_record(producer, &long_one));
    IS(DC_OK, send_parts(producer, &header, body, 4));
    IS(DC_OK, send_all(producer, three, 3));
    IS(DC_OK, try_to_send(producer, "last", &room));
    IS(1, is_durable(channel, producer));
    IS(1, is_durable(channel, producer));
    IS(DC_OK, print_groups(channel));
    IS(DC_OK, print_all(consumer));
    IS(DC_OK, rewind_group(consumer, 0));
    IS(DC_OK, dc_recv(consumer, &message, 0));
    IS(0, memcmp(message.data, "7 seven", 7));
    IS(DC_OK, rewind_group(consumer, message.position));
    IS(DC_OK, dc_recv(consumer, &message, 0));
    IS(12, (int)message.len);
    dc_consumer_close(consumer);

    /* Of five messages of another group the third is refused at first. */
    dc_subscribe_options manual = DC_SUBSCRIBE_OPTIONS_INIT;
    manual.ack = DC_ACK_MANUAL;
    IS(DC_OK, dc_subscribe(channel, "mailer", &manual, &consumer));
    refuse_at = 3;
    IS(DC_OK, work(consumer));
    refuse_at = 0;
    IS(DC_OK, work(consumer));
    IS(3 + 4, handled);
    IS(DC_AGAIN, work(consumer));

    /* The loop ends with its other descriptor; the interrupt comes from a signal. */
    int ends[2];
    IS(0, pipe(ends));
    IS(1, (int)write(ends[1], "x", 1));
    IS(DC_OK, serve(consumer, ends[0]));
    close(ends[0]), close(ends[1]);
    waiting = consumer;
    signal(SIGUSR1, stop);
    IS(0, raise(SIGUSR1));
    IS(-ECANCELED, dc_recv(consumer, &message, -1));

    pthread_t thread;
    IS(0, pthread_create(&thread, NULL, maintenance, channel));
    stopping = 1;
    IS(0, pthread_join(thread, NULL));
    dc_consumer_close(consumer);
    dc_producer_close(producer);
    dc_close(channel);
    IS(1, is_sound("queue"));
    IS(DC_OK, dc_destroy("queue"));
    puts("every snippet does what it says");
    return 0;
}
