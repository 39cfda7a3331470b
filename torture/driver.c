/*
 * Runs a script against the C interface, one operation a line, on one thread, and logs each call to
 * descriptor 3: what is tortured are such programs, stepped, killed, stopped, refused by the kernel.
 *
 *     driver SCRIPT CHANNEL
 *
 *     open k0 page=65536 pages=2 slots=4 retention=1 durability=1 interval=0 checksum=1 stall=60000 flags=0
 *     close k0
 *     producer p0 k0              close-producer p0
 *     send p0 ID LEN              sendv p0 ID LEN           batch p0 FIRST_ID COUNT LEN
 *     reserve p0 ID LEN           commit p0 LEN             abort p0
 *     subscribe c0 k0 GROUP ack=1 max_unacked=0 prefetch=0 start=1 flags=0       (GROUP -: an observer)
 *     recv c0                     recv-batch c0 MAX         next-page c0
 *     ack c0 N                    nack c0                   seek c0 POSITION[+N]
 *     close-consumer c0           delete-group k0 GROUP     destroy
 *     sync p0                     channel-sync k0           maintain k0
 *     stats k0                    group-stats k0 GROUP      consumer-stats c0         verify
 *     stop                        die
 *
 * Handles k0.., p0.., c0.. are numbered up to 64. Every key=value may be left out. N of ack counts what
 * the handle received, from 0; -1 is the last. POSITION is a number, `earliest`, `latest`, `last:N`, or
 * `got:N` (that of the N-th received). `stop` raises SIGSTOP, `die` SIGKILL. Timeouts are 0, those of
 * flushes -1; DC_NO_THREAD is always set. An empty line or one that begins with # is nothing.
 *
 * Payload: byte i of message ID is `fill(ID, i)`, its first 8 bytes are the ID itself. LEN is at least 8.
 * Payloads are made before the first operation, so that no time (or step) goes into them later.
 *
 * The log: "B op" before a call, "E op code sent position N (position id len flags deliveries whole)*N
 * W words*W" after it; op is the number of the line, from 0.
 */
#include <disk_chan.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HANDLES = 64, WORDS = 12, GOT = 65536, BATCH = 255 };

struct line {
    char *word[WORDS];
    int words;
    unsigned char *payload;
};

static struct line *lines;
static size_t line_count;
static const char *path;
static dc_channel *channels[HANDLES];
static dc_producer *producers[HANDLES];
static dc_consumer *consumers[HANDLES];
static void *reserved[HANDLES];
static uint64_t *got[HANDLES];
static size_t got_count[HANDLES];

/* What the call under way gave back. */
static uint64_t out_sent, out_position, out_words[32];
static size_t out_word_count, out_received;
static dc_message messages[BATCH];
static char log_buffer[BATCH * 128 + 4096];
static size_t log_len;

static void die_of(const char *what, const char *word)
{
    dprintf(2, "driver: %s: %s\n", what, word);
    _exit(2);
}

static unsigned char fill(uint64_t id, uint64_t i)
{
    if (i < 8) return (unsigned char)(id >> (8 * i));
    return (unsigned char)((((id << 20) + i) * 0x9E3779B97F4A7C15u) >> 56);
}

static uint64_t number(const struct line *l, int word)
{
    char *end;
    uint64_t n;
    if (word >= l->words) die_of("a number is missing", l->word[0]);
    n = strtoull(l->word[word], &end, 10);
    if (*end != 0) die_of("not a number", l->word[word]);
    return n;
}

/* The value of key=value, or the default. */
static uint64_t value(const struct line *l, const char *key, uint64_t otherwise)
{
    size_t len = strlen(key);
    for (int i = 1; i < l->words; i++)
        if (strncmp(l->word[i], key, len) == 0 && l->word[i][len] == '=')
            return strtoull(l->word[i] + len + 1, NULL, 10);
    return otherwise;
}

