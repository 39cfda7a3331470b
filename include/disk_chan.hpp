/*
 * disk_chan.hpp - disk_chan.h for C++17 and newer
 *
 * Licence: MIT OR Apache-2.0. Header-only: nothing to link but what the C header wants. CMake:
 * target disk_chan::cpp, or disk_chan::cpp_static.
 *
 *     #include <disk_chan.hpp>
 *     #include <iostream>
 *
 *     int main() {
 *         auto channel = dc::channel::open("/var/tmp/greetings");
 *         auto producer = channel.open_producer();
 *         auto consumer = channel.subscribe("readers");
 *         producer.send("hello");
 *         for (const dc::message& message : consumer.messages(dc::no_wait))
 *             std::cout << message.text() << '\n';
 *     }
 *
 * This file says what is different in C++. What a call does, guarantees and returns stands in
 * disk_chan.h under its name there: dc::producer::send is dc_send, and so on.
 *
 *
 * HANDLES
 *
 * dc::channel, dc::producer and dc::consumer own one handle each. They are moved, not copied
 * (clone() makes another handle), and close when they go, in any order. A moved-from or closed one
 * is empty; calls on it fail with errc::argument. As in C, one thread at a time uses a producer or
 * a consumer, and a channel is for all threads; only interrupt() may be called on a handle that
 * another thread is using, and moving or destroying it meanwhile is undefined.
 *
 *
 * WHAT A CALL RETURNS
 *
 * Calls that may wait return a dc::status: what is no failure, and has to be looked at. Everything
 * else is a failure. Each call exists twice. Without a std::error_code it throws dc::error. With
 * one, as its last argument, it throws nothing (std::bad_alloc aside, where it is not noexcept),
 * sets it exactly where the other throws, clears it otherwise, and returns status::failed, an empty
 * handle or zeros. Compiled without exceptions, only the second kind exists; such files and others
 * may be linked into one program.
 *
 * An error's value is the library's code: ec == dc::errc::too_big, and, for what the operating
 * system reported, ec == std::errc::no_space_on_device. dc::error::what() has the sentence of
 * dc_last_error() in it; beside an error_code ask dc::last_error() at once.
 *
 *
 * MACROS
 *
 * DISK_CHAN_HPP, and those of disk_chan.h. Whether there are exceptions is what __cpp_exceptions says.
 */
#ifndef DISK_CHAN_HPP
#define DISK_CHAN_HPP

#if __cplusplus < 201703L
#error "disk_chan.hpp needs C++17"
#endif

#include <disk_chan.h>

#include <cerrno>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace dc {

// ERRORS

// The library's own failures, DC_E_... of disk_chan.h, where each stands with its remedy. What the
// operating system reported is not among them: its value is -errno, compare it with std::errc.
enum class errc : int {
  again = DC_AGAIN,  // of calls without a timeout, under prepared_only(); others have status::again
  argument = DC_E_ARGUMENT,
  too_big = DC_E_TOO_BIG,
  corrupt = DC_E_CORRUPT,
  format = DC_E_FORMAT,
  mismatch = DC_E_MISMATCH,
  limit = DC_E_LIMIT,
  busy = DC_E_BUSY,
  forked = DC_E_FORKED,
  poisoned = DC_E_POISONED,
  state = DC_E_STATE,
  unsupported = DC_E_UNSUPPORTED,
  internal = DC_E_INTERNAL
};

namespace detail {

class error_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "disk_chan"; }
  std::string message(int code) const override { return dc_strerror(code); }
  std::error_condition default_error_condition(int code) const noexcept override {
    if (code < 0 && code >= -4096) return {-code, std::generic_category()};
    switch (code) {
      case DC_AGAIN: return std::errc::resource_unavailable_try_again;
      case DC_E_ARGUMENT: return std::errc::invalid_argument;
      case DC_E_TOO_BIG: return std::errc::message_size;
      case DC_E_BUSY: return std::errc::device_or_resource_busy;
      case DC_E_UNSUPPORTED: return std::errc::not_supported;
      default: return {code, *this};
    }
  }
};

// Lives on while static objects are destroyed: they may still compare errors.
union immortal_category {
  error_category value;
  immortal_category() noexcept : value() {}
  ~immortal_category() {}
};

}  // namespace detail

// The category of this library's errors: values are codes of disk_chan.h, message() is
// dc_strerror(), and conditions are those of std::errc for what the operating system reported and
// for errc::again (resource_unavailable_try_again), argument (invalid_argument), too_big
// (message_size), busy (device_or_resource_busy) and unsupported (not_supported). Any thread.
DC_API inline const std::error_category& category() noexcept {
  static const detail::immortal_category category;
  return category.value;
}

inline std::error_code make_error_code(errc code) noexcept {
  return {static_cast<int>(code), category()};
}

// What the throwing calls throw. code() is the library's code, what() the sentence of
// dc_last_error() (call, path, values, remedy) and the meaning of the code.
class DC_API error : public std::system_error {
 public:
  using std::system_error::system_error;
};

// What calls that may wait report without failing; ok is 0. The values are codes of disk_chan.h.
enum class [[nodiscard]] status : int {
  ok = DC_OK,                    // it happened
  end_of_page = DC_END_OF_PAGE,  // receiving only: call next_page(), and receive again
  lagged = DC_LAGGED,            // receiving only: messages were dropped unread; receive again
  again = DC_AGAIN,              // not within the timeout: no message, no room, nothing to do
  signalled = -EINTR,            // not done: a signal handler ran during the wait
  interrupted = -ECANCELED,      // not done: interrupt() was called
  failed = INT_MIN               // only of calls that set a std::error_code: it says why
};

