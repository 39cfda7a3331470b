/* The fds in poll and epoll: what makes them readable, who wakes them, and that none forgets. */
#include "chan.h"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>

static int readable(int fd, int timeout_ms) {
    struct pollfd p = {fd, POLLIN, 0};
    int n;
    while ((n = poll(&p, 1, timeout_ms)) < 0) CHECK_EQ(errno, EINTR);
    CHECK((p.revents & ~POLLIN) == 0);
    return n;
}

static int consumer_fd(dc_consumer *c) {
    int fd = dc_consumer_fd(c);
    CHECK(fd >= 0);
    return fd;
}

/* An fd that looked readable settles once the consumer has found nothing. */
static void settle(dc_consumer *c, int fd) {
    dc_message m;
    for (int i = 0; readable(fd, 50) && i < 100; i++) CHECK_CODE(receive(c, &m, 0), DC_AGAIN);
    CHECK(!readable(fd, 0));
}

TEST(s123_a_real_eventfd_of_the_handle) {
    dc_channel *channel = open_small();
    dc_consumer *c = subscribe(channel, "g", NULL), *d = subscribe(channel, "g", NULL), *o = subscribe(channel, NULL, NULL);
    dc_producer *p = producer_of(channel), *q = producer_of(channel);
    int fds[5] = {consumer_fd(c), consumer_fd(d), consumer_fd(o), dc_producer_fd(p), dc_producer_fd(q)};
    for (int i = 0; i < 5; i++) {
        char path[64], target[64] = {0};
        CHECK(fds[i] >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fds[i]);
        SYS(readlink(path, target, sizeof target - 1));
        CHECK(strstr(target, "eventfd"));
        CHECK(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        CHECK(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
        for (int j = 0; j < i; j++) CHECK(fds[i] != fds[j]);
    }
    CHECK(dc_consumer_fd(c) == fds[0] && dc_consumer_fd(o) == fds[2] && dc_producer_fd(p) == fds[3]);
    int kept = fds[0];
    dc_consumer_close(c);
    CHECK(fcntl(kept, F_GETFD) < 0); /* the handle owned it */
}

/* [S90] */
TEST(s123_no_thread_no_fd) {
    dc_options o = small_options();
    o.flags = DC_NO_THREAD;
    dc_channel *channel = open_at(chan_path, &o);
    CHECK_CODE(dc_consumer_fd(subscribe(channel, "g", NULL)), DC_E_UNSUPPORTED);
    CHECK_CODE(dc_producer_fd(producer_of(channel)), DC_E_UNSUPPORTED);
}

/* Level-triggered: one message an event. */
TEST(s124_level_triggered) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    int fd = consumer_fd(c), ep = epoll_create1(0);
    struct epoll_event e = {EPOLLIN, {0}};
    SYS(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
    settle(c, fd);
    dc_message m;
    for (uint64_t n = 0, sent = 0; n < 300;) {
        if (sent == n)
            for (uint64_t burst = n % 5 + 1; burst > 0; burst--) send_number(p, sent++);
        CHECK_EQ(epoll_wait(ep, &e, 1, LONG_MS), 1);
        int code = dc_recv(c, &m, 0);
        if (code == DC_END_OF_PAGE) CHECK_OK(dc_next_page(c));
        else if (code == DC_OK) CHECK_EQ(number_of(&m), n++);
        else CHECK_CODE(code, DC_AGAIN);
    }
    settle(c, fd);
}

/* Edge-triggered: until DC_AGAIN. */
TEST(s124_edge_triggered) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    int fd = consumer_fd(c), ep = epoll_create1(0);
    struct epoll_event e = {EPOLLIN | EPOLLET, {0}};
    SYS(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e));
    dc_message m;
    CHECK_CODE(receive(c, &m, 0), DC_AGAIN);
    for (uint64_t n = 0, sent = 0; n < 300;) {
        for (uint64_t burst = n % 20 + 1; burst > 0; burst--) send_number(p, sent++);
        do {
            CHECK_EQ(epoll_wait(ep, &e, 1, LONG_MS), 1);
            int code;
            while ((code = receive(c, &m, 0)) == DC_OK) CHECK_EQ(number_of(&m), n++);
            CHECK_CODE(code, DC_AGAIN);
        } while (n < sent);
    }
}

/* [S87] */
TEST(s125_messages_there_before_make_it_readable) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 2);
    dc_consumer *c = subscribe(channel, "g", NULL);
    CHECK(readable(consumer_fd(c), LONG_MS));
    CHECK_EQ(take_number(c), 0);
    CHECK(readable(consumer_fd(c), LONG_MS)); /* one is left */
    CHECK_EQ(take_number(c), 1);
    settle(c, consumer_fd(c));
    dc_consumer *o = subscribe(channel, NULL, NULL);
    CHECK(readable(consumer_fd(o), LONG_MS));
}


TEST(s125_end_of_page_lag_and_interrupt) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe(channel, "g", NULL);
    int fd = consumer_fd(c);
    send_numbers(p, 0, 17);
    dc_message m;
    for (uint64_t n = 0; n < 16; n++) CHECK_OK(dc_recv(c, &m, 0));
    CHECK(readable(fd, LONG_MS));
    CHECK_CODE(dc_recv(c, &m, 0), DC_END_OF_PAGE);
    CHECK(readable(fd, LONG_MS)); /* still at its end */
    CHECK_OK(dc_next_page(c));
    CHECK(readable(fd, LONG_MS));
    CHECK_EQ(take_number(c), 16);
    settle(c, fd);
    CHECK_OK(dc_interrupt(c));
    CHECK(readable(fd, LONG_MS));
    CHECK_CODE(dc_recv(c, &m, 0), -ECANCELED);
    settle(c, fd);
    send_numbers(p, 17, 300);
    CHECK(readable(fd, LONG_MS));
    int lagged = 0;
    for (int code = DC_OK; code != DC_AGAIN;) {
        CHECK(readable(fd, LONG_MS)); /* before each call that finds something */
        code = receive(c, &m, 0);
        lagged += code == DC_LAGGED;
        if (code == DC_OK && number_of(&m) == 299) break;
    }
    CHECK_EQ(lagged, 1);
    settle(c, fd);
}

