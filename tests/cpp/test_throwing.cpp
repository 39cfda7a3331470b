// Every call of the throwing set, and what the types promise.
#include "common.hpp"

#include <array>
#include <filesystem>
#include <fstream>
#include <list>
#include <poll.h>
#include <sys/time.h>

using dc::status;
using namespace std::chrono_literals;

// The code of what `call` throws.
template <class Call>
static std::error_code thrown(Call call) {
    try {
        call();
    } catch (const dc::error& e) {
        return e.code();
    }
    return {};
}

#define CHECK_THROWS(expected, ...)                                                          \
    do {                                                                                     \
        const std::error_code code_ = thrown([&] { __VA_ARGS__; });                          \
        if (!(code_ == (expected)))                                                          \
            test_fail(__FILE__, __LINE__, "%s: threw %s", #__VA_ARGS__, code_text(code_.value())); \
    } while (0)

struct Fixture {
    dc::channel channel;
    dc::producer producer;
    dc::consumer consumer;
    explicit Fixture(const dc::options& options = small_options(), const dc::subscribe_options& subscribe = {})
        : channel(dc::channel::open(chan_path, options)),
          producer(channel.open_producer()),
          consumer(channel.subscribe("group", subscribe)) {}
    std::string take() {
        for (dc::message m;;) {
            const status s = consumer.recv(m, long_time);
            if (s == status::end_of_page) {
                consumer.next_page();
                continue;
            }
            CHECK_STATUS(s, status::ok);
            return std::string(m);
        }
    }
};

TEST(sends_and_receives) {
    Fixture f;
    f.producer.send("one");
    CHECK_STATUS(f.producer.send(std::string("two"), 0ms), status::ok);
    const std::string body = "ree";
    CHECK_STATUS(f.producer.sendv({"th", body}), status::ok);
    const std::array<std::byte, 2> raw{std::byte{'4'}, std::byte{0}};
    f.producer.send(raw);
    f.producer.send({});
    CHECK_TEXT_IS(f.take(), "one");
    CHECK_TEXT_IS(f.take(), "two");
    CHECK_TEXT_IS(f.take(), "three");
    CHECK_TEXT_IS(f.take(), std::string("4\0", 2));
    CHECK_TEXT_IS(f.take(), "");
    dc::message none;
    CHECK_STATUS(f.consumer.recv(none, dc::no_wait), status::again);
    CHECK_STATUS(f.consumer.recv(none, 1ns), status::again);
    CHECK(none.data() == nullptr && none.empty());
}

TEST(a_message_is_a_view) {
    struct Point {
        int x, y;
    };
    Fixture f;
    f.producer.send(dc::bytes_of(Point{3, 4}));
    dc::message m;
    CHECK_STATUS(f.consumer.recv(m), status::ok);
    Point p{};
    CHECK(m.copy_to(p));
    CHECK(p.x == 3 && p.y == 4);
    char small = 7;
    CHECK(!m.copy_to(small) && small == 7);
    CHECK_EQ(m.size(), sizeof p);
    CHECK_EQ(m.end() - m.begin(), m.size());
    CHECK(m.position() == f.producer.sent_position() && m.position() != dc::position{});
    CHECK_EQ(m.deliveries(), 1);
    CHECK(!m.redelivered());
    CHECK(m.raw().data == m.data());
    const dc::message copy = m;
    CHECK(copy.data() == m.data());
    f.producer.send(m);  // onward, as it is
    CHECK_STATUS(f.consumer.recv(m), status::ok);
    CHECK(m.copy_to(p) && p.y == 4);
    const std::string_view text = m;
    CHECK(text == m.text());
}

// Whether one can loop over the messages of a C, and reserve of a P: not when it goes at once.
template <class C, class = void>
constexpr bool loops = false;
template <class C>
constexpr bool loops<C, std::void_t<decltype(std::declval<C>().messages())>> = true;
template <class P, class = void>
constexpr bool reserves = false;
template <class P>
constexpr bool reserves<P, std::void_t<decltype(std::declval<P>().reserve(1))>> = true;
static_assert(loops<dc::consumer&> && !loops<dc::consumer>);
static_assert(reserves<dc::producer&> && !reserves<dc::producer>);

TEST(handles_move) {
    static_assert(!std::is_copy_constructible_v<dc::channel> && !std::is_copy_assignable_v<dc::channel>);
    static_assert(!std::is_copy_constructible_v<dc::producer> && !std::is_copy_constructible_v<dc::consumer>);
    static_assert(!std::is_copy_constructible_v<dc::reservation> && !std::is_copy_assignable_v<dc::reservation>);
    static_assert(std::is_nothrow_move_constructible_v<dc::channel> && std::is_nothrow_move_assignable_v<dc::channel>);
    static_assert(std::is_nothrow_move_constructible_v<dc::producer> && std::is_nothrow_move_assignable_v<dc::consumer>);
    static_assert(std::is_nothrow_move_constructible_v<dc::reservation> && std::is_nothrow_destructible_v<dc::reservation>);
    static_assert(!std::is_convertible_v<dc::channel, bool> && !std::is_convertible_v<int, dc::timeout>);
    static_assert(!std::is_convertible_v<std::uint64_t, dc::position>);

    Fixture f;
    dc::channel channel = std::move(f.channel);
    CHECK(channel && !f.channel);
    CHECK_THROWS(dc::errc::argument, f.channel.stats());
    dc::producer producer;
    CHECK(!producer);
    CHECK_THROWS(dc::errc::argument, producer.send("x"));
    CHECK(producer.sent_position() == dc::position{});
    producer.interrupt();
    producer = std::move(f.producer);
    dc::consumer consumer(std::move(f.consumer));
    producer.send("moved");

    // Onto themselves.
    dc::channel& channel_again = channel;
    dc::producer& producer_again = producer;
    dc::consumer& consumer_again = consumer;
    channel = std::move(channel_again);
    producer = std::move(producer_again);
    consumer = std::move(consumer_again);
    CHECK(channel && producer && consumer);
    dc::message m;
    CHECK_STATUS(consumer.recv(m), status::ok);
    CHECK_TEXT_IS(m.text(), "moved");

    // Onto one that holds another: that one is closed.
    CHECK_EQ(channel.stats().producers, 1);
    dc::producer other = channel.open_producer();
    CHECK_EQ(channel.stats().producers, 2);
    other = std::move(producer);
    CHECK_EQ(channel.stats().producers, 1);
    other.close();
    CHECK(!other);
    other.close();
    CHECK_EQ(channel.stats().producers, 0);
}

TEST(any_order_of_destruction) {
    auto channel = std::make_unique<dc::channel>(dc::channel::open(chan_path, small_options()));
    dc::producer producer = channel->open_producer();
    dc::consumer consumer = channel->subscribe("group");
    dc::consumer observer = channel->observe();
    channel.reset();
    producer.send("still");
    dc::message m;
    CHECK_STATUS(consumer.recv(m), status::ok);
    producer.close();
    CHECK_TEXT_IS(m.text(), "still");
    CHECK_STATUS(observer.recv(m), status::ok);
    CHECK_TEXT_IS(m.text(), "still");
    CHECK_THROWS(dc::errc::busy, dc::destroy(chan_path));
    consumer.close();
    observer.close();
    dc::destroy(chan_path);
    CHECK_THROWS(std::errc::no_such_file_or_directory, dc::destroy(chan_path));
}

TEST(handles_come_from_and_go_to_c) {
    dc_channel* raw = nullptr;
    CHECK_OK(dc_open(chan_path, nullptr, &raw));
    dc::channel channel(raw);
    CHECK(channel.get() == raw);
    dc_channel* again = channel.release();
    CHECK(again == raw && !channel);
    dc_close(again);
    dc::destroy(chan_path);  // nothing holds it any more
}

TEST(errors_map) {
    static_assert(std::is_base_of_v<std::system_error, dc::error>);
    static_assert(std::is_error_code_enum_v<dc::errc>);
    CHECK_THROWS(std::errc::no_such_file_or_directory, dc::channel::open(chan_path, dc::options().existing()));
    const dc::channel channel = dc::channel::open(chan_path, small_options());
    CHECK_THROWS(std::errc::file_exists, dc::channel::open(chan_path, dc::options().create_new()));
    try {
        (void)dc::channel::open(chan_path, dc::options().max_pages(7));
        test_fail(__FILE__, __LINE__, "it opened");
    } catch (const std::system_error& e) {
        CHECK(e.code() == dc::errc::mismatch);
        CHECK(e.code() != dc::errc::format);
        CHECK(&e.code().category() == &dc::category());
        CHECK(dynamic_cast<const dc::error*>(&e) != nullptr);
        CHECK(strstr(e.what(), dc::last_error()) != nullptr && strlen(dc::last_error()) > 0);
        CHECK(strstr(e.what(), "max_pages") != nullptr);
        CHECK(strstr(e.what(), dc_strerror(DC_E_MISMATCH)) != nullptr);
        CHECK_TEXT_IS(e.code().message(), dc_strerror(DC_E_MISMATCH));
        CHECK_TEXT_IS(dc::error_name(e.code()), "DC_E_MISMATCH");
    }
    const std::error_code full(-ENOSPC, dc::category());
    CHECK(full == std::errc::no_space_on_device);
    CHECK(full != std::errc::io_error);
    CHECK_TEXT_IS(full.message(), dc_strerror(-ENOSPC));
    CHECK_TEXT_IS(dc::error_name(full), "ENOSPC");
    CHECK_TEXT_IS(dc::error_name(std::make_error_code(std::errc::io_error)), "unknown");
    CHECK_TEXT_IS(dc::category().name(), "disk_chan");
    const std::pair<dc::errc, std::errc> pairs[] = {
        {dc::errc::again, std::errc::resource_unavailable_try_again},
        {dc::errc::argument, std::errc::invalid_argument},
        {dc::errc::too_big, std::errc::message_size},
        {dc::errc::busy, std::errc::device_or_resource_busy},
        {dc::errc::unsupported, std::errc::not_supported},
    };
    for (const auto& [ours, theirs] : pairs) CHECK(make_error_code(ours) == theirs);
    for (dc::errc ours : {dc::errc::corrupt, dc::errc::format, dc::errc::mismatch, dc::errc::limit, dc::errc::forked,
                          dc::errc::poisoned, dc::errc::state, dc::errc::internal}) {
        const std::error_code ec = ours;
        CHECK(ec && ec.default_error_condition().category() == dc::category());
        CHECK(strncmp(dc::error_name(ec), "DC_E_", 5) == 0);
    }
}

TEST(texts_with_a_nul_are_refused) {
    const dc::channel channel = dc::channel::open(std::string(chan_path), small_options());
    CHECK_THROWS(dc::errc::argument, channel.subscribe(std::string("a\0b", 3)));
    CHECK_THROWS(dc::errc::argument, channel.subscribe(nullptr));
    CHECK_THROWS(dc::errc::argument, dc::channel::open(std::string("x\0y", 3)));
    CHECK(channel.groups().empty());
    CHECK(dc::channel::open(std::filesystem::path(chan_path)));
}

TEST(options_say_what_was_set) {
    const dc::options options = dc::options()
                                    .unlimited_pages()
                                    .durability(dc::durability::interval)
                                    .sync_interval(2s)
                                    .stall_timeout(30ms)
                                    .checksum(false)
                                    .mode(0640)
                                    .existing()
                                    .no_thread()
                                    .prepared_only()
                                    .sigbus_guard()
                                    .read_only()
                                    .create_new()
                                    .existing(false);
    const dc_options& raw = options.raw();
    CHECK_EQ(raw.size, sizeof raw);
    CHECK_EQ(raw.max_pages, DC_UNLIMITED);
    CHECK_EQ(raw.durability, DC_SYNC_INTERVAL);
    CHECK_EQ(raw.sync_interval_ms, 2000);
    CHECK_EQ(raw.stall_timeout_ms, 30);
    CHECK_EQ(raw.checksum, DC_CHECKSUM_OFF);
    CHECK_EQ(raw.mode, 0640);
    CHECK_EQ(raw.flags, DC_NEW | DC_READ_ONLY | DC_NO_THREAD | DC_PREPARED_ONLY | DC_SIGBUS_GUARD);
    CHECK_EQ(dc::options().stall_timeout(-1ms).raw().stall_timeout_ms, UINT32_MAX);
    CHECK_THROWS(dc::errc::argument, dc::channel::open(chan_path, dc::options().stall_timeout(-1ms)));
    const dc::subscribe_options subscribe =
        dc::subscribe_options().start(dc::last(3)).ack(dc::ack::receive).max_unacked(9).prefetch(2).auto_next_page();
    CHECK_EQ(subscribe.raw().start, DC_LAST(3));
    CHECK_EQ(subscribe.raw().ack, DC_ACK_RECEIVE);
    CHECK_EQ(subscribe.raw().max_unacked, 9);
    CHECK_EQ(subscribe.raw().prefetch, 2);
    CHECK_EQ(subscribe.raw().flags, DC_AUTO_NEXT_PAGE);
    dc::options changed;
    changed.raw().max_pages = 5;
    CHECK_EQ(changed.raw().max_pages, 5);
}

TEST(timeouts_round_up) {
    static_assert(dc::forever.ms() == -1 && dc::no_wait.ms() == 0);
    static_assert(dc::timeout(0s).ms() == 0 && dc::timeout(-5s).ms() == 0);
    static_assert(dc::timeout(1ns).ms() == 1 && dc::timeout(1500us).ms() == 2 && dc::timeout(7ms).ms() == 7);
    static_assert(dc::timeout(std::chrono::duration<double>(0.25)).ms() == 250);
    static_assert(dc::timeout(std::chrono::hours::max()).ms() == -1 && dc::timeout(std::chrono::nanoseconds::min()).ms() == 0);
    static_assert(dc::timeout(24h).ms() == 86400000 && dc::timeout(5).ms() == 5);
    Fixture f;
    const int64_t start = now_ms();
    dc::message m;
    CHECK_STATUS(f.consumer.recv(m, 100ms), status::again);
    CHECK(now_ms() - start >= 99);
}

TEST(a_range_goes_over_pages) {
    Fixture f;
    for (int i = 0; i < 50; i++) f.producer.send(dc::bytes_of(i));
    int next = 0;
    for (const dc::message& m : f.consumer.messages(dc::no_wait)) {
        int number = -1;
        CHECK(m.copy_to(number));
        CHECK_EQ(number, next++);
    }
    CHECK_EQ(next, 50);
    CHECK_EQ(f.channel.group_stats("group").unacked, 0);  // the step behind the last one did that
    f.producer.send("more");
    auto messages = f.consumer.messages(dc::no_wait);
    for (const dc::message& m : messages) {
        CHECK_TEXT_IS(m.text(), "more");
        CHECK_STATUS(messages.ended_by(), status::ok);
        CHECK(messages.current().data() == m.data());
        next++;
    }
    CHECK_EQ(next, 51);
    CHECK_STATUS(messages.ended_by(), status::again);
    CHECK(messages.begin() == messages.end());
}

TEST(a_broken_off_range_leaves_its_message_unacknowledged) {
    Fixture f;
    f.producer.send("job");
    for (const dc::message& m : f.consumer.messages()) {
        CHECK_TEXT_IS(m.text(), "job");
        break;
    }
    f.consumer.close();
    f.consumer = f.channel.subscribe("group");
    for (const dc::message& m : f.consumer.messages(long_time)) {
        CHECK(m.redelivered());
        f.consumer.ack(m);
        break;
    }
    CHECK_EQ(f.channel.group_stats("group").unacked, 0);
}

TEST(a_range_shows_where_messages_were_lost) {
    Fixture f;
    for (int i = 0; i < 200; i++) f.producer.send(dc::bytes_of(i));
    auto messages = f.consumer.messages(dc::no_wait);
    std::uint64_t seen = 0, gaps = 0;
    int before = -1;
    for (const dc::message& m : messages) {
        int number = -1;
        CHECK(m.copy_to(number));
        CHECK_EQ(messages.lagged(), number != before + 1);
        gaps += messages.lagged();
        before = number;
        seen++;
    }
    CHECK_EQ(gaps, 1);
    CHECK_EQ(before, 199);
    CHECK_EQ(f.consumer.stats().lost + seen, 200);
    // By hand, the same.
    for (int i = 0; i < 200; i++) f.producer.send(dc::bytes_of(i));
    dc::message m;
    status s = f.consumer.recv(m, dc::no_wait);
    if (s == status::end_of_page) {
        f.consumer.next_page();
        s = f.consumer.recv(m, dc::no_wait);
    }
    CHECK_STATUS(s, status::lagged);
}

TEST(a_range_ends_by_an_interrupt) {
    Fixture f;
    f.producer.send("first");
    std::thread other = interrupt_soon(f.consumer);
    auto messages = f.consumer.messages();
    int count = 0;
    for (const dc::message& m : messages) count += m.text() == "first";
    other.join();
    CHECK_EQ(count, 1);
    CHECK_STATUS(messages.ended_by(), status::interrupted);
    f.producer.send("second");
    for (const dc::message& m : messages) {
        CHECK_TEXT_IS(m.text(), "second");
        count++;
        f.consumer.interrupt();  // sticky: ends the wait that is to come
    }
    CHECK_EQ(count, 2);
    CHECK_STATUS(messages.ended_by(), status::interrupted);
}

static volatile sig_atomic_t alarms;

TEST(signals_end_a_call_but_not_a_range) {
    struct sigaction action = {};
    action.sa_handler = [](int) { alarms = alarms + 1; };
    SYS(sigaction(SIGALRM, &action, nullptr));
    const struct itimerval every = {{0, 30000}, {0, 30000}};
    SYS(setitimer(ITIMER_REAL, &every, nullptr));
    Fixture f;
    dc::message m;
    CHECK_STATUS(f.consumer.recv(m, long_time), status::signalled);
    const int64_t start = now_ms();
    auto messages = f.consumer.messages(300ms);
    for (const dc::message& none : messages) test_fail(__FILE__, __LINE__, "nothing of %zu bytes was sent", none.size());
    CHECK_STATUS(messages.ended_by(), status::again);
    CHECK_RANGE(now_ms() - start, 299, 5000);
    CHECK(alarms >= 5);
    // Without a timeout it goes on until told.
    std::thread other([&f] {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, nullptr);
        sleep_ms(150);
        f.producer.send("x");
        sleep_ms(100);
        f.consumer.interrupt();
    });
    auto endless = f.consumer.messages();
    int count = 0;
    for (const dc::message& one : endless) count += one.size() == 1;
    other.join();
    CHECK_EQ(count, 1);
    CHECK_STATUS(endless.ended_by(), status::interrupted);
}

