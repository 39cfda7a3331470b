/* The main job in C++: open a channel, send, receive; handles close themselves, failures are thrown.
 *
 * Run it twice with a path (hello /tmp/orders) and the second run continues where the first stopped:
 * the channel and the group's place in it are on disk.
 *
 * Prints last: received 5 orders, 2 of them together */
#include <disk_chan.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

static void run(const std::string& path) {
    // Any number of threads and processes may open it; what is not set has its default.
    const dc::channel channel = dc::channel::open(path, dc::options().retention(dc::retention::unread));

    // Send one message, waiting for room for as long as it takes; or wait for so long, and see.
    dc::producer producer = channel.open_producer();
    producer.send("one coffee");
    if (producer.send(std::string("two teas"), std::chrono::seconds(1)) != dc::status::ok) std::puts("no room");

    // Write one where it will lie. Dropped without a commit, nobody would see it.
    dc::reservation room = producer.reserve(64);
    const std::string_view order = "three cakes";
    std::memcpy(room.data(), order.data(), order.size());
    if (room.commit(order.size()) != dc::status::ok) std::puts("it waited for too long");

    // A group is a named place in the channel. Each step of the loop acknowledges the message before, and
    // the loop ends when there is none; with dc::forever, by consumer.interrupt() from elsewhere.
    dc::consumer consumer = channel.subscribe("kitchen");
    int count = 0;
    for (const dc::message& message : consumer.messages(dc::no_wait)) {
        const std::string_view text = message.text();  // points into the mapped page: nothing is copied
        std::printf("%.*s\n", static_cast<int>(text.size()), text.data());
        count++;
    }

    // Many at once.
    const std::vector<std::string> later{"a glass of water", "the bill"};
    std::size_t sent = 0, together = 0;
    if (producer.send_batch(later.begin(), later.end(), sent) != dc::status::ok) std::puts("no room");
    std::vector<dc::message> messages(16);
    while (together < sent) {
        std::size_t received = 0;
        const dc::status status = consumer.recv_batch(messages, received);
        if (status == dc::status::end_of_page) consumer.next_page();
        together += received;
    }
    consumer.ack(producer.sent_position());
    std::printf("received %d orders, %zu of them together\n", count + static_cast<int>(together), together);
}

int main(int argc, char** argv) try {
    if (argc > 1) {
        run(argv[1]);
        return 0;
    }
    std::string directory = (std::filesystem::temp_directory_path() / "disk_chan.XXXXXX").string();
    if (mkdtemp(directory.data()) == nullptr) return std::perror(directory.c_str()), 1;
    run(directory + "/channel");
    dc::destroy(directory + "/channel");
    std::filesystem::remove(directory);
} catch (const dc::error& error) {  // code() is for programs, what() says which call, path and remedy
    std::fprintf(stderr, "%s: %s\n", dc::error_name(error.code()), error.what());
    return 1;
}
