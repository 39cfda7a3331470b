/* Moves the lines of a text through a channel, in as many processes as one likes.
 *
 *   lines create CHANNEL FILE            make the channel, with pages that hold FILE's longest line
 *   lines send CHANNEL PART PARTS FILE   send every PARTS-th line of FILE, from line PART (0...) on
 *   lines recv CHANNEL OUT               write what arrives to OUT, until an end marker comes
 *   lines stop CHANNEL COUNT             send COUNT end markers: one ends one receiver
 *
 * A message is a tag byte and the line without its newline, whatever bytes it has. Markers are sent
 * when all senders have ended, so they lie behind every line, and the group hands out in order. */
#include <disk_chan.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

static const char GROUP[] = "readers";
static const char LINE = 'L', END = 'E';

static void must(int code, const char *what) {
    if (code >= 0) return;
    fprintf(stderr, "lines: %s: %s: %s\n", what, dc_error_name(code), dc_last_error());
    exit(1);
}

static void die(const char *path) {
    fprintf(stderr, "lines: %s: %s\n", path, strerror(errno));
    exit(1);
}

static FILE *open_text(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) die(path);
    return file;
}

static dc_channel *open_channel(const char *path) {
    dc_options options = DC_OPTIONS_INIT;
    options.flags = DC_EXISTING;
    dc_channel *channel = NULL;
    must(dc_open(path, &options, &channel), "open");
    return channel;
}

/* The longest line decides about the page; 16 MiB at least, rounded up to whole MiB. */
static void create(const char *path, const char *text) {
    FILE *file = open_text(text);
    char *line = NULL;
    size_t room = 0, longest = 0;
    unsigned long long count = 0;
    for (ssize_t len; (len = getline(&line, &room, file)) > 0; count++)
        if ((size_t)len > longest) longest = (size_t)len;
    if (ferror(file)) die(text);
    free(line);
    fclose(file);

    dc_options options = DC_OPTIONS_INIT;
    options.page_size = (longest + (2u << 20)) >> 20 << 20;
    if (options.page_size < 16u << 20) options.page_size = 16u << 20;
    options.retention = DC_RETAIN_UNREAD; /* lossless: senders wait for the slowest receiver */
    options.flags = DC_NEW;
    dc_channel *channel = NULL;
    must(dc_open(path, &options, &channel), "create");
    dc_close(channel);
    printf("%llu lines, the longest of %zu bytes; pages of %llu MiB\n", count, longest,
           (unsigned long long)(options.page_size >> 20));
}

static void send_lines(const char *path, unsigned long part, unsigned long parts, const char *text) {
    FILE *file = open_text(text);
    dc_channel *channel = open_channel(path);
    dc_producer *producer = NULL;
    must(dc_producer_open(channel, &producer), "producer");
    char *line = NULL, tag = LINE;
    size_t room = 0;
    unsigned long number = 0, sent = 0;
    for (ssize_t len; (len = getline(&line, &room, file)) > 0; number++) {
        if (number % parts != part) continue;
        if (line[len - 1] == '\n') len--;
        struct iovec message[] = {{&tag, 1}, {line, (size_t)len}}; /* gathered in the page, no copy before */
        must(dc_sendv(producer, message, 2, -1), "send");
        sent++;
    }
    if (ferror(file)) die(text);
    free(line);
    fclose(file);
    dc_producer_close(producer);
    dc_close(channel);
    printf("sender %lu: %lu lines\n", part, sent);
}

static void recv_lines(const char *path, const char *out) {
    FILE *file = fopen(out, "w");
    if (!file) die(out);
    dc_channel *channel = open_channel(path);
    dc_subscribe_options how = DC_SUBSCRIBE_OPTIONS_INIT;
    how.flags = DC_AUTO_NEXT_PAGE;
    dc_consumer *consumer = NULL;
    must(dc_subscribe(channel, GROUP, &how, &consumer), "subscribe");
    unsigned long received = 0;
    dc_message message;
    for (;;) {
        int code = dc_recv(consumer, &message, -1);
        must(code, "recv");
        const char *bytes = message.data;
        if (code != DC_OK || message.len == 0 || (message.flags & DC_MESSAGE_REDELIVERED && bytes[0] == LINE)) {
            fprintf(stderr, "lines: lost, foreign or repeated message (code %d)\n", code);
            exit(1);
        }
        if (bytes[0] == END) break;
        if (fwrite(bytes + 1, 1, message.len - 1, file) != message.len - 1 || putc('\n', file) == EOF) die(out);
        received++;
    }
    /* The marker is ours alone: acknowledged, or closing would give it to another receiver. */
    must(dc_ack(consumer, message.position), "ack");
    dc_consumer_close(consumer);
    dc_close(channel);
    if (fclose(file) != 0) die(out);
    printf("receiver: %lu lines\n", received);
}

static void stop(const char *path, unsigned long count) {
    dc_channel *channel = open_channel(path);
    dc_producer *producer = NULL;
    must(dc_producer_open(channel, &producer), "producer");
    for (; count > 0; count--) must(dc_send(producer, &END, 1, -1), "send");
    dc_producer_close(producer);
    dc_close(channel);
}

static unsigned long number(const char *text) {
    char *end = NULL;
    unsigned long value = strtoul(text, &end, 10);
    if (end != text && *end == '\0') return value;
    fprintf(stderr, "lines: not a number: %s\n", text);
    exit(2);
}

int main(int argc, char **argv) {
    const char *verb = argc > 2 ? argv[1] : "";
    if (!strcmp(verb, "create") && argc == 4) create(argv[2], argv[3]);
    else if (!strcmp(verb, "send") && argc == 6 && number(argv[4]) > 0)
        send_lines(argv[2], number(argv[3]), number(argv[4]), argv[5]);
    else if (!strcmp(verb, "recv") && argc == 4) recv_lines(argv[2], argv[3]);
    else if (!strcmp(verb, "stop") && argc == 4) stop(argv[2], number(argv[3]));
    else {
        fprintf(stderr, "usage: lines create CHANNEL FILE | send CHANNEL PART PARTS FILE | recv CHANNEL OUT | stop CHANNEL COUNT\n");
        return 2;
    }
    return 0;
}
