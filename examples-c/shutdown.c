/* A clean end: SIGINT or SIGTERM ends a program whose threads wait inside the library.
 *
 * dc_interrupt and dc_producer_interrupt may be called from a signal handler, and they stick: if
 * nobody waits at that moment, the next call that would wait returns -ECANCELED instead. So there
 * is no window in which the signal gets lost.
 *
 * Prints last: clean end: the sender and the receiver stopped waiting */
#include "example.h"

#include <signal.h>

static dc_consumer *consumer;
static dc_producer *producer;

static void on_signal(int signal) {
    (void)signal;
    int a = dc_interrupt(consumer), b = dc_producer_interrupt(producer); /* errno is preserved */
    (void)a, (void)b;
}

/* Fills the channel, then waits for room that never comes. */
static void *send_until_told(void *unused) {
    (void)unused;
    unsigned long sent = 0;
    for (;;) {
        int code = dc_send(producer, "work", 4, -1);
        if (code == -ECANCELED) break;
        if (code == -EINTR) continue; /* the handler ran on this thread; the interrupt follows */
        MUST(code);
        sent++;
    }
    printf("sender: stopped after %lu messages\n", sent);
    return NULL;
}

int main(int argc, char **argv) {
    const char *path = example_channel(argc, argv, 1);
    char idle_path[4200];
    snprintf(idle_path, sizeof idle_path, "%s-idle", path);
    dc_channel *full = NULL, *idle = NULL;
    dc_options options = DC_OPTIONS_INIT;
    options.page_size = 64 * 1024;
    options.max_pages = 2;
    options.retention = DC_RETAIN_UNREAD; /* nobody reads, so it fills up */
    MUST(dc_open(path, &options, &full));
    MUST(dc_open(idle_path, NULL, &idle));
    MUST(dc_producer_open(full, &producer));
    MUST(dc_subscribe(idle, "waiting", NULL, &consumer));

    /* Both handles exist, so the handler may run from here on. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    MUST_BE(!sigaction(SIGINT, &action, NULL) && !sigaction(SIGTERM, &action, NULL) &&
            !sigaction(SIGALRM, &action, NULL));
    pthread_t thread;
    MUST_BE(!pthread_create(&thread, NULL, send_until_told, NULL));
    alarm(1); /* stands in for the user who presses Ctrl-C */

    for (;;) {
        dc_message message;
        int code = dc_recv(consumer, &message, -1);
        if (code == -ECANCELED) break;
        if (code == -EINTR) continue; /* also under SA_RESTART: some handler ran, ours or another */
        MUST(code);
    }
    printf("receiver: stopped\n");
    MUST_BE(!pthread_join(thread, NULL));

    /* Before the handles go, the handler must not find them. */
    action.sa_handler = SIG_DFL;
    MUST_BE(!sigaction(SIGINT, &action, NULL) && !sigaction(SIGTERM, &action, NULL) &&
            !sigaction(SIGALRM, &action, NULL));
    dc_consumer_close(consumer);
    dc_producer_close(producer);
    dc_close(idle);
    dc_close(full);
    MUST(dc_destroy(idle_path));
    example_remove(path);
    puts("clean end: the sender and the receiver stopped waiting");
    return 0;
}
