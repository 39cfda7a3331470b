/*
 * disk_chan.h - a channel on disk, shared by any number of processes
 *
 * Licence: MIT OR Apache-2.0. Linux, 64-bit, little-endian. C11, C++17 and newer. Link with -ldisk_chan
 * (pkg-config disk_chan; CMake: find_package(disk_chan), target disk_chan::disk_chan or
 * disk_chan::static).
 *
 * This file is the manual. It is generated (by `make header`) from src/ffi of the source, edit it there.
 *
 *
 * WORDS
 *
 * channel    A directory on disk. Any number of processes may open it at once, as producers, consumers
 *            or both.
 * page       A fixed-size mapped file of the channel that holds messages in order. At most max_pages are
 *            kept.
 * producer, consumer
 *            Handles. One thread at a time uses a handle (it may move between threads); channel handles
 *            are thread-safe.
 * group      A named, persisted set of consumers. Each message goes to one consumer of every group.
 * observer   A consumer with no group (group == NULL): it sees every message, keeps no state on disk,
 *            and works with read permission alone.
 * position   A uint64_t that orders messages: strictly increasing, opaque, never 0, never reused (not
 *            even after a power cut). p + 1 means "after p". Ranges are half-open: a channel is empty
 *            when oldest == end.
 *
 *
 * QUICK START
 *
 *     #include <disk_chan.h>
 *     #include <stdio.h>
 *
 *     int main(void)
 *     {
 *         dc_channel *channel = NULL;
 *         dc_producer *producer = NULL;
 *         dc_consumer *consumer = NULL;
 *         dc_message message;
 *         int code = dc_open("/var/tmp/greetings", NULL, &channel);
 *         if (code == DC_OK) code = dc_producer_open(channel, &producer);
 *         if (code == DC_OK) code = dc_subscribe(channel, "readers", NULL, &consumer);
 *         if (code == DC_OK) code = dc_send(producer, "hello", 5, -1);
 *         while (code >= 0) {
 *             code = dc_recv(consumer, &message, 0);
 *             if (code == DC_OK) printf("%.*s\n", (int)message.len, (const char *)message.data);
 *             if (code == DC_END_OF_PAGE) code = dc_next_page(consumer);
 *         }
 *         if (code != DC_AGAIN) fprintf(stderr, "%s: %s\n", dc_error_name(code), dc_last_error());
 *         dc_consumer_close(consumer);
 *         dc_producer_close(producer);
 *         dc_close(channel);
 *         return code == DC_AGAIN ? 0 : 1;
 *     }
 *
 * That is all that most programs need: dc_open, dc_producer_open, dc_send, dc_subscribe, dc_recv,
 * dc_next_page and the closes. Everything else is for more speed (dc_reserve, the batches), more
 * control (dc_ack, dc_nack, dc_seek), event loops (the fds), durability (dc_sync) and operation
 * (the stats, dc_verify, dc_destroy).
 *
 *
 * RETURN CODES
 *
 * Calls return int. 0 is DC_OK. Negative: what was asked did not happen: -errno for what the
 * operating system reported, or a private code below -4096, outside the kernel's range. Positive,
 * only from receiving calls: no message this time, go on. Each private code is explained, with its
 * remedy, where it is defined below; each call lists those that have a meaning of their own there.
 *
 * Every call that takes a handle may also return DC_E_FORKED (the handle was inherited across
 * fork), DC_E_INTERNAL (a bug in the library), and -EIO and other codes of the operating system;
 * calls that may allocate memory, -ENOMEM. Sending and receiving never allocate.
 *
 * Every pointer that is not said to be optional is checked: NULL is DC_E_ARGUMENT. Out-handles are
 * set to NULL on failure. errno is not part of the contract (it may change; dc_interrupt and
 * dc_producer_interrupt preserve it).
 *
 * No call prints, aborts, raises a signal, or lets a panic or an exception out.
 *
 *
 * TIMEOUTS, SIGNALS, INTERRUPTS
 *
 * `int timeout_ms` is as in poll: 0 never waits, -1 waits for ever, less is DC_E_ARGUMENT. A
 * waiting call returns -EINTR when a signal handler ran on its thread (also one installed with
 * SA_RESTART), and -ECANCELED after an interrupt.
 *
 * dc_interrupt and dc_producer_interrupt are sticky: if nothing waits, the next call that would
 * wait returns -ECANCELED, once (with timeout 0: that would return DC_AGAIN). They make the fd
 * readable, and may be called from any thread or signal handler. They are the only calls that may
 * be used in a signal handler, or on a handle that another thread is using.
 *
 *
 * SENDING
 *
 * Sending is all or nothing. The timeout bounds only the wait for room; once placed, the call
 * completes, its flush included. DC_AGAIN, -EINTR and -ECANCELED mean not sent; DC_E_POISONED from
 * a durable send means unknown. A batch sends a prefix: *sent is written on every return, and the
 * code is DC_OK exactly when *sent == count.
 *
 * A reservation (dc_reserve) delays the readers behind it. One held beyond stall_timeout_ms is
 * skipped, and dc_commit then copies it to a new place (DC_AGAIN keeps the reservation). Other
 * sends on the handle meanwhile are DC_E_STATE; closing the handle aborts it. Consumers may see a
 * message before it is durable.
 *
 * Without a page prepared ahead a send prepares one itself, which takes time; under
 * DC_PREPARED_ONLY it returns DC_AGAIN instead.
 *
 *
 * RECEIVING
 *
 * `data` of a message points into the page, without a copy. It is 8-byte aligned, never NULL (even
 * when the message is empty), and stays valid and unchanged until this handle's dc_next_page, seek
 * or close, whatever producers do and though the ring has long moved on. dc_next_page never blocks;
 * called early it skips nothing, it only ends the page's pointers. A batch never crosses a page,
 * and its code is DC_OK exactly when *received >= 1. `out` is written on DC_OK and DC_E_CORRUPT
 * only. Under DC_AUTO_NEXT_PAGE dc_recv moves on by itself, and pointers live until the handle's
 * next receiving call.
 *
 *
 * DELIVERY
 *
 * In a group each message goes to exactly one consumer; the messages of one producer come in the
 * order sent (but for those flagged as redelivered). Acknowledging, by `ack` of
 * dc_subscribe_options:
 *   DC_ACK_NEXT     (default) any receiving call first acknowledges what the handle received before;
 *   DC_ACK_MANUAL   dc_ack does;
 *   DC_ACK_RECEIVE  on receipt: at most once, over process crashes.
 * With the first two, at least once: what a dead or closed consumer, or dc_nack, left
 * unacknowledged goes to another consumer of its group, flagged DC_MESSAGE_REDELIVERED, with
 * `deliveries` counted up, and before new messages. A death is noticed by any live consumer or fd
 * of the group, in well under a second. A message that nobody was handed is never flagged.
 * Acknowledgements become durable with the next flush: a power cut may repeat messages, never skip
 * any.
 *
 * A consumer that is alive but hung or suspended keeps what it holds, and so holds back a lossless
 * channel (DC_RETAIN_LIVE, DC_RETAIN_UNREAD).
 *
 *
 * DURABILITY
 *
 * What was sent survives the death of any process at any instant, always. What survives a power cut
 * is chosen by each open: `durability` of dc_options. What dc_sync, dc_channel_sync or a send under
 * DC_SYNC_ALWAYS has confirmed is there after a reboot; what was not may be missing, but nothing
 * torn, out of a producer's order, or stale is ever delivered. For an asynchronous commit, compare
 * dc_sent_position with `durable` of dc_channel_info. A failed flush is never retried into a false
 * success: it poisons the channel, for every process (DC_E_POISONED).
 *
 *
 * THREADS
 *
 * The library starts at most one thread in a process, when it is first needed (for fds, interval
 * flushes, preparing pages ahead, adopting what the dead held), with all signals blocked.
 * DC_NO_THREAD forbids it: then the program calls dc_maintain, and fds are DC_E_UNSUPPORTED. No
 * signal handler is installed unless DC_SIGBUS_GUARD is set.
 *
 *
 * EVENT LOOPS
 *
 * dc_consumer_fd and dc_producer_fd give a real eventfd, owned by the handle (the same on every
 * call, close-on-exec; negative is a code), usable in poll, epoll (level- or edge-triggered),
 * io_uring and event libraries, and woken by any process. The program never reads or writes it.
 *   Consumer  readable while dc_recv may return anything but DC_AGAIN (the end of a page, a lag, an
 *             interrupt, a poisoned channel, a redelivery included). Receive with timeout 0: one message
 *             an event, or, edge-triggered, until DC_AGAIN.
 *   Producer  armed by a send that returned DC_AGAIN; readable once there may be room.
 * No wakeup is ever lost, also not when the process that was woken dies or is stopped before it
 * receives: another sleeper is woken. A handle without an fd costs nobody a system call; an idle,
 * sleeping consumer costs a producer one wake, not one a message.
 *
 *
 * READ-ONLY OBSERVERS
 *
 * On a channel opened with DC_READ_ONLY an observer cannot write shared state: it pins its page by
 * a file lock (producers then unlink that page file instead of reusing it), looks for news at most
 * every 10 ms, and is not counted in `consumers`.
 *
 *
 * LIMITS
 *
 *   page_size                64 KiB to 4 GiB; a message fits one page (max_message)
 *   max_pages                2 to 2^32, or DC_UNLIMITED
 *   max_messages_per_page    1 to 65,535
 *   max_unacked              at most 4,096 messages held unacknowledged by a handle
 *   stall_timeout_ms         at most 60,000
 *   DC_GROUP_NAME_MAX        255 bytes of a group's name, any byte but NUL, never empty
 *   groups                   at least 64 a channel
 *   consumers                254 live ones a group
 *   handles                  1,024 live producers and consumers a channel, in all processes together
 *   opens                    1,024 of a channel at once
 *   dc_recv_batch            255 messages a call
 *   disk                     max_pages + 2 pages, plus one page for each handle that pins an old one
 *
 *
 * CAVEATS
 *
 * - fork: a handle cannot be used in the child. Every call with it is DC_E_FORKED there, and
 *   closing it only frees memory. Open the channel anew in the child. The parent is not affected;
 *   fork and exec need no care, every descriptor is close-on-exec.
 * - Close a handle once, and not while another thread is in a call with it: both are undefined.
 *   Every close accepts NULL, and any order of closing is fine.
 * - Pointers from dc_recv die with dc_next_page, dc_seek and dc_consumer_close, pointers from
 *   dc_reserve with dc_commit, dc_abort and dc_producer_close. What dc_recv points to is not yours
 *   to write.
 * - Local file systems only: a network file system is DC_E_UNSUPPORTED, and so is a directory that
 *   two kernels share. Do not copy, move or edit the files of a channel that is open; when none has
 *   it open, the directory may be moved, or copied as a whole.
 * - A file that somebody truncates while it is mapped raises SIGBUS, by the kernel's hand, unless
 *   DC_SIGBUS_GUARD is set (and then dc_verify, which has no options, is guarded as well: the guard
 *   is the process's). Any other damage to the files, accidental or malicious, is a code.
 * - A full disk is a code, never a signal, as long as the file system keeps what it gave. Where blocks
 *   are shared, after a snapshot (btrfs) or a reflinked copy (btrfs, XFS) of the files, a store needs
 *   new space, and so it does on a btrfs that has no space for metadata or is at the limit of a quota
 *   group. If there is none, the kernel raises SIGBUS, unless DC_SIGBUS_GUARD is set.
 * - Do not pthread_cancel a thread, or longjmp out of a signal handler, while it is in a call: use
 *   an interrupt.
 * - dlclose does not unload the library, its thread may be running.
 *
 * Not here, on purpose: keys, headers, timestamps, multipart messages, encryption, networking. They
 * are for your bytes, the file system below, or an engine above.
 *
 *
 * ABI
 *
 * Numeric values are pinned for good, and so is the layout of every struct; functions, codes and
 * fields are only added. Structs (but dc_message) begin with their size: initialise them with their
 * DC_..._INIT. There is no padding in them; the layouts are documented for bindings. 0 in any field
 * means its default. Size 0, or a non-zero tail that the library does not know (a newer program set
 * a newer field), is DC_E_ARGUMENT; in structs that the library fills, an unknown tail becomes 0.
 */
