/* io_uring: a poll of the channel's eventfd is one request of the ring, a timer another one.
 *
 * Needs: liburing
 * Prints last: 10 messages, the timer ticked */
#include "loop.h"

#include <liburing.h>
#include <poll.h>

enum { INBOX = 1, TIMER = 2 };

static struct io_uring_sqe *request(struct io_uring *ring) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    MUST_BE(sqe != NULL);
    return sqe;
}

/* One poll for one completion: asked for again after all was received. */
static void ask_for_messages(struct io_uring *ring, int inbox) {
    struct io_uring_sqe *sqe = request(ring);
    io_uring_prep_poll_add(sqe, inbox, POLLIN);
    sqe->user_data = INBOX;
}

static void ask_for_time(struct io_uring *ring) {
    static struct __kernel_timespec pause = {0, 20 * 1000000};
    struct io_uring_sqe *sqe = request(ring);
    io_uring_prep_timeout(sqe, &pause, 0, 0);
    sqe->user_data = TIMER;
}

int main(int argc, char **argv) {
    const char *path = example_channel(argc, argv, 1);
    struct io_uring ring;
    int error = io_uring_queue_init(8, &ring, 0);
    if (error) { /* switched off, or an old kernel: use epoll there */
        printf("SKIPPED: no io_uring here: %s\n", strerror(-error));
        return 0;
    }
    pid_t pid = other_process(path);
    dc_channel *channel = NULL;
    dc_consumer *consumer = NULL;
    MUST(dc_open(path, NULL, &channel));
    MUST(dc_subscribe(channel, "loop", NULL, &consumer));

    int inbox = dc_consumer_fd(consumer); /* owned by the handle: never read, written or closed by us */
    MUST(inbox < 0 ? inbox : DC_OK);
    int messages = receive_all(consumer), ticks = 0;
    ask_for_messages(&ring, inbox);
    ask_for_time(&ring);
    while (messages < MESSAGES || !ticks) {
        struct io_uring_cqe *done;
        int submitted = io_uring_submit_and_wait(&ring, 1);
        MUST_BE(submitted >= 0 || submitted == -EINTR);
        while (io_uring_peek_cqe(&ring, &done) == 0) {
            if (done->user_data == INBOX) {
                messages += receive_all(consumer);
                ask_for_messages(&ring, inbox);
            } else {
                ticks++;
                ask_for_time(&ring);
            }
            io_uring_cqe_seen(&ring, done);
        }
    }
    io_uring_queue_exit(&ring); /* before the consumer, whose descriptor is polled */

    other_process_is_done(pid);
    dc_consumer_close(consumer);
    dc_close(channel);
    example_remove(path);
    printf("%d messages, the timer ticked\n", messages);
    return 0;
}