TEST(a_range_throws_at_a_damaged_message_and_goes_on) {
    {
        Fixture f;
        f.producer.send("sound message one");
        f.producer.send("message to be damaged");
        f.producer.send("sound message two");
    }
    int found = 0;
    for (const auto& file : std::filesystem::recursive_directory_iterator(chan_path)) {
        if (!file.is_regular_file()) continue;
        std::fstream stream(file.path(), std::ios::in | std::ios::out | std::ios::binary);
        const std::string all{std::istreambuf_iterator<char>(stream), {}};
        const std::size_t at = all.find("to be damaged");
        if (at == std::string::npos) continue;
        stream.clear();
        stream.seekp(static_cast<std::streamoff>(at));
        stream.write("TO BE", 5);
        found++;
    }
    CHECK_EQ(found, 1);
    CHECK_EQ(dc::verify(chan_path).corrupt, 1);
    CHECK_EQ(dc::verify(std::string(chan_path)).messages, 2);
    Fixture f;
    std::string got;
    auto messages = f.consumer.messages(dc::no_wait);
    CHECK_THROWS(dc::errc::corrupt, for (const dc::message& m : messages) got += m.text());
    CHECK_STATUS(messages.ended_by(), status::failed);
    CHECK(messages.current().position() != dc::position{} && messages.current().data() == nullptr);
    for (const dc::message& m : messages) got += m.text();
    CHECK_TEXT_IS(got, "sound message onesound message two");
    CHECK_EQ(f.consumer.stats().corrupt, 1);
    // By hand.
    f.consumer.seek(dc::earliest);
    dc::message m;
    CHECK_STATUS(f.consumer.recv(m), status::ok);
    CHECK_THROWS(dc::errc::corrupt, (void)f.consumer.recv(m));
    CHECK(m.data() == nullptr && m.size() == 0 && m.position() > dc::earliest);
    CHECK_STATUS(f.consumer.recv(m), status::ok);
    CHECK_TEXT_IS(m.text(), "sound message two");
}