#ifndef DISK_CHAN_H
#define DISK_CHAN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#if defined(__GNUC__)
#define DC_API __attribute__((visibility("default")))
/* A code that nobody looks at is a bug: discard one on purpose by assigning it. */
#define DC_WARN_UNUSED __attribute__((warn_unused_result))
#else
#define DC_API
#define DC_WARN_UNUSED
#endif

/* `start`, and dc_seek: the n-th message from the end (0: as DC_LATEST); n up to 2^32. Where fewer are
 * kept, the oldest. */
#define DC_LAST(n) (UINT64_MAX - (uint64_t)(n))

// Major version of the library this header belongs to. While it is 0, the minor version counts as
// the major one.
#define DC_VERSION_MAJOR 0

// Minor version.
#define DC_VERSION_MINOR 1

// Patch version.
#define DC_VERSION_PATCH 0

// All three in one number, major<<16 | minor<<8 | patch, to compare with dc_version().
#define DC_VERSION (((DC_VERSION_MAJOR << 16) | (DC_VERSION_MINOR << 8)) | DC_VERSION_PATCH)

// RETURN CODES. Success: what was asked happened.
#define DC_OK 0

// Positive, from receiving calls only: this consumer has read its whole page. Call dc_next_page
// when you no longer need this page's messages, and receive again. (Never under
// DC_AUTO_NEXT_PAGE.)
#define DC_END_OF_PAGE 1

// Positive, from receiving calls only: retention dropped messages that this consumer (or its
// group) had not read. Returned once per gap, before the first message after it; the number is in
// the stats as `lost`. Receive again; to lose nothing, see DC_RETAIN_LIVE and DC_RETAIN_UNREAD.
#define DC_LAGGED 2

// No message, no room, or nothing to do within the timeout. Try again, wait longer, or wait for
// the handle's fd. Never the operating system's EAGAIN; sets no error text.
#define DC_AGAIN (-4097)

// An argument that is always wrong: NULL where that is not allowed, an unknown flag, a size or
// timeout out of range, a struct whose size is 0. dc_last_error() names it. Correct the program.
#define DC_E_ARGUMENT (-4098)

// The message can never fit a page of this channel; nothing was changed. `max_message` of
// dc_channel_info says what fits. Split the message, or make a channel with larger pages.
#define DC_E_TOO_BIG (-4099)

// What lies on disk contradicts itself or its checksum. From dc_recv: that one message is skipped,
// its `position` is set and `data` is NULL; the next call goes on behind it. From other calls:
// dc_last_error() names the place, dc_verify the extent; restore the channel, or remove it.
#define DC_E_CORRUPT (-4100)

