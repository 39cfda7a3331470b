/* What bad arguments get: a code and a sentence, nothing printed, nothing created, nothing changed. */
#include "chan.h"

static int open_with(const dc_options *o) {
    dc_channel *channel = (dc_channel *)&channel;
    int code = dc_open(chan_path, o, &channel);
    CHECK(channel == NULL || code == DC_OK);
    dc_close(channel);
    return code;
}

static int exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

#define BAD(field, value)                              \
    do {                                               \
        dc_options o = small_options();                \
        o.field = (value);                             \
        CHECK_CODE(open_with(&o), DC_E_ARGUMENT);      \
        CHECK_TEXT(#field);                            \
        CHECK(!exists(chan_path));                     \
    } while (0)

/* [S98 S99 S100] */
TEST(s015_options_out_of_range) {
    BAD(page_size, 1);
    BAD(page_size, 64 * 1024 - 1);
    BAD(page_size, (1ull << 32) + 1);
    BAD(page_size, UINT64_MAX);
    BAD(max_pages, 1);
    BAD(max_pages, UINT64_MAX - 1);
    BAD(max_messages_per_page, 65536);
    BAD(max_messages_per_page, UINT32_MAX);
    BAD(retention, 4);
    BAD(durability, 4);
    BAD(checksum, 3);
    BAD(stall_timeout_ms, UINT32_MAX);
    BAD(mode, 01000000);
    BAD(flags, 64);
    BAD(flags, 1u << 31);
}

/* [S98 S99 S100] The other side of each bound. */
TEST(s098_options_at_their_bounds) {
    dc_options o = small_options();
    o.max_pages = 2;
    o.max_messages_per_page = 1;
    CHECK_OK(open_with(&o));
    CHECK_OK(dc_destroy(chan_path));
    o.max_messages_per_page = 65535;
    o.max_pages = DC_UNLIMITED;
    o.stall_timeout_ms = 60000;
    CHECK_OK(open_with(&o));
    dc_channel *channel = open_flags(DC_EXISTING);
    CHECK_EQ(channel_info(channel).max_pages, DC_UNLIMITED);
    dc_close(channel);
}

/* [S11] */
TEST(s032_null_pointers) {
    dc_channel *channel = (dc_channel *)&channel;
    CHECK_CODE(dc_open(NULL, NULL, &channel), DC_E_ARGUMENT);
    CHECK(channel == NULL);
    CHECK_CODE(dc_open(chan_path, NULL, NULL), DC_E_ARGUMENT);
    CHECK(!exists(chan_path));
    CHECK_CODE(dc_destroy(NULL), DC_E_ARGUMENT);
    channel = open_small();
    dc_channel_info ci = DC_CHANNEL_INFO_INIT;
    dc_group_info gi = DC_GROUP_INFO_INIT;
    dc_verify_info vi = DC_VERIFY_INFO_INIT;
    dc_consumer_info si = DC_CONSUMER_INFO_INIT;
    CHECK_CODE(dc_channel_stats(NULL, &ci), DC_E_ARGUMENT);
    CHECK_CODE(dc_channel_stats(channel, NULL), DC_E_ARGUMENT);
    CHECK_CODE(dc_channel_sync(NULL, 0), DC_E_ARGUMENT);
    CHECK_CODE(dc_group_stats(NULL, "g", &gi), DC_E_ARGUMENT);
    CHECK_CODE(dc_group_stats(channel, NULL, &gi), DC_E_ARGUMENT);
    CHECK_CODE(dc_group_stats(channel, "g", NULL), DC_E_ARGUMENT);
    char name[256];
    CHECK_CODE(dc_group_next(NULL, NULL, name, sizeof name), DC_E_ARGUMENT);
    CHECK_CODE(dc_group_next(channel, NULL, NULL, sizeof name), DC_E_ARGUMENT);
    CHECK_CODE(dc_group_delete(NULL, "g"), DC_E_ARGUMENT);
    CHECK_CODE(dc_group_delete(channel, NULL), DC_E_ARGUMENT);
    CHECK_CODE(dc_verify(NULL, &vi), DC_E_ARGUMENT);
    CHECK_CODE(dc_verify(chan_path, NULL), DC_E_ARGUMENT);
    CHECK_CODE(dc_maintain(NULL, 0), DC_E_ARGUMENT);

    dc_producer *p = (dc_producer *)&p;
    CHECK_CODE(dc_producer_open(NULL, &p), DC_E_ARGUMENT);
    CHECK(p == NULL);
    CHECK_CODE(dc_producer_open(channel, NULL), DC_E_ARGUMENT);
    p = (dc_producer *)&p;
    CHECK_CODE(dc_producer_clone(NULL, &p), DC_E_ARGUMENT);
    CHECK(p == NULL);
    p = producer_of(channel);
    CHECK_CODE(dc_producer_clone(p, NULL), DC_E_ARGUMENT);
    struct iovec part = {NULL, 1}, whole = {name, 1};
    size_t sent = 77;
    void *data = &data;
    CHECK_CODE(dc_send(NULL, name, 1, 0), DC_E_ARGUMENT);
    CHECK_CODE(dc_send(p, NULL, 1, 0), DC_E_ARGUMENT);
    CHECK_CODE(dc_sendv(NULL, &whole, 1, 0), DC_E_ARGUMENT);
    CHECK_CODE(dc_sendv(p, NULL, 1, 0), DC_E_ARGUMENT);
    CHECK_CODE(dc_sendv(p, &part, 1, 0), DC_E_ARGUMENT);
    CHECK_CODE(dc_send_batch(NULL, &whole, 1, 0, &sent), DC_E_ARGUMENT);
    CHECK_EQ(sent, 0);
    sent = 77;
    CHECK_CODE(dc_send_batch(p, NULL, 1, 0, &sent), DC_E_ARGUMENT);
    CHECK_EQ(sent, 0);
    CHECK_CODE(dc_send_batch(p, &whole, 1, 0, NULL), DC_E_ARGUMENT);
    CHECK_CODE(dc_reserve(NULL, 1, 0, &data), DC_E_ARGUMENT);
    CHECK(data == NULL);
    CHECK_CODE(dc_reserve(p, 1, 0, NULL), DC_E_ARGUMENT);
    CHECK_CODE(dc_commit(NULL, 0), DC_E_ARGUMENT);
    CHECK_CODE(dc_abort(NULL), DC_E_ARGUMENT);
    CHECK_CODE(dc_sync(NULL, 0), DC_E_ARGUMENT);
    CHECK_EQ(dc_sent_position(NULL), 0);
    CHECK_CODE(dc_producer_fd(NULL), DC_E_ARGUMENT);
    CHECK_CODE(dc_producer_interrupt(NULL), DC_E_ARGUMENT);

    dc_consumer *c = (dc_consumer *)&c;
    CHECK_CODE(dc_subscribe(NULL, "g", NULL, &c), DC_E_ARGUMENT);
    CHECK(c == NULL);
    CHECK_CODE(dc_subscribe(channel, "g", NULL, NULL), DC_E_ARGUMENT);
    CHECK_CODE(dc_group_stats(channel, "g", &gi), -ENOENT);
    c = (dc_consumer *)&c;
    CHECK_CODE(dc_consumer_clone(NULL, &c), DC_E_ARGUMENT);
    CHECK(c == NULL);
    c = subscribe(channel, "g", NULL);
    dc_message m;
    size_t received = 77;
    CHECK_CODE(dc_consumer_clone(c, NULL), DC_E_ARGUMENT);
    CHECK_CODE(dc_recv(NULL, &m, 0), DC_E_ARGUMENT);
    CHECK_CODE(dc_recv(c, NULL, 0), DC_E_ARGUMENT);
    CHECK_CODE(dc_recv_batch(NULL, &m, 1, 0, &received), DC_E_ARGUMENT);
    CHECK_CODE(dc_recv_batch(c, NULL, 1, 0, &received), DC_E_ARGUMENT);
    CHECK_CODE(dc_recv_batch(c, &m, 1, 0, NULL), DC_E_ARGUMENT);
    CHECK_CODE(dc_recv_batch(c, &m, 0, 0, &received), DC_E_ARGUMENT);
    CHECK_CODE(dc_next_page(NULL), DC_E_ARGUMENT);
    CHECK_CODE(dc_ack(NULL, 1), DC_E_ARGUMENT);
    CHECK_CODE(dc_ack(c, 0), DC_E_ARGUMENT);
    CHECK_CODE(dc_nack(NULL), DC_E_ARGUMENT);
    CHECK_CODE(dc_seek(NULL, 1), DC_E_ARGUMENT);
    CHECK_CODE(dc_seek(c, 0), DC_E_ARGUMENT);
    CHECK_CODE(dc_consumer_stats(NULL, &si), DC_E_ARGUMENT);
    CHECK_CODE(dc_consumer_stats(c, NULL), DC_E_ARGUMENT);
    CHECK_CODE(dc_consumer_fd(NULL), DC_E_ARGUMENT);
    CHECK_CODE(dc_interrupt(NULL), DC_E_ARGUMENT);
    CHECK_EQ(channel_info(channel).end, channel_info(channel).oldest);
}

/* [S34] As in poll, -1 is for ever; what is below is a mistake. */
TEST(s015_timeouts_below_minus_one) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    struct iovec part = {&part, 1};
    dc_message m;
    size_t n;
    void *data;
    CHECK_CODE(dc_send(p, "x", 1, -2), DC_E_ARGUMENT);
    CHECK_CODE(dc_sendv(p, &part, 1, INT32_MIN), DC_E_ARGUMENT);
    CHECK_CODE(dc_send_batch(p, &part, 1, -2, &n), DC_E_ARGUMENT);
    CHECK_CODE(dc_reserve(p, 1, -2, &data), DC_E_ARGUMENT);
    CHECK_CODE(dc_sync(p, -2), DC_E_ARGUMENT);
    CHECK_CODE(dc_recv(c, &m, -2), DC_E_ARGUMENT);
    CHECK_CODE(dc_recv_batch(c, &m, 1, -2, &n), DC_E_ARGUMENT);
    CHECK_CODE(dc_channel_sync(channel, -2), DC_E_ARGUMENT);
    CHECK_CODE(dc_maintain(channel, -2), DC_E_ARGUMENT);
    CHECK_EQ(channel_info(channel).messages, 0);
    /* Nor where there would be nothing to wait for: room at hand, and messages claimed. */
    dc_consumer *at_hand = subscribe_ack(channel, "at hand", DC_ACK_NEXT);
    send_numbers(p, 0, 4);
    take_first(at_hand, 0);
    CHECK_CODE(dc_recv(at_hand, &m, -2), DC_E_ARGUMENT);
    CHECK_CODE(dc_send(p, "x", 1, -2), DC_E_ARGUMENT);
    take_first(at_hand, 1);
    CHECK_EQ(channel_info(channel).messages, 4);
    dc_channel *none = (dc_channel *)&none;
    CHECK_CODE(dc_open("", NULL, &none), DC_E_ARGUMENT);
    CHECK(none == NULL);
    CHECK_CODE(dc_destroy(""), DC_E_ARGUMENT);
}