namespace detail {

inline void check(int code, std::error_code& ec) noexcept {
  if (code >= 0) {
    ec.clear();
  } else {
    ec.assign(code, category());
  }
}

constexpr bool is_status(int code) noexcept {
  return code >= 0 || code == DC_AGAIN || code == -EINTR || code == -ECANCELED;
}

inline status outcome(int code, std::error_code& ec) noexcept {
  check(is_status(code) ? DC_OK : code, ec);
  return is_status(code) ? static_cast<status>(code) : status::failed;
}

#if defined(__cpp_exceptions)
[[noreturn]] inline void raise(int code) {
  throw error(std::error_code(code, category()), dc_last_error());
}

inline void check(int code) {
  if (code < 0) raise(code);
}

inline status outcome(int code) {
  if (!is_status(code)) raise(code);
  return static_cast<status>(code);
}
#endif

// For calls that wait for ever and have no status: signal handlers may run as they like.
template <class Call>
int persist(Call call) noexcept {
  int code = -EINTR;
  while (code == -EINTR) code = call();
  return code;
}

struct closer {
  void operator()(dc_channel* handle) const noexcept { dc_close(handle); }
  void operator()(dc_producer* handle) const noexcept { dc_producer_close(handle); }
  void operator()(dc_consumer* handle) const noexcept { dc_consumer_close(handle); }
};

// What channel, producer and consumer have in common.
template <class T>
class handle {
 public:
  // An empty one.
  handle() noexcept = default;
  // Takes over a handle of the C interface; NULL makes an empty one.
  explicit handle(T* raw) noexcept : raw_(raw) {}
  // False when empty: made so, moved from, closed or released.
  explicit operator bool() const noexcept { return raw_ != nullptr; }
  // The handle, for calls of the C interface; still owned by this object.
  T* get() const noexcept { return raw_.get(); }
  // Gives the handle up: the caller closes it.
  [[nodiscard]] T* release() noexcept { return raw_.release(); }
  // Closes the handle now, as destruction does; an empty one stays as it is.
  void close() noexcept { raw_.reset(); }

 private:
  std::unique_ptr<T, closer> raw_;
};

}  // namespace detail

// WHAT CALLS ARE TOLD

// How long a call may wait. Any std::chrono duration is one, rounded up to milliseconds: nothing or
// less never waits, 2^31 ms (24 days) or more waits for ever. Of a plain int, in parentheses, it is
// what poll() takes.
class timeout {
 public:
  template <class Rep, class Period>
  constexpr timeout(std::chrono::duration<Rep, Period> duration) noexcept : ms_(0) {
    const double ms = std::chrono::duration<double, std::milli>(duration).count();
    if (ms >= static_cast<double>(INT_MAX)) {
      ms_ = -1;
    } else if (ms > 0) {
      ms_ = static_cast<int>(ms);
      if (static_cast<double>(ms_) < ms) ++ms_;
    }
  }
  constexpr explicit timeout(int poll_ms) noexcept : ms_(poll_ms) {}
  constexpr int ms() const noexcept { return ms_; }

 private:
  int ms_;
};

inline constexpr timeout forever{-1};
inline constexpr timeout no_wait{0};

// Orders the messages of a channel; see POSITIONS in disk_chan.h. Compares, and is no number by
// accident: dc::position{n} and static_cast<std::uint64_t>(p) convert. position{} is none.
enum class position : std::uint64_t {};

inline constexpr position earliest{DC_EARLIEST};  // for start() and seek(): the oldest message kept
inline constexpr position latest{DC_LATEST};      // for start() and seek(): after the newest message

// For start() and seek(): the n-th message from the end, n up to 2^32; 0 is latest.
constexpr position last(std::uint64_t n) noexcept { return position{DC_LAST(n)}; }

// The position just after a message's.
constexpr position after(position p) noexcept { return position{static_cast<std::uint64_t>(p) + 1}; }

// A text with a NUL behind it, as paths and names of groups are: a const char*, a std::string, a
// std::filesystem::path, or whatever else has a c_str(). It refers to the text, and is meant to be
// an argument only. A null pointer, and a std::string with a NUL inside, are as an empty text,
// which every call refuses with errc::argument: neither is cut short, or made an observer.
class zstring {
 public:
  constexpr zstring(const char* text) noexcept : text_(text != nullptr ? text : "") {}
  zstring(const std::string& text) noexcept
      : text_(text.find('\0') == std::string::npos ? text.c_str() : "") {}
  template <class T, class = std::enable_if_t<std::is_convertible_v<
                         decltype(std::declval<const T&>().c_str()), const char*>>>
  zstring(const T& text) noexcept : text_(text.c_str()) {}
  const char* c_str() const noexcept { return text_; }

 private:
  const char* text_;
};

// Bytes to send: a pointer and a length; or a C string (without its NUL), or anything with data()
// and size() whose elements are one byte each: std::string, std::string_view, std::vector<char>,
// std::array<std::byte, n>, std::span<const std::byte>, dc::message. It refers to the bytes, which
// must not change during the call. One iovec in memory.
class bytes {
 public:
  bytes() noexcept : part_{nullptr, 0} {}
  bytes(const void* data, std::size_t size) noexcept : part_{const_cast<void*>(data), size} {}
  bytes(const char* text) noexcept : bytes(text, std::strlen(text)) {}
  template <class T, class E = std::remove_pointer_t<decltype(std::declval<const T&>().data())>,
            class = std::enable_if_t<sizeof(E) == 1 && std::is_trivially_copyable_v<E>>>
  bytes(const T& container) noexcept : bytes(container.data(), container.size()) {}
  const void* data() const noexcept { return part_.iov_base; }
  std::size_t size() const noexcept { return part_.iov_len; }

 private:
  iovec part_;
};

// The bytes of an object, which message::copy_to() puts back.
template <class T>
bytes bytes_of(const T& object) noexcept {
  static_assert(std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>,
                "only objects that are their bytes can be sent as bytes");
  return {std::addressof(object), sizeof object};
}