// Not a channel (a file, a foreign directory), or a format version or feature that this library
// does not know. Nothing was created or changed. Check the path; use a newer library.
#define DC_E_FORMAT (-4101)

// The channel exists with other options than those asked for; dc_last_error() says which, and both
// values. Leave that option 0 to adopt what is stored, or dc_destroy the channel first.
#define DC_E_MISMATCH (-4102)

// A documented limit is reached: participants, groups, handles, or `max_unacked` (acknowledge some
// of what the handle holds). For the others close what is not needed.
#define DC_E_LIMIT (-4103)

// An exclusive operation (destroy a channel, delete or seek a group) while others use it: close the
// other handles, in every process, and repeat. From any other call: a program that is no user of
// the channel has locked or replaced one of its files; end it.
#define DC_E_BUSY (-4104)

// The handle was inherited across fork. Close it (which only frees memory there) and open the
// channel anew in the child.
#define DC_E_FORKED (-4105)

// An I/O failure (a failed flush, a lost mapping) made durability unknown, for every process that
// has the channel open. Receiving goes on. Sending works again once all have closed the channel
// and opened it again. From a durable send: whether that message was sent is unknown.
#define DC_E_POISONED (-4106)

// The call does not fit the handle as it is: a commit without a reservation, a send during one, a
// producer on a read-only channel, an acknowledgement by an observer. Correct the program.
#define DC_E_STATE (-4107)

// A network file system, two kernels sharing the directory, a kernel without what is needed, or an
// fd under DC_NO_THREAD. dc_last_error() says which. Move the channel to a local file system.
#define DC_E_UNSUPPORTED (-4108)

// A bug in this library, caught before it reached your program. Close the handle; please report
// it.
#define DC_E_INTERNAL (-4109)

// OPTIONS. `max_pages`: as many as the disk has room for.
#define DC_UNLIMITED UINT64_MAX

// `retention` (default): when a new page is needed and there are max_pages, the oldest one goes,
// read or not. Sends never wait for consumers; a slow consumer finds DC_LAGGED.
#define DC_RETAIN_RING 1

// `retention`: the same, but what a group with a live consumer has not acknowledged never goes:
// sends wait for it.
#define DC_RETAIN_LIVE 2

// `retention`: nothing goes that any group has not acknowledged, and with no group nothing at all:
// sends wait, or return DC_AGAIN.
#define DC_RETAIN_UNREAD 3

// `durability` (default): a message survives the death of any process; the operating system writes
// it to disk when it likes, so a power cut may take the newest messages.
#define DC_SYNC_NONE 1

// `durability`: what this process sent is flushed every sync_interval_ms, by the library thread or
// by dc_maintain.
#define DC_SYNC_INTERVAL 2

// `durability`: a send returns when its message is on stable storage. Many producers share one
// flush, and so does a batch.
#define DC_SYNC_ALWAYS 3

// `checksum` (default): each message carries one, checked when it is received.
#define DC_CHECKSUM_ON 1

// `checksum`: none. After a power cut nothing beyond the durable position is delivered.
#define DC_CHECKSUM_OFF 2

// `flags` of dc_options: the channel must exist (-ENOENT otherwise).
#define DC_EXISTING 1

// `flags` of dc_options: the channel must not exist (-EEXIST otherwise).
#define DC_NEW 2

// `flags` of dc_options: observers and stats only, with read permission alone; implies
// DC_EXISTING. Producers, groups, sync and maintenance are DC_E_STATE.
#define DC_READ_ONLY 4

// `flags` of dc_options: this open starts no thread. The program calls dc_maintain instead, and
// fds are DC_E_UNSUPPORTED.
#define DC_NO_THREAD 8

// `flags` of dc_options: a send never prepares a page itself (allocating and clearing files takes
// milliseconds); without a prepared page it returns DC_AGAIN. For real-time threads.
#define DC_PREPARED_ONLY 16

// `flags` of dc_options: a channel file that somebody truncates while it is mapped gives
// DC_E_CORRUPT (a send or sync may give DC_E_POISONED) instead of SIGBUS, from then on and for every
// handle that needs that file. Installs a SIGBUS handler for the process, which hands every fault
// that is not the library's on to the handler that was there before; a thread that blocks SIGBUS,
// or a program that replaces the handler later, has no guard.
#define DC_SIGBUS_GUARD 32

// `start` (default), and dc_seek: the oldest message kept.
#define DC_EARLIEST 1

// `start`, and dc_seek: after the newest message. See DC_LAST(n) for the newest n.
#define DC_LATEST UINT64_MAX

// `ack` (default): any receiving call first acknowledges what the handle received before. At least
// once: what a consumer had in hand when it died is delivered again, to another one.
#define DC_ACK_NEXT 1

// `ack`: the program calls dc_ack. At least once.
#define DC_ACK_MANUAL 2

// `ack`: acknowledged when received. At most once, over process crashes; the fastest.
#define DC_ACK_RECEIVE 3

// `flags` of dc_subscribe_options: dc_recv moves to the next page by itself and never returns
// DC_END_OF_PAGE; message pointers live until the handle's next receiving call only.
#define DC_AUTO_NEXT_PAGE 1

// Bytes of a group's name at most, without its NUL; at least one. Any byte but NUL may occur.
#define DC_GROUP_NAME_MAX 255

// MESSAGES. `flags` of dc_message: some consumer of the group was handed this message before and
// did not acknowledge it. A message that nobody was handed is never flagged.
#define DC_MESSAGE_REDELIVERED 1

// An open channel. Thread-safe: any number of threads may use one at the same time.
//
// Made by dc_open, given back by dc_close.
typedef struct dc_channel dc_channel;

// A handle that receives. One thread at a time uses it; it may move between threads. Only
// dc_interrupt may be called at any time, from any thread or signal handler.
//
// Made by dc_subscribe or dc_consumer_clone, given back by dc_consumer_close.
typedef struct dc_consumer dc_consumer;

// A handle that sends. One thread at a time uses it; it may move between threads. Only
// dc_producer_interrupt may be called at any time, from any thread or signal handler.
//
// Made by dc_producer_open or dc_producer_clone, given back by dc_producer_close.
typedef struct dc_producer dc_producer;

// What dc_open may be told. Initialise with DC_OPTIONS_INIT and set what matters; 0 in any field
// but `size` means its default, or, for a channel that exists, what it has stored.
//
// What a channel IS (page_size, max_pages, max_messages_per_page, retention, checksum, mode) is
// stored when it is made: another value than the stored one is DC_E_MISMATCH. The rest belongs to
// this open and may differ from process to process.
//
// Page size: a page is what is allocated, recycled and pinned at a time. Take at least 100 of your
// messages a page, and at most a quarter of the disk space the channel may use.
//
// 56 bytes; the offset of each field stands before it.
typedef struct dc_options {
  // 0: sizeof(dc_options).
  size_t size;
  // 8: payload bytes of a page: 64 KiB to 4 GiB, rounded up to 4,096; default 16 MiB.
  uint64_t page_size;
  // 16: pages kept at most: 2 to 2^32, or DC_UNLIMITED; default 16.
  uint64_t max_pages;
  // 24: messages of a page at most: 1 to 65,535; default 65,535.
  uint32_t max_messages_per_page;
  // 28: DC_RETAIN_RING (default), DC_RETAIN_LIVE or DC_RETAIN_UNREAD.
  uint32_t retention;
  // 32: DC_SYNC_NONE (default), DC_SYNC_INTERVAL or DC_SYNC_ALWAYS; of this open.
  uint32_t durability;
  // 36: milliseconds between flushes under DC_SYNC_INTERVAL; default 1,000; of this open.
  uint32_t sync_interval_ms;
  // 40: DC_CHECKSUM_ON (default) or DC_CHECKSUM_OFF.
  uint32_t checksum;
  // 44: after this many milliseconds a message that is claimed but not published no longer holds
  // up the readers behind it; default 1,000, at most 60,000; of this open.
  uint32_t stall_timeout_ms;
  // 48: permission bits (as of chmod), default 0600; given to every file of the channel by
  // fchmod, whoever creates it and whatever the umask; the directory gets the matching x bits.
  uint32_t mode;
  // 52: DC_EXISTING, DC_NEW, DC_READ_ONLY, DC_NO_THREAD, DC_PREPARED_ONLY, DC_SIGBUS_GUARD, or
  // 0: open the channel or create it; of this open.
  uint32_t flags;
} dc_options;