TEST(s015_subscribe_options_out_of_range) {
    dc_channel *channel = open_small();
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT, bad;
    dc_consumer *c = (dc_consumer *)&c;
    bad = o, bad.ack = 4;
    CHECK_CODE(dc_subscribe(channel, "g", &bad, &c), DC_E_ARGUMENT);
    CHECK(c == NULL);
    bad = o, bad.flags = 2;
    CHECK_CODE(dc_subscribe(channel, "g", &bad, &c), DC_E_ARGUMENT);
    bad = o, bad.max_unacked = UINT32_MAX;
    CHECK_CODE(dc_subscribe(channel, "g", &bad, &c), DC_E_ARGUMENT);
    CHECK_TEXT("max_unacked");
    bad = o, bad.prefetch = UINT32_MAX;
    CHECK_CODE(dc_subscribe(channel, "g", &bad, &c), DC_E_ARGUMENT);
    dc_group_info i = DC_GROUP_INFO_INIT;
    CHECK_CODE(dc_group_stats(channel, "g", &i), -ENOENT);
}

/* A struct of a newer program: as long as this library's plus a tail. */
struct longer_options {
    dc_options known;
    uint64_t tail[4];
};

TEST(s097_option_sizes) {
    struct longer_options o = {small_options(), {0, 0, 0, 0}};
    o.known.size = 0;
    CHECK_CODE(open_with(&o.known), DC_E_ARGUMENT);
    o.known.size = sizeof o;
    o.tail[3] = 1;
    CHECK_CODE(open_with(&o.known), DC_E_ARGUMENT);
    o.known.size = UINT64_MAX;
    CHECK_CODE(open_with(&o.known), DC_E_ARGUMENT);
    CHECK(!exists(chan_path));
    o.known.size = sizeof o;
    o.tail[3] = 0;
    CHECK_OK(open_with(&o.known));
    CHECK_OK(dc_destroy(chan_path));
    /* An older program, which knew page_size and nothing after it. */
    o.known.size = offsetof(dc_options, max_pages);
    o.known.flags = 1u << 31;
    CHECK_OK(open_with(&o.known));
    dc_channel *channel = open_flags(DC_EXISTING);
    CHECK_EQ(channel_info(channel).page_size, 64 * 1024);
    CHECK_EQ(channel_info(channel).max_pages, 16);

    struct { dc_subscribe_options known; uint64_t tail[2]; } s = {DC_SUBSCRIBE_OPTIONS_INIT, {0, 0}};
    dc_consumer *c = NULL;
    s.known.size = 0;
    CHECK_CODE(dc_subscribe(channel, "g", &s.known, &c), DC_E_ARGUMENT);
    s.known.size = sizeof s;
    s.tail[0] = 1;
    CHECK_CODE(dc_subscribe(channel, "g", &s.known, &c), DC_E_ARGUMENT);
    s.tail[0] = 0;
    CHECK_OK(dc_subscribe(channel, "g", &s.known, &c));
}

