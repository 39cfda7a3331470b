/* Observers: they see everything, change nothing, and need no permission to write. */
#include "chan.h"

/* [S4] */
TEST(s005_observers_and_groups_do_not_touch_each_other) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    dc_consumer *observers[5];
    for (int i = 0; i < 5; i++) observers[i] = subscribe_ack(channel, NULL, 0);
    for (uint64_t n = 0; n < 500; n++) {
        send_number(p, n);
        for (int i = 0; i < 5; i++) take_first(observers[i], n);
        take_first(c, n);
    }
    for (int i = 0; i < 5; i++) take_nothing(observers[i]);
    char name[256];
    CHECK_OK(dc_group_next(channel, NULL, name, sizeof name));
    CHECK_CODE(dc_group_next(channel, name, name, sizeof name), -ENOENT); /* no group but g */
}

TEST(s048_a_cloned_observer_starts_where_the_other_stands) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 40);
    dc_consumer *c = subscribe_ack(channel, NULL, 0), *clone = NULL;
    take_numbers(c, 0, 20);
    CHECK_OK(dc_consumer_clone(c, &clone));
    dc_consumer_close(c);
    take_numbers(clone, 20, 40);
    take_nothing(clone);
}

/* [S24] */
TEST(s005_observers_have_nothing_to_acknowledge) {
    dc_channel *channel = open_small();
    send_number(producer_of(channel), 0);
    dc_consumer *c = subscribe_ack(channel, NULL, DC_ACK_MANUAL);
    dc_message m = take_first(c, 0);
    CHECK_CODE(dc_ack(c, m.position), DC_E_STATE);
    CHECK_CODE(dc_nack(c), DC_E_STATE);
    CHECK_EQ(consumer_info(c).unacked, 0);
    take_nothing(c);
}

/* [S122] */
TEST(s005_read_only_observers_are_not_counted) {
    dc_channel *channel = open_small(), *reader = open_flags(DC_READ_ONLY);
    dc_consumer *r = subscribe(reader, NULL, NULL);
    CHECK_EQ(channel_info(channel).consumers, 0);
    dc_consumer *o = subscribe(channel, NULL, NULL);
    CHECK_EQ(channel_info(channel).consumers, 1);
    dc_consumer_close(o);
    CHECK_EQ(channel_info(channel).consumers, 0);
    dc_consumer_close(r);
}

struct shared {
    _Atomic int stage, seen;
    uint64_t fingerprint;
};

/* As a user who may read everything and write nothing. */
static void reads_as_nobody(void *argument) {
    struct shared *s = argument;
    SYS(setgid(65534));
    SYS(setuid(65534));
    char file[700];
    snprintf(file, sizeof file, "%s/mine", chan_path);
    CHECK(open(file, O_CREAT | O_WRONLY, 0600) < 0);
    dc_channel *channel = NULL;
    CHECK(dc_open(chan_path, NULL, &channel) < 0); /* for writing: no */
    channel = open_flags(DC_READ_ONLY);
    CHECK_EQ(channel_info(channel).messages, 10);
    dc_consumer *c = subscribe_ack(channel, NULL, 0);
    take_numbers(c, 0, 10);
    take_nothing(c);
    CHECK_EQ(verify_info(chan_path).corrupt, 0);
    atomic_store(&s->stage, 1);
    for (uint64_t n = 10; n < 300; n++) { /* live */
        CHECK_EQ(take_number(c), n);
        atomic_store(&s->seen, (int)n);
    }
}

/* [S122] */
TEST(s005_read_permission_is_enough) {
    if (geteuid() != 0) SKIP("needs root, to become somebody else");
    struct shared *s = shared_memory(sizeof *s);
    if (!nobody_can_come()) SKIP("no way to %s for another user", test_dir);
    dc_options o = small_options();
    o.mode = 0644;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 10);
    pid_t pid = spawn(reads_as_nobody, s);
    await(&s->stage, 1);
    for (uint64_t n = 10; n < 300; n++) { /* never so far ahead that the ring drops what it has not seen */
        send_number(p, n);
        if (n % 16 == 0) await(&s->seen, (int)n);
    }
    wait_success(pid);
}

/* [S5] A live tail of another process's sends, by waiting calls. */
static void tails(void *argument) {
    struct shared *s = argument;
    dc_channel *channel = open_flags(DC_READ_ONLY);
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.start = DC_LATEST;
    o.flags = DC_AUTO_NEXT_PAGE;
    dc_consumer *c = subscribe(channel, NULL, &o);
    atomic_store(&s->stage, 1);
    dc_message m;
    for (uint64_t n = 100; n < 120; n++) {
        CHECK_OK(dc_recv(c, &m, -1));
        CHECK_EQ(number_of(&m), n);
    }
    atomic_store(&s->stage, 2);
}