// A channel's figures, of all processes together. Initialise with DC_CHANNEL_INFO_INIT.
//
// Counts are derived from positions where they can be; they are exact when nothing moves and
// nobody was killed in mid-call, and otherwise a snapshot of things in motion. 160 bytes: after
// `size`, field n lies at offset 8 n.
typedef struct dc_channel_info {
  // sizeof(dc_channel_info).
  size_t size;
  // Payload bytes of a page.
  uint64_t page_size;
  // Pages kept at most, or DC_UNLIMITED.
  uint64_t max_pages;
  // Messages of a page at most.
  uint64_t max_messages_per_page;
  // Bytes of the largest message that can be sent; a larger one is DC_E_TOO_BIG.
  uint64_t max_message;
  // DC_RETAIN_RING, DC_RETAIN_LIVE or DC_RETAIN_UNREAD.
  uint64_t retention;
  // DC_CHECKSUM_ON or DC_CHECKSUM_OFF.
  uint64_t checksum;
  // Version of the format on disk.
  uint64_t format_version;
  // Position at or before the oldest message kept. The channel is empty when oldest == end.
  uint64_t oldest;
  // Position after the newest message.
  uint64_t end;
  // Everything before this position is on stable storage: a message is, once durable > its
  // position.
  uint64_t durable;
  // Messages kept.
  uint64_t messages;
  // Their payload bytes.
  uint64_t bytes;
  // Bytes of disk that all files of the channel take.
  uint64_t disk_bytes;
  // Live producers, in all processes.
  uint64_t producers;
  // Live consumers, in all processes; observers of a DC_READ_ONLY channel are not counted.
  uint64_t consumers;
  // Claims of dead or stalled producers that were skipped.
  uint64_t abandoned;
  // Machine crashes that the channel recovered from.
  uint64_t recoveries;
  // Messages torn by a machine crash, and so dropped.
  uint64_t discarded;
  // 1 after an I/O failure (DC_E_POISONED), else 0.
  uint64_t poisoned;
} dc_channel_info;

// A group's figures. Initialise with DC_GROUP_INFO_INIT. 56 bytes: after `size`, field n lies at
// offset 8 n.
typedef struct dc_group_info {
  // sizeof(dc_group_info).
  size_t size;
  // Position of the next message that one of its consumers will claim.
  uint64_t position;
  // Messages published and not yet received.
  uint64_t lag;
  // Messages handed out and not acknowledged.
  uint64_t unacked;
  // Messages that retention dropped before the group read them.
  uint64_t lost;
  // Redeliveries.
  uint64_t redelivered;
  // Live consumers, in all processes.
  uint64_t consumers;
} dc_group_info;

// What dc_verify counted. Initialise with DC_VERIFY_INFO_INIT. 56 bytes: after `size`, field n
// lies at offset 8 n.
typedef struct dc_verify_info {
  // sizeof(dc_verify_info).
  size_t size;
  // Pages read.
  uint64_t pages;
  // Sound messages.
  uint64_t messages;
  // Their payload bytes.
  uint64_t bytes;
  // Groups read.
  uint64_t groups;
  // Messages and structures that contradict themselves or their checksum.
  uint64_t corrupt;
  // Claims that were never published: the sends of processes that died.
  uint64_t torn;
} dc_verify_info;

// What dc_subscribe may be told. Initialise with DC_SUBSCRIBE_OPTIONS_INIT; 0 in any field but
// `size` means its default. All of it belongs to the handle, but for `start`.
//
// 32 bytes; the offset of each field stands before it.
typedef struct dc_subscribe_options {
  // 0: sizeof(dc_subscribe_options).
  size_t size;
  // 8: where a new group or an observer starts: a position (then the first message at or after
  // it), DC_EARLIEST (default), DC_LATEST or DC_LAST(n). A group that exists goes on where it
  // stands.
  uint64_t start;
  // 16: DC_ACK_NEXT (default), DC_ACK_MANUAL or DC_ACK_RECEIVE.
  uint32_t ack;
  // 20: messages this handle may hold unacknowledged under DC_ACK_MANUAL, at most 4,096; default
  // 1,024. Holding as many, receiving is DC_E_LIMIT.
  uint32_t max_unacked;
  // 24: messages claimed ahead for this handle, at most 255; 1: none; default: a small batch
  // while it is the group's only live consumer, else none. Slow work (a message takes long) wants
  // 1: what is claimed ahead waits for this handle. Should it be killed, what it had claimed ahead
  // and nobody was handed comes unflagged, possibly after later messages of the same producer
  // that another consumer of the group has received meanwhile.
  uint32_t prefetch;
  // 28: DC_AUTO_NEXT_PAGE or 0.
  uint32_t flags;
} dc_subscribe_options;

// A received message. 32 bytes for ever; the offset of each field stands before it.
//
// The library fills it; the program owns the struct, but not the bytes that `data` points to: they
// lie in the page, are never written to by anybody, and stay valid until this handle's
// dc_next_page, seek or close (under DC_AUTO_NEXT_PAGE: until its next receiving call).
typedef struct dc_message {
  // 0: its bytes; 8-byte aligned, never NULL, also when it is empty (but after DC_E_CORRUPT,
  // NULL).
  const void *data;
  // 8: how many.
  size_t len;
  // 16: its position; never 0, larger than that of every message before it in the channel.
  uint64_t position;
  // 24: DC_MESSAGE_REDELIVERED or 0. Ignore bits you do not know.
  uint32_t flags;
  // 28: how often it was handed out, this time included: 1 the first time. A message that keeps
  // killing its consumers shows here.
  uint32_t deliveries;
} dc_message;

// A consumer's figures. Initialise with DC_CONSUMER_INFO_INIT. 56 bytes: after `size`, field n
// lies at offset 8 n.
typedef struct dc_consumer_info {
  // sizeof(dc_consumer_info).
  size_t size;
  // Position of the next message that it (or its group) will receive.
  uint64_t position;
  // Messages published and not yet received by it (or its group).
  uint64_t lag;
  // Messages that this handle was handed and has not acknowledged.
  uint64_t unacked;
  // Messages that it (or its group) lost to retention since it subscribed.
  uint64_t lost;
  // Redelivered messages that it received.
  uint64_t redelivered;
  // Corrupt messages that it skipped.
  uint64_t corrupt;
} dc_consumer_info;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the library that is running: DC_VERSION as that library was built.
//
// Any thread, never blocks, cannot fail.
DC_API uint32_t dc_version(void);

