/* For dc_maintain: Under DC_NO_THREAD, a thread of the program's own does the library's work. */
void *maintenance(void *channel)
{
    int code;
    do {
        code = dc_maintain(channel, 200);
    } while ((code == DC_OK || code == DC_AGAIN || code == -EINTR) && !stopping);
    return NULL;
}