TEST(batches) {
    Fixture f(small_options().max_messages_per_page(1000));
    std::size_t sent = 99;
    CHECK_STATUS(f.producer.send_batch({"a", std::string("b"), "c"}, sent), status::ok);
    CHECK_EQ(sent, 3);
    const std::vector<dc::bytes> some(4, "d");
    CHECK_STATUS(f.producer.send_batch(some, sent, 1s), status::ok);
    CHECK_EQ(sent, 4);
    const dc::bytes array[] = {"e", "f"};
    CHECK_STATUS(f.producer.send_batch(array, sent), status::ok);
    CHECK_STATUS(f.producer.send_batch(dc::view<const dc::bytes>(array, 1), sent), status::ok);
    CHECK_EQ(sent, 1);
    CHECK_STATUS(f.producer.send_batch(std::vector<dc::bytes>(), sent), status::ok);
    CHECK_EQ(sent, 0);
    std::list<std::string> list;
    for (int i = 0; i < 150; i++) list.push_back("number " + std::to_string(i));
    CHECK_STATUS(f.producer.send_batch(list.begin(), list.end(), sent), status::ok);
    CHECK_EQ(sent, 150);
    CHECK_STATUS(f.producer.send_batch(list.end(), list.end(), sent, dc::no_wait), status::ok);
    CHECK_EQ(sent, 0);

    std::array<dc::message, 12> got;
    std::size_t received = 0;
    std::string all;
    while (all.size() < 10) {
        CHECK_STATUS(f.consumer.recv_batch(dc::view<dc::message>(got.data(), 10 - all.size()), received), status::ok);
        for (std::size_t i = 0; i < received; i++) all += got[i].text();
    }
    CHECK_TEXT_IS(all, "abcddddefe");
    std::vector<dc::message> many(255);
    for (int next = 0; next < 150;) {
        CHECK_STATUS(f.consumer.recv_batch(many, received, 1s), status::ok);
        CHECK(received >= 1);
        for (std::size_t i = 0; i < received; i++) CHECK_TEXT_IS(many[i].text(), "number " + std::to_string(next++));
    }
    CHECK_STATUS(f.consumer.recv_batch(got, received, dc::no_wait), status::again);
    CHECK_EQ(received, 0);
    many.clear();
    CHECK_THROWS(dc::errc::argument, (void)f.consumer.recv_batch(many, received));

    sent = 99;
    const std::string huge(f.channel.stats().max_message + 1, 'x');
    CHECK_THROWS(dc::errc::too_big, (void)f.producer.send_batch({"a", huge}, sent));
    CHECK_EQ(sent, 0);
    CHECK_THROWS(std::errc::message_size, f.producer.send(huge));
    CHECK_THROWS(dc::errc::too_big, (void)f.producer.sendv({huge}));
}

