/* One event loop: the channel's eventfd, a timerfd and a pipe.
 *
 * The messages come from another process, which wakes our descriptor; the pipe tells when it is done.
 *
 * Prints last: 10 messages, the timer ticked, the pipe closed */
#include "example.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

enum { MESSAGES = 10 };

/* The other process: it opens the channel itself, and closing the pipe is its goodbye. */
static void other_process(const char *path) {
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
}

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    MUST_BE(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

/* Receives until there is nothing more: right for level- and edge-triggered loops alike. */
static int receive_all(dc_consumer *consumer) {
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

int main(int argc, char **argv) {
    const char *path = example_channel(argc, argv, 1);
    int pipe_ends[2];
    MUST_BE(pipe(pipe_ends) == 0);
    pid_t pid = fork(); /* before any handle is opened: handles do not cross a fork */
    MUST_BE(pid >= 0);
    if (pid == 0) {
        close(pipe_ends[0]);
        other_process(path);
        _exit(0);
    }
    close(pipe_ends[1]);

    dc_channel *channel = NULL;
    dc_consumer *consumer = NULL;
    MUST(dc_open(path, NULL, &channel));
    MUST(dc_subscribe(channel, "loop", NULL, &consumer));

    int inbox = dc_consumer_fd(consumer); /* owned by the handle: never read, written or closed by us */
    MUST(inbox < 0 ? inbox : DC_OK);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    struct itimerspec every = {{0, 20 * 1000000}, {0, 20 * 1000000}};
    MUST_BE(timer >= 0 && timerfd_settime(timer, 0, &every, NULL) == 0);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    MUST_BE(epoll >= 0);
    watch(epoll, inbox);
    watch(epoll, timer);
    watch(epoll, pipe_ends[0]);

    int messages = 0, closed = 0;
    uint64_t ticks = 0;
    while (messages < MESSAGES || !ticks || !closed) {
        struct epoll_event events[8];
        int n = epoll_wait(epoll, events, 8, -1);
        MUST_BE(n >= 0 || errno == EINTR);
        for (int i = 0; i < n; i++) {
            uint64_t expired;
            if (events[i].data.fd == inbox) {
                messages += receive_all(consumer);
            } else if (events[i].data.fd == timer) {
                if (read(timer, &expired, sizeof expired) == (ssize_t)sizeof expired) ticks += expired;
            } else { /* end of file */
                MUST_BE(epoll_ctl(epoll, EPOLL_CTL_DEL, pipe_ends[0], NULL) == 0);
                closed = 1;
            }
        }
    }
    int status = 1;
    MUST_BE(waitpid(pid, &status, 0) == pid && status == 0);
    dc_consumer_close(consumer); /* closes its descriptor, too */
    dc_close(channel);
    close(epoll), close(timer), close(pipe_ends[0]);
    example_remove(path);
    printf("%d messages, the timer ticked, the pipe closed\n", messages);
    return 0;
}
