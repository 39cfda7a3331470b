/* After a crash of the machine: everybody dead, another boot id, and the tail of the files possibly torn.
 * The boot id is a file of ours, mounted over the kernel's: needs root. */
#include "files.h"

#include <sched.h>
#include <sys/mount.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

static void boot(int number) {
    static int unshared;
    char path[700], id[40];
    if (!unshared++) {
        if (unshare(CLONE_NEWNS) != 0) SKIP("unshare: %s (needs root)", strerror(errno));
        if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0) SKIP("mount: %s", strerror(errno));
    }
    snprintf(path, sizeof path, "%s/boot_id", test_dir);
    int n = snprintf(id, sizeof id, "%08x-0000-4000-8000-000000000000\n", (unsigned)number), fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    SYS(fd);
    CHECK_EQ(write(fd, id, (size_t)n), n);
    close(fd);
    umount(BOOT_ID);
    if (mount(path, BOOT_ID, "none", MS_BIND, NULL) != 0) SKIP("mounting over " BOOT_ID ": %s", strerror(errno));
}

struct crashed {
    _Atomic int stage;
    int synced, sent;
    uint32_t checksum, retention;
    uint64_t last;
};

static struct crashed *s;

static void sends_and_crashes(void *unused) {
    (void)unused;
    dc_options o = retain_options(s->retention);
    o.checksum = s->checksum;
    o.max_pages = 16;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    unsigned char load[200];
    for (int n = 0; n < s->sent; n++) {
        CHECK_OK(dc_send(p, load, load_make(load, 1, (uint64_t)n, sizeof load), 0));
        if (n + 1 == s->synced) CHECK_OK(dc_channel_sync(channel, -1));
    }
    for (int n = 0; n < 5; n++) take(c);
    s->last = dc_sent_position(p);
    atomic_store(&s->stage, 1);
    for (;;) pause();
}

/* Sends, syncs in between, dies with the machine. */
static void crash(int synced, int sent, uint32_t checksum) {
    s = shared_memory(sizeof *s);
    *s = (struct crashed){0, synced, sent, checksum, DC_RETAIN_UNREAD, 0};
    boot(1);
    pid_t pid = spawn(sends_and_crashes, NULL);
    await(&s->stage, 1);
    kill_and_wait(pid);
    boot(2);
}

/* Damages message n in the files. */
static void tear(uint64_t n, size_t offset, size_t len) {
    static struct files f;
    unsigned char load[200], zero[200] = {0};
    size_t at;
    f.count = 0;
    read_files(&f, chan_path);
    struct file *file = find_bytes(&f, load, load_make(load, 1, n, sizeof load), &at);
    CHECK(file != NULL);
    overwrite(file->path, at + offset, zero, len);
}

/* Reads everything, in order; returns how many, and that all of [0, synced) are among them. */
static uint64_t read_all(dc_channel *channel, const char *group, uint64_t *next) {
    dc_consumer *c = subscribe_ack(channel, group, DC_ACK_NEXT);
    uint64_t count = 0;
    dc_message m;
    *next = 0;
    for (int code; (code = dc_recv(c, &m, 0)) != DC_AGAIN; count++) {
        CHECK_OK(code);
        uint64_t n = load_check(&m).sequence;
        CHECK(n >= *next);
        if (n < (uint64_t)s->synced) CHECK_EQ(n, *next);
        *next = n + 1;
    }
    CHECK(*next >= (uint64_t)s->synced);
    dc_consumer_close(c);
    return count;
}

/* [S6] It goes on, with positions never used before. */
static void goes_on(dc_channel *channel) {
    dc_producer *p = producer_of(channel);
    send_number(p, 4711);
    CHECK(dc_sent_position(p) > s->last);
    dc_consumer *c = subscribe_ack(channel, NULL, 0);
    CHECK_OK(dc_seek(c, dc_sent_position(p)));
    take_first(c, 4711);
    CHECK_EQ(verify_info(chan_path).corrupt, 0);
}

/* [S54 S129] */
TEST(s042_what_was_synced_is_there_after_a_crash) {
    crash(30, 50, DC_CHECKSUM_ON);
    dc_channel *channel = open_flags(DC_EXISTING);
    CHECK_EQ(channel_info(channel).recoveries, 1);
    uint64_t next;
    read_all(channel, "new", &next);
    goes_on(channel);
    dc_close(channel);
    dc_close(open_flags(DC_EXISTING)); /* once is enough */
    channel = open_flags(DC_EXISTING);
    CHECK_EQ(channel_info(channel).recoveries, 1);
}