// Several Ts in a row, which it refers to: a pointer and a count, an array, anything with data() and
// size() (std::vector, std::array, std::span), or, of const T, a braced list. An argument only.
template <class T>
class view {
  template <class C>
  using elements = std::enable_if_t<std::is_convertible_v<
      std::remove_pointer_t<decltype(std::declval<C&>().data())> (*)[], T (*)[]>>;

 public:
  constexpr view(T* data, std::size_t size) noexcept : data_(data), size_(size) {}
  template <std::size_t N>
  constexpr view(T (&array)[N]) noexcept : data_(array), size_(N) {}
  template <class C, class = elements<C>>
  constexpr view(C&& container) noexcept : data_(container.data()), size_(container.size()) {}
  constexpr view(std::initializer_list<std::remove_const_t<T>> list) noexcept
      : data_(nullptr), size_(list.size()) {
    data_ = list.begin();
  }
  constexpr T* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }

 private:
  T* data_;
  std::size_t size_;
};

// Each as of the constants of the C interface.
enum class retention : std::uint32_t {
  ring = DC_RETAIN_RING,
  live = DC_RETAIN_LIVE,
  unread = DC_RETAIN_UNREAD
};
enum class durability : std::uint32_t {
  none = DC_SYNC_NONE,
  interval = DC_SYNC_INTERVAL,
  always = DC_SYNC_ALWAYS
};
enum class ack : std::uint32_t { next = DC_ACK_NEXT, manual = DC_ACK_MANUAL, receive = DC_ACK_RECEIVE };

// What channel::open may be told, as dc_options explains it; what is not set has its default, or,
// of a channel that exists, what it has stored. Setters return the object:
//
//     dc::options().page_size(1 << 20).retention(dc::retention::unread)
//
// Durations out of range become the largest number; out-of-range values are refused by open().
class options {
 public:
  constexpr options& page_size(std::uint64_t n) noexcept { return raw_.page_size = n, *this; }
  constexpr options& max_pages(std::uint64_t n) noexcept { return raw_.max_pages = n, *this; }
  constexpr options& unlimited_pages() noexcept { return max_pages(DC_UNLIMITED); }
  constexpr options& max_messages_per_page(std::uint32_t n) noexcept {
    return raw_.max_messages_per_page = n, *this;
  }
  constexpr options& retention(dc::retention r) noexcept {
    return raw_.retention = static_cast<std::uint32_t>(r), *this;
  }
  constexpr options& durability(dc::durability d) noexcept {
    return raw_.durability = static_cast<std::uint32_t>(d), *this;
  }
  constexpr options& sync_interval(std::chrono::milliseconds d) noexcept {
    return raw_.sync_interval_ms = ms(d), *this;
  }
  constexpr options& checksum(bool on) noexcept {
    return raw_.checksum = on ? DC_CHECKSUM_ON : DC_CHECKSUM_OFF, *this;
  }
  constexpr options& stall_timeout(std::chrono::milliseconds d) noexcept {
    return raw_.stall_timeout_ms = ms(d), *this;
  }
  constexpr options& mode(std::uint32_t permissions) noexcept {
    return raw_.mode = permissions, *this;
  }
  constexpr options& existing(bool on = true) noexcept { return flag(DC_EXISTING, on); }
  constexpr options& create_new(bool on = true) noexcept { return flag(DC_NEW, on); }
  constexpr options& read_only(bool on = true) noexcept { return flag(DC_READ_ONLY, on); }
  constexpr options& no_thread(bool on = true) noexcept { return flag(DC_NO_THREAD, on); }
  constexpr options& prepared_only(bool on = true) noexcept { return flag(DC_PREPARED_ONLY, on); }
  constexpr options& sigbus_guard(bool on = true) noexcept { return flag(DC_SIGBUS_GUARD, on); }
  // The C struct, to read, or to set what has no setter here.
  constexpr const dc_options& raw() const noexcept { return raw_; }
  constexpr dc_options& raw() noexcept { return raw_; }

 private:
  constexpr options& flag(std::uint32_t bit, bool on) noexcept {
    return raw_.flags = on ? raw_.flags | bit : raw_.flags & ~bit, *this;
  }
  static constexpr std::uint32_t ms(std::chrono::milliseconds d) noexcept {
    return d.count() < 0 || d.count() > UINT32_MAX ? UINT32_MAX
                                                   : static_cast<std::uint32_t>(d.count());
  }
  dc_options raw_ = DC_OPTIONS_INIT;
};

// What channel::subscribe and channel::observe may be told, as dc_subscribe_options explains it.
class subscribe_options {
 public:
  constexpr subscribe_options& start(position p) noexcept {
    return raw_.start = static_cast<std::uint64_t>(p), *this;
  }
  constexpr subscribe_options& ack(dc::ack a) noexcept {
    return raw_.ack = static_cast<std::uint32_t>(a), *this;
  }
  constexpr subscribe_options& max_unacked(std::uint32_t n) noexcept {
    return raw_.max_unacked = n, *this;
  }
  constexpr subscribe_options& prefetch(std::uint32_t n) noexcept {
    return raw_.prefetch = n, *this;
  }
  constexpr subscribe_options& auto_next_page(bool on = true) noexcept {
    return raw_.flags = on ? raw_.flags | DC_AUTO_NEXT_PAGE
                           : raw_.flags & ~static_cast<std::uint32_t>(DC_AUTO_NEXT_PAGE), *this;
  }
  constexpr const dc_subscribe_options& raw() const noexcept { return raw_; }
  constexpr dc_subscribe_options& raw() noexcept { return raw_; }

 private:
  dc_subscribe_options raw_ = DC_SUBSCRIBE_OPTIONS_INIT;
};