static int handle(const struct line *l, int word, char kind)
{
    int n;
    if (word >= l->words || l->word[word][0] != kind) die_of("no such handle", l->word[0]);
    n = atoi(l->word[word] + 1);
    if (n < 0 || n >= HANDLES) die_of("handles go up to 64", l->word[word]);
    return n;
}

static uint64_t position(const struct line *l, int word, int c)
{
    const char *text = word < l->words ? l->word[word] : "";
    const char *plus = strchr(text, '+');
    uint64_t more = plus ? strtoull(plus + 1, NULL, 10) : 0;
    if (strncmp(text, "earliest", 8) == 0) return DC_EARLIEST;
    if (strncmp(text, "latest", 6) == 0) return DC_LATEST;
    if (strncmp(text, "last:", 5) == 0) return DC_LAST(strtoull(text + 5, NULL, 10));
    if (strncmp(text, "got:", 4) == 0) {
        size_t n = strtoull(text + 4, NULL, 10);
        return n < got_count[c] ? got[c][n] + more : DC_LATEST;
    }
    return strtoull(text, NULL, 10) + more;
}

static void put_char(char c) { log_buffer[log_len++] = c; }

static void put(uint64_t n)
{
    char digits[20];
    int count = 0;
    put_char(' ');
    do digits[count++] = (char)('0' + n % 10); while ((n /= 10) != 0);
    while (count > 0) put_char(digits[--count]);
}

static void put_signed(int64_t n)
{
    if (n >= 0) {
        put((uint64_t)n);
        return;
    }
    put((uint64_t)-n);
    /* A sign before the digits. */
    size_t at = log_len++;
    for (; log_buffer[at - 1] != ' '; at--) log_buffer[at] = log_buffer[at - 1];
    log_buffer[at] = '-';
}

static void put_message(const dc_message *m)
{
    const unsigned char *data = m->data;
    uint64_t id = 0;
    int whole = data != NULL && m->len >= 8;
    if (whole) memcpy(&id, data, 8);
    for (size_t i = 8; whole && i < m->len; i++) whole = data[i] == fill(id, i);
    put(m->position);
    put(id);
    put(m->len);
    put(m->flags);
    put(m->deliveries);
    put((uint64_t)whole);
}

static void flush_log(void)
{
    size_t at = 0;
    put_char('\n');
    while (at < log_len) {
        ssize_t n = write(3, log_buffer + at, log_len - at);
        if (n <= 0) _exit(3);
        at += (size_t)n;
    }
    log_len = 0;
}

static void words_of(const void *info, size_t size)
{
    out_word_count = size / 8 - 1;
    memcpy(out_words, (const char *)info + 8, size - 8);
}

static int is(const struct line *l, const char *name) { return strcmp(l->word[0], name) == 0; }

static int run_channel(const struct line *l)
{
    int k;
    if (is(l, "open")) {
        dc_options o = DC_OPTIONS_INIT;
        o.page_size = value(l, "page", 0);
        o.max_pages = value(l, "pages", 0);
        o.max_messages_per_page = (uint32_t)value(l, "slots", 0);
        o.retention = (uint32_t)value(l, "retention", 0);
        o.durability = (uint32_t)value(l, "durability", 0);
        o.sync_interval_ms = (uint32_t)value(l, "interval", 0);
        o.checksum = (uint32_t)value(l, "checksum", 0);
        o.stall_timeout_ms = (uint32_t)value(l, "stall", 0);
        o.flags = (uint32_t)value(l, "flags", 0) | DC_NO_THREAD;
        return dc_open(path, &o, &channels[handle(l, 1, 'k')]);
    }
    if (is(l, "destroy")) return dc_destroy(path);
    if (is(l, "verify")) {
        dc_verify_info info = DC_VERIFY_INFO_INIT;
        int code = dc_verify(path, &info);
        if (code == DC_OK) words_of(&info, sizeof info);
        return code;
    }
    k = handle(l, 1, 'k');
    if (is(l, "close")) {
        dc_close(channels[k]);
        channels[k] = NULL;
        return DC_OK;
    }
    if (is(l, "delete-group")) return dc_group_delete(channels[k], l->word[2]);
    if (is(l, "channel-sync")) return dc_channel_sync(channels[k], -1);
    if (is(l, "maintain")) return dc_maintain(channels[k], 0);
    if (is(l, "stats")) {
        dc_channel_info info = DC_CHANNEL_INFO_INIT;
        int code = dc_channel_stats(channels[k], &info);
        if (code == DC_OK) words_of(&info, sizeof info);
        return code;
    }
    if (is(l, "group-stats")) {
        dc_group_info info = DC_GROUP_INFO_INIT;
        int code = dc_group_stats(channels[k], l->word[2], &info);
        if (code == DC_OK) words_of(&info, sizeof info);
        return code;
    }
    die_of("no such operation", l->word[0]);
    return 0;
}

