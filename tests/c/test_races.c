/* Processes that create, destroy, join, leave, seek and delete at once, some of them killed amid it:
 * whatever is left works, and a channel that a crash left behind simply opens. */
#include "files.h"

#include <sys/syscall.h>

struct shared {
    _Atomic int stop;
    _Atomic uint64_t done;
};

static struct shared *s;

/* Called once, where the library looked for a page and did not find it, before it goes on. This program defines openat itself; the
 * dynamic linker lets the library use it too. */
static void (*behind_the_look)(void);

int openat(int dir, const char *name, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int fd = (int)syscall(SYS_openat, dir, name, flags, flags & O_CREAT ? va_arg(more, mode_t) : 0);
    va_end(more);
    int code = errno;
    if (fd < 0 && code == ENOENT && behind_the_look != NULL && strncmp(name, "page-", 5) == 0) {
        void (*now)(void) = behind_the_look;
        behind_the_look = NULL;
        now();
    }
    errno = code;
    return fd;
}

/* Creates, uses and destroys one channel over and over. */
static void creates_and_destroys(void *argument) {
    uint64_t random = (uint64_t)getpid() * 7919 + *(uint32_t *)argument;
    while (!atomic_load(&s->stop)) {
        dc_options o = small_options();
        dc_channel *channel = NULL;
        int code = dc_open(chan_path, &o, &channel);
        if (code == DC_OK) {
            dc_producer *p = producer_of(channel);
            for (int n = 0; n < 20; n++) CHECK_OK(dc_send(p, "message", 7, 0));
            dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_RECEIVE);
            dc_message m;
            while ((code = receive(c, &m, 0)) >= 0)
                if (code == DC_OK) CHECK(m.len == 7 && !memcmp(m.data, "message", 7));
            CHECK_CODE(code, DC_AGAIN);
            dc_consumer_close(c);
            dc_producer_close(p);
            dc_close(channel);
        } else {
            CHECK_CODE(code, DC_E_BUSY); /* being destroyed just now */
        }
        if (random_number(&random) % 2) {
            code = dc_destroy(chan_path);
            if (code != DC_OK && code != -ENOENT) CHECK_CODE(code, DC_E_BUSY);
        }
        atomic_fetch_add(&s->done, 1);
    }
}

/* Every call that changes what is shared, in any order; each succeeds or has a good reason not to. */
static void does_everything(void *argument) {
    uint64_t random = (uint64_t)getpid() * 104729 + *(uint32_t *)argument;
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = NULL;
    dc_message m;
    size_t n;
    void *data;
    unsigned char load[300];
    for (uint64_t i = 0; !atomic_load(&s->stop); i++) {
        char group[8];
        int code = DC_OK;
        snprintf(group, sizeof group, "g%u", (unsigned)(random_number(&random) % 3));
        switch (random_number(&random) % 16) {
        case 0: dc_producer_close(p), p = producer_of(channel); break;
        case 1:
            dc_consumer_close(c);
            c = subscribe_ack(channel, group, 1 + random_number(&random) % 3);
            break;
        case 2: dc_consumer_close(c), c = NULL; break;
        case 3:
            code = dc_group_delete(channel, group);
            if (code != -ENOENT && code != DC_E_BUSY) CHECK_OK(code);
            break;
        case 4:
            code = c ? dc_seek(c, random_number(&random) % 2 ? DC_EARLIEST : DC_LAST(5)) : DC_OK;
            if (code != DC_E_BUSY) CHECK_OK(code);
            break;
        case 5:
            if (c) CHECK_OK(dc_nack(c));
            break;
        case 6:
            if (c) CHECK_OK(dc_ack(c, UINT64_MAX - 1));
            break;
        case 7:
            CHECK_OK(dc_reserve(p, 100, 0, &data));
            load_make(data, 1, i, 100);
            CHECK_OK(random_number(&random) % 2 ? dc_abort(p) : dc_commit(p, 100));
            break;
        case 8: dc_close(channel), channel = open_small(); break;
        case 9: code = dc_channel_sync(channel, 100); break;
        default:
            for (int k = 0; k < 10; k++) CHECK_OK(dc_send(p, load, load_make(load, 2, i, 16 + i % 200), 0));
            for (int k = 0; c && k < 15; k++) {
                code = random_number(&random) % 4 ? dc_recv(c, &m, 0) : dc_recv_batch(c, &m, 1, 0, &n);
                if (code == DC_OK) load_check(&m);
                else CHECK(code == DC_AGAIN || code == DC_LAGGED || code == DC_E_LIMIT);
            }
        }
        atomic_fetch_add(&s->done, 1);
    }
}

/* Runs four of them, and kills one now and then; they must get on all the time. */
static void race(void (*run)(void *), long kills) {
    enum { PROCESSES = 4 };
    s = shared_memory(sizeof *s);
    pid_t pids[PROCESSES];
    uint64_t seed = 5, last = 0;
    for (uint32_t i = 0; i < PROCESSES; i++) pids[i] = spawn(run, &i);
    for (long k = 0; k < 150; k++) {
        sleep_ms(random_number(&seed) % 40);
        int64_t since = now_ms();
        while (atomic_load(&s->done) == last) {
            CHECK(now_ms() - since < LONG_MS * test_scale());
            sleep_ms(1);
        }
        last = atomic_load(&s->done);
        if (k >= kills) continue;
        uint32_t i = random_number(&seed) % PROCESSES;
        int status;
        SYS(kill(pids[i], SIGKILL));
        SYS(waitpid(pids[i], &status, 0));
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* or it failed a check, and said so */
        pids[i] = spawn(run, &i);
    }
    atomic_store(&s->stop, 1);
    for (int i = 0; i < PROCESSES; i++) wait_success(pids[i]);
}

