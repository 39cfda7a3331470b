#include <disk_chan.h>
#include <stdio.h>

int main(void) {
    dc_channel *channel = NULL;
    if (dc_open("channel", NULL, &channel) != DC_OK) return fprintf(stderr, "%s\n", dc_last_error()), 1;
    dc_close(channel);
    if (dc_destroy("channel") != DC_OK) return 1;
    printf("disk_chan %s works\n", dc_version_string());
    return 0;
}
