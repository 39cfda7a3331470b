/* Damage on disk: told by a code, one message at a time, and never a crash, a hang, or an invented message. */
#include "files.h"

#include <sys/resource.h>

#define COUNT 40

static void text_of(char text[64], uint64_t n) { snprintf(text, 64, "message number %06llu, and a tail to be damaged", (unsigned long long)n); }

/* A closed channel of COUNT texts, a group that has read ten of them, and an empty group. */
static void make_channel(uint32_t checksum) {
    dc_options o = small_options();
    o.checksum = checksum;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    char text[64];
    for (uint64_t n = 0; n < COUNT; n++) {
        text_of(text, n);
        CHECK_OK(dc_send(p, text, strlen(text), 0));
    }
    dc_consumer *c = subscribe_ack(channel, "reader", DC_ACK_RECEIVE);
    for (int n = 0; n < 10; n++) take(c);
    dc_consumer_close(c);
    dc_consumer_close(subscribe(channel, "empty", NULL));
    dc_producer_close(p);
    dc_close(channel);
}

/* Flips a bit of message n where it lies. */
static void damage(uint64_t n) {
    static struct files f;
    char text[64];
    size_t at;
    f.count = 0;
    read_files(&f, chan_path);
    text_of(text, n);
    struct file *file = find_bytes(&f, text, strlen(text), &at);
    CHECK(file != NULL);
    text[20] ^= 4;
    overwrite(file->path, at + 20, &text[20], 1);
}

/* [S46] */
TEST(s118_verify_counts_a_sound_channel) {
    make_channel(DC_CHECKSUM_ON);
    dc_verify_info v = verify_info(chan_path);
    char text[64];
    text_of(text, 0);
    CHECK_EQ(v.messages, COUNT);
    CHECK_EQ(v.bytes, COUNT * strlen(text));
    CHECK_EQ(v.groups, 2);
    CHECK_RANGE(v.pages, 3, 4);
    CHECK_EQ(v.corrupt, 0);
    CHECK_EQ(v.torn, 0);
    dc_channel *channel = open_flags(DC_EXISTING); /* in use, too */
    v = verify_info(chan_path);
    CHECK(v.messages == COUNT && v.corrupt == 0);
    dc_verify_info none = DC_VERIFY_INFO_INIT;
    char path[700];
    snprintf(path, sizeof path, "%s/none", test_dir);
    CHECK_CODE(dc_verify(path, &none), -ENOENT);
    dc_close(channel);
}

/* [S46 S118 S61] */
TEST(s017_one_damaged_message_is_skipped_once) {
    make_channel(DC_CHECKSUM_ON);
    damage(5);
    damage(20);
    dc_verify_info v = verify_info(chan_path);
    CHECK_EQ(v.corrupt, 2);
    CHECK_EQ(v.messages, COUNT - 2);
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe(channel, "new", NULL), *o = subscribe(channel, NULL, NULL);
    uint64_t before = 0;
    for (uint64_t n = 0; n < COUNT; n++) {
        for (int i = 0; i < 2; i++) {
            dc_message m;
            memset(&m, 0xAB, sizeof m);
            int code = receive(i ? o : c, &m, 0);
            CHECK_CODE(code, n == 5 || n == 20 ? DC_E_CORRUPT : DC_OK);
            CHECK((m.data == NULL) == (code == DC_E_CORRUPT));
            CHECK(m.position > before || (i && m.position == before));
            if (code == DC_E_CORRUPT) CHECK(dc_last_error()[0] != 0);
            before = m.position;
        }
    }
    take_nothing(c);
    take_nothing(o);
    CHECK_EQ(consumer_info(c).corrupt, 2);
    CHECK_EQ(consumer_info(o).corrupt, 2);
    CHECK_EQ(group_info(channel, "new").unacked, 0);
    send_number(producer_of(channel), 1);
    take_first(c, 1);
    dc_consumer_close(c);
    c = subscribe_ack(channel, "new", DC_ACK_NEXT); /* acknowledged like any other: it does not come again */
    take_again(c, 1, 2);
    take_nothing(c);
}

