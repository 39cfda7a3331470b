/* For dc_sync dc_sent_position dc_channel_stats: Asynchronous commit: send many, and ask later whether the last is durable. */
int is_durable(dc_channel *channel, dc_producer *producer)
{
    dc_channel_info info = DC_CHANNEL_INFO_INIT;
    int code = dc_channel_stats(channel, &info);
    if (code < 0) return code;
    if (info.durable > dc_sent_position(producer)) return 1;
    return dc_sync(producer, 100) == DC_OK; /* not yet: flush */
}