/* [S59] */
TEST(s125_redelivery_makes_it_readable) {
    dc_channel *channel = open_small();
    dc_subscribe_options o = DC_SUBSCRIBE_OPTIONS_INIT;
    o.prefetch = 1;
    o.ack = DC_ACK_MANUAL;
    dc_consumer *a = subscribe(channel, "g", &o), *b = subscribe(channel, "g", &o), *c = subscribe(channel, "g", &o);
    send_numbers(producer_of(channel), 0, 2);
    take_first(a, 0);
    take_first(b, 1);
    settle(c, consumer_fd(c));
    dc_consumer_close(a);
    CHECK(readable(consumer_fd(c), LONG_MS));
    take_again(c, 0, 2);
    settle(c, consumer_fd(c));
    CHECK_OK(dc_nack(b));
    CHECK(readable(consumer_fd(c), LONG_MS));
    take_again(c, 1, 2);
    CHECK_OK(dc_nack(c)); /* its own, too */
    CHECK(readable(consumer_fd(c), LONG_MS));
}

static void takes_two_and_dies(void *stage) {
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    take_first(c, 0);
    take_first(c, 1);
    atomic_store((_Atomic int *)stage, 1);
    for (;;) pause();
}

/* [S81] */
TEST(s125_a_death_makes_it_readable) {
    _Atomic int *stage = shared_memory(4096);
    dc_channel *channel = open_small();
    send_numbers(producer_of(channel), 0, 2);
    pid_t pid = spawn(takes_two_and_dies, stage);
    await(stage, 1);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    int fd = consumer_fd(c);
    settle(c, fd);
    kill_and_wait(pid);
    for (uint64_t n = 0; n < 2;) {
        CHECK(readable(fd, LONG_MS));
        dc_message m;
        if (dc_recv(c, &m, 0) != DC_OK) continue;
        CHECK(number_of(&m) == n && m.flags == DC_MESSAGE_REDELIVERED);
        n++;
    }
}

static void sends_from_afar(void *stage) {
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_producer *p = producer_of(channel);
    for (uint64_t n = 0; n < 200; n++) {
        send_number(p, n);
        if (n % 10 == 0) sleep_ms(5);
        if (n == 100) await((_Atomic int *)stage, 1);
    }
}

static void polls(uint32_t flags, const char *group) {
    _Atomic int *stage = shared_memory(4096);
    dc_options o = small_options();
    o.max_pages = 32;
    dc_channel *writer = open_at(chan_path, &o), *channel = flags ? open_flags(flags) : writer;
    dc_consumer *c = subscribe(channel, group, NULL);
    int fd = consumer_fd(c);
    settle(c, fd);
    pid_t pid = spawn(sends_from_afar, stage);
    dc_message m;
    for (uint64_t n = 0; n < 200;) {
        CHECK(readable(fd, LONG_MS));
        int code = receive(c, &m, 0);
        if (code == DC_AGAIN) continue;
        CHECK_OK(code);
        CHECK_EQ(number_of(&m), n++);
        if (n == 100) atomic_store(stage, 1);
    }
    wait_success(pid);
}

/* [S145] */
TEST(s124_woken_by_another_process) { polls(0, "g"); }

TEST(s124_an_observer_woken_by_another_process) { polls(0, NULL); }

/* [S122] */
TEST(s124_a_read_only_observer_woken_by_another_process) { polls(DC_READ_ONLY, NULL); }

/* [S124] */
TEST(s126_a_producers_fd) {
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    int fd = dc_producer_fd(p);
    CHECK(fd >= 0);
    uint64_t sent = 0, taken = 0;
    for (int round = 0; round < 30; round++) {
        sent = send_until_full(p, sent); /* its DC_AGAIN arms the fd */
        for (int i = 0; readable(fd, 20) && i < 50; i++) CHECK_CODE(dc_send(p, &sent, 8, 0), DC_AGAIN);
        CHECK(!readable(fd, 0));
        for (; taken < sent; taken++) take_first(c, taken);
        take_nothing(c);
        CHECK(readable(fd, LONG_MS));
    }
    sent = send_until_full(p, sent);
    CHECK_OK(dc_producer_interrupt(p));
    CHECK(readable(fd, LONG_MS));
}

static void takes_from_afar(void *argument) {
    (void)argument;
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    for (uint64_t n = 0; n < 2000; n++) {
        take_first(c, n);
        if (n % 200 == 0) sleep_ms(10);
    }
    take_nothing(c);
}

TEST(s126_a_producers_fd_woken_by_another_process) {
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    int fd = dc_producer_fd(p);
    CHECK(fd >= 0);
    pid_t pid = spawn(takes_from_afar, NULL);
    for (uint64_t n = 0; n < 2000;) {
        int code = dc_send(p, &n, sizeof n, 0);
        if (code == DC_OK) n++;
        else CHECK_CODE(code, DC_AGAIN);
        if (code == DC_AGAIN) CHECK(readable(fd, LONG_MS));
    }
    wait_success(pid);
}
