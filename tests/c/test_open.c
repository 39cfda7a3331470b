/* Opening and destroying: what exists, what may, whose it is. A refusal creates and changes nothing. */
#include "chan.h"

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    CHECK(f != NULL);
    CHECK(fputs(text, f) >= 0);
    CHECK(fclose(f) == 0);
}

static void check_file(const char *path, const char *text) {
    char got[256] = {0};
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    got[fread(got, 1, sizeof got - 1, f)] = 0;
    fclose(f);
    CHECK(!strcmp(got, text));
}

static size_t entries_in(const char *path) {
    size_t n = 0;
    DIR *d = opendir(path);
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d));) n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}

static int exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

/* dc_open that must fail: the handle is NULL, the sentence names the path. */
static void open_fails(const char *path, const dc_options *o, int code) {
    dc_channel *channel = (dc_channel *)&channel;
    CHECK_CODE(dc_open(path, o, &channel), code);
    CHECK(channel == NULL);
    CHECK(dc_last_error()[0] != 0);
    CHECK_TEXT(path);
}

static void destroy_fails(const char *path, int code) {
    CHECK_CODE(dc_destroy(path), code);
    CHECK_TEXT(path);
}

/* [S96 S98 S99 S100 S41 S7] */
TEST(s038_null_options_are_the_defaults) {
    dc_channel *channel = open_at(chan_path, NULL);
    dc_channel_info i = channel_info(channel);
    CHECK_EQ(i.page_size, 16 << 20);
    CHECK_EQ(i.max_pages, 16);
    CHECK_EQ(i.max_messages_per_page, 65535);
    CHECK_RANGE(i.max_message, 1, i.page_size);
    CHECK_EQ(i.retention, DC_RETAIN_RING);
    CHECK_EQ(i.checksum, DC_CHECKSUM_ON);
    CHECK(i.format_version >= 1);
    CHECK(i.oldest != 0);
    CHECK_EQ(i.oldest, i.end);
    CHECK_EQ(i.messages, 0);
    CHECK_EQ(i.bytes, 0);
    dc_close(channel);
}

/* [S11 S8] */
TEST(s108_flags_say_what_must_exist) {
    dc_options o = small_options();
    o.flags = DC_EXISTING;
    open_fails(chan_path, &o, -ENOENT);
    CHECK(!exists(chan_path));
    o.flags = DC_NEW;
    dc_close(open_at(chan_path, &o));
    open_fails(chan_path, &o, -EEXIST);
    o.flags = DC_EXISTING;
    dc_close(open_at(chan_path, &o));
    o.flags = 0;
    dc_close(open_at(chan_path, &o));
    CHECK_OK(dc_destroy(chan_path));
    dc_close(open_at(chan_path, &o));
}

TEST(s108_missing_parent_is_enoent) {
    char path[700];
    snprintf(path, sizeof path, "%s/none/channel", test_dir);
    dc_channel *channel = (dc_channel *)&channel;
    CHECK_CODE(dc_open(path, NULL, &channel), -ENOENT);
    CHECK(channel == NULL);
    CHECK_TEXT("/none");
    CHECK_EQ(entries_in(test_dir), 0);
}

/* [S18] */
TEST(s110_foreign_directory_stays_as_it_is) {
    char file[700];
    SYS(mkdir(chan_path, 0700));
    snprintf(file, sizeof file, "%s/notes.txt", chan_path);
    write_file(file, "mine");
    open_fails(chan_path, NULL, DC_E_FORMAT);
    dc_options o = small_options();
    o.flags = DC_EXISTING;
    open_fails(chan_path, &o, DC_E_FORMAT);
    o.flags = DC_READ_ONLY;
    open_fails(chan_path, &o, DC_E_FORMAT);
    destroy_fails(chan_path, DC_E_FORMAT);
    dc_verify_info v = DC_VERIFY_INFO_INIT;
    CHECK_CODE(dc_verify(chan_path, &v), DC_E_FORMAT);
    CHECK_EQ(entries_in(chan_path), 1);
    check_file(file, "mine");
}

TEST(s110_empty_directory_becomes_a_channel) {
    SYS(mkdir(chan_path, 0700));
    dc_close(open_small());
    dc_close(open_flags(DC_EXISTING));
}

/* [S18 S110] */
TEST(s135_a_file_is_no_channel) {
    write_file(chan_path, "mine");
    dc_channel *channel = (dc_channel *)&channel;
    int code = dc_open(chan_path, NULL, &channel);
    CHECK(code == DC_E_FORMAT || code == -ENOTDIR);
    CHECK_TEXT(chan_path);
    CHECK(channel == NULL);
    CHECK(dc_destroy(chan_path) < 0);
    dc_verify_info v = DC_VERIFY_INFO_INIT;
    CHECK(dc_verify(chan_path, &v) < 0);
    check_file(chan_path, "mine");
    CHECK_EQ(entries_in(test_dir), 1);
}