// The version of the library that is running, as text ("0.1.0").
//
// The text is static: never NULL, never freed. Any thread, never blocks, cannot fail.
DC_API const char *dc_version_string(void);

// What a code means, in a few words; -errno codes included ("No space left on device").
//
// The text is static: never NULL, never freed; a number that is no code gives "unknown code". Any
// thread, never blocks, cannot fail. For what went wrong in this case, see dc_last_error().
DC_API const char *dc_strerror(int code);

// The name of a code's constant: "DC_E_TOO_BIG", or "ENOSPC" for -ENOSPC.
//
// The text is static: never NULL, never freed; a number that is no code gives "unknown". Any
// thread, never blocks, cannot fail.
DC_API const char *dc_error_name(int code);

// This thread's last failure, in one sentence: which call, path, values, and what to do.
//
// Never NULL; empty before the first failure. Owned by the library and valid until this thread's
// next failure or its end: copy it to keep it. A success leaves it as it is, and so do DC_AGAIN,
// the -ENOENT that ends dc_group_next, and whatever dc_interrupt returns: look only after another
// negative code. Never blocks, cannot fail.
DC_API const char *dc_last_error(void);

// Opens a channel, or creates it: a directory that does not exist, or an empty one, becomes a
// channel unless `flags` forbid it.
//
// `path` is copied. `options` may be NULL: defaults, or what the channel has stored; the struct is
// read during the call only. `*out` is the new handle, NULL on failure; give it back with
// dc_close. A process may open the same channel more than once. A channel that a crash left behind
// simply opens; after a crash of the machine the first open recovers it, which may take a while.
//
// Any thread. Blocks for the disk, and briefly while another process creates the same channel.
//
// - DC_OK: open.
// - -ENOENT: missing, and DC_EXISTING or DC_READ_ONLY was set; or its parent directory is missing.
// - -EEXIST: present, and DC_NEW was set.
// - DC_E_MISMATCH: present with other options; leave those 0 to adopt what is stored.
// - DC_E_FORMAT: a file, a directory that is neither empty nor a channel (it stays as it is), or a
//   format that this library does not know.
// - DC_E_CORRUPT: a channel, but damaged; see dc_verify.
// - DC_E_ARGUMENT: path or out is NULL, path is empty, or an option is out of range.
// - DC_E_UNSUPPORTED: a network file system, or a kernel without what is needed.
// - DC_E_BUSY: the channel is being destroyed (repeat to make a new one), or for 10 seconds already
//   recovered by a process that seems to be suspended; let it go on, or end it.
// - DC_E_LIMIT: 1,024 opens of this channel are in use; close some.
// - -EACCES, -ENOSPC, -EMFILE, -ENOMEM and others of the operating system: nothing was opened, and
//   what exists is unchanged.
DC_API DC_WARN_UNUSED
int dc_open(const char *path,
            const struct dc_options *options,
            struct dc_channel **out);

// Closes a channel. NULL is accepted and does nothing.
//
// Producers and consumers made from it stay usable; any order of closing is fine. Closing while
// another thread is in a call with this handle is undefined. In a forked child it only frees
// memory. May block for the disk: the last handle of a process under DC_SYNC_INTERVAL flushes what
// is due.
DC_API void dc_close(struct dc_channel *channel);

// Removes a channel: its files and its directory. Needs no open handle, and finishes what a killed
// dc_destroy began.
//
// Any thread. Blocks for the disk.
//
// - DC_OK: gone.
// - DC_E_BUSY: it is open somewhere, in this process or another; close it there.
// - DC_E_FORMAT: not a channel; nothing was touched.
// - DC_E_CORRUPT: not even recognisable as one any more; remove it by hand.
// - -ENOENT: nothing there.
// - DC_E_ARGUMENT: path is NULL or empty.
// - -EACCES and others of the operating system: repeat once the reason is gone.
DC_API DC_WARN_UNUSED int dc_destroy(const char *path);

// Takes the channel's figures.
//
// `out->size` must be set (DC_CHANNEL_INFO_INIT). Written on DC_OK only; fields that this library
// does not know become 0. Any thread. Never blocks on other users of the channel.
//
// - DC_OK: filled in.
// - DC_E_ARGUMENT: channel or out is NULL, or out->size is 0.
DC_API DC_WARN_UNUSED
int dc_channel_stats(const struct dc_channel *channel,
                     struct dc_channel_info *out);

// Brings everything published so far, by whichever process, and all acknowledgements to stable
// storage.
//
// Any thread. Blocks for the disk; the timeout bounds only the wait for others (a message in front
// that is being written, somebody else's flush), a flush once begun completes.
//
// - DC_OK: all of it would survive a power cut now.
// - DC_AGAIN: not within the timeout; repeat.
// - -EINTR: a signal handler ran during the wait; repeat.
// - DC_E_POISONED: a flush failed, now or before; close and reopen the channel everywhere.
// - DC_E_STATE: the channel is read-only.
// - DC_E_ARGUMENT: channel is NULL, or timeout_ms is below -1.
DC_API DC_WARN_UNUSED int dc_channel_sync(struct dc_channel *channel, int timeout_ms);

// Takes the figures of the group named `group`.
//
// `out->size` must be set (DC_GROUP_INFO_INIT). Written on DC_OK only; fields that this library
// does not know become 0. Any thread. Never blocks on other users of the channel.
//
// - DC_OK: filled in.
// - -ENOENT: no such group.
// - DC_E_ARGUMENT: a pointer is NULL, out->size is 0, or the name is empty or longer than
//   DC_GROUP_NAME_MAX.
DC_API DC_WARN_UNUSED
int dc_group_stats(const struct dc_channel *channel,
                   const char *group,
                   struct dc_group_info *out);

// Walks the channel's groups in byte order of their names: writes the first name greater than
// `after` (NULL: the first of all) to `name`, with its NUL. `after` need not exist, and may be
// `name` itself:
//
// char name[DC_GROUP_NAME_MAX + 1];
// const char *after = NULL;
// while ((code = dc_group_next(channel, after, name, sizeof name)) == DC_OK) after = name;
//
// `capacity` counts the NUL; DC_GROUP_NAME_MAX + 1 always suffices. Any thread. Never blocks on
// other users of the channel.
//
// - DC_OK: `name` is written.
// - -ENOENT: no further group; `name` is left as it is, and no error text is set.
// - -ERANGE: `capacity` is too small; `name` is left as it is.
// - DC_E_ARGUMENT: channel or name is NULL, or `after` is longer than DC_GROUP_NAME_MAX.
DC_API DC_WARN_UNUSED
int dc_group_next(const struct dc_channel *channel,
                  const char *after,
                  char *name,
                  size_t capacity);

// Deletes the group named `group`: its position and what its consumers left unacknowledged. Its
// messages stay, for the other groups. A consumer that subscribes to the name later makes a new
// group.
//
// Any thread. Blocks for the disk.
//
// - DC_OK: gone.
// - DC_E_BUSY: it has live consumers, in this process or another; close them.
// - -ENOENT: no such group.
// - DC_E_STATE: the channel is read-only.
// - DC_E_ARGUMENT: a pointer is NULL, or the name is empty or longer than DC_GROUP_NAME_MAX.
DC_API DC_WARN_UNUSED int dc_group_delete(struct dc_channel *channel, const char *group);