// The figures are those of the C interface, field by field.
using channel_info = ::dc_channel_info;
using group_info = ::dc_group_info;
using consumer_info = ::dc_consumer_info;
using verify_info = ::dc_verify_info;

// RECEIVING

// A received message: where its bytes lie in the page, and what is known of it. Copying one copies
// no bytes; they live until this consumer's next_page(), seek() or end (under auto_next_page(), and
// of a range-for: until the next one is received). The bytes are 8-byte aligned, and not yours to
// write. A contiguous range of std::byte: std::span<const std::byte>(message), producer.send(message).
class message {
 public:
  message() noexcept : raw_{nullptr, 0, 0, 0, 0} {}
  // Null of a default-made one, and of one that was found corrupt; never null of a received one.
  const std::byte* data() const noexcept { return static_cast<const std::byte*>(raw_.data); }
  std::size_t size() const noexcept { return raw_.len; }
  bool empty() const noexcept { return raw_.len == 0; }
  const std::byte* begin() const noexcept { return data(); }
  const std::byte* end() const noexcept { return data() + size(); }
  std::string_view text() const noexcept { return {static_cast<const char*>(raw_.data), raw_.len}; }
  operator std::string_view() const noexcept { return text(); }
  // Puts an object back that was sent as bytes_of(); false, and nothing done, if the size is another.
  template <class T>
  [[nodiscard]] bool copy_to(T& object) const noexcept {
    static_assert(std::is_trivially_copyable_v<T>, "only bytes can be made of bytes");
    if (size() != sizeof object) return false;
    std::memcpy(std::addressof(object), raw_.data, sizeof object);
    return true;
  }
  dc::position position() const noexcept { return dc::position{raw_.position}; }
  // How often it was handed out, this time included.
  std::uint32_t deliveries() const noexcept { return raw_.deliveries; }
  // Some consumer of the group was handed it before, and did not acknowledge it.
  bool redelivered() const noexcept { return (raw_.flags & DC_MESSAGE_REDELIVERED) != 0; }
  const dc_message& raw() const noexcept { return raw_; }
  dc_message& raw() noexcept { return raw_; }

 private:
  dc_message raw_;
};

static_assert(sizeof(message) == sizeof(dc_message) && std::is_standard_layout_v<message>);
static_assert(sizeof(bytes) == sizeof(iovec) && std::is_standard_layout_v<bytes>);

// The messages of a consumer as a range, made by consumer::messages(): for single-pass loops.
//
//     auto messages = consumer.messages(std::chrono::seconds(1));
//     for (const dc::message& m : messages) { if (messages.lagged()) ...; use(m); }
//     if (messages.ended_by() == dc::status::again) ...
//
// Each step receives one message, and under ack::next so acknowledges the one before. A message's
// bytes live until the next step. After a `break`, and where the body throws, the last message is
// not acknowledged: do that with ack(), or the group gets it again.
//
// The loop ends when no message came within the timeout (status::again), after interrupt()
// (status::interrupted), and when receiving failed (status::failed; a range without a std::error_code
// throws then, from begin() or ++). It does not end
//   - at the end of a page: it goes on with the next one;
//   - where messages were dropped unread: lagged() is true from then on until the step behind the next
//     message (how many were lost is `lost` of stats());
//   - when a signal handler runs: it goes on waiting, and the timeout counts on. A handler that is
//     to end the loop calls interrupt().
// Another loop over the same range, or a new one, goes on where this one ended: after errc::corrupt
// behind the damaged message, whose position is current().position().
//
// Refers to the consumer's handle, which may be moved meanwhile, but must not be closed. The
// consumer's thread uses it.
class messages {
 public:
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = message;
    using difference_type = std::ptrdiff_t;
    using pointer = const message*;
    using reference = const message&;
    iterator() noexcept = default;
    reference operator*() const noexcept { return range_->message_; }
    pointer operator->() const noexcept { return &range_->message_; }
    iterator& operator++() {
      if (!range_->advance()) range_ = nullptr;
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& a, const iterator& b) noexcept { return a.range_ == b.range_; }
    friend bool operator!=(const iterator& a, const iterator& b) noexcept { return !(a == b); }

   private:
    friend class messages;
    explicit iterator(messages* range) noexcept : range_(range) {}
    messages* range_ = nullptr;
  };

  messages(const messages&) = delete;
  messages& operator=(const messages&) = delete;
  // Receives the first message.
  iterator begin() { return iterator(advance() ? this : nullptr); }
  iterator end() noexcept { return iterator(); }
  // The message that the loop is at.
  const message& current() const noexcept { return message_; }
  // Whether retention dropped messages unread directly in front of current(); after the loop, in
  // front of the message that is to come.
  bool lagged() const noexcept { return lagged_; }
  // Why the loop ended: again, interrupted or failed; ok before.
  status ended_by() const noexcept { return ended_by_; }

 private:
  friend class consumer;
  messages(dc_consumer* consumer, timeout t, std::error_code* ec, void (*raise)(int)) noexcept
      : consumer_(consumer), timeout_(t), ec_(ec), raise_(raise) {}

  bool advance() {
    if (ended_by_ == status::ok) lagged_ = false;
    int code = receive();
    for (; code > 0; code = receive()) {
      if (code == DC_LAGGED) lagged_ = true;
      if (code == DC_END_OF_PAGE && (code = dc_next_page(consumer_)) < 0) break;
    }
    std::error_code ec;
    ended_by_ = detail::outcome(code, ec);
    if (ec && raise_ != nullptr) raise_(code);
    if (ec_ != nullptr) *ec_ = ec;
    return code == DC_OK;
  }

  // One receiving call, but that a signal handler does not end it. Looks at the clock only where
  // there is nothing to receive.
  int receive() noexcept {
    int code = dc_recv(consumer_, &message_.raw(), 0);
    if (code != DC_AGAIN || timeout_.ms() == 0) return code;
    timeout left = timeout_;
    const auto start = std::chrono::steady_clock::now();
    while ((code = dc_recv(consumer_, &message_.raw(), left.ms())) == -EINTR) {
      if (timeout_.ms() < 0) continue;
      left = std::chrono::milliseconds(timeout_.ms()) - (std::chrono::steady_clock::now() - start);
    }
    return code;
  }

  dc_consumer* consumer_;
  timeout timeout_;
  std::error_code* ec_;
  void (*raise_)(int);
  message message_;
  bool lagged_ = false;
  status ended_by_ = status::ok;
};