static void as_nobody(void *unused) {
    (void)unused;
    char path[700];
    SYS(setgid(65534));
    SYS(setuid(65534));
    open_fails(chan_path, NULL, -EACCES);
    snprintf(path, sizeof path, "%s/other", test_dir);
    open_fails(path, NULL, -EACCES);
    destroy_fails(chan_path, -EACCES);
    dc_verify_info v = DC_VERIFY_INFO_INIT;
    CHECK_CODE(dc_verify(chan_path, &v), -EACCES);
}

TEST(s135_no_permission_is_eacces) {
    if (geteuid() != 0) SKIP("needs root, to become somebody else");
    if (!nobody_can_come()) SKIP("no way to %s for another user", test_dir);
    dc_close(open_small());
    wait_success(spawn(as_nobody, NULL));
    CHECK_EQ(entries_in(test_dir), 1);
    dc_close(open_flags(DC_EXISTING));
}

static void mismatch(const dc_options *o, const char *name) {
    open_fails(chan_path, o, DC_E_MISMATCH);
    CHECK_TEXT(name);
}

/* [S19] */
TEST(s111_other_options_are_a_mismatch_that_names_them) {
    dc_options stored = small_options(), o;
    stored.mode = 0640;
    dc_channel *channel = open_at(chan_path, &stored);
    send_number(producer_of(channel), 7);
    o = stored, o.page_size *= 2, mismatch(&o, "page_size");
    o = stored, o.max_pages = 8, mismatch(&o, "max_pages");
    o = stored, o.max_pages = 2, mismatch(&o, "max_pages");
    o = stored, o.max_pages = DC_UNLIMITED, mismatch(&o, "max_pages");
    o = stored, o.max_messages_per_page = 17, mismatch(&o, "max_messages_per_page");
    o = stored, o.retention = DC_RETAIN_UNREAD, mismatch(&o, "retention");
    o = stored, o.checksum = DC_CHECKSUM_OFF, mismatch(&o, "checksum");
    o = stored, o.mode = 0600, mismatch(&o, "mode");
    dc_channel_info i = channel_info(channel);
    CHECK_EQ(i.page_size, 64 * 1024);
    CHECK_EQ(i.max_pages, 4);
    CHECK_EQ(i.messages, 1);
    dc_close(channel);
}

/* [S96] */
TEST(s111_zero_adopts_what_is_stored) {
    dc_options o = retain_options(DC_RETAIN_UNREAD);
    o.page_size = 100000; /* not a multiple of anything: rounding must not become a mismatch */
    o.checksum = DC_CHECKSUM_OFF;
    o.mode = 0660;
    dc_close(open_at(chan_path, &o));
    dc_close(open_at(chan_path, &o));
    o.stall_timeout_ms = 77; /* what an opener wants for itself is not stored */
    o.durability = DC_SYNC_ALWAYS;
    dc_close(open_at(chan_path, &o));
    dc_channel *channel = open_at(chan_path, NULL);
    dc_channel_info i = channel_info(channel);
    CHECK_RANGE(i.page_size, 100000, 100000 + 4095);
    CHECK_EQ(i.max_pages, 4);
    CHECK_EQ(i.max_messages_per_page, 16);
    CHECK_EQ(i.retention, DC_RETAIN_UNREAD);
    CHECK_EQ(i.checksum, DC_CHECKSUM_OFF);
    dc_close(channel);
}

static void check_modes(const char *path, mode_t file_mode, mode_t dir_mode) {
    DIR *d = opendir(path);
    struct stat st;
    CHECK(d != NULL);
    SYS(fstat(dirfd(d), &st));
    if ((st.st_mode & 07777) != dir_mode) test_fail(__FILE__, __LINE__, "%s has mode 0%o, not 0%o", path, st.st_mode & 07777, dir_mode);
    for (struct dirent *e; (e = readdir(d));) {
        char child[1200];
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        if (lstat(child, &st) != 0) continue;
        if (S_ISDIR(st.st_mode)) check_modes(child, file_mode, dir_mode);
        else if ((st.st_mode & 07777) != file_mode) test_fail(__FILE__, __LINE__, "%s has mode 0%o, not 0%o", child, st.st_mode & 07777, file_mode);
    }
    closedir(d);
}

