/* As many as there may be, as long as one likes: participants, groups, pages, crashes, unacknowledged messages.
 *
 * DC_TEST_PAGES=100000: roll-overs of the test that measures what they leave behind. */
#include "files.h"

enum { WORKERS = 64, PRODUCERS = 192, EACH = 5 };

struct crowd {
    _Atomic int ready, received;
    _Atomic unsigned char seen[PRODUCERS][EACH];
};

static struct crowd *crowd;
static int start[2], leave[2]; /* pipes: closed when it is time */

static void wait_for(int pipe_of[2]) {
    char nothing;
    while (read(pipe_of[0], &nothing, 1) < 0) CHECK_EQ(errno, EINTR);
}

static void join_the_crowd(void) {
    close(start[1]);
    close(leave[1]);
    atomic_fetch_add(&crowd->ready, 1);
    wait_for(start);
}

static void produces(void *argument) {
    uint32_t id = *(uint32_t *)argument;
    unsigned char load[64];
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_producer *p = producer_of(channel);
    join_the_crowd();
    for (uint64_t n = 0; n < EACH; n++) CHECK_OK(dc_send(p, load, load_make(load, id, n, sizeof load), -1));
    wait_for(leave);
}

static void consumes(void *unused) {
    (void)unused;
    uint64_t next[PRODUCERS] = {0};
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe_ack(channel, "workers", DC_ACK_NEXT);
    join_the_crowd();
    while (atomic_load(&crowd->received) < PRODUCERS * EACH) {
        dc_message m;
        int code = dc_recv(c, &m, 50);
        if (code == DC_AGAIN) continue;
        CHECK_OK(code);
        struct load l = load_check(&m);
        CHECK(m.flags == 0 && l.producer < PRODUCERS && l.sequence < EACH);
        CHECK(l.sequence >= next[l.producer]);
        next[l.producer] = l.sequence + 1;
        CHECK_EQ(atomic_fetch_add(&crowd->seen[l.producer][l.sequence], 1), 0);
        CHECK_OK(dc_ack(c, m.position)); /* whoever leaves first leaves nothing to the others */
        atomic_fetch_add(&crowd->received, 1);
    }
    wait_for(leave);
}

/* [S1 S76 S77] 64 consumers of one group and 192 producers, each a process of its own, in a lossless channel. */
TEST_LIMIT(s120_256_processes_at_once, 120) {
    static pid_t pids[WORKERS + PRODUCERS];
    crowd = shared_memory(sizeof *crowd);
    SYS(pipe2(start, O_CLOEXEC));
    SYS(pipe2(leave, O_CLOEXEC));
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    o.max_messages_per_page = 200;
    o.stall_timeout_ms = 60000; /* nobody is overruled, however busy the machine */
    dc_channel *channel = open_at(chan_path, &o);
    dc_consumer_close(subscribe(channel, "workers", NULL));
    for (uint32_t i = 0; i < WORKERS; i++) pids[i] = spawn(consumes, NULL);
    for (uint32_t i = 0; i < PRODUCERS; i++) pids[WORKERS + i] = spawn(produces, &i);
    await(&crowd->ready, WORKERS + PRODUCERS);
    dc_channel_info i = channel_info(channel);
    CHECK_EQ(i.producers, PRODUCERS);
    CHECK_EQ(i.consumers, WORKERS);
    CHECK_EQ(group_info(channel, "workers").consumers, WORKERS);
    close(start[1]);
    await(&crowd->received, PRODUCERS * EACH);
    close(leave[1]);
    for (int k = 0; k < WORKERS + PRODUCERS; k++) wait_success(pids[k]);
    for (int p = 0; p < PRODUCERS; p++)
        for (int n = 0; n < EACH; n++) CHECK_EQ(crowd->seen[p][n], 1);
    i = channel_info(channel);
    CHECK(i.producers == 0 && i.consumers == 0 && i.abandoned == 0);
    take_nothing(subscribe_ack(channel, "workers", DC_ACK_NEXT));
}

