// The header in two files of one program, one of them without exceptions: no name twice, and each
// behaves as it was compiled.
#include "units_other.hpp"

#include "common.hpp"

TEST(two_files_of_one_program) {
    const dc::channel channel = dc::channel::open(chan_path, small_options());
    dc::producer producer = channel.open_producer();
    dc::consumer consumer = channel.subscribe("group");
    CHECK(category_of_the_other() == &dc::category());
    producer.send("here");
    CHECK_NO_ERROR(send_from_the_other(producer, "there"));
    int count = 0;
    CHECK_NO_ERROR(receive_in_the_other(consumer, count));
    CHECK_EQ(count, 2);
    for (const dc::message& m : consumer.messages(dc::no_wait)) count += !m.empty();
    CHECK_EQ(count, 2);

    dc::consumer empty;
    CHECK(receive_in_the_other(empty, count) == dc::errc::argument);
    bool threw = false;
    try {
        for (const dc::message& m : empty.messages(dc::no_wait)) count += !m.empty();
    } catch (const dc::error& e) {
        threw = e.code() == dc::errc::argument;
    }
    CHECK(threw);
}