/* Files of every kind, made by the first opener and by a later one, under two umasks. */
static void modes_with(uint32_t mode, mode_t file_mode, mode_t dir_mode) {
    dc_options o = small_options();
    o.mode = mode;
    umask(0);
    dc_channel *first = open_at(chan_path, &o);
    send_numbers(producer_of(first), 0, 20);
    subscribe(first, "group one", NULL);
    umask(077);
    dc_channel *second = open_at(chan_path, NULL);
    dc_producer *p = producer_of(second);
    dc_consumer *c = subscribe_ack(second, "group two", DC_ACK_NEXT);
    take_numbers(c, 0, 20);
    send_numbers(p, 20, 400);
    check_modes(chan_path, file_mode, dir_mode);
}

TEST(s101_every_file_has_the_stored_mode) { modes_with(0664, 0664, 0775); }

TEST(s101_the_default_is_for_the_owner_alone) { modes_with(0, 0600, 0700); }

/* A program that changes its directory must not make new pages elsewhere. */
TEST(s038_a_relative_path_survives_chdir) {
    char elsewhere[700];
    SYS(chdir(test_dir));
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", test_dir);
    SYS(mkdir(elsewhere, 0700));
    dc_options o = small_options();
    dc_channel *channel = open_at("channel", &o);
    dc_producer *p = producer_of(channel);
    SYS(chdir(elsewhere));
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT);
    for (uint64_t n = 0; n < 500; n++) {
        send_number(p, n);
        CHECK_EQ(take_number(c), n);
    }
    CHECK_EQ(entries_in(elsewhere), 0);
    dc_close(open_flags(DC_EXISTING));
}

static _Atomic int *stage;

static void holds_open(void *unused) {
    (void)unused;
    dc_channel *channel = open_flags(DC_EXISTING);
    atomic_store(stage, 1);
    await(stage, 2);
    dc_close(channel);
}

/* [S21 S39 S1] */
TEST(s040_destroy_is_busy_while_open_anywhere) {
    stage = shared_memory(4096);
    dc_channel *channel = open_small();
    destroy_fails(chan_path, DC_E_BUSY);
    dc_producer *p = producer_of(channel);
    dc_close(channel);
    destroy_fails(chan_path, DC_E_BUSY);
    send_number(p, 1);
    dc_producer_close(p);
    pid_t pid = spawn(holds_open, NULL);
    await(stage, 1);
    destroy_fails(chan_path, DC_E_BUSY);
    atomic_store(stage, 2);
    wait_success(pid);
    CHECK_OK(dc_destroy(chan_path));
    CHECK(!exists(chan_path));
    CHECK_EQ(entries_in(test_dir), 0);
    destroy_fails(chan_path, -ENOENT);
}

TEST(s040_destroy_after_a_kill_works) {
    stage = shared_memory(4096);
    dc_close(open_small());
    pid_t pid = spawn(holds_open, NULL);
    await(stage, 1);
    kill_and_wait(pid);
    CHECK_OK(dc_destroy(chan_path));
    CHECK_EQ(entries_in(test_dir), 0);
}

TEST(s040_destroy_leaves_what_is_not_its_own) {
    char file[700];
    dc_close(open_small());
    snprintf(file, sizeof file, "%s/notes.txt", chan_path);
    write_file(file, "mine");
    (void)!dc_destroy(chan_path); /* whatever it says, the stranger's file stays */
    check_file(file, "mine");
    SYS(unlink(file));
    SYS(rmdir(chan_path) == 0 || dc_destroy(chan_path) == DC_OK ? 0 : -1);
    SYS(mkdir(chan_path, 0700));
    destroy_fails(chan_path, DC_E_FORMAT);
    CHECK(exists(chan_path));
}

TEST(s040_a_destroyed_channel_starts_anew) {
    dc_channel *channel = open_small();
    dc_producer *p = producer_of(channel);
    send_numbers(p, 0, 10);
    dc_close(channel);
    dc_producer_close(p);
    CHECK_OK(dc_destroy(chan_path));
    channel = open_small();
    take_nothing(subscribe(channel, "g", NULL));
}

/* [S145] Eight processes open a channel that is not there: all get the same one. */
static void opens_and_sends(void *number) {
    dc_channel *channel = open_small();
    await(stage, 1);
    send_number(producer_of(channel), *(uint64_t *)number);
}

TEST(s001_processes_that_create_it_at_once_share_one) {
    stage = shared_memory(4096);
    pid_t pids[8];
    for (uint64_t i = 0; i < 8; i++) pids[i] = spawn(opens_and_sends, &i);
    atomic_store(stage, 1);
    for (int i = 0; i < 8; i++) wait_success(pids[i]);
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe(channel, NULL, NULL);
    unsigned seen = 0;
    for (int i = 0; i < 8; i++) seen |= 1u << take_number(c);
    CHECK_EQ(seen, 255);
    take_nothing(c);
}
