/* What most tests need of a channel: opening it small, sending and checking content, processes.
 *
 * Everything here checks what it calls: a helper that returns has succeeded. */
#ifndef DC_TEST_CHAN_H
#define DC_TEST_CHAN_H

#include "harness.h"

#include <stdatomic.h>

/* Long enough that only a lost wakeup or a hang runs into it. */
#define LONG_MS 20000

/* A channel of small pages: pages of 16 messages, 4 of them. */
UNUSED static dc_options small_options(void) {
    dc_options o = DC_OPTIONS_INIT;
    o.page_size = 64 * 1024;
    o.max_messages_per_page = 16;
    o.max_pages = 4;
    return o;
}

UNUSED static dc_options retain_options(uint32_t retention) {
    dc_options o = small_options();
    o.retention = retention;
    return o;
}

UNUSED static dc_channel *open_at(const char *path, const dc_options *o) {
    dc_channel *channel = NULL;
    CHECK_OK(dc_open(path, o, &channel));
    CHECK(channel != NULL);
    return channel;
}

UNUSED static dc_channel *open_small(void) {
    dc_options o = small_options();
    return open_at(chan_path, &o);
}

UNUSED static dc_channel *open_flags(uint32_t flags) {
    dc_options o = DC_OPTIONS_INIT;
    o.flags = flags;
    return open_at(chan_path, &o);
}

UNUSED static dc_producer *producer_of(dc_channel *channel) {
    dc_producer *p = NULL;
    CHECK_OK(dc_producer_open(channel, &p));
    CHECK(p != NULL);
    return p;
}

UNUSED static dc_consumer *subscribe(dc_channel *channel, const char *group, const dc_subscribe_options *o) {
    dc_consumer *c = NULL;
    CHECK_OK(dc_subscribe(channel, group, o, &c));
    CHECK(c != NULL);
    return c;
}

/* A consumer that moves from page to page by itself, with this way of acknowledging. */
UNUSED static dc_consumer *subscribe_ack(dc_channel *channel, const char *group, uint32_t ack) {
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.ack = ack;
    o.flags = DC_AUTO_NEXT_PAGE;
    return subscribe(channel, group, &o);
}

UNUSED static dc_channel_info channel_info(const dc_channel *channel) {
    dc_channel_info i = DC_CHANNEL_INFO_INIT;
    CHECK_OK(dc_channel_stats(channel, &i));
    return i;
}

UNUSED static dc_group_info group_info(const dc_channel *channel, const char *group) {
    dc_group_info i = DC_GROUP_INFO_INIT;
    CHECK_OK(dc_group_stats(channel, group, &i));
    return i;
}

UNUSED static dc_consumer_info consumer_info(const dc_consumer *c) {
    dc_consumer_info i = DC_CONSUMER_INFO_INIT;
    CHECK_OK(dc_consumer_stats(c, &i));
    return i;
}

UNUSED static dc_verify_info verify_info(const char *path) {
    dc_verify_info i = DC_VERIFY_INFO_INIT;
    CHECK_OK(dc_verify(path, &i));
    return i;
}

/* Numbers as messages. */
UNUSED static void send_number(dc_producer *p, uint64_t n) { CHECK_OK(dc_send(p, &n, sizeof n, LONG_MS)); }

UNUSED static void send_numbers(dc_producer *p, uint64_t from, uint64_t until) {
    for (uint64_t n = from; n < until; n++) send_number(p, n);
}

/* Sends numbers from `from` on until the channel is full; returns the first one not sent. */
UNUSED static uint64_t send_until_full(dc_producer *p, uint64_t from) {
    for (uint64_t n = from;; n++) {
        int code = dc_send(p, &n, sizeof n, 0);
        if (code == DC_AGAIN) return n;
        CHECK_OK(code);
        CHECK(n - from < 1000000);
    }
}

UNUSED static uint64_t number_of(const dc_message *m) {
    uint64_t n;
    CHECK_EQ(m->len, sizeof n);
    memcpy(&n, m->data, sizeof n);
    return n;
}

/* Receives, going to the next page when told to. */
UNUSED static int receive(dc_consumer *c, dc_message *m, int timeout_ms) {
    for (;;) {
        int code = dc_recv(c, m, timeout_ms);
        if (code != DC_END_OF_PAGE) return code;
        CHECK_OK(dc_next_page(c));
    }
}

