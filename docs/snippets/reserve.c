/* For dc_reserve dc_commit dc_abort: A message written where it will lie; nobody sees it before dc_commit. */
int send_record(dc_producer *producer, const struct record *record)
{
    void *room;
    int code = dc_reserve(producer, 128, -1, &room);
    if (code < 0) return code;
    int len = snprintf(room, 128, "%d %s", record->id, record->name);
    if (len >= 128) return dc_abort(producer); /* too long */
    return dc_commit(producer, (size_t)len);
}