// Checks every structure and every checksum of a channel, and changes nothing. Needs no open
// handle; the channel may be in use meanwhile, and then what is in motion is left out.
//
// `out->size` must be set (DC_VERIFY_INFO_INIT). Written on DC_OK only; fields that this library
// does not know become 0. Any thread. Reads the whole channel from disk, which takes its time.
//
// - DC_OK: checked to the end. The channel is sound if out->corrupt is 0; otherwise that many
//   messages and structures are damaged, and every sound message can still be received.
// - DC_E_CORRUPT: so damaged that it cannot be opened; dc_last_error() says where.
// - DC_E_FORMAT: not a channel, or a format that this library does not know.
// - -ENOENT: nothing there.
// - DC_E_ARGUMENT: a pointer is NULL, path is empty, or out->size is 0.
// - -EACCES and others of the operating system.
DC_API DC_WARN_UNUSED int dc_verify(const char *path, struct dc_verify_info *out);

// Does the library thread's work, for programs that forbid it by DC_NO_THREAD: prepares pages
// ahead, flushes under DC_SYNC_INTERVAL, adopts what dead consumers held. Call it every few
// hundred milliseconds, or in a loop on a thread of your own.
//
// Does what is due, after waiting up to `timeout_ms` for the first thing to come due. What it
// cannot do, for want of disk space, say, the next send or sync reports. Allowed without
// DC_NO_THREAD too. Any thread. Blocks for the disk as well as for the timeout.
//
// - DC_OK: something was done; call again at once, there may be more.
// - DC_AGAIN: nothing came due.
// - -EINTR: a signal handler ran during the wait; repeat.
// - DC_E_STATE: the channel is read-only.
// - DC_E_ARGUMENT: channel is NULL, or timeout_ms is below -1.
DC_API DC_WARN_UNUSED int dc_maintain(struct dc_channel *channel, int timeout_ms);

// Makes a producer of a channel.
//
// `*out` is the new handle, NULL on failure; give it back with dc_producer_close. It does not need
// the channel handle to stay open. Thread-safe on `channel`. May block for the disk.
//
// - DC_OK: made.
// - DC_E_STATE: the channel is read-only.
// - DC_E_POISONED: an I/O failure; close and reopen the channel everywhere.
// - DC_E_LIMIT: 1,024 handles of this channel are live, in all processes; close some.
// - DC_E_ARGUMENT: channel or out is NULL.
// - -ENOMEM, -EMFILE, -ENOSPC and others of the operating system.
DC_API DC_WARN_UNUSED int dc_producer_open(struct dc_channel *channel, struct dc_producer **out);

// Makes another producer of the same channel, for another thread, say.
//
// `*out` is a handle of its own, NULL on failure; a reservation, sent position and fd are not
// inherited. The calling thread must be the one that uses `producer`. May block for the disk.
//
// Codes as of dc_producer_open; DC_E_ARGUMENT: producer or out is NULL.
DC_API DC_WARN_UNUSED
int dc_producer_clone(const struct dc_producer *producer,
                      struct dc_producer **out);

// Closes a producer. NULL is accepted and does nothing.
//
// Aborts a reservation that is still held, and closes its fd. What was sent stays sent. Closing
// while another thread is in a call with this handle, an interrupt included, is undefined. In a
// forked child it only frees memory.
DC_API void dc_producer_close(struct dc_producer *producer);

// Sends one message, all or nothing.
//
// The `len` bytes at `data` are copied; an empty message is a message (`data` may be NULL then).
// The bytes must not change during the call. One thread at a time.
//
// Blocks up to `timeout_ms` for room, and only for that: once placed, the call completes, under
// DC_SYNC_ALWAYS with the flush included. Consumers may see the message before it is durable.
// Never allocates memory.
//
// - DC_OK: sent; under DC_SYNC_ALWAYS, durable.
// - DC_AGAIN: not sent: no room within the timeout (consumers of a lossless channel lag), or no
//   prepared page under DC_PREPARED_ONLY. Send again later, or when the fd becomes readable.
// - -EINTR: not sent: a signal handler ran during the wait. Send again.
// - -ECANCELED: not sent: dc_producer_interrupt.
// - DC_E_TOO_BIG: not sent, ever: longer than max_message.
// - DC_E_POISONED: an I/O failure. Under DC_SYNC_ALWAYS it is unknown whether the message was
//   sent; else it was not. Close and reopen the channel everywhere.
// - DC_E_CORRUPT: lost: somebody truncated a page file (under DC_SIGBUS_GUARD only, else a
//   signal).
// - DC_E_STATE: a reservation is held; commit or abort it first.
// - DC_E_ARGUMENT: not sent: producer is NULL, data is NULL but len is not 0, timeout_ms is below
//   -1.
// - -ENOSPC, -EDQUOT: not sent: no room on disk for the next page. Everything sent stays readable;
//   send again when there is room.
DC_API DC_WARN_UNUSED
int dc_send(struct dc_producer *producer,
            const void *data,
            size_t len,
            int timeout_ms);

// Sends one message that lies in `count` parts: gathers them, in order. Otherwise as dc_send.
//
// A part may be empty (and its iov_base NULL then); count 0 sends an empty message (`parts` may be
// NULL then).
//
// Codes as of dc_send; also DC_E_ARGUMENT: parts is NULL but count is not 0, a part's iov_base is
// NULL but its iov_len is not 0, or the lengths overflow.
DC_API DC_WARN_UNUSED
int dc_sendv(struct dc_producer *producer,
             const struct iovec *parts,
             size_t count,
             int timeout_ms);

// Sends `count` messages, one each entry, in order: cheaper than as many dc_send, and under
// DC_SYNC_ALWAYS with few flushes instead of many. Otherwise as dc_send.
//
// Always sends a prefix: `*sent` says how many, is written on every return, and is `count` exactly
// when the code is DC_OK. To go on, pass messages + *sent and count - *sent. (It is 0 when
// DC_E_POISONED leaves unknown which of them were sent.) An entry may be empty (its iov_base NULL
// then); count 0 is DC_OK.
//
// Codes as of dc_send, about the first message that was not sent; but DC_E_TOO_BIG, of any of
// them, is found before the first is sent. Also DC_E_ARGUMENT: sent is NULL, messages is NULL but
// count is not 0, an iov_base is NULL but its iov_len is not 0, or the lengths overflow (*sent is
// 0 then).
DC_API DC_WARN_UNUSED
int dc_send_batch(struct dc_producer *producer,
                  const struct iovec *messages,
                  size_t count,
                  int timeout_ms,
                  size_t *sent);

// Reserves room for a message of up to `len` bytes, to write it where it will lie: no copy.
//
// `*data` points to `len` writable bytes, 8-byte aligned, of undefined content; NULL on failure.
// They are the program's until dc_commit, dc_abort or dc_producer_close on this handle. Every
// other send on the handle is DC_E_STATE meanwhile.
//
// A reservation delays the readers behind it: write and commit at once. One held beyond
// stall_timeout_ms is skipped by the readers, and dc_commit then copies it to a new place.
//
// Blocks as dc_send does. One thread at a time.
//
// - DC_OK: reserved.
// - DC_AGAIN, -EINTR, -ECANCELED, DC_E_TOO_BIG, DC_E_POISONED, -ENOSPC: nothing is reserved;
//   remedies as of dc_send.
// - DC_E_STATE: a reservation is held already; commit or abort it first.
// - DC_E_ARGUMENT: producer or data is NULL, or timeout_ms is below -1.
DC_API DC_WARN_UNUSED
int dc_reserve(struct dc_producer *producer,
               size_t len,
               int timeout_ms,
               void **data);

