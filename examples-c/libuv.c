/* libuv: the channel's eventfd is a uv_poll_t, beside a timer of the loop's own.
 *
 * Needs: libuv
 * Prints last: 10 messages, the timer ticked */
#include "loop.h"

#include <uv.h>

struct app {
    uv_loop_t loop;
    uv_poll_t inbox;
    uv_timer_t timer;
    dc_consumer *consumer;
    int messages, ticks;
};

static void look_whether_done(struct app *app) {
    if (app->messages < MESSAGES || !app->ticks) return;
    uv_close((uv_handle_t *)&app->inbox, NULL); /* before the consumer, whose descriptor it is */
    uv_close((uv_handle_t *)&app->timer, NULL);
}

static void readable(uv_poll_t *inbox, int status, int events) {
    struct app *app = inbox->data;
    MUST_BE(status == 0 && events == UV_READABLE);
    app->messages += receive_all(app->consumer);
    look_whether_done(app);
}

static void ticked(uv_timer_t *timer) {
    struct app *app = timer->data;
    if (app->ticks++ == 0) look_whether_done(app);
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
    MUST_BE(uv_loop_init(&app.loop) == 0);
    MUST_BE(uv_poll_init(&app.loop, &app.inbox, inbox) == 0);
    MUST_BE(uv_timer_init(&app.loop, &app.timer) == 0);
    app.inbox.data = app.timer.data = &app;
    MUST_BE(uv_poll_start(&app.inbox, UV_READABLE, readable) == 0);
    MUST_BE(uv_timer_start(&app.timer, ticked, 20, 20) == 0);
    MUST_BE(uv_run(&app.loop, UV_RUN_DEFAULT) == 0);
    MUST_BE(uv_loop_close(&app.loop) == 0);

    other_process_is_done(pid);
    dc_consumer_close(app.consumer);
    dc_close(channel);
    example_remove(path);
    printf("%d messages, the timer ticked\n", app.messages);
    return 0;
}
