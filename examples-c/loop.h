/* What the examples of event loops share: the other process, and emptying the channel. */
#ifndef DISK_CHAN_LOOP_H
#define DISK_CHAN_LOOP_H

#include "example.h"

#include <sys/wait.h>

enum { MESSAGES = 10 };

/* The other process opens the channel itself and sends a message every 10 ms. It is forked before any handle is opened:
 * handles do not cross a fork. */
static inline pid_t other_process(const char *path) {
    pid_t pid = fork();
    MUST_BE(pid >= 0);
    if (pid != 0) return pid;
    dc_channel *channel = NULL;
    dc_producer *producer = NULL;
    MUST(dc_open(path, NULL, &channel));
    MUST(dc_producer_open(channel, &producer));
    for (int i = 0; i < MESSAGES; i++) {
        example_pause(10);
        MUST(dc_send(producer, &i, sizeof i, -1));
    }
    dc_producer_close(producer);
    dc_close(channel);
    _exit(0);
}

static inline void other_process_is_done(pid_t pid) {
    int status = 1;
    MUST_BE(waitpid(pid, &status, 0) == pid && status == 0);
}

/* Receives until there is nothing more, which arms the descriptor again: right for level- and edge-triggered loops alike. */
static inline int receive_all(dc_consumer *consumer) {
    for (int count = 0;;) {
        dc_message message;
        int code = dc_recv(consumer, &message, 0);
        if (code == DC_AGAIN) return count;
        if (code == DC_END_OF_PAGE) {
            MUST(dc_next_page(consumer)); /* done with the pointers into the old page */
            continue;
        }
        MUST(code);
        MUST_BE(message.len == sizeof(int));
        count++;
    }
}

#endif