TEST(s017_a_batch_with_a_damaged_message) {
    make_channel(DC_CHECKSUM_ON);
    damage(3);
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe_ack(channel, "new", DC_ACK_NEXT);
    dc_message m[COUNT];
    uint64_t good = 0, corrupt = 0;
    while (good + corrupt < COUNT) {
        size_t received = 77;
        int code = dc_recv_batch(c, m, COUNT, 0, &received);
        if (code == DC_E_CORRUPT) {
            CHECK_EQ(received, 0);
            CHECK_EQ(good, 3);
            CHECK(m[0].data == NULL && m[0].position != 0);
            corrupt++;
            continue;
        }
        CHECK_OK(code);
        CHECK(received >= 1);
        for (size_t i = 0; i < received; i++) {
            char text[64];
            text_of(text, good + corrupt + i);
            CHECK(m[i].len == strlen(text) && !memcmp(m[i].data, text, m[i].len));
        }
        good += received;
    }
    CHECK_EQ(corrupt, 1);
}

/* What a batch found damaged is reported by the next call, whatever it is, before what lies behind. */
TEST(s017_a_batch_with_a_damaged_message_then_one) {
    make_channel(DC_CHECKSUM_ON);
    damage(3);
    dc_channel *channel = open_flags(DC_EXISTING);
    for (int grouped = 0; grouped < 2; grouped++) {
        dc_consumer *c = subscribe_ack(channel, grouped ? "new" : NULL, grouped ? DC_ACK_NEXT : 0);
        dc_message m[COUNT], damaged;
        size_t received = 77;
        CHECK_OK(dc_recv_batch(c, m, COUNT, 0, &received));
        CHECK_EQ(received, 3);
        uint64_t last = m[2].position;
        CHECK_CODE(dc_recv(c, &damaged, 0), DC_E_CORRUPT);
        CHECK(damaged.data == NULL && damaged.position > last);
        for (int n = 4; n < COUNT; n++) {
            char text[64];
            text_of(text, (uint64_t)n);
            CHECK_OK(dc_recv(c, m, 0));
            CHECK(m->len == strlen(text) && !memcmp(m->data, text, m->len));
        }
        take_nothing(c);
        dc_consumer_close(c);
    }
}

TEST(s017_damage_under_an_open_channel) {
    make_channel(DC_CHECKSUM_ON);
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *o = subscribe_ack(channel, NULL, 0);
    dc_message m;
    for (int n = 0; n < 3; n++) take(o);
    damage(20);
    for (int n = 3; n < COUNT; n++) CHECK_CODE(dc_recv(o, &m, 0), n == 20 ? DC_E_CORRUPT : DC_OK);
}

/* Without checksums nobody looks: the bytes are delivered as they are. */
TEST(s111_checksums_off) {
    make_channel(DC_CHECKSUM_OFF);
    damage(5);
    CHECK_EQ(verify_info(chan_path).corrupt, 0);
    dc_channel *channel = open_flags(DC_EXISTING);
    CHECK_EQ(channel_info(channel).checksum, DC_CHECKSUM_OFF);
    dc_consumer *c = subscribe_ack(channel, "new", DC_ACK_NEXT);
    for (int n = 0; n < COUNT; n++) take(c);
    take_nothing(c);
}

