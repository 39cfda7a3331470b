/* For dc_send_batch: What was not sent is sent again; a prefix of it may have been. */
int send_all(dc_producer *producer, const struct iovec *messages,
             size_t count)
{
    int code;
    do {
        size_t sent;
        code = dc_send_batch(producer, messages, count, 1000, &sent);
        messages += sent;
        count -= sent;
    } while (code == DC_AGAIN || code == -EINTR);
    return code;
}