static int send_batch(const struct line *l, dc_producer *p)
{
    static struct iovec parts[BATCH * 2];
    size_t count = number(l, 3), len = number(l, 4), sent = 0;
    int code;
    for (size_t i = 0; i < count; i++) {
        parts[i].iov_base = l->payload + i * len;
        parts[i].iov_len = len;
    }
    code = dc_send_batch(p, parts, count, 0, &sent);
    out_sent = sent;
    return code;
}

static int run_producer(const struct line *l)
{
    int code, p = handle(l, 1, 'p');
    dc_producer *producer = producers[p];
    if (is(l, "producer")) return dc_producer_open(channels[handle(l, 2, 'k')], &producers[p]);
    if (is(l, "close-producer")) {
        dc_producer_close(producer);
        producers[p] = NULL;
        return DC_OK;
    }
    if (is(l, "sync")) return dc_sync(producer, -1);
    if (is(l, "abort")) return dc_abort(producer);
    if (is(l, "reserve")) {
        code = dc_reserve(producer, number(l, 3), 0, &reserved[p]);
        if (code == DC_OK) memcpy(reserved[p], l->payload, number(l, 3));
        return code;
    }
    if (is(l, "batch")) {
        code = send_batch(l, producer);
    } else {
        if (is(l, "send")) {
            code = dc_send(producer, l->payload, number(l, 3), 0);
        } else if (is(l, "sendv")) {
            struct iovec parts[2] = {{l->payload, 5}, {l->payload + 5, number(l, 3) - 5}};
            code = dc_sendv(producer, parts, 2, 0);
        } else if (is(l, "commit")) {
            code = dc_commit(producer, number(l, 2));
        } else {
            die_of("no such operation", l->word[0]);
            return 0;
        }
        out_sent = code == DC_OK;
    }
    out_position = dc_sent_position(producer);
    return code;
}

static void keep(int c, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (got_count[c] < GOT) got[c][got_count[c]++] = messages[i].position;
}

static int run_consumer(const struct line *l)
{
    int code, c = handle(l, 1, 'c');
    dc_consumer *consumer = consumers[c];
    if (is(l, "subscribe")) {
        dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
        const char *group = strcmp(l->word[3], "-") == 0 ? NULL : l->word[3];
        o.start = value(l, "start", 0);
        o.ack = (uint32_t)value(l, "ack", 0);
        o.max_unacked = (uint32_t)value(l, "max_unacked", 0);
        o.prefetch = (uint32_t)value(l, "prefetch", 0);
        o.flags = (uint32_t)value(l, "flags", 0);
        return dc_subscribe(channels[handle(l, 2, 'k')], group, &o, &consumers[c]);
    }
    if (is(l, "close-consumer")) {
        dc_consumer_close(consumer);
        consumers[c] = NULL;
        return DC_OK;
    }
    if (is(l, "recv") || is(l, "recv-batch")) {
        size_t count = 0;
        messages[0] = (dc_message){0};
        if (is(l, "recv")) {
            code = dc_recv(consumer, &messages[0], 0);
            count = code == DC_OK;
        } else {
            code = dc_recv_batch(consumer, messages, number(l, 2), 0, &count);
        }
        /* The position of a damaged message. */
        if (code == DC_E_CORRUPT) out_position = messages[0].position;
        keep(c, count);
        out_received = count;
        return code;
    }
    if (is(l, "next-page")) return dc_next_page(consumer);
    if (is(l, "nack")) return dc_nack(consumer);
    if (is(l, "ack")) {
        long n = atol(l->word[2]);
        if (n < 0) n += (long)got_count[c];
        if (n < 0 || (size_t)n >= got_count[c]) return DC_OK;
        return dc_ack(consumer, got[c][n]);
    }
    if (is(l, "seek")) return dc_seek(consumer, position(l, 2, c));
    if (is(l, "consumer-stats")) {
        dc_consumer_info info = DC_CONSUMER_INFO_INIT;
        code = dc_consumer_stats(consumer, &info);
        if (code == DC_OK) words_of(&info, sizeof info);
        return code;
    }
    die_of("no such operation", l->word[0]);
    return 0;
}

