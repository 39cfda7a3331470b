/* Waiting: how long, who wakes whom, and what signals and interrupts do. */
#include "chan.h"

#include <pthread.h>

static void nothing(int signal) { (void)signal; }

/* A handler under SA_RESTART: reads and locks restart, a channel's waiting does not. */
static void handle(int signal, void (*handler)(int)) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    SYS(sigaction(signal, &action, NULL));
}

static dc_channel *open_full(dc_producer **p, uint64_t *sent) {
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    dc_channel *channel = open_at(chan_path, &o);
    *p = producer_of(channel);
    *sent = send_until_full(*p, 0);
    return channel;
}

/* [S14] */
TEST(s034_timeouts) {
    dc_channel *channel = open_small();
    dc_consumer *c = subscribe(channel, "g", NULL), *o = subscribe(channel, NULL, NULL);
    dc_message m;
    size_t n;
    for (int i = 0; i < 1000; i++) CHECK_CODE(dc_recv(c, &m, 0), DC_AGAIN);
    for (int i = 0; i < 3; i++) {
        int64_t start = now_ms();
        CHECK_CODE(dc_recv(c, &m, 100), DC_AGAIN);
        CHECK_CODE(dc_recv_batch(c, &m, 1, 100, &n), DC_AGAIN);
        CHECK_CODE(dc_recv(o, &m, 100), DC_AGAIN);
        CHECK(now_ms() - start >= 295);
    }
}

struct waiter {
    pthread_t thread;
    dc_consumer *c;
    dc_producer *p;
    int timeout_ms, code, batch;
    _Atomic int tid;
};

static void *waits(void *argument) {
    struct waiter *w = argument;
    dc_message m;
    size_t n;
    atomic_store(&w->tid, gettid());
    if (w->p) w->code = dc_send(w->p, "x", 1, w->timeout_ms);
    else if (w->batch) w->code = dc_recv_batch(w->c, &m, 1, w->timeout_ms, &n);
    else w->code = dc_recv(w->c, &m, w->timeout_ms);
    return NULL;
}

/* Starts it and waits until it sleeps in the kernel. */
static void start_waiting(struct waiter *w) {
    char path[64], state[512];
    CHECK(pthread_create(&w->thread, NULL, waits, w) == 0);
    await(&w->tid, 1);
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", atomic_load(&w->tid));
    for (int asleep = 0, tries = 0; asleep < 20 && tries < 10000; tries++) {
        FILE *f = fopen(path, "r");
        CHECK(f != NULL);
        size_t n = fread(state, 1, sizeof state - 1, f);
        fclose(f);
        state[n] = 0;
        const char *end = strrchr(state, ')');
        asleep = end && end[2] == 'S' ? asleep + 1 : 0;
        sleep_ms(1);
    }
}

static int join(struct waiter *w) {
    CHECK(pthread_join(w->thread, NULL) == 0);
    return w->code;
}

TEST(s035_a_signal_handler_ends_a_receive) {
    handle(SIGUSR1, nothing);
    dc_channel *channel = open_small();
    for (int i = 0; i < 4; i++) {
        struct waiter w = {.c = subscribe(channel, i & 1 ? NULL : "g", NULL), .timeout_ms = i & 2 ? 60000 : -1, .batch = i == 3};
        start_waiting(&w);
        CHECK(pthread_kill(w.thread, SIGUSR1) == 0);
        CHECK_CODE(join(&w), -EINTR);
    }
}

/* [S63] */
TEST(s035_a_signal_handler_ends_a_send) {
    handle(SIGUSR1, nothing);
    uint64_t sent;
    dc_producer *p;
    dc_channel *channel = open_full(&p, &sent);
    for (int i = 0; i < 2; i++) {
        struct waiter w = {.p = p, .timeout_ms = i ? 60000 : -1};
        start_waiting(&w);
        CHECK(pthread_kill(w.thread, SIGUSR1) == 0);
        CHECK_CODE(join(&w), -EINTR);
    }
    CHECK_EQ(channel_info(channel).messages, sent);
}

/* An ignored signal, or a stop and a continue, is no reason to return. */
TEST(s035_no_handler_no_eintr) {
    signal(SIGUSR2, SIG_IGN);
    dc_channel *channel = open_small();
    struct waiter w = {.c = subscribe(channel, "g", NULL), .timeout_ms = -1};
    start_waiting(&w);
    CHECK(pthread_kill(w.thread, SIGUSR2) == 0);
    pid_t helper = fork();
    if (helper == 0) {
        kill(getppid(), SIGSTOP);
        sleep_ms(200);
        kill(getppid(), SIGCONT);
        _exit(0);
    }
    wait_success(helper);
    send_number(producer_of(channel), 1);
    CHECK_CODE(join(&w), DC_OK);
}

