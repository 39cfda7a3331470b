/* System calls of the steady state, counted by strace: so many a page, none a message. */
#include "files.h"

enum { PAGE_MESSAGES = 2000, PAGES = 30 };

/* strace sees these, and nothing else calls them. */
static void mark(void) { (void)!chdir("/dc-test-mark"); }

static dc_channel *open_pages(void) {
    dc_options o = small_options();
    o.page_size = 256 * 1024;
    o.max_messages_per_page = PAGE_MESSAGES;
    o.max_pages = 8;
    return open_at(chan_path, &o);
}

/* Sends and receives go through page after page, all pages mapped and reused. */
static void steady_state(void) {
    dc_channel *channel = open_pages();
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, "g", DC_ACK_NEXT), *o = subscribe_ack(channel, NULL, 0);
    dc_subscribe_options latest = DC_SUBSCRIBE_OPTIONS_INIT;
    latest.start = DC_LATEST;
    dc_consumer *idle = subscribe(channel, "idle", &latest); /* alive, without an fd, not waiting: costs nobody anything */
    dc_message m;
    for (int round = 0; round < 2; round++) {
        if (round) mark();
        for (uint64_t n = 0; n < PAGES * PAGE_MESSAGES; n++) {
            CHECK_OK(dc_send(p, &n, sizeof n, 0));
            CHECK_OK(dc_recv(c, &m, 0));
            CHECK_OK(dc_recv(o, &m, 0));
        }
    }
    mark();
    dc_consumer_close(idle);
}

static void sleeps(void *unused) {
    (void)unused;
    dc_channel *channel = open_flags(DC_EXISTING);
    dc_consumer *c = subscribe_ack(channel, "sleeper", DC_ACK_NEXT);
    dc_message m;
    while (dc_recv(c, &m, -1) >= 0) {}
}

/* A consumer asleep in another process, stopped there: its producer wakes it once, not once a message. */
static void stopped_sleeper(void) {
    dc_channel *channel = open_pages();
    dc_producer *p = producer_of(channel);
    pid_t pid = spawn(sleeps, NULL);
    char path[64], state[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    for (int asleep = 0; asleep < 50;) {
        FILE *f = fopen(path, "r");
        CHECK(f != NULL);
        state[fread(state, 1, sizeof state - 1, f)] = 0;
        fclose(f);
        const char *end = strrchr(state, ')');
        asleep = end && end[2] == 'S' && channel_info(channel).consumers == 1 ? asleep + 1 : 0;
        sleep_ms(2);
    }
    SYS(kill(pid, SIGSTOP));
    mark();
    for (uint64_t n = 0; n < PAGE_MESSAGES - 10; n++) CHECK_OK(dc_send(p, &n, sizeof n, 0));
    mark();
    kill_and_wait(pid);
}

/* Runs `what` in a copy of this program under strace; returns the calls between the marks, printed on failure. */
static long count_calls(const char *what, const char *only, char *report, size_t room) {
    char trace[700], self[600] = {0}, program[2000];
    snprintf(trace, sizeof trace, "%s/trace", test_dir);
    if (system("strace -V >/dev/null 2>&1") != 0) SKIP("strace is not installed");
    SYS(readlink("/proc/self/exe", self, sizeof self - 1));
    snprintf(program, sizeof program, "DC_SYSCALLS=%s exec strace -f -qq -o '%s' '%s' s133_traced", what, trace, self);
    if (system("strace -f -qq -o /dev/null true >/dev/null 2>&1") != 0) SKIP("strace may not trace here");
    CHECK_EQ(system(program), 0);
    FILE *f = fopen(trace, "r");
    CHECK(f != NULL);
    char line[1024];
    long marks = 0, calls = 0;
    size_t used = 0;
    char marked_pid[32] = "";
    while (fgets(line, sizeof line, f)) {
        if (strstr(line, "/dc-test-mark")) {
            marks++;
            sscanf(line, "%31s", marked_pid);
            continue;
        }
        if (marks != 1 || strncmp(line, marked_pid, strlen(marked_pid)) != 0 || (only && !strstr(line, only)) || strstr(line, "resumed>")) continue;
        calls++;
        if (used + strlen(line) + 1 < room) used += (size_t)snprintf(report + used, room - used, "%s", line);
    }
    fclose(f);
    CHECK_EQ(marks, 2);
    return calls;
}

/* The traced half of the tests below; alone it is a quick run of the same. */
TEST(s133_traced) {
    const char *what = getenv("DC_SYSCALLS");
    if (!what || !strcmp(what, "steady")) steady_state();
    else stopped_sleeper();
}

/* [S128] Thirty pages, 60,000 messages, three calls each. */
TEST(s133_system_calls_a_page_not_a_message) {
    static char report[3000];
    long calls = count_calls("steady", NULL, report, sizeof report);
    if (calls > PAGES * 60) test_fail(__FILE__, __LINE__, "%ld system calls for %d pages of %d messages:\n%s", calls, PAGES, PAGE_MESSAGES, report);
}

TEST(s128_one_wake_for_an_idle_sleeper) {
    static char report[3000];
    long calls = count_calls("sleeper", "futex", report, sizeof report);
    CHECK(calls >= 1); /* or it was not asleep, and the test shows nothing */
    if (calls > 20) test_fail(__FILE__, __LINE__, "%ld wakes for one sleeper:\n%s", calls, report);
}
