// What the C++ tests share. The runner is that of the C tests.
#ifndef DC_TEST_COMMON_HPP
#define DC_TEST_COMMON_HPP

#include <disk_chan.hpp>

#include "harness.h"

#include <string>
#include <thread>

// Long enough that only a lost wakeup or a hang runs into it.
constexpr std::chrono::seconds long_time{20};

#define CHECK_STATUS(call, expected) CHECK_CODE(static_cast<int>(call), static_cast<int>(expected))
#define CHECK_TEXT_IS(a, b)                                                                            \
    do {                                                                                               \
        const std::string a_(a), b_(b);                                                                \
        if (a_ != b_) test_fail(__FILE__, __LINE__, "%s: \"%s\" instead of \"%s\"", #a, a_.c_str(), b_.c_str()); \
    } while (0)
#define CHECK_NO_ERROR(ec) \
    do { if (ec) test_fail(__FILE__, __LINE__, "%s: %s", dc::error_name(ec), ec.message().c_str()); } while (0)

// Four pages of sixteen messages.
inline dc::options small_options(dc::retention retention = dc::retention::ring) {
    return dc::options().page_size(64 * 1024).max_messages_per_page(16).max_pages(4).retention(retention);
}

// Interrupts `handle` from another thread, a while from now.
template <class Handle>
std::thread interrupt_soon(const Handle& handle) {
    return std::thread([&handle] {
        sleep_ms(50);
        handle.interrupt();
    });
}

#endif
