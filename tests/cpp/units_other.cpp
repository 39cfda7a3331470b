// The other file of test_units.cpp.
#include "units_other.hpp"

#if defined(__cpp_exceptions)
#error "to be compiled without exceptions"
#endif

const std::error_category* category_of_the_other() { return &dc::category(); }

std::error_code send_from_the_other(dc::producer& producer, const char* text) {
    std::error_code ec;
    producer.send(text, ec);
    return ec;
}

std::error_code receive_in_the_other(dc::consumer& consumer, int& count) {
    std::error_code ec;
    for (const dc::message& m : consumer.messages(dc::no_wait, ec)) count += !m.empty();
    return ec;
}