/* Calls `fill(&info)` with every size there may be, on a buffer whose end must stay as it is. */
#define INFO_SIZES(type, last, fill)                                                     \
    do {                                                                                 \
        struct { type known; uint64_t tail[4]; } i;                                      \
        memset(&i, 0xAB, sizeof i);                                                      \
        i.known.size = 0;                                                                \
        CHECK_CODE(fill, DC_E_ARGUMENT);                                                 \
        memset(&i, 0xAB, sizeof i);                                                      \
        i.known.size = sizeof i - 8;                                                     \
        CHECK_OK(fill);                                                                  \
        CHECK_EQ(i.tail[0], 0);                                                          \
        CHECK_EQ(i.tail[2], 0);                                                          \
        CHECK_EQ(i.tail[3], 0xABABABABABABABABull);                                      \
        CHECK_EQ(i.known.size, sizeof i - 8);                                            \
        memset(&i, 0xAB, sizeof i);                                                      \
        i.known.size = offsetof(type, last);                                             \
        CHECK_OK(fill);                                                                  \
        CHECK_EQ(i.known.last, 0xABABABABABABABABull);                                   \
    } while (0)

TEST(s097_info_sizes) {
    dc_channel *channel = open_small();
    dc_consumer *c = subscribe(channel, "g", NULL);
    INFO_SIZES(dc_channel_info, poisoned, dc_channel_stats(channel, &i.known));
    INFO_SIZES(dc_group_info, consumers, dc_group_stats(channel, "g", &i.known));
    INFO_SIZES(dc_consumer_info, corrupt, dc_consumer_stats(c, &i.known));
    INFO_SIZES(dc_verify_info, torn, dc_verify(chan_path, &i.known));
}