/* The version stands behind the magic of each superblock copy (docs/FORMAT.md). */
TEST(s018_a_newer_format_is_refused_and_left_alone) {
    static struct files f, after;
    make_channel(DC_CHECKSUM_ON);
    read_files(&f, chan_path);
    int patched = 0;
    for (size_t i = 0; i < f.count; i++)
        for (size_t at = 0; at + 12 <= f.file[i].len; at += 4096)
            if (!memcmp(f.file[i].bytes + at, "DISKCHAN", 8)) {
                f.file[i].bytes[at + 8] = 99;
                overwrite(f.file[i].path, at + 8, "\x63", 1);
                patched++;
            }
    CHECK(patched >= 1);
    for (int flags = 0; flags < 8; flags = flags ? flags * 2 : 1) {
        if (flags == DC_NEW) continue;
        dc_options o = DC_OPTIONS_INIT;
        dc_channel *channel = (dc_channel *)&channel;
        o.flags = (uint32_t)flags;
        CHECK_CODE(dc_open(chan_path, &o, &channel), DC_E_FORMAT);
        CHECK(channel == NULL);
        CHECK_TEXT("99");
    }
    dc_verify_info v = DC_VERIFY_INFO_INIT;
    CHECK_CODE(dc_verify(chan_path, &v), DC_E_FORMAT);
    read_files(&after, chan_path);
    CHECK_EQ(after.count, f.count);
    for (size_t i = 0; i < f.count; i++) CHECK(after.file[i].len == f.file[i].len && !memcmp(after.file[i].bytes, f.file[i].bytes, f.file[i].len));
}

/* Everything one can do with a channel that may be anything: each call returns, and says no nonsense. */
static void survive(void *unused) {
    (void)unused;
    struct rlimit memory = {4ull << 30, 4ull << 30};
    setrlimit(RLIMIT_AS, &memory);
    alarm((unsigned)(20 * test_scale()));
    dc_options o = DC_OPTIONS_INIT;
    dc_channel *channel = NULL;
    dc_verify_info v = DC_VERIFY_INFO_INIT;
    dc_channel_info ci = DC_CHANNEL_INFO_INIT;
    dc_group_info gi = DC_GROUP_INFO_INIT;
    CHECK(dc_verify(chan_path, &v) != DC_E_INTERNAL);
    for (int read_only = 1; read_only >= 0; read_only--) {
        o.flags = read_only ? DC_READ_ONLY : DC_EXISTING;
        int code = dc_open(chan_path, &o, &channel);
        CHECK(code != DC_E_INTERNAL && (code == DC_OK) == (channel != NULL));
        if (code != DC_OK) continue;
        CHECK(dc_channel_stats(channel, &ci) != DC_E_INTERNAL);
        CHECK(dc_group_stats(channel, "reader", &gi) != DC_E_INTERNAL);
        char name[256];
        const char *after = NULL;
        for (int n = 0; n < 10 && dc_group_next(channel, after, name, sizeof name) == DC_OK; n++) after = name;
        dc_producer *p = NULL;
        if (!read_only && dc_producer_open(channel, &p) == DC_OK)
            for (int n = 0; n < 40; n++) CHECK(dc_send(p, "after the damage", 16, 0) != DC_E_INTERNAL);
        const char *groups[] = {NULL, "reader", "empty", "fresh"};
        for (int g = 0; g < 4; g++) {
            dc_consumer *c = NULL;
            dc_message m;
            if (dc_subscribe(channel, groups[g], NULL, &c) != DC_OK) continue;
            for (int n = 0; n < 2000; n++) {
                code = dc_recv(c, &m, 0);
                CHECK(code != DC_E_INTERNAL);
                if (code == DC_END_OF_PAGE && dc_next_page(c) != DC_OK) break;
                if (code == DC_OK) {
                    CHECK(m.data != NULL && m.len < 100); /* nothing longer was ever sent */
                    unsigned char bytes[100];
                    memcpy(bytes, m.data, m.len); /* every byte can be read */
                    CHECK(memcmp(bytes, m.data, m.len) == 0);
                } else if (code < 0 && code != DC_E_CORRUPT) {
                    break;
                }
            }
            (void)!dc_seek(c, DC_EARLIEST);
            dc_consumer_close(c);
        }
        dc_producer_close(p);
        dc_close(channel);
        channel = NULL;
    }
}

static struct files original;

static void survive_and_restore(void) {
    wait_success(spawn(survive, NULL));
    remove_tree(chan_path);
    SYS(mkdir(chan_path, 0700));
    for (size_t i = 0; i < original.count; i++) restore(&original.file[i]);
}