// A handle that receives. Made by channel::subscribe, channel::observe or clone(). Destruction gives
// back to the group what it holds unacknowledged, and ends its messages. One thread at a time.
class consumer : public detail::handle<dc_consumer> {
 public:
  using handle::handle;

  // Receives one message: `out` is written on status::ok, and on errc::corrupt (its position, and
  // no bytes). Also end_of_page, lagged, again, signalled, interrupted. Waits up to `t`; never
  // allocates. errc::corrupt: that message is skipped, receive again. errc::limit: acknowledge some.
  status recv(message& out, timeout t, std::error_code& ec) noexcept {
    return detail::outcome(dc_recv(get(), &out.raw(), t.ms()), ec);
  }
  // Receives up to out.size() messages, at most 255, into the first `received` of `out`; waits for
  // the first one only. `received` is always written, and at least 1 exactly on status::ok.
  // Otherwise as recv().
  status recv_batch(view<message> out, std::size_t& received, timeout t, std::error_code& ec) noexcept {
    return detail::outcome(batch(out, received, t), ec);
  }
  // The messages as a range, for a loop: see dc::messages. `t` is for each message; `ec` must
  // outlive the range. Not of a consumer that would be gone before the loop begins.
  class messages messages(timeout t, std::error_code& ec) & noexcept {
    return {get(), t, &ec, nullptr};
  }
  // Moves to the next page, which ends this one's messages. Skips nothing. Never blocks.
  void next_page(std::error_code& ec) noexcept { detail::check(dc_next_page(get()), ec); }
  // Acknowledges what this handle received up to and including that position, or message. Never
  // blocks. errc::state: of an observer.
  void ack(position p, std::error_code& ec) noexcept {
    detail::check(dc_ack(get(), static_cast<std::uint64_t>(p)), ec);
  }
  void ack(const message& m, std::error_code& ec) noexcept { ack(m.position(), ec); }
  // Gives back all that this handle holds unacknowledged. Never blocks. errc::state: of an observer.
  void nack(std::error_code& ec) noexcept { detail::check(dc_nack(get()), ec); }
  // Goes on at that position, or earliest, latest, last(n), and after(message.position()) behind a
  // message; moves a whole group. Ends this handle's messages. May block for the disk. errc::busy:
  // other consumers of the group hold messages.
  void seek(position p, std::error_code& ec) noexcept {
    detail::check(dc_seek(get(), static_cast<std::uint64_t>(p)), ec);
  }
  // Another consumer of the same group with the same options, or another observer that starts here.
  // May block for the disk. Codes as of channel::subscribe.
  consumer clone(std::error_code& ec) const noexcept {
    dc_consumer* raw = nullptr;
    detail::check(dc_consumer_clone(get(), &raw), ec);
    return consumer(raw);
  }
  // The figures. Never blocks on other users of the channel.
  consumer_info stats(std::error_code& ec) const noexcept {
    consumer_info info = DC_CONSUMER_INFO_INIT;
    detail::check(dc_consumer_stats(get(), &info), ec);
    return info;
  }
  // The handle's eventfd, readable while recv() may return anything but again; never close, read or
  // write it. -1 on failure. errc::unsupported: the channel was opened with no_thread().
  int fd(std::error_code& ec) noexcept {
    const int code = dc_consumer_fd(get());
    detail::check(code, ec);
    return code < 0 ? -1 : code;
  }
  // Makes the call that waits on this handle, or else the next one that would, return
  // status::interrupted. From any thread and signal handler, before the handle is closed. An empty
  // one ignores it.
  void interrupt() const noexcept { static_cast<void>(dc_interrupt(get()) == DC_OK); }

#if defined(__cpp_exceptions)
  // The same, throwing dc::error.
  status recv(message& out, timeout t = forever) {
    return detail::outcome(dc_recv(get(), &out.raw(), t.ms()));
  }
  status recv_batch(view<message> out, std::size_t& received, timeout t = forever) {
    return detail::outcome(batch(out, received, t));
  }
  class messages messages(timeout t = forever) & noexcept { return {get(), t, nullptr, detail::raise}; }
  void next_page() { detail::check(dc_next_page(get())); }
  void ack(position p) { detail::check(dc_ack(get(), static_cast<std::uint64_t>(p))); }
  void ack(const message& m) { ack(m.position()); }
  void nack() { detail::check(dc_nack(get())); }
  void seek(position p) { detail::check(dc_seek(get(), static_cast<std::uint64_t>(p))); }
  consumer clone() const {
    dc_consumer* raw = nullptr;
    detail::check(dc_consumer_clone(get(), &raw));
    return consumer(raw);
  }
  consumer_info stats() const {
    consumer_info info = DC_CONSUMER_INFO_INIT;
    detail::check(dc_consumer_stats(get(), &info));
    return info;
  }
  int fd() {
    const int code = dc_consumer_fd(get());
    detail::check(code);
    return code;
  }
#endif

 private:
  int batch(view<message> out, std::size_t& received, timeout t) noexcept {
    return dc_recv_batch(get(), reinterpret_cast<dc_message*>(out.data()), out.size(), t.ms(), &received);
  }
};