/* What was not synced may be missing; torn, it is never delivered. */
TEST(s115_torn_messages_are_discarded) {
    crash(30, 50, DC_CHECKSUM_ON);
    tear(40, 100, 50);
    tear(49, 16, 184);
    dc_channel *channel = open_flags(DC_EXISTING);
    uint64_t next, count = read_all(channel, "new", &next);
    CHECK(count >= 30 && count <= 48);
    dc_channel_info i = channel_info(channel);
    CHECK(i.recoveries == 1 && i.discarded >= 1);
    goes_on(channel);
}

/* [S111] Nobody can tell a torn one from a whole one: nothing beyond the durable position is delivered. */
TEST(s042_without_checksums_only_what_was_synced) {
    crash(30, 50, DC_CHECKSUM_OFF);
    tear(40, 100, 50);
    dc_channel *channel = open_flags(DC_EXISTING);
    uint64_t next;
    CHECK_EQ(read_all(channel, "new", &next), 30);
    goes_on(channel);
}

/* Acknowledgements that were not flushed may be repeated, never skipped. */
TEST(s085_a_crash_repeats_but_never_skips) {
    crash(30, 50, DC_CHECKSUM_ON);
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    dc_message m = take(c);
    CHECK(load_check(&m).sequence <= 4); /* five were received, four acknowledged */
    for (uint64_t n = load_check(&m).sequence + 1; n < 30; n++) {
        m = take(c);
        CHECK_EQ(load_check(&m).sequence, n);
    }
}

TEST(s042_nothing_synced_nothing_torn) {
    crash(0, 50, DC_CHECKSUM_ON);
    for (uint64_t n = 0; n < 50; n += 7) tear(n, 20, 100);
    dc_channel *channel = open_flags(DC_EXISTING);
    uint64_t next;
    read_all(channel, "new", &next);
    goes_on(channel);
}

static void opens_and_waits(void *unused) {
    (void)unused;
    open_small();
    atomic_store(&s->stage, 1);
    for (;;) pause();
}

/* A live participant of another boot: two kernels share the directory. */
TEST(s025_two_kernels_on_one_directory) {
    s = shared_memory(sizeof *s);
    boot(1);
    pid_t pid = spawn(opens_and_waits, NULL);
    await(&s->stage, 1);
    boot(2);
    dc_channel *channel = (dc_channel *)&channel;
    CHECK_CODE(dc_open(chan_path, NULL, &channel), DC_E_UNSUPPORTED);
    CHECK(channel == NULL);
    kill_and_wait(pid);
    dc_close(open_flags(DC_EXISTING));
}

static void holds_on(void *unused) {
    (void)unused;
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_MANUAL);
    send_numbers(p, 0, 8);
    for (uint64_t n = 0; n < 4; n++) take_first(c, n);
    atomic_store(&s->stage, 1);
    await(&s->stage, 2); /* the other kernel was refused: nothing has changed here */
    for (uint64_t n = 4; n < 8; n++) take_first(c, n);
    CHECK_EQ(consumer_info(c).unacked, 8);
    send_numbers(p, 8, 200);
    CHECK_OK(dc_channel_sync(channel, LONG_MS));
    atomic_store(&s->stage, 3);
    for (;;) pause();
}

static void is_refused(void) {
    dc_channel *channel = (dc_channel *)&channel;
    CHECK_CODE(dc_open(chan_path, NULL, &channel), DC_E_UNSUPPORTED);
    CHECK(channel == NULL);
    CHECK_TEXT("kernel");
    CHECK_CODE(dc_destroy(chan_path), DC_E_BUSY);
}

/* [S115] Refused as often as one asks, while anything of the other kernel's lives, and without a trace: its users go
 * on, nothing is recovered. Once they are gone the channel is the other's, which recovers it once. */
TEST(s025_a_refused_kernel_changes_nothing) {
    s = shared_memory(sizeof *s);
    boot(1);
    pid_t pid = spawn(holds_on, NULL);
    await(&s->stage, 1);
    boot(2);
    for (int i = 0; i < 2; i++) is_refused();
    atomic_store(&s->stage, 2);
    await(&s->stage, 3);
    is_refused();
    kill_and_wait(pid);
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_channel_info i = channel_info(channel);
    CHECK_EQ(i.recoveries, 1);
    CHECK_EQ(i.discarded, 0);
    send_number(producer_of(channel), 200);
    dc_consumer *c = subscribe_ack(channel, NULL, 0);
    uint64_t n = 0;
    dc_message m;
    for (int code; (code = receive(c, &m, 0)) != DC_AGAIN;)
        if (code == DC_OK) n = number_of(&m);
    CHECK_EQ(n, 200);
    dc_close(channel);
    dc_close(open_flags(DC_EXISTING));
    CHECK_EQ(channel_info(open_flags(DC_EXISTING)).recoveries, 1);
}
