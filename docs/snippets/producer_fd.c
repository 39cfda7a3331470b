/* For dc_producer_fd: A send that never blocks: on DC_AGAIN the descriptor tells when there may be room. */
int try_to_send(dc_producer *producer, const char *text,
                struct pollfd *room)
{
    int code = dc_send(producer, text, strlen(text), 0);
    if (code == DC_AGAIN) {
        room->fd = dc_producer_fd(producer);
        room->events = POLLIN; /* readable, not writable */
    }
    return code;
}
