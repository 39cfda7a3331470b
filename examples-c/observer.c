/* A live tail: an observer sees every message, takes none from any group, and writes nothing.
 * Read permission on the channel is enough; think of `tail -f` for a channel.
 *
 * Prints last: observed 12 lines, the last 2 of yesterday and 10 of today */
#include "example.h"

#include <sys/wait.h>

enum { YESTERDAY = 5, SHOWN = 2, TODAY = 10 };

/* Another process: it writes ten lines, slowly, then says goodbye. */
static void write_lines(const char *path) {
    dc_channel *channel = NULL;
    dc_producer *producer = NULL;
    MUST(dc_open(path, NULL, &channel));
    MUST(dc_producer_open(channel, &producer));
    for (int i = 1; i <= TODAY; i++) {
        char line[64];
        int len = snprintf(line, sizeof line, "today's line %d", i);
        example_pause(20);
        MUST(dc_send(producer, line, (size_t)len, -1));
    }
    MUST(dc_send(producer, "end", 3, -1));
    dc_producer_close(producer);
    dc_close(channel);
}

/* Something to look at: lines that were there before anybody observed. */
static void prepare(const char *path) {
    dc_channel *channel = NULL;
    dc_producer *producer = NULL;
    MUST(dc_open(path, NULL, &channel));
    MUST(dc_producer_open(channel, &producer));
    for (int i = 1; i <= YESTERDAY; i++) {
        char line[64];
        int len = snprintf(line, sizeof line, "yesterday's line %d", i);
        MUST(dc_send(producer, line, (size_t)len, -1));
    }
    dc_producer_close(producer);
    dc_close(channel);
}

int main(int argc, char **argv) {
    const char *path = example_channel(argc, argv, 1);
    prepare(path);

    /* The observer starts at the last two lines there are; then the writer comes. */
    int go[2];
    MUST_BE(pipe(go) == 0);
    pid_t pid = fork(); /* before this process opens its own handles */
    MUST_BE(pid >= 0);
    if (pid == 0) {
        char byte;
        MUST_BE(read(go[0], &byte, 1) == 1);
        write_lines(path);
        _exit(0);
    }
    dc_options options = DC_OPTIONS_INIT;
    options.flags = DC_READ_ONLY; /* implies that the channel exists */
    dc_subscribe_options how = DC_SUBSCRIBE_OPTIONS_INIT;
    how.start = DC_LAST(SHOWN);
    how.flags = DC_AUTO_NEXT_PAGE;
    dc_channel *channel = NULL;
    dc_consumer *observer = NULL;
    MUST(dc_open(path, &options, &channel));
    MUST(dc_subscribe(channel, NULL, &how, &observer)); /* no group: an observer */
    MUST_BE(write(go[1], "!", 1) == 1);

    int lines = 0;
    for (;;) {
        dc_message message;
        int code = dc_recv(observer, &message, -1);
        if (code == DC_LAGGED) {
            puts("(some lines went by unseen)"); /* a ring does not wait for observers */
            continue;
        }
        MUST(code);
        if (message.len == 3 && memcmp(message.data, "end", 3) == 0) break;
        printf("%.*s\n", (int)message.len, (const char *)message.data);
        lines++;
    }
    int status = 1;
    MUST_BE(waitpid(pid, &status, 0) == pid && status == 0);
    dc_consumer_close(observer);
    dc_close(channel);
    example_remove(path);
    printf("observed %d lines, the last %d of yesterday and %d of today\n", lines, SHOWN, TODAY);
    return 0;
}