/* What a process and its channel take. */
struct taken {
    long resident_kib, peak_kib;
    int descriptors, mappings, files;
    uint64_t disk;
};

static long status_kib(const char *field) {
    char line[256];
    long value = -1;
    size_t len = strlen(field);
    FILE *f = fopen("/proc/self/status", "re");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, field, len)) value = atol(line + len);
    fclose(f);
    return value;
}

static int entries_of(const char *path) {
    int n = 0;
    DIR *d = opendir(path);
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static struct taken measure(void) {
    char line[1024];
    struct taken t = {status_kib("VmRSS:"), status_kib("VmPeak:"), entries_of("/proc/self/fd"), 0, entries_of(chan_path), disk_of(chan_path)};
    FILE *f = fopen("/proc/self/maps", "re");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f)) t.mappings++;
    fclose(f);
    return t;
}

/* [S102 S121] A message a page, 10,000 pages: a consumer that keeps up, an observer that keeps up, one that clings
 * to its page for 1,000 pages, and a group that is never read. What is there after 500 pages is there at the end. */
TEST_LIMIT(s134_ten_thousand_pages_leave_nothing_behind, 180) {
    uint64_t pages = (uint64_t)env_number("DC_TEST_PAGES", 10000), most_disk = 0;
    int most_files = 0;
    dc_options o = small_options();
    o.max_messages_per_page = 1;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT), *observer = subscribe_ack(channel, NULL, 0), *slow = NULL;
    dc_consumer_close(subscribe(channel, "never read", NULL));
    struct taken start = measure(), end;
    dc_message held;
    for (uint64_t n = 0; n < pages + 500; n++) {
        send_number(p, n);
        take_first(c, n);
        take_first(observer, n);
        if (n % 1000 == 0) {
            dc_subscribe_options late = DC_SUBSCRIBE_OPTIONS_INIT;
            late.start = DC_LAST(1);
            if (slow) CHECK_EQ(number_of(&held), n - 1000);
            dc_consumer_close(slow);
            slow = subscribe(channel, NULL, &late);
            held = take_first(slow, n);
        }
        if (n == 500) start = measure();
        if (n % 100 == 99 && n > 500) {
            end = measure();
            most_disk = end.disk > most_disk ? end.disk : most_disk;
            most_files = end.files > most_files ? end.files : most_files;
        }
    }
    end = measure();
    fprintf(stderr, "    %llu pages: resident %ld -> %ld KiB, address space %ld -> %ld KiB, descriptors %d -> %d, mappings %d -> %d, files %d -> %d (at most %d), disk %llu -> %llu KiB (at most %llu)\n",
            (unsigned long long)pages, start.resident_kib, end.resident_kib, start.peak_kib, end.peak_kib, start.descriptors, end.descriptors, start.mappings, end.mappings,
            start.files, end.files, most_files, (unsigned long long)start.disk / 1024, (unsigned long long)end.disk / 1024, (unsigned long long)most_disk / 1024);
    CHECK_RANGE(end.descriptors, 0, start.descriptors + 2);
    CHECK_RANGE(end.mappings, 0, start.mappings + 4);
    CHECK_RANGE(end.resident_kib, 0, start.resident_kib + 1024 * test_scale());
    CHECK_RANGE(end.peak_kib, 0, start.peak_kib + 4096 * test_scale());
    CHECK_RANGE(most_files, 0, 4 + 2 + 3 + 1); /* pages, channel and two groups, one in the making */
    uint64_t page = 4096 + 4096 + 64 * 1024;
    CHECK_RANGE(most_disk, 1, (4 + 2 + 1) * page + 3 * (256 << 10));
}

struct sick {
    _Atomic int stage, crashes;
    _Atomic uint32_t deliveries;
    _Atomic int healthy[20];
};

static struct sick *sick;