TEST(s122_a_live_tail) {
    struct shared *s = shared_memory(sizeof *s);
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 100);
    pid_t pid = spawn(tails, s);
    await(&s->stage, 1);
    for (uint64_t n = 100; n < 120; n++) {
        send_number(p, n);
        sleep_ms(n % 3 * 20);
    }
    await(&s->stage, 2);
    wait_success(pid);
}

static uint64_t fingerprint_of(const char *path) {
    uint64_t sum = 14695981039346656037ull;
    DIR *d = opendir(path);
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d));) {
        char child[1200];
        struct stat st;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        SYS(lstat(child, &st));
        if (S_ISDIR(st.st_mode)) {
            sum += fingerprint_of(child);
            continue;
        }
        unsigned char block[4096];
        uint64_t file = (uint64_t)st.st_mode * 31 + (uint64_t)st.st_mtim.tv_nsec;
        int fd = open(child, O_RDONLY | O_CLOEXEC);
        SYS(fd);
        for (ssize_t n; (n = read(fd, block, sizeof block)) > 0;)
            for (ssize_t i = 0; i < n; i++) file = (file ^ block[i]) * 1099511628211ull;
        close(fd);
        for (const char *c = e->d_name; *c; c++) file = (file ^ (unsigned char)*c) * 1099511628211ull;
        sum += file; /* whatever order the directory has */
    }
    closedir(d);
    return sum;
}

/* [S46 S109] Reading leaves no trace: not a byte, name or time of any file. */
TEST(s005_reading_changes_nothing_on_disk) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 100);
    dc_consumer_close(subscribe(channel, "g", NULL));
    dc_producer_close(p);
    dc_close(channel);
    uint64_t before = fingerprint_of(chan_path);
    channel = open_flags(DC_READ_ONLY);
    dc_consumer *c = subscribe_ack(channel, NULL, 0);
    dc_message m;
    while (receive(c, &m, 0) != DC_AGAIN) {}
    CHECK(channel_info(channel).end > m.position);
    group_info(channel, "g");
    dc_consumer_close(c);
    dc_close(channel);
    verify_info(chan_path);
    CHECK_EQ(fingerprint_of(chan_path), before);
}

/* The first one opened for reading does not hinder a writer, a roll-over, or the end of the channel. */
TEST(s122_a_read_only_observer_hinders_nobody) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 5);
    dc_channel *reader = open_flags(DC_READ_ONLY);
    dc_consumer *c = subscribe(reader, NULL, NULL);
    dc_message m = take_first(c, 0);
    for (uint64_t n = 5; n < 1000; n++) CHECK_OK(dc_send(p, &n, sizeof n, 0));
    CHECK_EQ(number_of(&m), 0);
    dc_producer_close(p);
    dc_close(channel);
    CHECK_CODE(dc_destroy(chan_path), DC_E_BUSY);
    dc_consumer_close(c);
    dc_close(reader);
    CHECK_OK(dc_destroy(chan_path));
}

static void waits_for_room(void *unused) {
    (void)unused;
    dc_producer *p = producer_of(open_flags(0));
    for (uint64_t n = 0;; n++) send_number(p, n);
}

/* [S5] Turning a page makes room, and whoever waits for it is woken: but not by one who may not write. */
TEST(s122_a_read_only_observer_beside_one_who_waits_for_room) {
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    dc_channel *channel = open_at(chan_path, &o);
    subscribe_ack(channel, "g", DC_ACK_MANUAL); /* reads nothing: the channel fills */
    pid_t pid = spawn(waits_for_room, NULL);
    uint64_t waiting = 0;
    char path[700];
    snprintf(path, sizeof path, "%s/channel", chan_path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    SYS(fd);
    for (int64_t limit = now_ms() + LONG_MS; waiting == 0; sleep_ms(1)) {
        CHECK(now_ms() < limit);
        CHECK(pread(fd, &waiting, sizeof waiting, 8576) == sizeof waiting);
    }
    dc_consumer *c = subscribe(open_flags(DC_READ_ONLY), NULL, NULL);
    for (int page = 0; page < 4; page++) {
        dc_message m;
        for (int n = 0; n < 16; n++) CHECK_OK(dc_recv(c, &m, 0));
        if (page == 3) break;
        for (int again = 0; again < 3; again++) CHECK_CODE(dc_recv(c, &m, 0), DC_END_OF_PAGE);
        CHECK_OK(dc_next_page(c));
    }
    take_nothing(c);
    kill_and_wait(pid);
}
