/* What no other test noticed when the code was broken on purpose (docs/TESTING.md).
 *
 * Lost wakeups heal within 200 ms, by a second look; these tests look at the time. They take the median of
 * many rounds, so that a busy machine does not matter.
 *
 * This program defines fdatasync itself; the dynamic linker lets the library use it too. */
#include "files.h"

#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>

static _Atomic int flush_fails;

/* Writes everything, and says that it failed: what was dirty is clean, as after a failure of the kernel's. */
int fdatasync(int fd) {
    int code = (int)syscall(SYS_fdatasync, fd);
    if (!atomic_load(&flush_fails)) return code;
    errno = EIO;
    return -1;
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t median(int64_t *ms, size_t n) {
    qsort(ms, n, sizeof *ms, by_size);
    return ms[n / 2];
}

static int64_t changed_ns(const char *path) {
    struct stat st;
    SYS(stat(path, &st));
    return st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
}

/* Whether this file system notes when a clean page of a map is written again. */
static int notes_writes(void) {
    char path[700];
    snprintf(path, sizeof path, "%s/probe", test_dir);
    int fd = open(path, O_CREAT | O_RDWR, 0600);
    SYS(fd);
    SYS(ftruncate(fd, 4096));
    _Atomic int *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    atomic_fetch_add(p, 1);
    SYS(syscall(SYS_fdatasync, fd));
    sleep_ms(50);
    int64_t before = changed_ns(path);
    atomic_fetch_add(p, 1);
    SYS(syscall(SYS_fdatasync, fd));
    return changed_ns(path) != before;
}

/* [S64] The kernel forgets what it could not write: the next flush that is trusted writes all of it again. */
TEST(s023_after_a_failed_flush_all_is_written_again) {
    if (!notes_writes()) SKIP("this file system does not note writes through a map");
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 5);
    atomic_store(&flush_fails, 1);
    CHECK_CODE(dc_sync(p, -1), DC_E_POISONED);
    atomic_store(&flush_fails, 0);
    dc_producer_close(p);
    dc_close(channel);
    static struct files f;
    struct file *page = NULL;
    read_files(&f, chan_path);
    for (size_t i = 0; i < f.count && !page; i++) if (strstr(f.file[i].path, "/page-") && strchr(strrchr(f.file[i].path, '-'), '1')) page = &f.file[i];
    CHECK(page != NULL);
    channel = open_flags(DC_EXISTING);
    sleep_ms(50);
    int64_t before = changed_ns(page->path);
    CHECK_OK(dc_channel_sync(channel, -1));
    CHECK(changed_ns(page->path) != before);
    CHECK_EQ(channel_info(channel).poisoned, 0);
}

/* [S81 S82] What a closed consumer held is there for the next call of another, which need not wait. */
TEST(s057_the_very_next_call_finds_it) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.ack = DC_ACK_MANUAL;
    o.prefetch = 1;
    o.flags = DC_AUTO_NEXT_PAGE;
    dc_consumer *b = subscribe(channel, "g", &o);
    for (uint64_t n = 0; n < 40; n++) {
        dc_consumer *a = subscribe(channel, "g", &o);
        send_number(p, n);
        take_first(a, n);
        take_nothing(b);
        dc_consumer_close(a);
        dc_message m;
        CHECK_OK(dc_recv(b, &m, 0));
        CHECK_EQ(number_of(&m), n);
        CHECK_OK(dc_ack(b, m.position));
    }
}

struct shared {
    _Atomic int stage;
    _Atomic int64_t sent_at, ms[64];
};

static struct shared *s;

static void holds_one(void *unused) {
    (void)unused;
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    take(c);
    atomic_store(&s->stage, 1);
    for (;;) pause();
}

static void *kills_soon(void *pid) {
    sleep_ms(300);
    kill_and_wait(*(pid_t *)pid);
    return NULL;
}