/* [S24] */
TEST(s109_read_only_channels_refuse_to_write) {
    dc_options o = small_options();
    o.flags = DC_READ_ONLY;
    CHECK_CODE(open_with(&o), -ENOENT);
    CHECK(!exists(chan_path));
    dc_channel *writer = open_small();
    send_numbers(producer_of(writer), 0, 3);
    subscribe(writer, "g", NULL);
    dc_channel *channel = open_flags(DC_READ_ONLY);
    dc_producer *p = (dc_producer *)&p;
    dc_consumer *c = (dc_consumer *)&c;
    CHECK_CODE(dc_producer_open(channel, &p), DC_E_STATE);
    CHECK(p == NULL);
    CHECK_CODE(dc_subscribe(channel, "g", NULL, &c), DC_E_STATE);
    CHECK(c == NULL);
    CHECK_CODE(dc_group_delete(channel, "g"), DC_E_STATE);
    CHECK_CODE(dc_channel_sync(channel, 0), DC_E_STATE);
    CHECK_CODE(dc_maintain(channel, 0), DC_E_STATE);
    CHECK_EQ(channel_info(channel).messages, 3);
    CHECK_EQ(group_info(channel, "g").lag, 3);
    take_numbers(subscribe(channel, NULL, NULL), 0, 3);
}

