// What every consumer project in C++ builds: one message through a channel. Prints last: consumer: ok
#include <disk_chan.hpp>

#include <cstdio>

int main() try {
    {
        const dc::channel channel = dc::channel::open("consumer.chan");
        dc::producer producer = channel.open_producer();
        dc::consumer consumer = channel.subscribe("group");
        producer.send("ok");
        for (const dc::message& message : consumer.messages()) {
            if (message.text() != "ok") return 1;
            break;
        }
    }
    dc::destroy("consumer.chan");
    if (dc::version() != DC_VERSION) {
        std::fprintf(stderr, "header %#x, library %#x\n", unsigned{DC_VERSION}, dc::version());
        return 1;
    }
    std::puts("consumer: ok");
} catch (const dc::error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
