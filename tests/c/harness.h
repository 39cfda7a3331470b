/* The runner of the C behaviour tests: every test is its own process in its own directory.
 *
 * A test file includes this, defines TEST(name) { ... } blocks and nothing else: main() is here.
 *   test_open                  run every test, one line each, and a summary
 *   test_open NAME ...         run these tests only
 *   test_open --list           print the names
 * A failed check prints file, line, expression, values and dc_last_error(), and ends the test; other
 * tests go on. A test that outlives its (generous) limit is reported as a hang and killed with all its
 * children. Names start with the number of the sentence of CONTRACT.md that they show: s049_....
 * C11 and C++17: tests/cpp uses it too.
 * DC_TEST_SCALE multiplies every limit (valgrind, slow machines); DC_TEST_HOLD=1 leaves hangs alone. */
#ifndef DC_TEST_HARNESS_H
#define DC_TEST_HARNESS_H

#include <disk_chan.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))
#define TEST_MAX 128
#define TEST_SKIPPED 77
#define TEST_LIMIT_S 60

struct test {
    const char *name;
    void (*run)(void);
    int limit_s;
};

static struct test tests[TEST_MAX];
static size_t test_count;

/* The running test's fresh directory (absolute), and its channel's path inside: use it or not. */
static char test_dir[512];
static char chan_path[600];

#define TEST_LIMIT(id, seconds)                                                        \
    static void id(void);                                                              \
    __attribute__((constructor)) static void id##_register(void) {                     \
        const struct test id##_test = {#id, id, (seconds)};                            \
        if (test_count < TEST_MAX) tests[test_count++] = id##_test;                    \
    }                                                                                  \
    static void id(void)
#define TEST(id) TEST_LIMIT(id, TEST_LIMIT_S)

/* Ends the test (or the helper process) that calls it. */
__attribute__((noreturn, format(printf, 3, 4))) UNUSED static void test_fail(const char *file, int line, const char *format, ...) {
    char text[4096];
    va_list arguments;
    int n = snprintf(text, sizeof text, "    %s:%d: ", file, line);
    va_start(arguments, format);
    n += vsnprintf(text + n, sizeof text - (size_t)n, format, arguments);
    va_end(arguments);
    if (n > (int)sizeof text - 1) n = sizeof text - 1;
    n += snprintf(text + n, sizeof text - (size_t)n, "\n        dc_last_error: %s\n", dc_last_error());
    if (n > (int)sizeof text - 1) n = sizeof text - 1;
    if (write(2, text, (size_t)n) < 0) abort();
    _exit(1);
}

UNUSED static const char *code_text(int code) {
    static __thread char text[2][64];
    static __thread int turn;
    turn = !turn;
    snprintf(text[turn], sizeof text[turn], "%d (%s)", code, dc_error_name(code));
    return text[turn];
}