/* [S26] Hundreds of wrong calls: not a byte on stdout or stderr, no signal, no internal error. */
TEST(s030_nothing_is_printed) {
    char file[700];
    struct stat st;
    snprintf(file, sizeof file, "%s/output", test_dir);
    int keep = dup(2), out = open(file, O_CREAT | O_RDWR, 0600);
    SYS(out);
    SYS(dup2(out, 1));
    SYS(dup2(out, 2));
    int internal = 0;
    for (uint32_t i = 1; i < 500; i++) {
        dc_options o = DC_OPTIONS_INIT;
        dc_channel *channel = NULL;
        o.page_size = 65536ull * (i % 3) + (i % 2);
        o.max_pages = i % 4;
        o.max_messages_per_page = (i % 5) * 40000;
        o.flags = i % 70;
        o.retention = i % 6;
        internal |= dc_open(i % 7 ? chan_path : "/proc/none", &o, &channel) == DC_E_INTERNAL;
        dc_producer *p = NULL;
        if (channel) internal |= dc_producer_open(channel, &p) == DC_E_INTERNAL;
        if (p) internal |= dc_send(p, NULL, i, -1) == DC_E_INTERNAL || dc_commit(p, 1) == DC_E_INTERNAL;
        dc_producer_close(p);
        dc_close(channel);
        internal |= dc_destroy(chan_path) == DC_E_INTERNAL;
    }
    SYS(dup2(keep, 2));
    SYS(fstat(out, &st));
    CHECK_EQ(st.st_size, 0);
    CHECK(!internal);
}

TEST(s027_strerror_and_names) {
    static const struct { int code; const char *name; } codes[] = {
        {DC_OK, "DC_OK"}, {DC_END_OF_PAGE, "DC_END_OF_PAGE"}, {DC_LAGGED, "DC_LAGGED"}, {DC_AGAIN, "DC_AGAIN"},
        {DC_E_ARGUMENT, "DC_E_ARGUMENT"}, {DC_E_TOO_BIG, "DC_E_TOO_BIG"}, {DC_E_CORRUPT, "DC_E_CORRUPT"},
        {DC_E_FORMAT, "DC_E_FORMAT"}, {DC_E_MISMATCH, "DC_E_MISMATCH"}, {DC_E_LIMIT, "DC_E_LIMIT"},
        {DC_E_BUSY, "DC_E_BUSY"}, {DC_E_FORKED, "DC_E_FORKED"}, {DC_E_POISONED, "DC_E_POISONED"},
        {DC_E_STATE, "DC_E_STATE"}, {DC_E_UNSUPPORTED, "DC_E_UNSUPPORTED"}, {DC_E_INTERNAL, "DC_E_INTERNAL"},
        {-ENOENT, "ENOENT"}, {-EACCES, "EACCES"}, {-ENOSPC, "ENOSPC"}, {-EINTR, "EINTR"}, {-ECANCELED, "ECANCELED"},
    };
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        CHECK(!strcmp(dc_error_name(codes[i].code), codes[i].name) || (codes[i].code > -4096 && codes[i].code < 0 && strstr(dc_error_name(codes[i].code), codes[i].name)));
        CHECK(dc_strerror(codes[i].code)[0] != 0);
        CHECK(dc_strerror(codes[i].code) == dc_strerror(codes[i].code));
        for (size_t j = 0; j < i; j++) CHECK(strcmp(dc_strerror(codes[i].code), dc_strerror(codes[j].code)) != 0);
    }
    for (int code = -5000; code < 100; code += 7) CHECK(dc_strerror(code) && dc_error_name(code));
    CHECK(dc_strerror(INT32_MIN) && dc_error_name(INT32_MAX));
}