TEST(a_batch_is_a_prefix_when_there_is_no_room) {
    Fixture f(small_options(dc::retention::unread));
    std::vector<std::string> list(100, "x");
    std::size_t sent = 0, more = 0;
    CHECK_STATUS(f.producer.send_batch(list.begin(), list.end(), sent, dc::no_wait), status::again);
    CHECK_RANGE(sent, 1, 99);
    CHECK_EQ(f.channel.stats().messages, sent);
    const dc::bytes one[] = {"y"};
    CHECK_STATUS(f.producer.send_batch(one, more, 1ms), status::again);
    CHECK_EQ(more, 0);
    CHECK_STATUS(f.producer.send("z", 1ms), status::again);
    CHECK_STATUS(f.producer.sendv({"z"}, 1ms), status::again);
    dc::reservation r;
    CHECK_STATUS(f.producer.reserve(1, r, 1ms), status::again);
    CHECK(!r);
    // And waits end by interrupts.
    std::thread other = interrupt_soon(f.producer);
    CHECK_STATUS(f.producer.send("z", dc::forever), status::interrupted);
    other.join();
    other = interrupt_soon(f.producer);
    CHECK_THROWS(std::errc::operation_canceled, f.producer.send("z"));
    other.join();
    CHECK_EQ(f.channel.stats().messages, sent);
}

