/* For dc_seek: The whole group goes back to its newest 100 messages, or behind a message that was noted down. */
int rewind_group(dc_consumer *consumer, uint64_t noted)
{
    return dc_seek(consumer, noted ? noted + 1 : DC_LAST(100));
}
