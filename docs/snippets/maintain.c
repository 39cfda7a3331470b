/* For dc_maintain: Under DC_NO_THREAD, a thread of the program's own does the library's work. */
void *maintenance(void *channel)
{
    while (!stopping) {
        int code = dc_maintain(channel, 200);
        if (code != DC_OK && code != DC_AGAIN && code != -EINTR) break;
    }
    return NULL;
}