#define CHECK(condition) \
    do { if (!(condition)) test_fail(__FILE__, __LINE__, "%s is false", #condition); } while (0)
#define CHECK_CODE(call, expected)                                                          \
    do {                                                                                    \
        int got_ = (call), want_ = (expected);                                              \
        if (got_ != want_)                                                                  \
            test_fail(__FILE__, __LINE__, "%s: %s instead of %s", #call, code_text(got_), code_text(want_)); \
    } while (0)
#define CHECK_OK(call) CHECK_CODE(call, DC_OK)
#define CHECK_EQ(a, b)                                                                      \
    do {                                                                                    \
        unsigned long long a_ = (unsigned long long)(a), b_ = (unsigned long long)(b);      \
        if (a_ != b_)                                                                       \
            test_fail(__FILE__, __LINE__, "%s == %s: %lld (0x%llx) and %lld (0x%llx)", #a, #b, (long long)a_, a_, (long long)b_, b_); \
    } while (0)
#define CHECK_RANGE(a, low, high)                                                           \
    do {                                                                                    \
        unsigned long long a_ = (unsigned long long)(a), l_ = (unsigned long long)(low), h_ = (unsigned long long)(high); \
        if (a_ < l_ || a_ > h_) test_fail(__FILE__, __LINE__, "%s: %llu is not in [%llu, %llu]", #a, a_, l_, h_); \
    } while (0)
/* The last failure of this thread was told in a sentence that holds `part`. */
#define CHECK_TEXT(part)                                                                    \
    do { if (!strstr(dc_last_error(), (part))) test_fail(__FILE__, __LINE__, "the error text does not say \"%s\"", (part)); } while (0)
/* A system call that must work for the test to mean anything. */
#define SYS(call) \
    do { if ((long)(call) < 0) test_fail(__FILE__, __LINE__, "%s: %s", #call, strerror(errno)); } while (0)
#define SKIP(...)                                \
    do { fprintf(stderr, "    SKIPPED, NOT SHOWN HERE: "); fprintf(stderr, __VA_ARGS__); fprintf(stderr, "\n"); _exit(TEST_SKIPPED); } while (0)

UNUSED static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

UNUSED static void sleep_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {}
}

UNUSED static int test_scale(void) {
    const char *text = getenv("DC_TEST_SCALE");
    int scale = text ? atoi(text) : 1;
    return scale > 0 ? scale : 1;
}

/* A number from the environment, for tests whose length one may want to change. */
UNUSED static long env_number(const char *name, long normal) {
    const char *text = getenv(name);
    return text && atol(text) > 0 ? atol(text) : normal;
}

UNUSED static void remove_tree(const char *path) {
    struct stat st;
    if (lstat(path, &st) != 0) return;
    if (S_ISDIR(st.st_mode)) {
        DIR *d = opendir(path);
        struct dirent *e;
        while (d && (e = readdir(d))) {
            char child[4096];
            if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
            snprintf(child, sizeof child, "%s/%s", path, e->d_name);
            remove_tree(child);
        }
        if (d) closedir(d);
        rmdir(path);
    } else {
        unlink(path);
    }
}

/* Runs one test in a child, whose whole process group ends with it: 0 passed, 1 failed, 77 skipped. */
static int test_run_one(const struct test *t) {
    const char *base = getenv("TMPDIR");
    snprintf(test_dir, sizeof test_dir, "%s/disk-chan-XXXXXX", base && base[0] == '/' ? base : "/tmp");
    if (!mkdtemp(test_dir)) {
        fprintf(stderr, "no directory for tests: %s: %s\n", test_dir, strerror(errno));
        return 1;
    }
    snprintf(chan_path, sizeof chan_path, "%s/channel", test_dir);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        t->run();
        fflush(NULL);
        _exit(0);
    }
    setpgid(pid, pid);
    int64_t limit = now_ms() + (int64_t)t->limit_s * 1000 * test_scale();
    int status = 0, result = 1;
    for (long pause = 1;; pause = pause < 20 ? pause + 1 : 20) {
        pid_t ended = waitpid(pid, &status, WNOHANG);
        if (ended == pid) {
            if (WIFEXITED(status)) result = WEXITSTATUS(status);
            else fprintf(stderr, "    %s: ended by signal %d (%s)\n", t->name, WTERMSIG(status), strsignal(WTERMSIG(status)));
            break;
        }
        if (now_ms() > limit && !getenv("DC_TEST_HOLD")) {
            fprintf(stderr, "    %s: no end after %d s: killed\n", t->name, t->limit_s * test_scale());
            break;
        }
        sleep_ms(pause);
    }
    kill(-pid, SIGCONT);
    kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) == pid) {}
    if (!getenv("DC_TEST_KEEP")) remove_tree(test_dir);
    return result == 0 || result == TEST_SKIPPED ? result : 1;
}

int main(int argc, char **argv) {
    int passed = 0, failed = 0, skipped = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < test_count; i++) {
        int wanted = argc < 2;
        for (int a = 1; a < argc; a++) wanted |= !strcmp(argv[a], tests[i].name);
        if (argc == 2 && !strcmp(argv[1], "--list")) {
            puts(tests[i].name);
            continue;
        }
        if (!wanted) continue;
        int64_t start = now_ms();
        int result = test_run_one(&tests[i]);
        printf("%-7s %s (%lld ms)\n", result == 0 ? "ok" : result == TEST_SKIPPED ? "SKIPPED" : "FAILED", tests[i].name, (long long)(now_ms() - start));
        passed += result == 0;
        skipped += result == TEST_SKIPPED;
        failed += result == 1;
    }
    if (argc == 2 && !strcmp(argv[1], "--list")) return 0;
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    if (passed + failed + skipped == 0) {
        fprintf(stderr, "no such test; --list names them\n");
        return 1;
    }
    return failed != 0;
}

#endif