static void works(void) {
    dc_channel *channel = open_small();
    CHECK_EQ(verify_info(chan_path).corrupt, 0);
    CHECK(channel_info(channel).producers == 0 && channel_info(channel).consumers == 0);
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.start = DC_LATEST;
    dc_consumer *c = subscribe(channel, "afterwards", &o);
    dc_producer *p = producer_of(channel);
    for (uint64_t n = 0; n < 200; n++) {
        send_number(p, n);
        take_first(c, n);
    }
    dc_consumer_close(c);
    dc_producer_close(p);
    dc_close(channel);
    CHECK_OK(dc_destroy(chan_path));
    struct stat st;
    CHECK(stat(chan_path, &st) != 0);
}

/* Sends a page and a half when told to. */
static void sends_when_told(void *argument) {
    (void)argument;
    dc_channel *channel = open_flags(DC_EXISTING);
    atomic_store(&s->done, 1);
    while (!atomic_load(&s->stop)) sleep_ms(1);
    send_numbers(producer_of(channel), 0, 24);
    atomic_store(&s->done, 2);
}

static void wait_until(uint64_t done) {
    for (int64_t since = now_ms(); atomic_load(&s->done) != done; sleep_ms(1)) CHECK(now_ms() - since < LONG_MS);
}

static void send_now(void) {
    atomic_store(&s->stop, 1);
    wait_until(2);
}

/* A reader looks for the first page, which is not there; before it goes on that page is made, filled, and followed by another one. */
static void looked_too_early(const char *group) {
    s = shared_memory(sizeof *s);
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    dc_channel *channel = open_at(chan_path, &o);
    dc_subscribe_options so = DC_SUBSCRIBE_OPTIONS_INIT;
    dc_consumer *c = subscribe(channel, group, &so);
    pid_t pid = spawn(sends_when_told, NULL);
    wait_until(1);
    behind_the_look = send_now;
    dc_message m;
    int code = receive(c, &m, 0);
    CHECK(behind_the_look == NULL);
    if (code == DC_OK) CHECK_EQ(number_of(&m), 0);
    else CHECK_CODE(code, DC_AGAIN);
    for (uint64_t n = code == DC_OK; n < 24; n++) {
        m = take(c);
        CHECK_EQ(number_of(&m), n);
    }
    wait_success(pid);
}

TEST(s076_nothing_is_passed_over_in_a_page_made_behind_the_look) { looked_too_early("g"); }

TEST(s005_an_observer_passes_nothing_over_in_a_page_made_behind_the_look) { looked_too_early(NULL); }

/* [S1 S21] */
TEST(s040_creating_and_destroying_at_once) {
    race(creates_and_destroys, 0);
    works();
}

/* [S138] */
TEST(s129_killed_while_creating_and_destroying) {
    race(creates_and_destroys, 150);
    works();
}

/* [S45 S60] */
TEST(s003_every_call_at_once) {
    race(does_everything, 0);
    works();
}

/* [S138 S45 S60] */
TEST(s129_killed_in_every_call) {
    race(does_everything, 150);
    works();
}

static int descriptors(void) {
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    CHECK(d != NULL);
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

static int mappings(void) {
    int n = 0;
    char line[1024];
    FILE *f = fopen("/proc/self/maps", "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof line, f)) n++;
    fclose(f);
    return n;
}

static long resident_pages(void) {
    long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f != NULL && fscanf(f, "%ld %ld", &size, &resident) == 2);
    fclose(f);
    return resident;
}

static void everything_once(void) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel), *q = NULL;
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT), *o = subscribe(channel, NULL, NULL), *d = NULL;
    CHECK_OK(dc_producer_clone(p, &q));
    CHECK_OK(dc_consumer_clone(c, &d));
    CHECK(dc_consumer_fd(c) >= 0 && dc_consumer_fd(o) >= 0 && dc_producer_fd(p) >= 0);
    dc_message m;
    for (uint64_t n = 0; n < 200; n++) {
        send_number(n % 2 ? p : q, n);
        while (receive(n % 3 ? c : d, &m, 0) >= 0) {}
    }
    take(o);
    dc_consumer_close(c);
    dc_consumer_close(d);
    dc_consumer_close(o);
    dc_producer_close(p);
    dc_producer_close(q);
    dc_close(channel);
}

TEST(s134_nothing_is_leaked) {
    for (int i = 0; i < 30; i++) everything_once();
    int fds = descriptors(), maps = mappings();
    long pages = resident_pages();
    for (int i = 0; i < 200; i++) everything_once();
    CHECK_RANGE(descriptors(), 0, fds + 5);
    CHECK_RANGE(mappings(), 0, maps + 20);
    CHECK_RANGE(resident_pages(), 0, pages + 2000);
    CHECK_RANGE(disk_of(chan_path), 0, 8 << 20);
}

/* An observer that never moves, a group that never reads: the process sending stays as small as it was. */
TEST(s134_laggards_cost_a_bounded_amount) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_number(p, 0);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL), *o = subscribe(channel, NULL, NULL);
    take_first(c, 0);
    take(o);
    send_numbers(p, 1, 2000);
    int fds = descriptors(), maps = mappings();
    send_numbers(p, 2000, 50000);
    CHECK_RANGE(descriptors(), 0, fds + 5);
    CHECK_RANGE(mappings(), 0, maps + 20);
    CHECK_RANGE(disk_of(chan_path), 0, 4 << 20);
}