static int run(const struct line *l)
{
    static const char *of_channel[] = {"open", "close", "destroy", "verify", "delete-group", "channel-sync",
                                       "maintain", "stats", "group-stats", NULL};
    for (int i = 0; of_channel[i]; i++)
        if (is(l, of_channel[i])) return run_channel(l);
    return l->words > 1 && l->word[1][0] == 'p' ? run_producer(l) : run_consumer(l);
}

static void prepare(struct line *l)
{
    size_t count = is(l, "batch") ? number(l, 3) : 1, len, first;
    if (!is(l, "batch") && !is(l, "send") && !is(l, "sendv") && !is(l, "reserve")) return;
    first = number(l, 2);
    len = number(l, is(l, "batch") ? 4 : 3);
    if (len < 8 || count > BATCH * 2) die_of("too short, or too many", l->word[0]);
    l->payload = malloc(count * len + 1);
    if (!l->payload) die_of("no memory", l->word[0]);
    for (size_t m = 0; m < count; m++)
        for (size_t i = 0; i < len; i++) l->payload[m * len + i] = fill(first + m, i);
}

static void load(const char *script)
{
    static char text[1 << 20];
    FILE *file = fopen(script, "r");
    size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (!file) die_of("cannot read", script);
    fclose(file);
    text[size] = 0;
    lines = calloc(size + 1, sizeof *lines);
    if (!lines) die_of("no memory", script);
    for (char *at = text; *at;) {
        char *end = strchr(at, '\n');
        struct line *l = &lines[line_count++];
        if (end) *end = 0;
        for (char *word = strtok(at, " "); word && l->words < WORDS; word = strtok(NULL, " "))
            l->word[l->words++] = word;
        if (l->words > 0 && l->word[0][0] == '#') l->words = 0;
        if (l->words > 0) prepare(l);
        if (!end) break;
        at = end + 1;
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) die_of("usage", "driver SCRIPT CHANNEL");
    path = argv[2];
    load(argv[1]);
    for (int c = 0; c < HANDLES; c++) got[c] = malloc(sizeof(uint64_t) * GOT);
    for (size_t op = 0; op < line_count; op++) {
        const struct line *l = &lines[op];
        int code;
        if (l->words == 0) continue;
        if (is(l, "stop")) { raise(SIGSTOP); continue; }
        if (is(l, "die")) raise(SIGKILL);
        out_sent = out_position = out_received = out_word_count = 0;
        put_char('B');
        put(op);
        flush_log();
        code = run(l);
        put_char('E');
        put(op);
        put_signed(code);
        put(out_sent);
        put(out_position);
        put(out_received);
        for (size_t i = 0; i < out_received; i++) put_message(&messages[i]);
        put(out_word_count);
        for (size_t i = 0; i < out_word_count; i++) put(out_words[i]);
        flush_log();
    }
    /* No exit handlers, no closes: whoever wants them writes them. */
    _exit(0);
}
