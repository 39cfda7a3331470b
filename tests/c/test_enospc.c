/* A full disk: a file system of a few megabytes of our own, filled and emptied. Needs root, to mount it. */
#include "files.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

static char disk[560], ballast[700];

/* In a namespace of this process, so that it is gone with it. */
static void mount_disk(const char *size) {
    char options[64];
    snprintf(disk, sizeof disk, "%s/disk", test_dir);
    snprintf(ballast, sizeof ballast, "%s/ballast", disk);
    snprintf(chan_path, sizeof chan_path, "%s/channel", disk);
    snprintf(options, sizeof options, "size=%s", size);
    SYS(mkdir(disk, 0700));
    if (unshare(CLONE_NEWNS) != 0) SKIP("unshare: %s (needs root)", strerror(errno));
    if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0) SKIP("mount: %s", strerror(errno));
    if (mount("tmpfs", disk, "tmpfs", 0, options) != 0) SKIP("mounting a tmpfs: %s", strerror(errno));
}

/* Takes all space but so many bytes. */
static void fill(uint64_t leave) {
    struct statvfs v;
    SYS(statvfs(disk, &v));
    uint64_t free_bytes = (uint64_t)v.f_bavail * v.f_bsize;
    CHECK(free_bytes > leave);
    int fd = open(ballast, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    SYS(fd);
    SYS(fallocate(fd, 0, 0, (off_t)(free_bytes - leave)));
    close(fd);
}

static uint64_t send_until_enospc(dc_producer *p, uint64_t n, size_t len) {
    static unsigned char load[65536];
    for (int code;; n++) {
        code = dc_send(p, load, load_make(load, 1, n, len), 0);
        if (code == -ENOSPC) return n;
        CHECK_OK(code);
        CHECK(n < 1000000);
    }
}

TEST(s131_no_room_at_open) {
    mount_disk("8m");
    fill(0);
    dc_channel *channel = (dc_channel *)&channel;
    dc_options o = small_options();
    CHECK_CODE(dc_open(chan_path, &o, &channel), -ENOSPC);
    CHECK(channel == NULL);
    CHECK_TEXT(chan_path);
    SYS(unlink(ballast));
    struct statvfs v;
    SYS(statvfs(disk, &v));
    CHECK(v.f_bavail * v.f_bsize > (8 << 20) - (64 << 10)); /* nothing was left lying about */
    channel = open_small();
    send_number(producer_of(channel), 0);
    take_first(subscribe(channel, "g", NULL), 0);
}

/* Sixteen MiB for a page there never are: whoever needs the first one is told. */
TEST(s131_no_room_for_the_first_page) {
    mount_disk("8m");
    for (int n = 0; n < 3; n++) {
        dc_channel *channel = NULL;
        dc_producer *p = NULL;
        int code = dc_open(chan_path, NULL, &channel);
        if (code == DC_OK) code = dc_producer_open(channel, &p);
        if (code == DC_OK) code = dc_send(p, "x", 1, 0);
        CHECK_CODE(code, -ENOSPC);
        CHECK_TEXT(chan_path);
        if (channel) CHECK_EQ(channel_info(channel).messages, 0);
        dc_producer_close(p);
        dc_close(channel);
    }
}

/* [S62] */
static void no_room_at_roll_over(uint32_t flags) {
    mount_disk("32m");
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    o.page_size = 1 << 20;
    o.max_pages = 1000;
    o.flags = flags;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    uint64_t sent = 0, taken = 0;
    for (int round = 0; round < 4; round++) {
        fill(3 << 20);
        sent = send_until_enospc(p, sent, 30000);
        CHECK(dc_last_error()[0] != 0);
        for (int again = 0; again < 3; again++) { /* a code each time, and nothing half sent */
            unsigned char load[64];
            CHECK_CODE(dc_send(p, load, load_make(load, 9, 0, 64), 0), -ENOSPC);
        }
        CHECK_EQ(channel_info(channel).messages, sent);
        CHECK_EQ(channel_info(channel).poisoned, 0);
        uint64_t half = taken + (sent - taken) / 2;
        for (; taken < half; taken++) { /* what was sent stays readable */
            dc_message m = take(c);
            CHECK_EQ(load_check(&m).sequence, taken);
        }
        SYS(unlink(ballast));
        static unsigned char load[30000]; /* and sending resumes */
        for (int n = 0; n < 40; n++, sent++) CHECK_OK(dc_send(p, load, load_make(load, 1, sent, sizeof load), LONG_MS));
        for (; taken < sent; taken++) {
            dc_message m = take(c);
            CHECK_EQ(load_check(&m).sequence, taken);
        }
        take_nothing(c);
    }
    CHECK_EQ(verify_info(chan_path).corrupt, 0);
}

TEST(s131_no_room_at_roll_over) { no_room_at_roll_over(0); }

TEST(s131_no_room_at_roll_over_without_a_thread) { no_room_at_roll_over(DC_NO_THREAD); }

/* [S67] A reservation that was skipped is to be sent anew, and there is no room on the disk: it is kept until there is. */
TEST(s131_no_room_for_a_reservation_that_was_skipped) {
    mount_disk("32m");
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    o.page_size = 1 << 20;
    o.max_pages = 1000;
    o.stall_timeout_ms = 100;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *a = producer_of(channel), *b = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    unsigned char load[64];
    void *data;
    CHECK_OK(dc_reserve(a, sizeof load, 0, &data));
    fill(3 << 20);
    uint64_t sent = send_until_enospc(b, 0, 30000), taken = 0;
    for (; taken < sent; taken++) { /* by readers, who skip it */
        dc_message m = take(c);
        CHECK_EQ(load_check(&m).sequence, taken);
    }
    memcpy(data, load, load_make(load, 2, 0, sizeof load));
    for (int again = 0; again < 3; again++) {
        CHECK_CODE(dc_commit(a, sizeof load), -ENOSPC);
        CHECK_CODE(dc_send(a, "x", 1, 0), DC_E_STATE); /* still held */
    }
    SYS(unlink(ballast));
    CHECK_OK(dc_commit(a, sizeof load));
    dc_message m = take(c);
    CHECK_EQ(load_check(&m).producer, 2);
    take_nothing(c);
}

/* A ring that has all its pages needs no more room to go on. */
TEST(s131_a_ring_goes_on_in_its_own_pages) {
    mount_disk("16m");
    dc_options o = small_options();
    o.page_size = 256 * 1024;
    dc_channel *channel = open_at(chan_path, &o);
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 200);
    sleep_ms(200); /* the page ahead is prepared */
    fill(8192);
    int refused = 0;
    for (uint64_t n = 200; n < 2000; n++) {
        int code = dc_send(p, &n, sizeof n, LONG_MS);
        CHECK(code == DC_OK || code == -ENOSPC);
        refused += code == -ENOSPC;
    }
    CHECK_EQ(refused, 0);
}

/* Groups and consumers need a little room, too: a code, and the channel goes on. */
TEST(s131_no_room_for_a_group) {
    mount_disk("8m");
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    fill(0);
    char name[32];
    int code = DC_OK;
    for (int n = 0; n < 300 && code == DC_OK; n++) {
        dc_consumer *more = (dc_consumer *)&more;
        snprintf(name, sizeof name, "%d", n);
        code = dc_subscribe(channel, name, NULL, &more);
        CHECK(code == DC_OK || code == -ENOSPC);
        CHECK((code == DC_OK) == (more != NULL));
        dc_consumer_close(more);
    }
    CHECK_CODE(code, -ENOSPC);
    send_number(p, 1);
    take_first(c, 1);
    SYS(unlink(ballast));
    subscribe(channel, "more", NULL);
}