UNUSED static dc_message take(dc_consumer *c) {
    dc_message m;
    memset(&m, 0, sizeof m);
    CHECK_OK(receive(c, &m, LONG_MS));
    return m;
}

UNUSED static uint64_t take_number(dc_consumer *c) {
    dc_message m = take(c);
    return number_of(&m);
}

UNUSED static void take_numbers(dc_consumer *c, uint64_t from, uint64_t until) {
    for (uint64_t n = from; n < until; n++) CHECK_EQ(take_number(c), n);
}

UNUSED static void take_nothing(dc_consumer *c) {
    dc_message m;
    CHECK_CODE(receive(c, &m, 0), DC_AGAIN);
}

/* A message that was handed out before, for the `deliveries`-th time. */
UNUSED static dc_message take_again(dc_consumer *c, uint64_t number, uint32_t deliveries) {
    dc_message m = take(c);
    CHECK_EQ(number_of(&m), number);
    CHECK_EQ(m.flags, DC_MESSAGE_REDELIVERED);
    CHECK_EQ(m.deliveries, deliveries);
    return m;
}

/* A message that was never handed out before. */
UNUSED static dc_message take_first(dc_consumer *c, uint64_t number) {
    dc_message m = take(c);
    CHECK_EQ(number_of(&m), number);
    CHECK_EQ(m.flags, 0);
    CHECK_EQ(m.deliveries, 1);
    return m;
}

/* Content that can be checked: who sent it, which one it is, and a tail of bytes that both decide. */
struct load {
    uint32_t producer;
    uint32_t len;
    uint64_t sequence;
};

UNUSED static unsigned char load_byte(const struct load *l, size_t i) {
    return (unsigned char)((l->sequence * 31 + l->producer * 7 + i * 13) >> (i & 3));
}

/* Builds a load of `len` bytes (at least its head) in `buffer`. */
UNUSED static size_t load_make(void *buffer, uint32_t producer, uint64_t sequence, size_t len) {
    struct load l = {producer, (uint32_t)(len < sizeof l ? sizeof l : len), sequence};
    unsigned char *bytes = buffer;
    memcpy(bytes, &l, sizeof l);
    for (size_t i = sizeof l; i < l.len; i++) bytes[i] = load_byte(&l, i);
    return l.len;
}

/* Takes a load apart; a torn or invented one ends the test. */
UNUSED static struct load load_check(const dc_message *m) {
    struct load l = {0, 0, 0};
    const unsigned char *bytes = m->data;
    CHECK(m->len >= sizeof l);
    memcpy(&l, bytes, sizeof l);
    CHECK_EQ(l.len, m->len);
    for (size_t i = sizeof l; i < l.len; i++) CHECK_EQ(bytes[i], load_byte(&l, i));
    return l;
}

/* Memory that forked processes share. */
UNUSED static void *shared_memory(size_t len) {
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

/* Runs `run(argument)` in a process of its own; it succeeds by returning. */
UNUSED static pid_t spawn(void (*run)(void *), void *argument) {
    fflush(NULL);
    pid_t pid = fork();
    SYS(pid);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(argument);
        _exit(0);
    }
    return pid;
}

UNUSED static void wait_success(pid_t pid) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) CHECK_EQ(errno, EINTR);
    if (WIFSIGNALED(status)) test_fail(__FILE__, __LINE__, "a process ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) test_fail(__FILE__, __LINE__, "a process failed (see above)");
}

UNUSED static void kill_and_wait(pid_t pid) {
    int status = 0;
    SYS(kill(pid, SIGKILL));
    while (waitpid(pid, &status, 0) < 0) CHECK_EQ(errno, EINTR);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Whether another user gets to the test's directory at all, once it is opened up. Needs root. */
UNUSED static int nobody_can_come(void) {
    int status = 0;
    SYS(chmod(test_dir, 0755));
    pid_t pid = fork();
    SYS(pid);
    if (pid == 0) _exit(setgid(65534) == 0 && setuid(65534) == 0 && access(test_dir, R_OK | X_OK) == 0 ? 0 : 1);
    SYS(waitpid(pid, &status, 0));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Waits for another process or thread to reach a stage. */
UNUSED static void await(_Atomic int *stage, int value) {
    int64_t limit = now_ms() + (int64_t)LONG_MS * 2 * test_scale();
    while (atomic_load(stage) < value) {
        CHECK(now_ms() < limit);
        sleep_ms(1);
    }
}

#endif
