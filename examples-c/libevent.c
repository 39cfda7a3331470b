/* libevent: the channel's eventfd is an event like any other, beside a timer.
 *
 * Needs: libevent
 * Prints last: 10 messages, the timer ticked */
#include "loop.h"

#include <event2/event.h>

struct app {
    struct event_base *base;
    dc_consumer *consumer;
    int messages, ticks;
};

static void look_whether_done(struct app *app) {
    if (app->messages == MESSAGES && app->ticks) MUST_BE(event_base_loopbreak(app->base) == 0);
}

static void readable(evutil_socket_t inbox, short what, void *argument) {
    struct app *app = argument;
    (void)inbox, (void)what;
    app->messages += receive_all(app->consumer);
    look_whether_done(app);
}

static void ticked(evutil_socket_t none, short what, void *argument) {
    struct app *app = argument;
    (void)none, (void)what;
    app->ticks++;
    look_whether_done(app);
}

int main(int argc, char **argv) {
    const char *path = example_channel(argc, argv, 1);
    pid_t pid = other_process(path);
    struct app app = {0};
    dc_channel *channel = NULL;
    MUST(dc_open(path, NULL, &channel));
    MUST(dc_subscribe(channel, "loop", NULL, &app.consumer));

    int inbox = dc_consumer_fd(app.consumer); /* owned by the handle: never read, written or closed by us */
    MUST(inbox < 0 ? inbox : DC_OK);
    struct timeval every = {0, 20 * 1000};
    app.base = event_base_new();
    MUST_BE(app.base != NULL);
    struct event *messages = event_new(app.base, inbox, EV_READ | EV_PERSIST, readable, &app);
    struct event *timer = event_new(app.base, -1, EV_PERSIST, ticked, &app);
    MUST_BE(messages && timer && event_add(messages, NULL) == 0 && event_add(timer, &every) == 0);
    MUST_BE(event_base_dispatch(app.base) == 0);

    event_free(messages); /* before the consumer, whose descriptor it is */
    event_free(timer);
    event_base_free(app.base);
    other_process_is_done(pid);
    dc_consumer_close(app.consumer);
    dc_close(channel);
    example_remove(path);
    printf("%d messages, the timer ticked\n", app.messages);
    return 0;
}
