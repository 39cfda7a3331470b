/* A program that uses two libraries written in Rust. */
#include <disk_chan.h>
#include <stdio.h>

int other_answer(int n);

int main(void) {
    dc_channel *channel = NULL;
    if (dc_open("channel", NULL, &channel) != DC_OK || other_answer(42) != 42) return 1;
    dc_close(channel);
    if (dc_destroy("channel") != DC_OK) return 1;
    puts("both work");
    return 0;
}
