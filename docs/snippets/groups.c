/* For dc_group_next dc_group_stats: Every group of a channel, and how far behind it is. */
int print_groups(dc_channel *channel)
{
    char name[DC_GROUP_NAME_MAX + 1];
    const char *after = NULL;
    int code;
    for (;;) {
        code = dc_group_next(channel, after, name, sizeof name);
        if (code != DC_OK) break;
        dc_group_info info = DC_GROUP_INFO_INIT;
        after = name;
        if (dc_group_stats(channel, name, &info) != DC_OK)
            continue; /* deleted meanwhile */
        printf("%s: %llu waiting, %llu in hand\n", name,
               (unsigned long long)info.lag,
               (unsigned long long)info.unacked);
    }
    return code == -ENOENT ? DC_OK : code;
}
