/* For dc_consumer_fd: A loop around poll. The descriptor belongs to the handle: it is waited for, and nothing else. */
int serve(dc_consumer *consumer, int other)
{
    struct pollfd fds[] = {{.fd = dc_consumer_fd(consumer), .events = POLLIN}, {.fd = other, .events = POLLIN}};
    if (fds[0].fd < 0) return fds[0].fd; /* a code */
    while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
        if (fds[0].revents) {
            int code = print_all(consumer); /* until DC_AGAIN, which arms the descriptor again */
            if (code < 0) return code;
        }
        if (fds[1].revents) break;
    }
    return DC_OK;
}
