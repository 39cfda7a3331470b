/* Groups: their names, their order, their limits, their figures, and their end. */
#include "chan.h"

#include <sys/resource.h>

static void many_descriptors(void) {
    struct rlimit limit;
    SYS(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = limit.rlim_max;
    SYS(setrlimit(RLIMIT_NOFILE, &limit));
    if (limit.rlim_cur < 20000) SKIP("the hard limit of descriptors is %llu", (unsigned long long)limit.rlim_cur);
}

static size_t entries_in(const char *path) {
    size_t n = 0;
    DIR *d = opendir(path);
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.' || e->d_name[1] > '.';
    closedir(d);
    return n;
}

/* Every byte but NUL is a byte like any other, and no name leads out of the directory. */
TEST(s119_names_are_any_bytes) {
    char all[256], slashes[256], dots[256];
    for (int i = 0; i < 255; i++) all[i] = (char)(i + 1);
    memset(slashes, '/', 255);
    memset(dots, '.', 255);
    all[255] = slashes[255] = dots[255] = 0;
    const char *names[] = {"a", "A", ".", "..", "../evil", "/etc/passwd", "a/b", "a\\b", "%", "%2f", "%00", " ", "\n", "\x01", "\xff", "\xff\xfe",
                           "caf\xc3\xa9", "caf\xe9", "con", "tmp", "group", "channel", "x.tmp", "~", "*", "'; --", all, slashes, dots};
    enum { COUNT = sizeof names / sizeof names[0] };
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, COUNT);
    for (uint64_t i = 0; i < COUNT; i++) { /* group i acknowledges the first i messages */
        dc_consumer *c = subscribe_ack(channel, names[i], DC_ACK_RECEIVE);
        take_numbers(c, 0, i);
        dc_consumer_close(c);
    }
    dc_producer_close(p);
    dc_close(channel);
    channel = open_flags(DC_EXISTING);
    for (uint64_t i = 0; i < COUNT; i++) {
        CHECK_EQ(group_info(channel, names[i]).lag, COUNT - i);
        dc_consumer *c = subscribe_ack(channel, names[i], DC_ACK_RECEIVE);
        CHECK_EQ(take_number(c), i);
        dc_consumer_close(c);
    }
    CHECK_EQ(entries_in(test_dir), 1);
    CHECK_EQ(verify_info(chan_path).groups, COUNT);
    for (uint64_t i = 0; i < COUNT; i++) CHECK_OK(dc_group_delete(channel, names[i]));
    char name[256];
    CHECK_CODE(dc_group_next(channel, NULL, name, sizeof name), -ENOENT);
}

/* [S15] */
TEST(s119_empty_and_overlong_names) {
    dc_channel *channel = open_small();
    dc_group_info i = DC_GROUP_INFO_INIT;
    static char names[2][5000];
    memset(names[0], 'x', 256);
    memset(names[1], 'x', 4999);
    const char *bad[] = {"", names[0], names[1]};
    for (int n = 0; n < 3; n++) {
        dc_consumer *c = (dc_consumer *)&c;
        CHECK_CODE(dc_subscribe(channel, bad[n], NULL, &c), DC_E_ARGUMENT);
        CHECK(c == NULL);
        CHECK_TEXT("255");
        CHECK_CODE(dc_group_stats(channel, bad[n], &i), DC_E_ARGUMENT);
        CHECK_CODE(dc_group_delete(channel, bad[n]), DC_E_ARGUMENT);
    }
    names[0][255] = 0;
    subscribe(channel, names[0], NULL);
    char name[256];
    CHECK_OK(dc_group_next(channel, NULL, name, sizeof name));
    CHECK(!strcmp(name, names[0]));
}

