/* For dc_open dc_close: A job queue that loses nothing, made by whoever comes first. */
int open_queue(const char *path, dc_channel **channel)
{
    dc_options options = DC_OPTIONS_INIT;
    options.max_pages = 64;
    options.retention = DC_RETAIN_UNREAD;
    int code = dc_open(path, &options, channel);
    if (code < 0)
        fprintf(stderr, "%s: %s\n", dc_error_name(code), dc_last_error());
    return code;
}
