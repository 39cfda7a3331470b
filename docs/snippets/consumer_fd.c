/* For dc_consumer_fd: A loop around poll. The descriptor belongs to the handle: it is waited for, and nothing else. */
int serve(dc_consumer *consumer, int other)
{
    int inbox = dc_consumer_fd(consumer);
    if (inbox < 0) return inbox; /* a code */
    struct pollfd fds[] = {{.fd = inbox, .events = POLLIN},
                           {.fd = other, .events = POLLIN}};
    while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
        if (fds[0].revents) {
            int code = print_all(consumer); /* DC_AGAIN arms it again */
            if (code < 0) return code;
        }
        if (fds[1].revents) break;
    }
    return DC_OK;
}