TEST(a_reservation_is_committed_or_aborted) {
    Fixture f;
    {
        dc::reservation r = f.producer.reserve(8);
        CHECK(r && r.size() == 8 && r.end() - r.begin() == 8);
        memcpy(r.data(), "in place", 8);
        CHECK_THROWS(dc::errc::state, f.producer.send("x"));
        CHECK_THROWS(dc::errc::state, (void)f.producer.reserve(8));
        CHECK_THROWS(dc::errc::argument, (void)r.commit(9));
        CHECK(r && r.size() == 8);
        CHECK_STATUS(r.commit(), status::ok);
        CHECK(!r && r.data() == nullptr && r.size() == 0);
        CHECK_THROWS(dc::errc::argument, (void)r.commit());
        r.abort();
    }
    {
        dc::reservation dropped = f.producer.reserve(100);
        memcpy(dropped.data(), "nobody sees this", 16);
    }
    {
        dc::reservation r;
        CHECK_STATUS(f.producer.reserve(20, r, 1s), status::ok);
        CHECK_STATUS(f.producer.reserve(30, r, 1s), status::ok);  // what it held is aborted first
        CHECK_EQ(r.size(), 30);
        dc::reservation moved = std::move(r);
        CHECK(moved && !r);
        dc::reservation& again = moved;
        moved = std::move(again);
        CHECK(moved && moved.size() == 30);
        dc::producer producer = std::move(f.producer);  // the handle may move meanwhile
        memcpy(moved.data(), "shorter", 7);
        CHECK_STATUS(moved.commit(7), status::ok);
        f.producer = std::move(producer);
        r = f.producer.reserve(1);
        r = dc::reservation();  // dropped by assignment
        f.producer.send("after");
    }
    dc::reservation r = f.producer.reserve(0);
    CHECK(r);
    CHECK_STATUS(r.commit(), status::ok);
    CHECK_TEXT_IS(f.take(), "in place");
    CHECK_TEXT_IS(f.take(), "shorter");
    CHECK_TEXT_IS(f.take(), "after");
    CHECK_TEXT_IS(f.take(), "");
    CHECK_EQ(f.channel.stats().messages, 4);
    CHECK_THROWS(dc::errc::too_big, (void)f.producer.reserve(std::size_t{1} << 40));
}