/* [S34] A waiting consumer looks for the dead now and then, not when its timeout ends. */
TEST(s081_a_death_is_noticed_soon) {
    s = shared_memory(sizeof *s);
    dc_channel *channel = open_small();
    dc_consumer_close(subscribe_ack(channel, "g", DC_ACK_MANUAL));
    dc_producer *p = producer_of(channel);
    send_number(p, 7);
    pid_t pid = spawn(holds_one, NULL);
    await(&s->stage, 1);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    take_nothing(c);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, kills_soon, &pid) == 0);
    int64_t start = now_ms();
    take_again(c, 7, 2);
    CHECK_RANGE(now_ms() - start, 0, LONG_MS / 2);
    CHECK(pthread_join(thread, NULL) == 0);
}

enum { ROUNDS = 33 };

static void polls(void *unused) {
    (void)unused;
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    struct pollfd p = {dc_consumer_fd(c), POLLIN, 0};
    CHECK(p.fd >= 0);
    for (int i = 0; i < ROUNDS; i++) {
        dc_message m;
        CHECK_CODE(dc_recv(c, &m, 0), DC_AGAIN); /* armed */
        atomic_store(&s->stage, 2 * i + 1);
        CHECK_EQ(poll(&p, 1, LONG_MS), 1);
        atomic_store(&s->ms[i], now_ms() - atomic_load(&s->sent_at));
        while (dc_recv(c, &m, 0) != DC_OK) {}
        await(&s->stage, 2 * i + 2);
    }
}

/* [S127] A descriptor of another process is written when the message comes, not when its thread looks. */
TEST(s124_another_process_is_told_at_once) {
    s = shared_memory(sizeof *s);
    dc_channel *channel = open_small();
    dc_consumer_close(subscribe_ack(channel, "g", DC_ACK_NEXT));
    dc_producer *p = producer_of(channel);
    pid_t pid = spawn(polls, NULL);
    uint64_t random = 1;
    int64_t ms[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        await(&s->stage, 2 * i + 1);
        sleep_ms(20 + (long)(random_number(&random) % 100));
        atomic_store(&s->sent_at, now_ms());
        send_number(p, (uint64_t)i);
        atomic_store(&s->stage, 2 * i + 2);
    }
    wait_success(pid);
    for (int i = 0; i < ROUNDS; i++) ms[i] = atomic_load(&s->ms[i]);
    CHECK_RANGE(median(ms, ROUNDS), 0, 24);
}

enum { BATCH = 64, LARGE = 64 * 1024 };

static void sends_batches(void *unused) {
    (void)unused;
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_producer *p = producer_of(channel);
    static unsigned char bytes[BATCH][LARGE];
    struct iovec parts[BATCH];
    for (uint64_t n = 0;; n += BATCH) {
        for (uint64_t i = 0; i < BATCH; i++) {
            uint64_t number = n + i;
            memcpy(bytes[i], &number, sizeof number);
            parts[i] = (struct iovec){bytes[i], LARGE};
        }
        size_t sent = 0;
        CHECK_OK(dc_send_batch(p, parts, BATCH, -1, &sent));
        CHECK_EQ(sent, BATCH);
    }
}

/* [S65 S77] Stopped within a batch and overruled, a producer sends the rest of it again, all of it, in order. */
TEST(s130_stopped_inside_a_batch) {
    dc_options o = DC_OPTIONS_INIT;
    o.page_size = 8 << 20;
    o.max_pages = 4;
    o.retention = DC_RETAIN_UNREAD;
    o.stall_timeout_ms = 20;
    dc_channel *channel = open_at(chan_path, &o);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    pid_t pid = spawn(sends_batches, NULL);
    uint64_t next = 0, random = 3;
    for (int round = 0; round < 400 && channel_info(channel).abandoned < 4 * BATCH; round++) {
        for (uint64_t i = random_number(&random) % 150; i > 0; i--) {
            dc_message m = take(c);
            CHECK(!memcmp(m.data, &next, sizeof next));
            next++;
        }
        SYS(kill(pid, SIGSTOP));
        dc_message m;
        while (receive(c, &m, 60) == DC_OK) {
            CHECK(!memcmp(m.data, &next, sizeof next));
            next++;
        }
        SYS(kill(pid, SIGCONT));
    }
    CHECK(channel_info(channel).abandoned > 0); /* or it was never stopped where it matters */
    for (int i = 0; i < 2 * BATCH; i++, next++) CHECK(!memcmp(take(c).data, &next, sizeof next));
    kill_and_wait(pid);
}