// Publishes the first `len` bytes of the reservation as one message; `len` may be smaller than
// what was reserved.
//
// Never waits for room. Under DC_SYNC_ALWAYS it waits for the flush. One thread at a time.
//
// - DC_OK: sent; the pointer is no longer yours.
// - DC_AGAIN, -ENOSPC and others of the operating system: not sent: the reservation was skipped, and
//   there is no room for it elsewhere now. It is still held, content and all: commit again, or
//   abort.
// - -ECANCELED: the same, once after dc_producer_interrupt.
// - DC_E_STATE: no reservation is held.
// - DC_E_ARGUMENT: producer is NULL, or len is more than was reserved (it is still held).
// - DC_E_POISONED, DC_E_CORRUPT: as of dc_send. The reservation is gone.
DC_API DC_WARN_UNUSED
int dc_commit(struct dc_producer *producer,
              size_t len);

// Gives the reservation back; readers will pass over it. Never blocks. One thread at a time.
//
// - DC_OK: given back; the pointer is no longer yours.
// - DC_E_STATE: no reservation is held.
// - DC_E_ARGUMENT: producer is NULL.
DC_API DC_WARN_UNUSED int dc_abort(struct dc_producer *producer);

// Waits until all that this handle sent is on stable storage, flushing where nobody else does.
//
// Blocks for the disk; the timeout bounds only the wait for others (a message in front that is
// being written, somebody else's flush), a flush once begun completes. One thread at a time.
//
// - DC_OK: all of it would survive a power cut now.
// - DC_AGAIN: not within the timeout; repeat.
// - -EINTR: a signal handler ran during the wait; repeat.
// - -ECANCELED: dc_producer_interrupt.
// - DC_E_POISONED: a flush failed, now or before: whether it is durable is unknown. Close and
//   reopen the channel everywhere.
// - DC_E_ARGUMENT: producer is NULL, or timeout_ms is below -1.
DC_API DC_WARN_UNUSED int dc_sync(struct dc_producer *producer, int timeout_ms);

// The position of the last message this handle sent; 0 when there is none, and for NULL.
//
// With `durable` of dc_channel_info it makes an asynchronous commit: that message, and all before
// it, is on stable storage once durable > its position. Never blocks. One thread at a time.
DC_API uint64_t dc_sent_position(const struct dc_producer *producer);

// The handle's eventfd, for poll, epoll (level- or edge-triggered), io_uring and event libraries:
// readable once there may be room again, woken by any process, or after dc_producer_interrupt.
//
// Armed by a send that returned DC_AGAIN: send with timeout 0, on DC_AGAIN wait for the fd, send
// again. It belongs to the handle, is the same on every call, is closed with the handle and by
// exec: never close, read or write it. Never blocks for long. One thread at a time.
//
// - 0 or more: the file descriptor.
// - DC_E_UNSUPPORTED: the channel was opened with DC_NO_THREAD.
// - DC_E_ARGUMENT: producer is NULL.
// - -EMFILE, -ENFILE, -ENOMEM: none to be had; close some and repeat.
DC_API DC_WARN_UNUSED int dc_producer_fd(struct dc_producer *producer);

// Interrupts the call that is waiting on this handle: it returns -ECANCELED.
//
// Sticky: if nothing waits, the next call that would wait (with timeout 0: that would return
// DC_AGAIN) returns -ECANCELED, once. Makes the fd readable. From any thread or signal handler, at
// any time before dc_producer_close; keeps errno, sets no error text, never blocks.
//
// - DC_OK: done.
// - DC_E_ARGUMENT: producer is NULL.
DC_API DC_WARN_UNUSED int dc_producer_interrupt(struct dc_producer *producer);

// Makes a consumer: a member of the group named `group`, or, for NULL, an observer.
//
// A group is made by its first consumer, starts where `start` says, and stays on disk with its
// position until dc_group_delete; each message goes to exactly one of its consumers. An observer
// sees every message from `start` on and keeps no state on disk. (On a DC_READ_ONLY channel, where
// it cannot settle a send that has been stalled for `stall_timeout_ms`, it steps over it; should the
// message be published after all, this observer has not seen it.) The name is copied; it may hold
// any byte but NUL.
//
// `options` may be NULL: defaults; the struct is read during the call only. `*out` is the new
// handle, NULL on failure; give it back with dc_consumer_close. It does not need the channel
// handle to stay open. Thread-safe on `channel`. May block for the disk.
//
// - DC_OK: made.
// - DC_E_STATE: a group on a read-only channel; observers work there.
// - DC_E_LIMIT: the group has 254 consumers, or 510 that are live or left messages behind (let one
//   receive those), or the channel 1,024 live handles or no room for another group (64 at least);
//   close some, or delete groups.
// - DC_E_BUSY: the group is being deleted by a process that has been suspended half-way, for longer
//   than stall_timeout_ms; let it go on, or end it.
// - DC_E_ARGUMENT: channel or out is NULL, the name is empty or longer than DC_GROUP_NAME_MAX, or
//   an option is out of range.
// - -ENOMEM, -EMFILE, -ENOSPC and others of the operating system.
DC_API DC_WARN_UNUSED
int dc_subscribe(struct dc_channel *channel,
                 const char *group,
                 const struct dc_subscribe_options *options,
                 struct dc_consumer **out);

// Makes another consumer of the same group with the same options, for another thread, say; of an
// observer, another observer that starts where this one stands.
//
// `*out` is a handle of its own, NULL on failure; what `consumer` holds and its fd are not
// inherited. The calling thread must be the one that uses `consumer`. May block for the disk.
//
// Codes as of dc_subscribe; DC_E_ARGUMENT: consumer or out is NULL.
DC_API DC_WARN_UNUSED
int dc_consumer_clone(const struct dc_consumer *consumer,
                      struct dc_consumer **out);

// Closes a consumer. NULL is accepted and does nothing.
//
// Returns what it holds unacknowledged to its group at once, for redelivery; ends its message
// pointers and closes its fd. Closing while another thread is in a call with this handle, an
// interrupt included, is undefined. In a forked child it only frees memory.
DC_API void dc_consumer_close(struct dc_consumer *consumer);

// Receives one message, without copying it: `out->data` points into the page.
//
// The bytes stay valid and unchanged until this handle's dc_next_page, seek or close, whatever
// producers do and though the ring has long moved on (under DC_AUTO_NEXT_PAGE: until the handle's
// next receiving call). `out` is written on DC_OK and DC_E_CORRUPT only. Under DC_ACK_NEXT the
// call first acknowledges what the handle received before.
//
// Blocks up to `timeout_ms` for a message. One thread at a time. Never allocates memory.
//
// - DC_OK: `out` is the message.
// - DC_END_OF_PAGE: the page is read to its end; call dc_next_page.
// - DC_LAGGED: messages were dropped unread in front of the next one; receive again.
// - DC_AGAIN: no message within the timeout; receive again later, or when the fd becomes readable.
// - -EINTR: a signal handler ran during the wait; receive again.
// - -ECANCELED: dc_interrupt.
// - DC_E_CORRUPT: one message is damaged and skipped: out->position is set, out->data is NULL. The
//   next call goes on behind it. It counts as handed out: acknowledge it like the others. Where
//   out->position is 0, somebody truncated a file of the channel (under DC_SIGBUS_GUARD only, else
//   a signal): close the handle.
// - DC_E_LIMIT: the handle holds max_unacked messages; acknowledge some.
// - DC_E_ARGUMENT: consumer or out is NULL, or timeout_ms is below -1.
DC_API DC_WARN_UNUSED
int dc_recv(struct dc_consumer *consumer,
            struct dc_message *out,
            int timeout_ms);

