/* For dc_sendv: A header and a body that lie apart, as one message. */
int send_parts(dc_producer *producer, const struct header *header,
               void *body, size_t len)
{
    struct iovec parts[] = {{(void *)header, sizeof *header},
                            {body, len}};
    return dc_sendv(producer, parts, 2, -1);
}
