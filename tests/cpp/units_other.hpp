// What units_other.cpp has, which is compiled without exceptions.
#include <disk_chan.hpp>

const std::error_category* category_of_the_other();
std::error_code send_from_the_other(dc::producer& producer, const char* text);
std::error_code receive_in_the_other(dc::consumer& consumer, int& count);