// SENDING

// Room for a message, reserved by producer::reserve: write it where it will lie, and commit. What is
// dropped without a commit is aborted: readers pass over it. Write at once: a reservation delays the
// readers behind it. Moved, not copied; a contiguous range of std::byte.
//
// Refers to the producer's handle, which may be moved meanwhile, but must outlive it. The producer's
// thread uses it; every other send on that producer is errc::state meanwhile.
class reservation {
 public:
  reservation() noexcept = default;
  reservation(reservation&& other) noexcept { swap(other); }
  reservation& operator=(reservation&& other) noexcept {
    reservation(std::move(other)).swap(*this);
    return *this;
  }
  ~reservation() { abort(); }
  // Whether there is something to commit.
  explicit operator bool() const noexcept { return data_ != nullptr; }
  // 8-byte aligned, of undefined content; null when empty.
  std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  std::byte* begin() const noexcept { return data_; }
  std::byte* end() const noexcept { return data_ + size_; }
  // Sends the first `size` bytes of it. Never waits for room; under durability::always it waits for
  // the flush. status::again or interrupted, or an error of the operating system (no space, say):
  // readers had skipped it, and there is no room elsewhere now; it is still held, commit again or
  // abort. So it is after errc::argument (`size` is more than was reserved, or it was empty).
  // After errc::poisoned (under durability::always unknown, else not sent) and errc::corrupt
  // (lost) it is empty, as after status::ok.
  status commit(std::size_t size, std::error_code& ec) noexcept {
    return detail::outcome(finish(size), ec);
  }
  // Sends all of it.
  status commit(std::error_code& ec) noexcept { return commit(size_, ec); }
  // Gives it back; an empty one stays as it is. Never blocks.
  void abort() noexcept {
    if (data_ != nullptr) static_cast<void>(dc_abort(producer_) == DC_OK);
    clear();
  }
#if defined(__cpp_exceptions)
  // The same, throwing dc::error.
  status commit(std::size_t size) { return detail::outcome(finish(size)); }
  status commit() { return commit(size_); }
#endif