/* [S88] */
TEST(s036_interrupts_from_another_thread) {
    dc_channel *channel = open_small();
    for (int i = 0; i < 3; i++) {
        dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
        o.start = DC_LATEST;
        struct waiter w = {.c = subscribe(channel, i == 1 ? NULL : i ? "two" : "one", &o), .timeout_ms = -1, .batch = i == 2};
        start_waiting(&w);
        CHECK_OK(dc_interrupt(w.c));
        CHECK_CODE(join(&w), -ECANCELED);
        take_nothing(w.c);
        send_number(producer_of(channel), 1);
        CHECK_EQ(take_number(w.c), 1); /* it works as before */
        take_nothing(w.c);
        dc_consumer_close(w.c);
    }
}

/* [S36 S63] */
TEST(s056_a_producers_interrupt) {
    uint64_t sent;
    dc_producer *p;
    dc_channel *channel = open_full(&p, &sent);
    struct waiter w = {.p = p, .timeout_ms = -1};
    start_waiting(&w);
    CHECK_OK(dc_producer_interrupt(p));
    CHECK_CODE(join(&w), -ECANCELED);
    CHECK_EQ(channel_info(channel).messages, sent);
    CHECK_OK(dc_producer_interrupt(p)); /* sticky */
    CHECK_CODE(dc_send(p, "x", 1, -1), -ECANCELED);
    CHECK_CODE(dc_send(p, "x", 1, 20), DC_AGAIN);
    CHECK_OK(dc_producer_interrupt(p)); /* a loop around the fd never waits in a call, and must hear of it */
    CHECK_CODE(dc_send(p, "x", 1, 0), -ECANCELED);
    CHECK_CODE(dc_send(p, "x", 1, 0), DC_AGAIN);
    CHECK_EQ(channel_info(channel).messages, sent);
}

TEST(s086_an_interrupt_waits_for_the_next_wait) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_message m;
    for (int i = 0; i < 2; i++) {
        dc_subscribe_options latest = DC_SUBSCRIBE_OPTIONS_INIT;
        latest.start = DC_LATEST;
        dc_consumer *c = subscribe(channel, i ? NULL : "g", &latest);
        CHECK_OK(dc_interrupt(c));
        CHECK_OK(dc_interrupt(c)); /* two are one */
        CHECK_CODE(dc_recv(c, &m, -1), -ECANCELED);
        CHECK_CODE(dc_recv(c, &m, 20), DC_AGAIN);
        CHECK_OK(dc_interrupt(c));
        send_number(p, 1);
        CHECK_OK(dc_recv(c, &m, -1)); /* there is a message: nothing would wait */
        CHECK_CODE(dc_recv(c, &m, 0), -ECANCELED); /* now there is none */
        CHECK_CODE(dc_recv(c, &m, 0), DC_AGAIN);
        CHECK_CODE(dc_recv(c, &m, 20), DC_AGAIN);
        dc_consumer_close(c);
        c = subscribe(channel, NULL, &latest); /* an interrupt is its handle's own */
        dc_consumer *d = subscribe(channel, NULL, &latest);
        CHECK_OK(dc_interrupt(c));
        dc_consumer_close(c);
        CHECK_CODE(dc_recv(d, &m, 20), DC_AGAIN);
        dc_consumer_close(d);
    }
}

static dc_consumer *handled_consumer;
static dc_producer *handled_producer;
static int handler_errno, handler_codes;

static void interrupts(int signal) {
    (void)signal;
    int before = errno;
    errno = 4711;
    handler_codes |= dc_interrupt(handled_consumer) | dc_producer_interrupt(handled_producer);
    handler_errno = errno;
    errno = before;
}