/* [S8] */
TEST(s044_group_next_goes_in_byte_order) {
    const char *order[] = {"\x01", "A", "a", "aa", "b", "b/", "b0", "z", "\x7f", "\x80", "\xff", "\xff\x01"};
    enum { COUNT = sizeof order / sizeof order[0] };
    dc_channel *channel = open_small();
    char name[DC_GROUP_NAME_MAX + 1];
    memset(name, 'q', sizeof name);
    CHECK_CODE(dc_group_next(channel, NULL, name, sizeof name), -ENOENT);
    for (int i = 0; i < COUNT; i++) dc_consumer_close(subscribe(channel, order[i * 7 % COUNT], NULL));
    for (int i = 0; i < COUNT; i++) {
        CHECK_OK(dc_group_next(channel, i ? order[i - 1] : NULL, name, sizeof name));
        CHECK(!strcmp(name, order[i]));
    }
    CHECK_CODE(dc_group_next(channel, order[COUNT - 1], name, sizeof name), -ENOENT);
    int n = 1;
    CHECK_OK(dc_group_next(channel, NULL, name, sizeof name));
    for (int code; (code = dc_group_next(channel, name, name, sizeof name)) != -ENOENT; n++) { /* in place */
        CHECK_OK(code);
        CHECK(!strcmp(name, order[n]));
    }
    CHECK_EQ(n, COUNT);
    CHECK_OK(dc_group_next(channel, "ab", name, sizeof name)); /* after a name that is not there */
    CHECK(!strcmp(name, "b"));
    /* Room: two bytes and a NUL fit three, not two; nothing is written beyond. */
    memset(name, 'q', sizeof name);
    CHECK_OK(dc_group_next(channel, "b", name, 3));
    CHECK(!strcmp(name, "b/") && name[3] == 'q');
    memset(name, 'q', sizeof name);
    CHECK_CODE(dc_group_next(channel, "b", name, 2), -ERANGE);
    CHECK_CODE(dc_group_next(channel, "b", name, 0), -ERANGE);
    CHECK(name[0] == 'q');
}

/* [S21] */
TEST(s045_delete_removes_a_group_nobody_uses) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 10);
    CHECK_CODE(dc_group_delete(channel, "g"), -ENOENT);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    take_numbers(c, 0, 10);
    CHECK_CODE(dc_group_delete(channel, "g"), DC_E_BUSY);
    CHECK_TEXT("g");
    CHECK_EQ(group_info(channel, "g").consumers, 1);
    dc_consumer_close(c);
    CHECK_OK(dc_group_delete(channel, "g"));
    CHECK_CODE(dc_group_delete(channel, "g"), -ENOENT);
    dc_group_info i = DC_GROUP_INFO_INIT;
    CHECK_CODE(dc_group_stats(channel, "g", &i), -ENOENT);
    c = subscribe_ack(channel, "g", DC_ACK_NEXT); /* a new one of that name starts anew */
    for (uint64_t n = 0; n < 10; n++) take_first(c, n);
}

/* Another process has it, and dies. */
static void joins(void *stage) {
    dc_channel *channel = open_flags(DC_EXISTING);
    subscribe(channel, "g", NULL);
    atomic_store((_Atomic int *)stage, 1);
    for (;;) pause();
}

TEST(s045_delete_is_busy_while_another_process_uses_it) {
    dc_channel *channel = open_small();
    _Atomic int *stage = shared_memory(4096);
    pid_t pid = spawn(joins, stage);
    await(stage, 1);
    CHECK_CODE(dc_group_delete(channel, "g"), DC_E_BUSY);
    CHECK_EQ(group_info(channel, "g").consumers, 1);
    kill_and_wait(pid);
    CHECK_OK(dc_group_delete(channel, "g"));
}

/* [S143 S43] */
TEST(s120_three_hundred_groups) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    char name[32];
    send_numbers(p, 0, 3);
    for (int g = 0; g < 300; g++) {
        snprintf(name, sizeof name, "group %d", g);
        dc_consumer *c = subscribe_ack(channel, name, DC_ACK_RECEIVE);
        take_first(c, 0);
        dc_consumer_close(c);
    }
    for (int g = 299; g >= 0; g--) {
        snprintf(name, sizeof name, "group %d", g);
        CHECK_EQ(group_info(channel, name).lag, 2);
        dc_consumer *c = subscribe_ack(channel, name, DC_ACK_RECEIVE);
        take_first(c, 1);
        dc_consumer_close(c);
    }
    dc_group_info i = DC_GROUP_INFO_INIT;
    CHECK_CODE(dc_group_stats(channel, "group 300", &i), -ENOENT);
    CHECK_TEXT("group 300");
    CHECK_EQ(verify_info(chan_path).groups, 300);
}

/* [S143] At once, each with a live consumer: none waits for another. */
TEST(s120_a_hundred_groups_at_once) {
    many_descriptors();
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c[100];
    char name[32];
    for (int g = 0; g < 100; g++) {
        snprintf(name, sizeof name, "%d", g);
        c[g] = subscribe_ack(channel, name, DC_ACK_NEXT);
    }
    for (uint64_t n = 0; n < 200; n++) {
        send_number(p, n);
        for (int g = 0; g < 100; g++) take_first(c[g], n);
    }
}