// Readers skipped it, the channel is full: whatever keeps it from being sent anew, it is still held.
TEST(a_reservation_that_was_skipped_is_held_until_it_is_sent) {
    Fixture f(small_options(dc::retention::unread).stall_timeout(100ms), dc::subscribe_options().ack(dc::ack::manual));
    dc::reservation r = f.producer.reserve(4);
    dc::producer other = f.channel.open_producer();
    std::size_t sent = 0;
    while (other.send("other", dc::no_wait) == status::ok) sent++;
    CHECK_TEXT_IS(f.take(), "other");
    memcpy(r.data(), "mine", 4);
    CHECK_STATUS(r.commit(), status::again);
    CHECK(r);
    f.producer.interrupt();
    CHECK_STATUS(r.commit(), status::interrupted);
    CHECK(r && r.size() == 4);
    CHECK_STATUS(r.commit(), status::again);
    CHECK(r);
    for (std::size_t i = 1; i < sent; i++) CHECK_TEXT_IS(f.take(), "other");
    f.consumer.ack(dc::position{f.channel.stats().end});
    CHECK_STATUS(r.commit(), status::ok);
    CHECK(!r);
    CHECK_TEXT_IS(f.take(), "mine");
}

TEST(what_is_given_back_comes_again) {
    Fixture f(small_options(), dc::subscribe_options().ack(dc::ack::manual).max_unacked(3));
    for (const char* text : {"a", "b", "c", "d"}) f.producer.send(text);
    dc::message a, b, c, d;
    CHECK_STATUS(f.consumer.recv(a), status::ok);
    CHECK_STATUS(f.consumer.recv(b), status::ok);
    CHECK_STATUS(f.consumer.recv(c), status::ok);
    CHECK_THROWS(dc::errc::limit, (void)f.consumer.recv(d));
    CHECK_EQ(f.consumer.stats().unacked, 3);
    f.consumer.ack(a);
    f.consumer.nack();
    CHECK_EQ(f.consumer.stats().unacked, 0);
    CHECK_STATUS(f.consumer.recv(b), status::ok);
    CHECK_TEXT_IS(b.text(), "b");
    CHECK(b.redelivered());
    CHECK_EQ(b.deliveries(), 2);
    CHECK_STATUS(f.consumer.recv(c), status::ok);
    CHECK(c.redelivered());
    f.consumer.ack(c.position());
    CHECK_STATUS(f.consumer.recv(d), status::ok);
    CHECK_TEXT_IS(d.text(), "d");
    CHECK(!d.redelivered());
    CHECK_EQ(f.consumer.stats().redelivered, 2);
    dc::consumer observer = f.channel.observe();
    CHECK_THROWS(dc::errc::state, observer.ack(d));
    CHECK_THROWS(dc::errc::state, observer.nack());
}