/* [S148] */
TEST(s132_truncated_files) {
    make_channel(DC_CHECKSUM_ON);
    read_files(&original, chan_path);
    for (size_t i = 0; i < original.count; i++) {
        size_t lengths[] = {0, 1, 8, 4096, 4097, original.file[i].len / 2, original.file[i].len - 1};
        for (int k = 0; k < 7; k++) {
            if (lengths[k] >= original.file[i].len) continue;
            SYS(truncate(original.file[i].path, (off_t)lengths[k]));
            survive_and_restore();
        }
        SYS(truncate(original.file[i].path, (off_t)original.file[i].len * 3));
        survive_and_restore();
        SYS(unlink(original.file[i].path));
        survive_and_restore();
    }
}

static void damaged_files(uint64_t seed, long rounds) {
    make_channel(DC_CHECKSUM_ON);
    read_files(&original, chan_path);
    for (long round = 0; round < rounds; round++) {
        for (uint32_t flips = random_number(&seed) % 4 + 1; flips > 0; flips--) {
            struct file *file = &original.file[random_number(&seed) % original.count];
            if (file->len == 0) continue;
            /* The heads and tables are where it hurts: half of the blows go to the first 8 KiB. */
            size_t reach = random_number(&seed) & 1 && file->len > 8192 ? 8192 : file->len;
            size_t at = random_number(&seed) % reach;
            unsigned char bytes[8];
            size_t len = random_number(&seed) % 8 + 1;
            for (size_t i = 0; i < len; i++) bytes[i] = random_number(&seed) % 3 ? (unsigned char)random_number(&seed) : 0xFF;
            if (at + len <= file->len) overwrite(file->path, at, bytes, len);
        }
        survive_and_restore();
    }
}

TEST_LIMIT(s132_flipped_bytes, 180) { damaged_files((uint64_t)env_number("DC_TEST_SEED", 1), env_number("DC_TEST_DAMAGES", 150)); }

static _Atomic int *stage;

static void own_handler(int signal) {
    (void)signal;
    _exit(42);
}

/* With the guard, a page truncated under its reader is a code; a fault of the program's own is its own. */
static void guarded(void *unused) {
    (void)unused;
    signal(SIGBUS, own_handler);
    dc_channel *channel = open_flags(DC_EXISTING | DC_SIGBUS_GUARD);
    dc_consumer *c = subscribe_ack(channel, NULL, 0);
    take(c);
    atomic_store(stage, 1);
    await(stage, 2);
    dc_message m;
    int corrupt = 0;
    for (int n = 0; n < 100 && !corrupt; n++) {
        int code = dc_recv(c, &m, 0);
        corrupt = code == DC_E_CORRUPT;
        if (code == DC_AGAIN) break;
    }
    CHECK(corrupt);
    CHECK_TEXT(chan_path);
    char path[700];
    snprintf(path, sizeof path, "%s/own", test_dir);
    int fd = open(path, O_CREAT | O_RDWR, 0600);
    SYS(fd);
    SYS(ftruncate(fd, 4096));
    volatile char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    SYS(ftruncate(fd, 0));
    _exit(p[0] ? 2 : 3); /* must end in own_handler, with 42 */
}

TEST(s093_the_guard_turns_a_truncated_page_into_a_code) {
    static struct files f;
    stage = shared_memory(4096);
    make_channel(DC_CHECKSUM_ON);
    pid_t pid = spawn(guarded, NULL);
    await(stage, 1);
    read_files(&f, chan_path);
    char text[64];
    for (uint64_t n = 0; n < COUNT; n++) { /* every page with messages */
        size_t at;
        text_of(text, n);
        struct file *file = find_bytes(&f, text, strlen(text), &at);
        CHECK(file != NULL);
        SYS(truncate(file->path, 0));
    }
    atomic_store(stage, 2);
    int status;
    SYS(waitpid(pid, &status, 0));
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 42);
}