/* [S10] */
TEST(s088_interrupts_from_a_signal_handler) {
    uint64_t sent;
    dc_message m;
    dc_channel *channel = open_full(&handled_producer, &sent);
    handled_consumer = subscribe_ack(channel, NULL, 0);
    take_numbers(handled_consumer, 0, sent);
    handle(SIGUSR1, interrupts);
    errno = 0;
    SYS(raise(SIGUSR1));
    CHECK_EQ(handler_errno, 4711);
    CHECK_EQ(handler_codes, 0);
    CHECK_CODE(dc_recv(handled_consumer, &m, -1), -ECANCELED);
    CHECK_CODE(dc_send(handled_producer, "x", 1, -1), -ECANCELED);
    for (int i = 0; i < 10; i++) { /* in the middle of waiting: -ECANCELED or -EINTR, and then the other one never comes late */
        struct waiter w = {.c = handled_consumer, .timeout_ms = -1};
        start_waiting(&w);
        CHECK(pthread_kill(w.thread, SIGUSR1) == 0);
        int code = join(&w);
        CHECK(code == -ECANCELED || code == -EINTR);
        if (code == -EINTR) CHECK_CODE(dc_recv(handled_consumer, &m, -1), -ECANCELED);
        CHECK_CODE(dc_recv(handled_consumer, &m, 1), DC_AGAIN);
    }
}

/* A storm of signals while messages pass: each call says -EINTR or what happened, nothing is lost. */
static void *storms(void *argument) {
    struct waiter *w = argument;
    while (atomic_load(&w->tid) != -1) {
        pthread_kill(w->thread, SIGUSR1);
        sleep_ms(1);
    }
    return NULL;
}

static void *sends_slowly(void *argument) {
    struct waiter *w = argument;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    for (uint64_t n = 0; n < 500; n++) {
        send_number(w->p, n);
        if (n % 3 == 0) sleep_ms(1);
    }
    return NULL;
}

TEST(s035_nothing_is_lost_in_a_storm_of_signals) {
    handle(SIGUSR1, nothing);
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    dc_channel *channel = open_at(chan_path, &o);
    struct waiter w = {.thread = pthread_self(), .p = producer_of(channel), .c = subscribe_ack(channel, "g", DC_ACK_NEXT)};
    pthread_t storm, sender;
    CHECK(pthread_create(&sender, NULL, sends_slowly, &w) == 0);
    CHECK(pthread_create(&storm, NULL, storms, &w) == 0);
    dc_message m;
    for (uint64_t n = 0; n < 500;) {
        int code = dc_recv(w.c, &m, -1);
        if (code == -EINTR) continue;
        CHECK_OK(code);
        CHECK_EQ(number_of(&m), n++);
    }
    atomic_store(&w.tid, -1);
    CHECK(pthread_join(storm, NULL) == 0);
    CHECK(pthread_join(sender, NULL) == 0);
}

struct shared {
    _Atomic int stage;
};

static void echoes(void *argument) {
    struct shared *s = argument;
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe_ack(channel, "there", DC_ACK_NEXT);
    dc_producer *p = producer_of(channel);
    atomic_store(&s->stage, 1);
    dc_message m;
    for (uint64_t n = 0; n < 100;) {
        CHECK_OK(dc_recv(c, &m, -1));
        if (number_of(&m) % 2) continue; /* its own answers */
        sleep_ms((long)(n % 7));
        send_number(p, 2 * n++ + 1);
    }
}

/* [S1 S145] Each sleeps until the other sends, 100 times. */
TEST(s034_processes_wake_each_other) {
    struct shared *s = shared_memory(sizeof *s);
    dc_channel *channel = open_small();
    pid_t pid = spawn(echoes, s);
    dc_consumer *c = subscribe_ack(channel, "here", DC_ACK_NEXT);
    dc_producer *p = producer_of(channel);
    await(&s->stage, 1);
    for (uint64_t n = 0; n < 100; n++) {
        send_number(p, 2 * n);
        CHECK_EQ(take_number(c), 2 * n);
        CHECK_EQ(take_number(c), 2 * n + 1);
    }
    wait_success(pid);
}

static void fills(void *argument) {
    struct shared *s = argument;
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_producer *p = producer_of(channel);
    for (uint64_t n = 0; n < 3000; n++) CHECK_OK(dc_send(p, &n, sizeof n, -1));
    atomic_store(&s->stage, 1);
}

/* Room made in one process wakes a sender in another. */
TEST(s034_room_wakes_a_sender_in_another_process) {
    struct shared *s = shared_memory(sizeof *s);
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    dc_channel *channel = open_at(chan_path, &o);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    pid_t pid = spawn(fills, s);
    for (uint64_t n = 0; n < 3000; n++) {
        if (n % 100 == 0) sleep_ms(20);
        take_first(c, n);
    }
    take_nothing(c);
    wait_success(pid);
}
