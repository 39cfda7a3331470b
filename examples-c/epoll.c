/* One event loop: the channel's eventfd, a timerfd and a pipe.
 *
 * The messages come from another process, which wakes our descriptor; the pipe tells when it is done.
 *
 * Prints last: 10 messages, the timer ticked, the pipe closed */
#include "loop.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

static void watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    MUST_BE(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

int main(int argc, char **argv) {
    const char *path = example_channel(argc, argv, 1);
    int pipe_ends[2];
    MUST_BE(pipe(pipe_ends) == 0);
    pid_t pid = other_process(path);
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
    other_process_is_done(pid);
    dc_consumer_close(consumer); /* closes its descriptor, too */
    dc_close(channel);
    close(epoll), close(timer), close(pipe_ends[0]);
    example_remove(path);
    printf("%d messages, the timer ticked, the pipe closed\n", messages);
    return 0;
}