TEST(positions_and_seek) {
    static_assert(dc::earliest < dc::latest && dc::last(0) == dc::latest && dc::last(2) < dc::last(1));
    static_assert(dc::after(dc::position{5}) == dc::position{6});
    Fixture f;
    for (const char* text : {"a", "b", "c", "d"}) f.producer.send(text);
    dc::message a;
    CHECK_STATUS(f.consumer.recv(a), status::ok);
    const dc::position first = a.position();
    f.consumer.seek(dc::last(1));
    CHECK_TEXT_IS(f.take(), "d");
    f.consumer.seek(dc::earliest);
    CHECK_TEXT_IS(f.take(), "a");
    f.consumer.seek(dc::after(first));
    CHECK_TEXT_IS(f.take(), "b");
    f.consumer.seek(first);
    CHECK_TEXT_IS(f.take(), "a");
    f.consumer.seek(dc::latest);
    dc::message m;
    CHECK_STATUS(f.consumer.recv(m, dc::no_wait), status::again);
    CHECK_THROWS(dc::errc::argument, f.consumer.seek(dc::position{}));
    dc::consumer observer = f.channel.observe(dc::subscribe_options().start(dc::last(2)).auto_next_page());
    CHECK_STATUS(observer.recv(m), status::ok);
    CHECK_TEXT_IS(m.text(), "c");
    dc::consumer clone = observer.clone();
    CHECK_STATUS(clone.recv(m), status::ok);
    CHECK_TEXT_IS(m.text(), "d");
}

