// Every call of the non-throwing set; also compiled without exceptions.
#include "common.hpp"

#include <list>
#include <poll.h>

#if __cplusplus >= 202002L
#include <iterator>
#include <ranges>
#include <span>
#endif

using dc::status;
using namespace std::chrono_literals;

struct Fixture {
    std::error_code ec;
    dc::channel channel;
    dc::producer producer;
    dc::consumer consumer;
    explicit Fixture(const dc::options& options = small_options(), const dc::subscribe_options& subscribe = {}) {
        channel = dc::channel::open(chan_path, options, ec);
        CHECK_NO_ERROR(ec);
        producer = channel.open_producer(ec);
        CHECK_NO_ERROR(ec);
        consumer = channel.subscribe("group", subscribe, ec);
        CHECK_NO_ERROR(ec);
    }
    // Sends, and receives what was sent.
    void trip(const char* text) {
        producer.send(text, ec);
        CHECK_NO_ERROR(ec);
        dc::message m;
        CHECK_STATUS(consumer.recv(m, long_time, ec), status::ok);
        CHECK_NO_ERROR(ec);
        CHECK_TEXT_IS(m.text(), text);
    }
};

// What CHECK_SETS expects: `expected` in f.ec, or in `ec`.
#define CHECK_SETS(ec, expected, ...)                                                              \
    do {                                                                                           \
        (ec).clear();                                                                              \
        (void)(__VA_ARGS__);                                                                       \
        if (!((ec) == (expected)))                                                                 \
            test_fail(__FILE__, __LINE__, "%s: set %s", #__VA_ARGS__, code_text((ec).value()));    \
    } while (0)

TEST(nothing_throws) {
    std::error_code ec;
    dc::channel channel;
    dc::producer producer;
    dc::consumer consumer;
    dc::message m;
    dc::reservation r;
    std::size_t n = 0;
    const dc::bytes parts[] = {"x"};
    static_assert(noexcept(dc::channel::open("", {}, ec)) && noexcept(channel.open_producer(ec)));
    static_assert(noexcept(channel.subscribe("", {}, ec)) && noexcept(channel.observe({}, ec)));
    static_assert(noexcept(channel.stats(ec)) && noexcept(channel.sync(dc::forever, ec)) && noexcept(channel.maintain(dc::forever, ec)));
    static_assert(noexcept(channel.group_stats("", ec)) && noexcept(channel.delete_group("", ec)));
    static_assert(noexcept(producer.send("", ec)) && noexcept(producer.send("", dc::forever, ec)));
    static_assert(noexcept(producer.sendv(parts, dc::forever, ec)) && noexcept(producer.send_batch(parts, n, dc::forever, ec)));
    static_assert(noexcept(producer.reserve(1, ec)) && noexcept(producer.reserve(1, r, dc::forever, ec)) && noexcept(r.commit(ec)));
    static_assert(noexcept(producer.sync(dc::forever, ec)) && noexcept(producer.clone(ec)) && noexcept(producer.fd(ec)));
    static_assert(noexcept(producer.interrupt()) && noexcept(producer.sent_position()) && noexcept(r.abort()));
    static_assert(noexcept(consumer.recv(m, dc::forever, ec)) && noexcept(consumer.recv_batch({&m, 1}, n, dc::forever, ec)));
    static_assert(noexcept(consumer.messages(dc::forever, ec)) && noexcept(consumer.next_page(ec)) && noexcept(consumer.ack(m, ec)));
    static_assert(noexcept(consumer.nack(ec)) && noexcept(consumer.seek(dc::latest, ec)) && noexcept(consumer.stats(ec)));
    static_assert(noexcept(consumer.clone(ec)) && noexcept(consumer.fd(ec)) && noexcept(consumer.interrupt()));
    static_assert(noexcept(dc::verify("", ec)) && noexcept(dc::destroy("", ec)) && noexcept(dc::compatible()));

    // On empty handles.
    CHECK_SETS(ec, dc::errc::argument, channel.open_producer(ec));
    CHECK_SETS(ec, dc::errc::argument, channel.subscribe("g", {}, ec));
    CHECK_SETS(ec, dc::errc::argument, channel.observe({}, ec));
    CHECK_SETS(ec, dc::errc::argument, channel.stats(ec));
    CHECK_SETS(ec, dc::errc::argument, channel.group_stats("g", ec));
    CHECK_SETS(ec, dc::errc::argument, channel.groups(ec));
    CHECK_SETS(ec, dc::errc::argument, (channel.delete_group("g", ec), 0));
    CHECK_SETS(ec, dc::errc::argument, channel.sync(1s, ec));
    CHECK_SETS(ec, dc::errc::argument, channel.maintain(1s, ec));
    CHECK_SETS(ec, dc::errc::argument, (producer.send("x", ec), 0));
    CHECK_SETS(ec, dc::errc::argument, producer.send("x", 1s, ec));
    CHECK_SETS(ec, dc::errc::argument, producer.sendv(parts, 1s, ec));
    CHECK_SETS(ec, dc::errc::argument, producer.send_batch(parts, n, 1s, ec));
    CHECK_SETS(ec, dc::errc::argument, producer.reserve(1, ec));
    CHECK_SETS(ec, dc::errc::argument, producer.reserve(1, r, 1s, ec));
    CHECK(!r);
    CHECK_SETS(ec, dc::errc::argument, r.commit(ec));
    CHECK_SETS(ec, dc::errc::argument, producer.sync(1s, ec));
    CHECK_SETS(ec, dc::errc::argument, producer.clone(ec));
    CHECK_SETS(ec, dc::errc::argument, producer.fd(ec));
    CHECK_STATUS(consumer.recv(m, 1s, ec), status::failed);
    CHECK_SETS(ec, dc::errc::argument, consumer.recv_batch({&m, 1}, n, 1s, ec));
    CHECK_SETS(ec, dc::errc::argument, (consumer.next_page(ec), 0));
    CHECK_SETS(ec, dc::errc::argument, (consumer.ack(m, ec), 0));
    CHECK_SETS(ec, dc::errc::argument, (consumer.nack(ec), 0));
    CHECK_SETS(ec, dc::errc::argument, (consumer.seek(dc::latest, ec), 0));
    CHECK_SETS(ec, dc::errc::argument, consumer.clone(ec));
    CHECK_SETS(ec, dc::errc::argument, consumer.stats(ec));
    CHECK_SETS(ec, dc::errc::argument, consumer.fd(ec));
    CHECK_EQ(consumer.fd(ec), -1);
    CHECK_EQ(producer.fd(ec), -1);
    auto messages = consumer.messages(1s, ec);
    CHECK(messages.begin() == messages.end());
    CHECK(ec == dc::errc::argument);
    CHECK_STATUS(messages.ended_by(), status::failed);
    consumer.interrupt();
    producer.interrupt();
}

TEST(an_error_is_set_and_cleared) {
    std::error_code ec;
    dc::channel channel = dc::channel::open(chan_path, dc::options().existing(), ec);
    CHECK(!channel && ec == std::errc::no_such_file_or_directory);
    CHECK_EQ(ec.value(), -ENOENT);
    CHECK(strstr(dc::last_error(), chan_path) != nullptr);
    channel = dc::channel::open(chan_path, small_options(), ec);
    CHECK(channel && !ec);
    CHECK_SETS(ec, dc::errc::mismatch, dc::channel::open(chan_path, dc::options().max_pages(9), ec));
    CHECK_SETS(ec, std::errc::no_such_file_or_directory, channel.group_stats("nobody", ec));
    CHECK_SETS(ec, std::errc::no_such_file_or_directory, (channel.delete_group("nobody", ec), 0));
    CHECK_SETS(ec, std::errc::device_or_resource_busy, (dc::destroy(chan_path, ec), 0));
    CHECK_EQ(dc::verify(chan_path, ec).corrupt, 0);
    CHECK_NO_ERROR(ec);
    channel.close();
    dc::destroy(chan_path, ec);
    CHECK_NO_ERROR(ec);
    CHECK_EQ(dc::verify(chan_path, ec).pages, 0);
    CHECK(ec == std::errc::no_such_file_or_directory);
}

TEST(what_is_no_failure_sets_no_error) {
    Fixture f;
    dc::message m;
    f.ec = dc::errc::internal;
    CHECK_STATUS(f.consumer.recv(m, dc::no_wait, f.ec), status::again);
    CHECK_NO_ERROR(f.ec);
    f.consumer.interrupt();
    f.ec = dc::errc::internal;
    CHECK_STATUS(f.consumer.recv(m, dc::no_wait, f.ec), status::interrupted);
    CHECK_NO_ERROR(f.ec);
    for (int i = 0; i < 200; i++) f.producer.send(dc::bytes_of(i), f.ec);
    status s = f.consumer.recv(m, 1s, f.ec);
    if (s == status::end_of_page) {
        f.consumer.next_page(f.ec);
        s = f.consumer.recv(m, 1s, f.ec);
    }
    CHECK_STATUS(s, status::lagged);
    CHECK_NO_ERROR(f.ec);
    int count = 0;
    while ((s = f.consumer.recv(m, 1s, f.ec)) == status::ok) count++;
    CHECK_STATUS(s, status::end_of_page);
    CHECK_NO_ERROR(f.ec);
    CHECK_EQ(count, 16);
}

TEST(sends_and_receives) {
    Fixture f;
    f.trip("one");
    CHECK_STATUS(f.producer.send("two", 1s, f.ec), status::ok);
    CHECK_STATUS(f.producer.sendv({"thr", "ee"}, 1s, f.ec), status::ok);
    std::size_t n = 0;
    CHECK_STATUS(f.producer.send_batch({"four", "five"}, n, 1s, f.ec), status::ok);
    CHECK_EQ(n, 2);
    const std::list<std::string> list{"six", "seven"};
    CHECK_STATUS(f.producer.send_batch(list.begin(), list.end(), n, 1s, f.ec), status::ok);
    CHECK_EQ(n, 2);
    dc::reservation r = f.producer.reserve(5, f.ec);
    CHECK_NO_ERROR(f.ec);
    CHECK_SETS(f.ec, dc::errc::state, (f.producer.send("x", f.ec), 0));
    CHECK_SETS(f.ec, dc::errc::argument, r.commit(6, f.ec));
    memcpy(r.data(), "eight", 5);
    CHECK_STATUS(r.commit(f.ec), status::ok);
    CHECK_STATUS(f.producer.reserve(9, r, 1s, f.ec), status::ok);
    memcpy(r.data(), "nine", 4);
    CHECK_STATUS(r.commit(4, f.ec), status::ok);
    CHECK_STATUS(f.producer.reserve(9, r, 1s, f.ec), status::ok);
    r.abort();
    CHECK_STATUS(f.producer.sync(long_time, f.ec), status::ok);
    CHECK_STATUS(f.channel.sync(long_time, f.ec), status::ok);
    CHECK(dc::position{f.channel.stats(f.ec).durable} > f.producer.sent_position());

    std::string all;
    dc::message out[3];
    while (all.size() < 22) {
        CHECK_STATUS(f.consumer.recv_batch(out, n, 1s, f.ec), status::ok);
        for (std::size_t i = 0; i < n; i++) all += out[i].text();
    }
    for (const dc::message& m : f.consumer.messages(dc::no_wait, f.ec)) all += m.text();
    CHECK_NO_ERROR(f.ec);
    CHECK_TEXT_IS(all, "twothreefourfivesixseveneightnine");
}

TEST(the_rest_of_a_consumer) {
    Fixture f(small_options(), dc::subscribe_options().ack(dc::ack::manual).max_unacked(2));
    for (const char* text : {"a", "b", "c"}) f.producer.send(text, f.ec);
    auto messages = f.consumer.messages(dc::no_wait, f.ec);
    std::string all;
    for (const dc::message& m : messages) all += m.text();
    CHECK_TEXT_IS(all, "ab");
    CHECK(f.ec == dc::errc::limit);
    f.consumer.ack(messages.current().position(), f.ec);
    CHECK_NO_ERROR(f.ec);
    for (const dc::message& m : messages) all += m.text();
    CHECK_NO_ERROR(f.ec);
    CHECK_STATUS(messages.ended_by(), status::again);
    CHECK_TEXT_IS(all, "abc");
    f.consumer.nack(f.ec);
    CHECK_NO_ERROR(f.ec);
    for (const dc::message& m : messages) CHECK(m.redelivered() && m.text() == "c");
    CHECK_EQ(f.consumer.stats(f.ec).redelivered, 1);
    f.consumer.seek(dc::earliest, f.ec);
    CHECK_NO_ERROR(f.ec);
    dc::consumer clone = f.consumer.clone(f.ec);
    CHECK_NO_ERROR(f.ec);
    CHECK_EQ(f.channel.group_stats("group", f.ec).consumers, 2);
    CHECK_EQ(f.channel.groups(f.ec).size(), 1);
    dc::consumer observer = f.channel.observe(dc::subscribe_options().start(dc::latest), f.ec);
    CHECK_SETS(f.ec, dc::errc::state, (observer.nack(f.ec), 0));
    f.producer.send("d", f.ec);
    struct pollfd waiting = {observer.fd(f.ec), POLLIN, 0};
    CHECK_EQ(poll(&waiting, 1, 20000), 1);
    dc::message m;
    CHECK_STATUS(observer.recv(m, dc::no_wait, f.ec), status::ok);
    CHECK_TEXT_IS(m.text(), "d");
    dc::producer second = f.producer.clone(f.ec);
    CHECK(second.fd(f.ec) >= 0);
    std::thread other = interrupt_soon(observer);
    CHECK_STATUS(observer.recv(m, dc::forever, f.ec), status::interrupted);
    other.join();
    clone.close();
    f.consumer.close();
    f.channel.delete_group("group", f.ec);
    CHECK_NO_ERROR(f.ec);
    for (int i = 0; f.channel.maintain(dc::no_wait, f.ec) == status::ok; i++) CHECK(i < 1000);
    CHECK_NO_ERROR(f.ec);
}

// Readers skip a reservation that is held for too long. Where there is no room to put it elsewhere, it
// stays, and may be committed again.
TEST(a_stalled_reservation_waits_for_room) {
    Fixture f(small_options(dc::retention::unread).stall_timeout(20ms));
    dc::reservation r = f.producer.reserve(5, f.ec);
    memcpy(r.data(), "late!", 5);
    dc::producer other = f.producer.clone(f.ec);
    while (other.send("x", dc::no_wait, f.ec) == status::ok) {}
    sleep_ms(50);
    dc::message m;
    CHECK_STATUS(f.consumer.recv(m, long_time, f.ec), status::ok);  // steps over it
    CHECK_TEXT_IS(m.text(), "x");
    CHECK_STATUS(r.commit(f.ec), status::again);
    CHECK(r && memcmp(r.data(), "late!", 5) == 0);
    std::string last;
    for (const dc::message& one : f.consumer.messages(dc::no_wait, f.ec)) CHECK_TEXT_IS(one.text(), "x");
    CHECK_STATUS(r.commit(f.ec), status::ok);
    CHECK(!r);
    for (const dc::message& one : f.consumer.messages(dc::no_wait, f.ec)) last = one.text();
    CHECK_TEXT_IS(last, "late!");
}

TEST(a_child_cannot_use_a_handle) {
    Fixture f;
    const pid_t pid = fork();
    SYS(pid);
    if (pid == 0) {
        f.producer.send("x", f.ec);
        CHECK(f.ec == dc::errc::forked);
        dc::message m;
        CHECK_STATUS(f.consumer.recv(m, dc::no_wait, f.ec), status::failed);
        CHECK(f.ec == dc::errc::forked);
        f.producer.close();
        f.consumer.close();
        f.channel.close();
        _exit(0);
    }
    int code = 0;
    SYS(waitpid(pid, &code, 0));
    CHECK_EQ(code, 0);
    f.trip("parent");
}

#if __cplusplus >= 202002L
static_assert(std::input_iterator<dc::messages::iterator>);
static_assert(std::sentinel_for<dc::messages::iterator, dc::messages::iterator>);
static_assert(std::ranges::input_range<dc::messages>);
static_assert(std::ranges::contiguous_range<dc::message> && std::ranges::contiguous_range<dc::reservation>);
static_assert(std::convertible_to<std::span<const std::byte>, dc::bytes>);
static_assert(std::convertible_to<std::span<dc::message>, dc::view<dc::message>>);
static_assert(!std::convertible_to<std::span<const dc::message>, dc::view<dc::message>>);
static_assert(!std::convertible_to<std::span<int>, dc::bytes>);

TEST(spans_and_ranges) {
    Fixture f;
    const std::span<const std::byte> raw = std::as_bytes(std::span("span", 4));
    f.producer.send(raw, f.ec);
    const dc::bytes some[] = {"a", "b"};
    std::size_t n = 0;
    CHECK_STATUS(f.producer.send_batch(std::span(some), n, 1s, f.ec), status::ok);
    CHECK_EQ(n, 2);
    std::vector<dc::message> out(8);
    CHECK_STATUS(f.consumer.recv_batch(std::span(out).first(1), n, 1s, f.ec), status::ok);
    CHECK_EQ(n, 1);
    const std::span<const std::byte> got(out[0]);
    CHECK(got.size() == 4 && got[3] == std::byte{'n'});
    dc::reservation r = f.producer.reserve(3, f.ec);
    const std::span<std::byte> room(r);
    std::ranges::fill(room, std::byte{'z'});
    CHECK_STATUS(r.commit(f.ec), status::ok);
#if !defined(__clang__) || __clang_major__ >= 16  // older ones cannot read libstdc++'s views
    std::string all;
    auto messages = f.consumer.messages(dc::no_wait, f.ec);
    for (std::string_view text : messages | std::views::transform(&dc::message::text)) all += text;
    CHECK_TEXT_IS(all, "abzzz");
#endif
}
#endif