// Receives up to `max` messages, at most 255 a call, into the array `out`. Waits for the first one
// only, and never crosses a page. Otherwise as dc_recv.
//
// `*received` says how many, is written on every return, and is at least 1 exactly when the code
// is DC_OK. Only so many elements of `out` are written. A damaged message ends the batch in front
// of it; as the first one it is DC_E_CORRUPT: *received is 0, and the first element of `out` is as
// after dc_recv.
//
// Codes as of dc_recv; also DC_E_ARGUMENT: received is NULL, or max is 0.
DC_API DC_WARN_UNUSED
int dc_recv_batch(struct dc_consumer *consumer,
                  struct dc_message *out,
                  size_t max,
                  int timeout_ms,
                  size_t *received);

// Moves to the next page, and ends the pointers of all messages received from this one.
//
// Never blocks, and skips nothing: called before DC_END_OF_PAGE it only ends the pointers, and
// receiving goes on where it stood. Acknowledges nothing by itself. Until it is called, the page
// (and its disk space) is kept for this handle though the channel may have dropped it. One thread
// at a time.
//
// - DC_OK: done.
// - DC_E_ARGUMENT: consumer is NULL.
DC_API DC_WARN_UNUSED int dc_next_page(struct dc_consumer *consumer);

// Acknowledges every message that this handle received and whose position is at or before
// `position`: the group will not deliver them again.
//
// Positions that the handle does not hold are no error. Becomes durable with the next flush: after
// a power cut messages may be repeated, never skipped. Never blocks. One thread at a time.
//
// - DC_OK: done.
// - DC_E_STATE: an observer has nothing to acknowledge.
// - DC_E_ARGUMENT: consumer is NULL.
DC_API DC_WARN_UNUSED int dc_ack(struct dc_consumer *consumer, uint64_t position);

// Gives back all that this handle holds unacknowledged: some consumer of its group receives it
// again, before new messages, flagged DC_MESSAGE_REDELIVERED, with `deliveries` counted up.
//
// With nothing held it does nothing. Never blocks. One thread at a time.
//
// - DC_OK: given back.
// - DC_E_STATE: an observer has nothing to give back.
// - DC_E_ARGUMENT: consumer is NULL.
DC_API DC_WARN_UNUSED int dc_nack(struct dc_consumer *consumer);

// Goes on at the first message at or after `position` (one beyond the end waits to be sent); or at
// DC_EARLIEST, DC_LATEST, DC_LAST(n).
//
// Moves an observer alone, but a consumer's whole group, and what the handle holds is no longer
// held: what lies at or after the new position is delivered again, what lies before it is not.
// Pass a message's position + 1 to go on after it. Ends the handle's message pointers. May block
// for the disk. One thread at a time.
//
// - DC_OK: moved.
// - DC_E_BUSY: other consumers of the group hold messages; let them acknowledge, or close them.
// - DC_E_ARGUMENT: consumer is NULL, or position is 0.
DC_API DC_WARN_UNUSED int dc_seek(struct dc_consumer *consumer, uint64_t position);

// Takes the consumer's figures.
//
// `out->size` must be set (DC_CONSUMER_INFO_INIT). Written on DC_OK only; fields that this library
// does not know become 0. Never blocks on other users of the channel. One thread at a time.
//
// - DC_OK: filled in.
// - DC_E_ARGUMENT: consumer or out is NULL, or out->size is 0.
DC_API DC_WARN_UNUSED
int dc_consumer_stats(const struct dc_consumer *consumer,
                      struct dc_consumer_info *out);

// The handle's eventfd, for poll, epoll (level- or edge-triggered), io_uring and event libraries:
// readable while dc_recv may return anything but DC_AGAIN (a message, a redelivery, the end of a
// page, a lag, an interrupt, a poisoned channel), woken by any process.
//
// Receive with timeout 0, either one message an event, or (edge-triggered: always) until DC_AGAIN.
// No wakeup is ever lost, also not when the process that was woken dies or is stopped before it
// receives: another sleeper is woken. It may become readable for nothing. It belongs to the
// handle, is the same on every call, is closed with the handle and by exec: never close, read or
// write it. Never blocks for long. One thread at a time.
//
// - 0 or more: the file descriptor.
// - DC_E_UNSUPPORTED: the channel was opened with DC_NO_THREAD.
// - DC_E_ARGUMENT: consumer is NULL.
// - -EMFILE, -ENFILE, -ENOMEM: none to be had; close some and repeat.
DC_API DC_WARN_UNUSED int dc_consumer_fd(struct dc_consumer *consumer);

// Interrupts the call that is waiting on this handle: it returns -ECANCELED.
//
// Sticky: if nothing waits, the next call that would wait (with timeout 0: that would return
// DC_AGAIN) returns -ECANCELED, once. Makes the fd readable. From any thread or signal handler, at
// any time before dc_consumer_close; keeps errno, sets no error text, never blocks.
//
// - DC_OK: done.
// - DC_E_ARGUMENT: consumer is NULL.
DC_API DC_WARN_UNUSED int dc_interrupt(struct dc_consumer *consumer);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus


/*
 * Initialisers: every field at its default, the size set.
 *
 *     dc_options options = DC_OPTIONS_INIT;
 *     options.max_pages = 64;
 */
#define DC_OPTIONS_INIT { sizeof(dc_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define DC_SUBSCRIBE_OPTIONS_INIT { sizeof(dc_subscribe_options), 0, 0, 0, 0, 0 }
#define DC_CHANNEL_INFO_INIT \
  { sizeof(dc_channel_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define DC_GROUP_INFO_INIT { sizeof(dc_group_info), 0, 0, 0, 0, 0, 0 }
#define DC_CONSUMER_INFO_INIT { sizeof(dc_consumer_info), 0, 0, 0, 0, 0, 0 }
#define DC_VERIFY_INFO_INIT { sizeof(dc_verify_info), 0, 0, 0, 0, 0, 0 }

/* The layouts above hold on LP64 only, and programs in other languages rely on them. */
#if defined(__cplusplus)
#define DC_STATIC_ASSERT static_assert
#else
#define DC_STATIC_ASSERT _Static_assert
#endif
DC_STATIC_ASSERT(sizeof(dc_message) == 32, "disk_chan needs an LP64 platform");
DC_STATIC_ASSERT(sizeof(dc_options) == 56, "disk_chan needs an LP64 platform");
DC_STATIC_ASSERT(sizeof(dc_subscribe_options) == 32, "disk_chan needs an LP64 platform");
DC_STATIC_ASSERT(sizeof(dc_channel_info) == 160, "disk_chan needs an LP64 platform");
DC_STATIC_ASSERT(sizeof(dc_group_info) == 56, "disk_chan needs an LP64 platform");
DC_STATIC_ASSERT(sizeof(dc_consumer_info) == 56, "disk_chan needs an LP64 platform");
DC_STATIC_ASSERT(sizeof(dc_verify_info) == 56, "disk_chan needs an LP64 platform");
#undef DC_STATIC_ASSERT

#endif /* DISK_CHAN_H */
