/* The SIGBUS handler of DC_SIGBUS_GUARD between the program's own and the kernel: whose fault it is decides. */
#include "chan.h"

#include <pthread.h>
#include <setjmp.h>
#include <ucontext.h>

static long page_bytes;
static _Atomic int calls;
static _Atomic(void *) fault_at, stack_at;

/* A mapping of the program's own whose file is gone. */
static volatile char *own_fault(void) {
    char path[700];
    snprintf(path, sizeof path, "%s/own-%d", test_dir, atomic_load(&calls));
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    SYS(fd);
    SYS(ftruncate(fd, 2 * page_bytes));
    volatile char *p = mmap(NULL, (size_t)(2 * page_bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    SYS(ftruncate(fd, 0));
    return p;
}

/* Makes the faulting load succeed the next time, as a program with files of its own would. */
static void mend(void *at) {
    char *page = (char *)((uintptr_t)at & ~(uintptr_t)(page_bytes - 1));
    mmap(page, (size_t)page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void note(void *at) {
    char here;
    atomic_fetch_add(&calls, 1);
    atomic_store(&fault_at, at);
    atomic_store(&stack_at, (void *)&here);
    mend(at);
}
static void with_info(int signal, siginfo_t *info, void *context) {
    if (signal != SIGBUS || !context || info->si_code <= 0) _exit(90);
    note(info->si_addr);
}
/* A handler that is told the number alone knows its one address from elsewhere. */
static volatile char *volatile known;
static void plain(int signal) {
    if (signal != SIGBUS) _exit(90);
    note((void *)(uintptr_t)known);
}

static void install(struct sigaction *action, int flags) {
    memset(action, 0, sizeof *action);
    if (flags & SA_SIGINFO) action->sa_sigaction = with_info;
    else action->sa_handler = plain;
    action->sa_flags = flags;
    sigemptyset(&action->sa_mask);
    sigaddset(&action->sa_mask, SIGUSR1);
    SYS(sigaction(SIGBUS, action, NULL));
}

/* A guarded channel one of whose pages is cut: a fault of the library's, and then it works as before. */
static dc_channel *guarded(void) {
    dc_options o = small_options();
    o.flags = DC_SIGBUS_GUARD | DC_NO_THREAD;
    return open_at(chan_path, &o);
}
static void fault_of_the_librarys(dc_channel *channel) {
    dc_producer *p = producer_of(channel);
    dc_consumer *c = subscribe_ack(channel, NULL, 0);
    char path[700];
    int before = atomic_load(&calls);
    send_numbers(p, 0, 3);
    take(c);
    dc_producer_close(p);
    snprintf(path, sizeof path, "%s/page-0000000001", chan_path);
    SYS(truncate(path, 0));
    dc_message m;
    CHECK_CODE(dc_recv(c, &m, 0), DC_E_CORRUPT);
    CHECK_EQ(m.position, 0); /* not one message: the file */
    CHECK_EQ(atomic_load(&calls), before); /* nobody else's business */
    dc_consumer_close(c);
}

static void reaches_the_programs_handler(int flags) {
    struct sigaction action;
    page_bytes = sysconf(_SC_PAGESIZE);
    install(&action, flags);
    dc_channel *channel = guarded();
    fault_of_the_librarys(channel);
    for (int n = 1; n <= 3; n++) {
        volatile char *p = known = own_fault();
        known = p + 17;
        p[17] = (char)n;
        CHECK_EQ(p[17], n);
        CHECK_EQ(atomic_load(&calls), n);
        CHECK(atomic_load(&fault_at) == (void *)(uintptr_t)(p + 17));
    }
    dc_close(channel);
}

TEST(s093_a_fault_of_the_programs_reaches_its_handler) { reaches_the_programs_handler(0); }
TEST(s093_a_fault_of_the_programs_reaches_its_sa_siginfo_handler) { reaches_the_programs_handler(SA_SIGINFO); }
TEST(s093_a_fault_of_the_programs_reaches_its_sa_nodefer_handler) { reaches_the_programs_handler(SA_SIGINFO | SA_NODEFER); }

/* Its handler runs on its alternative stack, as it was told to. */
TEST(s093_the_programs_handler_keeps_its_stack) {
    struct sigaction action;
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    page_bytes = sysconf(_SC_PAGESIZE);
    SYS(sigaltstack(&stack, NULL));
    install(&action, SA_SIGINFO | SA_ONSTACK);
    dc_channel *channel = guarded();
    volatile char *p = own_fault();
    p[5] = 1;
    CHECK_EQ(atomic_load(&calls), 1);
    char *at = atomic_load(&stack_at);
    CHECK(at >= (char *)stack.ss_sp && at < (char *)stack.ss_sp + stack.ss_size);
    dc_close(channel);
}

/* In any thread. */
static void *faults(void *unused) {
    (void)unused;
    volatile char *p = own_fault();
    p[5] = 1;
    return NULL;
}
TEST(s093_faults_of_threads) {
    struct sigaction action;
    pthread_t threads[4];
    page_bytes = sysconf(_SC_PAGESIZE);
    install(&action, SA_SIGINFO);
    dc_channel *channel = guarded();
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&threads[i], NULL, faults, NULL) == 0);
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK_EQ(atomic_load(&calls), 4);
    dc_close(channel);
}

/* The signals its handler wanted blocked are blocked in it. */
static void looks_at_its_mask(int signal, siginfo_t *info, void *context) {
    sigset_t now;
    (void)signal, (void)context;
    sigprocmask(SIG_SETMASK, NULL, &now);
    note(info->si_addr);
    if (sigismember(&now, SIGUSR1) && sigismember(&now, SIGBUS)) atomic_fetch_add(&calls, 100);
}
TEST(s093_the_programs_handler_keeps_its_mask) {
    struct sigaction action;
    page_bytes = sysconf(_SC_PAGESIZE);
    install(&action, SA_SIGINFO);
    action.sa_sigaction = looks_at_its_mask;
    SYS(sigaction(SIGBUS, &action, NULL));
    dc_channel *channel = guarded();
    own_fault()[1] = 1;
    CHECK_EQ(atomic_load(&calls), 101);
    dc_close(channel);
}

/* It may leave by siglongjmp. */
static sigjmp_buf back;
static void jumps(int signal) {
    (void)signal;
    atomic_fetch_add(&calls, 1);
    siglongjmp(back, 1);
}
TEST(s093_the_programs_handler_may_jump) {
    page_bytes = sysconf(_SC_PAGESIZE);
    signal(SIGBUS, jumps);
    dc_channel *channel = guarded();
    for (volatile int n = 0; n < 3; n++)
        if (sigsetjmp(back, 1) == 0) own_fault()[1] = 1;
    CHECK_EQ(atomic_load(&calls), 3);
    fault_of_the_librarys(channel);
    dc_close(channel);
}

/* How a process ends that has a fault of its own, given what it had installed before the guard. */
static int status_after(void (*arrange)(void)) {
    fflush(NULL);
    pid_t pid = fork();
    SYS(pid);
    if (pid == 0) {
        page_bytes = sysconf(_SC_PAGESIZE);
        arrange();
        dc_channel *channel = guarded();
        own_fault()[1] = 1;
        own_fault()[1] = 1;
        dc_close(channel);
        _exit(atomic_load(&calls));
    }
    int status = 0;
    SYS(waitpid(pid, &status, 0));
    return status;
}
static void nothing(void) { signal(SIGBUS, SIG_DFL); }
static void ignores(void) { signal(SIGBUS, SIG_IGN); }
static void once(void) {
    struct sigaction action;
    install(&action, SA_SIGINFO | SA_RESETHAND);
}
/* Crash handlers are written like this: say something, return, die of the same fault. */
static void says_and_returns(int signal) {
    (void)signal;
    atomic_fetch_add(&calls, 1);
    if (atomic_load(&calls) > 1) _exit(91);
}
static void once_and_returns(void) {
    struct sigaction action;
    install(&action, SA_RESETHAND);
    action.sa_flags = SA_RESETHAND;
    action.sa_handler = says_and_returns;
    SYS(sigaction(SIGBUS, &action, NULL));
}
static void always(void) {
    struct sigaction action;
    install(&action, SA_SIGINFO);
}

TEST(s093_what_the_program_did_not_handle_ends_it) {
    int status = status_after(nothing);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = status_after(ignores); /* the kernel does not let a fault be ignored either */
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = status_after(always);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 2);
}

/* SA_RESETHAND: once, and the default from then on; a handler that only returns does not run for ever. */
TEST(s093_a_handler_for_once_is_called_once) {
    int status = status_after(once);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = status_after(once_and_returns);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

/* A program that installs its handler later hands on what is not its own, by the same rule. */
static struct sigaction below;
static volatile char *volatile mine;
static void on_top(int signal, siginfo_t *info, void *context) {
    if ((volatile char *)info->si_addr == mine) note(info->si_addr);
    else below.sa_sigaction(signal, info, context);
}
TEST(s093_a_handler_installed_later_chains_to_the_guard) {
    struct sigaction action;
    page_bytes = sysconf(_SC_PAGESIZE);
    dc_channel *channel = guarded();
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_top;
    action.sa_flags = SA_SIGINFO;
    SYS(sigaction(SIGBUS, &action, &below));
    fault_of_the_librarys(channel);
    mine = own_fault();
    *mine = 1;
    CHECK_EQ(atomic_load(&calls), 1);
    dc_close(channel);
}

/* Without the guard it is the kernel's signal, as the header says. */
static void unguarded(void *unused) {
    (void)unused;
    dc_options o = small_options();
    o.flags = DC_NO_THREAD;
    dc_channel *channel = open_at(chan_path, &o);
    fault_of_the_librarys(channel);
}
TEST(s093_without_the_guard_it_is_a_signal) {
    int status;
    fflush(NULL);
    pid_t pid = fork();
    SYS(pid);
    if (pid == 0) {
        unguarded(NULL);
        _exit(0);
    }
    SYS(waitpid(pid, &status, 0));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}