/* [S20 S11] */
TEST(s120_254_consumers_a_group) {
    many_descriptors();
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    static dc_consumer *c[254];
    for (int i = 0; i < 254; i++) c[i] = subscribe_ack(channel, "g", DC_ACK_NEXT);
    dc_consumer *more = (dc_consumer *)&more;
    CHECK_CODE(dc_subscribe(channel, "g", NULL, &more), DC_E_LIMIT);
    CHECK(more == NULL);
    CHECK_TEXT("254");
    more = (dc_consumer *)&more;
    CHECK_CODE(dc_consumer_clone(c[0], &more), DC_E_LIMIT);
    CHECK(more == NULL);
    CHECK_EQ(group_info(channel, "g").consumers, 254);
    for (uint64_t i = 0; i < 254; i++) {
        send_number(p, i);
        take_first(c[i * 101 % 254], i);
    }
    dc_consumer_close(c[7]);
    c[7] = subscribe_ack(channel, "g", DC_ACK_NEXT);
    subscribe_ack(channel, "other", DC_ACK_NEXT);
}

/* [S20 S11] */
TEST_LIMIT(s120_1024_handles_a_channel, 180) {
    many_descriptors();
    dc_channel *channel = open_small();
    static dc_producer *p[1025];
    int n = 0, code = DC_OK;
    while (n < 1025 && (code = dc_producer_open(channel, &p[n])) == DC_OK) n++;
    CHECK_CODE(code, DC_E_LIMIT);
    CHECK(p[n] == NULL);
    CHECK_EQ(n, 1024);
    CHECK_TEXT("1024");
    CHECK_EQ(channel_info(channel).producers, 1024);
    send_number(p[1023], 1);
    dc_producer_close(p[500]);
    CHECK_OK(dc_producer_open(channel, &p[500]));
    send_number(p[500], 2);
    for (int i = 0; i < n; i++) dc_producer_close(p[i]);
    CHECK_EQ(channel_info(channel).producers, 0);
    take_numbers(subscribe(channel, "g", NULL), 1, 3);
}

/* [S20 S11] */
TEST_LIMIT(s120_1024_opens_of_a_channel, 180) {
    many_descriptors();
    static dc_channel *channel[1100];
    dc_options o = small_options();
    int n = 0, code = DC_OK;
    while (n < 1100 && (code = dc_open(chan_path, &o, &channel[n])) == DC_OK) n++;
    CHECK_CODE(code, DC_E_LIMIT);
    CHECK(channel[n] == NULL);
    CHECK_EQ(n, 1024);
    dc_close(channel[77]);
    CHECK_OK(dc_open(chan_path, &o, &channel[77]));
    send_number(producer_of(channel[77]), 1);
    take_first(subscribe(channel[1023], "g", NULL), 1);
}

TEST(s116_group_figures_are_exact) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 30);
    dc_consumer *a = subscribe_ack(channel, "g", DC_ACK_MANUAL), *b = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    dc_group_info i = group_info(channel, "g");
    CHECK(i.lag == 30 && i.unacked == 0 && i.lost == 0 && i.redelivered == 0 && i.consumers == 2);
    dc_message m = take_first(a, 0), last = m;
    CHECK(i.position <= m.position);
    for (uint64_t n = 1; n < 10; n++) last = take_first(n % 2 ? b : a, n);
    i = group_info(channel, "g");
    CHECK_EQ(i.lag, 20);
    CHECK_EQ(i.unacked, 10);
    CHECK(i.position > last.position);
    CHECK_OK(dc_ack(a, last.position));
    CHECK_EQ(group_info(channel, "g").unacked, 5);
    CHECK_OK(dc_nack(b));
    i = group_info(channel, "g");
    CHECK_EQ(i.lag + i.unacked, 25); /* given back: waiting again, for whoever takes it */
    for (uint64_t n = 1; n < 10; n += 2) take_again(a, n, 2);
    i = group_info(channel, "g");
    CHECK_EQ(i.redelivered, 5);
    CHECK_EQ(i.lag, 20);
    CHECK_EQ(i.unacked, 5);
    CHECK_OK(dc_ack(a, UINT64_MAX - 1));
    dc_consumer_close(b);
    dc_consumer_close(a);
    i = group_info(channel, "g");
    CHECK(i.consumers == 0 && i.unacked == 0 && i.lag == 20);
    send_numbers(p, 30, 500);
    a = subscribe_ack(channel, "g", DC_ACK_NEXT);
    uint64_t got = 0;
    for (int code; (code = receive(a, &m, 0)) != DC_AGAIN;) {
        if (code == DC_LAGGED) continue;
        CHECK_OK(code);
        got++;
    }
    i = group_info(channel, "g");
    CHECK_EQ(i.lost, 490 - got);
    CHECK(i.lag == 0 && i.unacked == 0);
}