/* Nothing of ours can be taken for an errno, and no two are one. */
TEST(s008_codes_have_signs) {
    static const int private_codes[] = {DC_AGAIN, DC_E_ARGUMENT, DC_E_TOO_BIG, DC_E_CORRUPT, DC_E_FORMAT, DC_E_MISMATCH, DC_E_LIMIT,
                                        DC_E_BUSY, DC_E_FORKED, DC_E_POISONED, DC_E_STATE, DC_E_UNSUPPORTED, DC_E_INTERNAL};
    CHECK(DC_OK == 0 && DC_END_OF_PAGE > 0 && DC_LAGGED > 0 && DC_END_OF_PAGE != DC_LAGGED);
    for (size_t i = 0; i < sizeof private_codes / sizeof private_codes[0]; i++) {
        CHECK(private_codes[i] < -4096);
        for (size_t j = 0; j < i; j++) CHECK(private_codes[i] != private_codes[j]);
    }
}

/* [S28 S14] */
TEST(s029_last_error_is_the_last_failure) {
    CHECK(dc_last_error() != NULL);
    dc_channel *channel = NULL;
    dc_options o = small_options();
    o.flags = DC_EXISTING;
    CHECK_CODE(dc_open(chan_path, &o, &channel), -ENOENT);
    CHECK_TEXT(chan_path);
    char kept[2048];
    snprintf(kept, sizeof kept, "%s", dc_last_error());
    channel = open_small();
    dc_consumer *c = subscribe(channel, "g", NULL);
    take_nothing(c); /* DC_AGAIN sets no text */
    CHECK(!strcmp(dc_last_error(), kept));
    CHECK_CODE(dc_commit(producer_of(channel), 1), DC_E_STATE);
    CHECK(strcmp(dc_last_error(), kept) != 0);
    CHECK(!strchr(dc_last_error(), '\n'));
}

/* [S38] */
TEST(s037_version_and_layout) {
    char text[64];
    CHECK_EQ(dc_version(), DC_VERSION);
    snprintf(text, sizeof text, "%u.%u.%u", DC_VERSION >> 16, DC_VERSION >> 8 & 255, DC_VERSION & 255);
    CHECK(!strcmp(dc_version_string(), text));
}

_Static_assert(sizeof(dc_message) == 32 && offsetof(dc_message, len) == 8 && offsetof(dc_message, position) == 16 && offsetof(dc_message, flags) == 24 && offsetof(dc_message, deliveries) == 28, "dc_message is 32 bytes for ever");
_Static_assert(sizeof(dc_options) == 56 && offsetof(dc_options, size) == 0 && offsetof(dc_options, flags) == 52, "no implicit padding");
_Static_assert(sizeof(dc_subscribe_options) == 32 && sizeof(dc_channel_info) == 160 && sizeof(dc_group_info) == 56, "no implicit padding");
_Static_assert(sizeof(dc_consumer_info) == 56 && sizeof(dc_verify_info) == 56, "no implicit padding");
_Static_assert(DC_RETAIN_RING == 1 && DC_SYNC_NONE == 1 && DC_CHECKSUM_ON == 1 && DC_ACK_NEXT == 1, "zero means default");

/* [S95 S96] The layouts are asserted at compile time; the macros zero all but the size. */
TEST(s094_structs_are_laid_out_as_documented) {
    dc_options o = DC_OPTIONS_INIT, zero;
    memset(&zero, 0, sizeof zero);
    zero.size = sizeof zero;
    CHECK(!memcmp(&o, &zero, sizeof o));
    dc_subscribe_options s = DC_SUBSCRIBE_OPTIONS_INIT;
    CHECK(s.size == sizeof s && !s.start && !s.ack && !s.max_unacked && !s.prefetch && !s.flags);
    CHECK(DC_LAST(0) == DC_LATEST && DC_LAST(3) == UINT64_MAX - 3 && DC_EARLIEST == 1);
}