 private:
  friend class producer;
  reservation(dc_producer* producer, void* data, std::size_t size) noexcept
      : producer_(producer), data_(static_cast<std::byte*>(data)), size_(data != nullptr ? size : 0) {}
  void swap(reservation& other) noexcept {
    std::swap(producer_, other.producer_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  void clear() noexcept {
    data_ = nullptr;
    size_ = 0;
  }
  int finish(std::size_t size) noexcept {
    const int code = dc_commit(data_ != nullptr ? producer_ : nullptr, size);
    switch (code) {
      case DC_OK:
      case DC_E_POISONED:
      case DC_E_CORRUPT:
      case DC_E_STATE:
      case DC_E_FORKED: clear(); break;
      default: break;
    }
    return code;
  }

  dc_producer* producer_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// A handle that sends. Made by channel::open_producer or clone(). What was sent stays sent; drop a
// reservation first. One thread at a time.
class producer : public detail::handle<dc_producer> {
 public:
  using handle::handle;

  // Sends one message, all or nothing, and returns once it is sent: waits for room for ever, and
  // goes on waiting when a signal handler runs. Never allocates. Fails with
  // std::errc::operation_canceled after interrupt(); errc::too_big; errc::poisoned (under
  // durability::always unknown, else not sent); errc::state: a reservation is held;
  // std::errc::no_space_on_device and others of the operating system: not sent.
  void send(bytes data, std::error_code& ec) noexcept { detail::check(send_all(data), ec); }
  // The same, waiting up to `t` for room: ok is sent; again, signalled and interrupted are not sent.
  status send(bytes data, timeout t, std::error_code& ec) noexcept {
    return detail::outcome(dc_send(get(), data.data(), data.size(), t.ms()), ec);
  }
  // Sends one message that lies in parts, in order: producer.sendv({head, body}, t). As send().
  status sendv(view<const bytes> parts, timeout t, std::error_code& ec) noexcept {
    return detail::outcome(dc_sendv(get(), raw(parts), parts.size(), t.ms()), ec);
  }
  // Sends many messages, one each element; always a prefix: `sent` says how many, is always
  // written, and is messages.size() exactly on status::ok. errc::too_big, of any of them, is found
  // before the first is sent. Otherwise as send().
  status send_batch(view<const bytes> messages, std::size_t& sent, timeout t, std::error_code& ec) noexcept {
    return detail::outcome(dc_send_batch(get(), raw(messages), messages.size(), t.ms(), &sent), ec);
  }
  // The same for forward iterators over anything that becomes bytes, and stays where it is (a
  // std::list<std::string>, say); allocates nothing. Goes in steps of 64: `t` and the search for
  // what is too big are for each step.
  template <class Iterator>
  status send_batch(Iterator first, Iterator last, std::size_t& sent, timeout t, std::error_code& ec) {
    return detail::outcome(send_steps(first, last, sent, t), ec);
  }
  // Reserves room for a message of up to `size` bytes, to write it where it will lie; what `out`
  // held is aborted first. Waits as send() does; `out` is empty unless status::ok. errc::state:
  // another reservation of this producer is held.
  status reserve(std::size_t size, reservation& out, timeout t, std::error_code& ec) & noexcept {
    return detail::outcome(reserve_into(size, out, t), ec);
  }
  // The same, waiting for ever as send() without a timeout does.
  reservation reserve(std::size_t size, std::error_code& ec) & noexcept {
    reservation out;
    detail::check(detail::persist([&] { return reserve_into(size, out, forever); }), ec);
    return out;
  }
  // Waits until all that this handle sent is on stable storage. Blocks for the disk, `t` bounds the
  // wait for others. Also again, signalled, interrupted. errc::poisoned: a flush failed.
  status sync(timeout t, std::error_code& ec) noexcept {
    return detail::outcome(dc_sync(get(), t.ms()), ec);
  }
  // Position of the last message that this handle sent, position{} before the first. It is durable
  // once position{channel.stats().durable} > it. Never blocks.
  position sent_position() const noexcept { return position{dc_sent_position(get())}; }
  // Another producer of the same channel. May block for the disk. Codes as of channel::open_producer.
  producer clone(std::error_code& ec) const noexcept {
    dc_producer* raw = nullptr;
    detail::check(dc_producer_clone(get(), &raw), ec);
    return producer(raw);
  }
  // The handle's eventfd, readable once there may be room after status::again; never close, read or
  // write it. -1 on failure. errc::unsupported: the channel was opened with no_thread().
  int fd(std::error_code& ec) noexcept {
    const int code = dc_producer_fd(get());
    detail::check(code, ec);
    return code < 0 ? -1 : code;
  }
  // As consumer::interrupt.
  void interrupt() const noexcept { static_cast<void>(dc_producer_interrupt(get()) == DC_OK); }

#if defined(__cpp_exceptions)
  // The same, throwing dc::error. `sent` is written also where send_batch throws.
  void send(bytes data) { detail::check(send_all(data)); }
  status send(bytes data, timeout t) {
    return detail::outcome(dc_send(get(), data.data(), data.size(), t.ms()));
  }
  status sendv(view<const bytes> parts, timeout t = forever) {
    return detail::outcome(dc_sendv(get(), raw(parts), parts.size(), t.ms()));
  }
  status send_batch(view<const bytes> messages, std::size_t& sent, timeout t = forever) {
    return detail::outcome(dc_send_batch(get(), raw(messages), messages.size(), t.ms(), &sent));
  }
  template <class Iterator>
  status send_batch(Iterator first, Iterator last, std::size_t& sent, timeout t = forever) {
    return detail::outcome(send_steps(first, last, sent, t));
  }
  status reserve(std::size_t size, reservation& out, timeout t) & {
    return detail::outcome(reserve_into(size, out, t));
  }
  reservation reserve(std::size_t size) & {
    reservation out;
    detail::check(detail::persist([&] { return reserve_into(size, out, forever); }));
    return out;
  }
  status sync(timeout t = forever) { return detail::outcome(dc_sync(get(), t.ms())); }
  producer clone() const {
    dc_producer* raw = nullptr;
    detail::check(dc_producer_clone(get(), &raw));
    return producer(raw);
  }
  int fd() {
    const int code = dc_producer_fd(get());
    detail::check(code);
    return code;
  }
#endif

 private:
  static const iovec* raw(view<const bytes> parts) noexcept {
    return reinterpret_cast<const iovec*>(parts.data());
  }
  int send_all(bytes data) noexcept {
    return detail::persist([&] { return dc_send(get(), data.data(), data.size(), -1); });
  }
  int reserve_into(std::size_t size, reservation& out, timeout t) noexcept {
    out.abort();
    void* data = nullptr;
    const int code = dc_reserve(get(), size, t.ms(), &data);
    out = reservation(get(), data, size);
    return code;
  }
  template <class Iterator>
  int send_steps(Iterator first, Iterator last, std::size_t& sent, timeout t) {
    sent = 0;
    int code = DC_OK;
    while (code == DC_OK && first != last) {
      bytes step[64];
      std::size_t count = 0, done = 0;
      for (; first != last && count < 64; ++first) step[count++] = *first;
      code = dc_send_batch(get(), raw({step, count}), count, t.ms(), &done);
      sent += done;
    }
    return code;
  }
};

// CHANNELS

// An open channel. For all threads at once. Producers and consumers made from it do not need it to
// stay open. Destruction may block for the disk under durability::interval.
class channel : public detail::handle<dc_channel> {
 public:
  using handle::handle;

  // Opens the channel in that directory, or creates it, as the options say; {} for the defaults.
  // Any thread. Blocks for the disk. errc::mismatch, format, corrupt, argument, unsupported, busy,
  // limit; std::errc::no_such_file_or_directory, file_exists, and others of the operating system.
  static channel open(zstring path, const options& o, std::error_code& ec) noexcept {
    dc_channel* raw = nullptr;
    detail::check(dc_open(path.c_str(), &o.raw(), &raw), ec);
    return channel(raw);
  }
  // Makes a producer. May block for the disk. errc::state: read-only; errc::poisoned; errc::limit.
  producer open_producer(std::error_code& ec) const noexcept {
    dc_producer* raw = nullptr;
    detail::check(dc_producer_open(get(), &raw), ec);
    return producer(raw);
  }
  // Makes a consumer of the group of that name, which its first consumer makes; {} for the default
  // options. May block for the disk. errc::state: read-only; errc::limit, busy, argument.
  consumer subscribe(zstring group, const subscribe_options& o, std::error_code& ec) const noexcept {
    dc_consumer* raw = nullptr;
    detail::check(dc_subscribe(get(), group.c_str(), &o.raw(), &raw), ec);
    return consumer(raw);
  }
  // Makes an observer: a consumer without a group, that sees every message. May block for the disk.
  consumer observe(const subscribe_options& o, std::error_code& ec) const noexcept {
    dc_consumer* raw = nullptr;
    detail::check(dc_subscribe(get(), nullptr, &o.raw(), &raw), ec);
    return consumer(raw);
  }
  // The figures. Never blocks on other users of the channel.
  channel_info stats(std::error_code& ec) const noexcept {
    channel_info info = DC_CHANNEL_INFO_INIT;
    detail::check(dc_channel_stats(get(), &info), ec);
    return info;
  }
  // Brings everything published so far, and all acknowledgements, to stable storage. Blocks for the
  // disk, `t` bounds the wait for others. Also again, signalled. errc::poisoned; errc::state:
  // read-only.
  status sync(timeout t, std::error_code& ec) const noexcept {
    return detail::outcome(dc_channel_sync(get(), t.ms()), ec);
  }
  // A group's figures. std::errc::no_such_file_or_directory: there is none of that name.
  group_info group_stats(zstring group, std::error_code& ec) const noexcept {
    group_info info = DC_GROUP_INFO_INIT;
    detail::check(dc_group_stats(get(), group.c_str(), &info), ec);
    return info;
  }
  // The names of the groups, in byte order. Never blocks on other users of the channel.
  std::vector<std::string> groups(std::error_code& ec) const {
    std::vector<std::string> names;
    detail::check(list_groups(names), ec);
    return names;
  }
  // Deletes a group. Blocks for the disk. errc::busy: it has live consumers; errc::state: read-only;
  // std::errc::no_such_file_or_directory: there is none of that name.
  void delete_group(zstring group, std::error_code& ec) const noexcept {
    detail::check(dc_group_delete(get(), group.c_str()), ec);
  }
  // Does the library thread's work, under no_thread(). ok: something was done, call again at once;
  // again: nothing came due within `t`. Blocks for the disk as well. errc::state: read-only.
  status maintain(timeout t, std::error_code& ec) const noexcept {
    return detail::outcome(dc_maintain(get(), t.ms()), ec);
  }

#if defined(__cpp_exceptions)
  // The same, throwing dc::error.
  static channel open(zstring path, const options& o = options()) {
    dc_channel* raw = nullptr;
    detail::check(dc_open(path.c_str(), &o.raw(), &raw));
    return channel(raw);
  }
  producer open_producer() const {
    dc_producer* raw = nullptr;
    detail::check(dc_producer_open(get(), &raw));
    return producer(raw);
  }
  consumer subscribe(zstring group, const subscribe_options& o = subscribe_options()) const {
    dc_consumer* raw = nullptr;
    detail::check(dc_subscribe(get(), group.c_str(), &o.raw(), &raw));
    return consumer(raw);
  }
  consumer observe(const subscribe_options& o = subscribe_options()) const {
    dc_consumer* raw = nullptr;
    detail::check(dc_subscribe(get(), nullptr, &o.raw(), &raw));
    return consumer(raw);
  }
  channel_info stats() const {
    channel_info info = DC_CHANNEL_INFO_INIT;
    detail::check(dc_channel_stats(get(), &info));
    return info;
  }
  status sync(timeout t = forever) const { return detail::outcome(dc_channel_sync(get(), t.ms())); }
  group_info group_stats(zstring group) const {
    group_info info = DC_GROUP_INFO_INIT;
    detail::check(dc_group_stats(get(), group.c_str(), &info));
    return info;
  }
  std::vector<std::string> groups() const {
    std::vector<std::string> names;
    detail::check(list_groups(names));
    return names;
  }
  void delete_group(zstring group) const { detail::check(dc_group_delete(get(), group.c_str())); }
  status maintain(timeout t = no_wait) const { return detail::outcome(dc_maintain(get(), t.ms())); }
#endif

 private:
  int list_groups(std::vector<std::string>& names) const {
    char name[DC_GROUP_NAME_MAX + 1];
    int code = dc_group_next(get(), nullptr, name, sizeof name);
    for (; code == DC_OK; code = dc_group_next(get(), name, name, sizeof name)) names.emplace_back(name);
    return code == -ENOENT ? DC_OK : code;
  }
};

// WITHOUT A HANDLE

// Checks every structure and checksum of a channel, and changes nothing. The channel is sound if
// `corrupt` of the result is 0. Any thread; reads the whole channel. errc::corrupt: it cannot even
// be opened; errc::format: not a channel; std::errc::no_such_file_or_directory.
inline verify_info verify(zstring path, std::error_code& ec) noexcept {
  verify_info info = DC_VERIFY_INFO_INIT;
  detail::check(dc_verify(path.c_str(), &info), ec);
  return info;
}

// Removes a channel, files and directory. Any thread; blocks for the disk. errc::busy: open
// somewhere; errc::format: not a channel, nothing was touched; std::errc::no_such_file_or_directory.
inline void destroy(zstring path, std::error_code& ec) noexcept {
  detail::check(dc_destroy(path.c_str()), ec);
}

#if defined(__cpp_exceptions)
inline verify_info verify(zstring path) {
  verify_info info = DC_VERIFY_INFO_INIT;
  detail::check(dc_verify(path.c_str(), &info));
  return info;
}
inline void destroy(zstring path) { detail::check(dc_destroy(path.c_str())); }
#endif

// The version of the library that is running, major<<16 | minor<<8 | patch, and as text. Any thread.
inline std::uint32_t version() noexcept { return dc_version(); }
inline const char* version_string() noexcept { return dc_version_string(); }

// Whether a library of version `running` has all that this header has: the same major version (while
// that is 0, the same minor one as well), and not older.
constexpr bool compatible(std::uint32_t running) noexcept {
  const int shift = DC_VERSION_MAJOR == 0 ? 8 : 16;
  return running >> shift == std::uint32_t{DC_VERSION} >> shift && running >= std::uint32_t{DC_VERSION};
}
inline bool compatible() noexcept { return compatible(version()); }

// The name of a code's constant, "DC_E_TOO_BIG" or "ENOSPC"; of another category's, "unknown".
inline const char* error_name(const std::error_code& ec) noexcept {
  return ec.category() == category() ? dc_error_name(ec.value()) : "unknown";
}

// This thread's last failure in a sentence, as of dc_last_error(): valid until its next one.
inline const char* last_error() noexcept { return dc_last_error(); }

}  // namespace dc

template <>
struct std::is_error_code_enum<dc::errc> : std::true_type {};

#endif /* DISK_CHAN_HPP */