TEST(groups_and_stats) {
    Fixture f;
    const dc::consumer other = f.channel.subscribe("another");
    dc::consumer clone = f.consumer.clone();
    dc::producer second = f.producer.clone();
    const std::vector<std::string> names = f.channel.groups();
    CHECK_EQ(names.size(), 2);
    CHECK_TEXT_IS(names[0] + "," + names[1], "another,group");
    second.send("x");
    CHECK(f.producer.sent_position() == dc::position{});
    const dc::channel_info info = f.channel.stats();
    CHECK_EQ(info.messages, 1);
    CHECK_EQ(info.producers, 2);
    CHECK_EQ(info.consumers, 3);
    CHECK_EQ(info.retention, DC_RETAIN_RING);
    CHECK_EQ(info.max_messages_per_page, 16);
    CHECK_EQ(f.channel.group_stats("group").consumers, 2);
    CHECK_EQ(f.channel.group_stats(names[0]).lag, 1);
    CHECK_EQ(other.stats().lag, 1);
    CHECK_THROWS(std::errc::no_such_file_or_directory, f.channel.group_stats("nobody"));
    CHECK_THROWS(dc::errc::busy, f.channel.delete_group("group"));
    clone.close();
    f.consumer.close();
    f.channel.delete_group("group");
    CHECK_EQ(f.channel.groups().size(), 1);
}

TEST(syncs) {
    Fixture f(small_options().durability(dc::durability::interval).sync_interval(std::chrono::hours(1)));
    f.producer.send("x");
    CHECK_STATUS(f.producer.sync(long_time), status::ok);
    CHECK(dc::position{f.channel.stats().durable} > f.producer.sent_position());
    CHECK_STATUS(f.channel.sync(), status::ok);
    const dc::channel always = dc::channel::open(chan_path, dc::options().durability(dc::durability::always));
    dc::producer producer = always.open_producer();
    dc::reservation r = producer.reserve(1);
    *r.data() = std::byte{'y'};
    CHECK_STATUS(r.commit(), status::ok);
    CHECK(dc::position{always.stats().durable} > producer.sent_position());
}

TEST(fds) {
    Fixture f(small_options(dc::retention::unread));
    const int in = f.consumer.fd();
    CHECK_EQ(in, f.consumer.fd());
    struct pollfd waiting = {in, POLLIN, 0};
    f.producer.send("x");
    CHECK_EQ(poll(&waiting, 1, 20000), 1);
    CHECK_TEXT_IS(f.take(), "x");
    CHECK(f.producer.fd() != in);
    std::size_t sent = 0;
    std::vector<dc::bytes> many(100, "y");
    CHECK_STATUS(f.producer.send_batch(many, sent, dc::no_wait), status::again);
    struct pollfd room = {f.producer.fd(), POLLIN, 0};
    f.consumer.seek(dc::latest);
    CHECK_EQ(poll(&room, 1, 20000), 1);
    CHECK_STATUS(f.producer.send("z", dc::no_wait), status::ok);
}

TEST(without_a_thread) {
    const dc::channel channel = dc::channel::open(chan_path, small_options().no_thread());
    dc::producer producer = channel.open_producer();
    dc::consumer consumer = channel.subscribe("group");
    CHECK_THROWS(dc::errc::unsupported, consumer.fd());
    CHECK_THROWS(std::errc::not_supported, producer.fd());
    producer.send("x");
    for (int i = 0; channel.maintain() == status::ok; i++) CHECK(i < 1000);
    CHECK_STATUS(channel.maintain(1ms), status::again);
}

TEST(read_only) {
    { Fixture f; f.producer.send("seen"); }
    const dc::channel channel = dc::channel::open(chan_path, dc::options().read_only());
    CHECK_THROWS(dc::errc::state, channel.open_producer());
    CHECK_THROWS(dc::errc::state, channel.subscribe("group"));
    CHECK_THROWS(dc::errc::state, (void)channel.sync());
    CHECK_THROWS(dc::errc::state, channel.delete_group("group"));
    int count = 0;
    dc::consumer observer = channel.observe();
    for (const dc::message& m : observer.messages(dc::no_wait)) count += m.text() == "seen";
    CHECK_EQ(count, 1);
}

TEST(version_of_the_library) {
    CHECK_EQ(dc::version(), DC_VERSION);
    CHECK(dc::compatible());
    CHECK(!dc::compatible(DC_VERSION + (1 << 8)) && !dc::compatible(DC_VERSION + (1 << 16)));
    CHECK(dc::compatible(DC_VERSION + 1) && !dc::compatible(DC_VERSION - 1));
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", DC_VERSION_MAJOR, DC_VERSION_MINOR, DC_VERSION_PATCH);
    CHECK_TEXT_IS(dc::version_string(), text);
}
