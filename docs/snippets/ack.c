/* For dc_recv_batch dc_ack dc_nack: Under DC_ACK_MANUAL: what was done is acknowledged, the rest is given back. */
int work(dc_consumer *consumer)
{
    dc_message batch[32];
    size_t n, done = 0;
    int code = dc_recv_batch(consumer, batch, 32, 1000, &n);
    if (code == DC_END_OF_PAGE) return dc_next_page(consumer);
    if (code != DC_OK) return code;
    while (done < n && handle(&batch[done])) done++;
    if (done > 0) /* the last one that was done, and all before it */
        code = dc_ack(consumer, batch[done - 1].position);
    if (code == DC_OK && done < n) code = dc_nack(consumer);
    return code;
}