/* A worker that dies of message 10; it sets aside what killed so many before. */
static void works(void *unused) {
    (void)unused;
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe_ack(channel, "workers", DC_ACK_NEXT);
    for (;;) {
        dc_message m;
        int code = receive(c, &m, 100);
        if (code == DC_AGAIN) break;
        CHECK_OK(code);
        uint64_t n = number_of(&m);
        CHECK_EQ(m.flags, m.deliveries > 1 ? DC_MESSAGE_REDELIVERED : 0);
        if (n != 10) {
            CHECK_EQ(m.deliveries, 1);
            atomic_fetch_add(&sick->healthy[n], 1);
            continue;
        }
        CHECK_EQ(m.deliveries, (uint32_t)atomic_load(&sick->crashes) + 1);
        atomic_store(&sick->deliveries, m.deliveries);
        if (m.deliveries > 60) continue; /* the poison is recognised by its count */
        atomic_fetch_add(&sick->crashes, 1);
        kill(getpid(), SIGKILL);
    }
    atomic_store(&sick->stage, 1);
}

/* [S81] A message that kills whoever receives it is known by its count, however often that happened. */
TEST_LIMIT(s082_a_poison_message_is_known_by_its_count, 120) {
    sick = shared_memory(sizeof *sick);
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer_close(subscribe(channel, "workers", NULL));
    send_numbers(p, 0, 20);
    for (int crashes = 0; !atomic_load(&sick->stage); crashes++) {
        int status;
        pid_t pid = spawn(works, NULL);
        SYS(waitpid(pid, &status, 0));
        if (crashes < 60) CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        else CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    CHECK_EQ(sick->crashes, 60);
    CHECK_EQ(sick->deliveries, 61);
    for (int n = 0; n < 20; n++) CHECK_EQ(sick->healthy[n], n != 10);
    dc_group_info i = group_info(channel, "workers");
    CHECK(i.unacked == 0 && i.lag == 0 && i.lost == 0 && i.consumers == 0);
    CHECK_EQ(i.redelivered, 60);
}

static dc_consumer *worker_of(dc_channel *channel, uint32_t max_unacked) {
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.ack = DC_ACK_MANUAL;
    o.max_unacked = max_unacked;
    o.flags = DC_AUTO_NEXT_PAGE;
    return subscribe(channel, "workers", &o);
}

/* Several consumers held all they may and died: one that may hold no more than each of them gets all of it, as much
 * at a time as it may hold. */
static void inherits(uint32_t most, uint64_t dead) {
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    o.max_pages = DC_UNLIMITED;
    o.page_size = 1 << 20;
    o.max_messages_per_page = 1000;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    uint64_t all = dead * most;
    send_numbers(p, 0, all + 10);
    dc_consumer *gone[8];
    dc_message m;
    for (uint64_t k = 0; k < dead; k++) {
        gone[k] = worker_of(channel, most);
        for (uint64_t n = k * most; n < (k + 1) * most; n++) CHECK_EQ(take_number(gone[k]), n);
        CHECK_CODE(dc_recv(gone[k], &m, 0), DC_E_LIMIT);
    }
    CHECK_EQ(group_info(channel, "workers").unacked, all);
    for (uint64_t k = 0; k < dead; k++) dc_consumer_close(gone[k]);
    dc_consumer *c = worker_of(channel, most);
    for (uint64_t n = 0; n < all;) {
        uint64_t until = n + most;
        for (; n < until; n++) take_again(c, n, 2);
        CHECK_CODE(dc_recv(c, &m, 0), DC_E_LIMIT);
        CHECK_EQ(consumer_info(c).unacked, most);
        CHECK_EQ(group_info(channel, "workers").unacked, all - (n - most));
        CHECK_OK(dc_ack(c, UINT64_MAX - 1));
    }
    for (uint64_t n = all; n < all + 10; n++) {
        take_first(c, n);
        CHECK_OK(dc_ack(c, UINT64_MAX - 1));
    }
    take_nothing(c);
    CHECK_EQ(group_info(channel, "workers").unacked, 0);
}

/* [S20 S57 S117] */
TEST(s113_more_was_left_than_one_may_hold) { inherits(8, 5); }

TEST(s113_the_most_there_can_be_and_three_times_that) { inherits(4096, 3); }
