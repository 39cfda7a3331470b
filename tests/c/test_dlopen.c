/* The library as a plugin's dependency: loaded, used and unloaded again and again. DISK_CHAN_SO names it. */
#include "chan.h"

#include <dlfcn.h>
#include <pthread.h>

static int (*open_fn)(const char *, const dc_options *, dc_channel **);
static void (*close_fn)(dc_channel *);
static int (*producer_fn)(dc_channel *, dc_producer **);
static void (*producer_close_fn)(dc_producer *);
static int (*send_fn)(dc_producer *, const void *, size_t, int);
static int (*subscribe_fn)(dc_channel *, const char *, const dc_subscribe_options *, dc_consumer **);
static void (*consumer_close_fn)(dc_consumer *);
static int (*recv_fn)(dc_consumer *, dc_message *, int);
static int (*fd_fn)(dc_consumer *);
static const char *(*error_fn)(void);

static void find(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    if (!symbol) test_fail(__FILE__, __LINE__, "%s: %s", name, dlerror());
    memcpy(function, &symbol, sizeof symbol);
}

/* A copy under another name: the linker's own copy of the library must not stand in for it. */
static const char *copy_of_library(void) {
    static char copy[700];
    char command[2000];
    const char *library = getenv("DISK_CHAN_SO");
    if (!library) SKIP("DISK_CHAN_SO does not say where libdisk_chan.so is");
    snprintf(copy, sizeof copy, "%s/libcopy.so", test_dir);
    snprintf(command, sizeof command, "cp -- '%s' '%s'", library, copy);
    CHECK(system(command) == 0);
    return copy;
}

static void *load(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) test_fail(__FILE__, __LINE__, "dlopen: %s", dlerror());
    find(library, "dc_open", &open_fn);
    find(library, "dc_close", &close_fn);
    find(library, "dc_producer_open", &producer_fn);
    find(library, "dc_producer_close", &producer_close_fn);
    find(library, "dc_send", &send_fn);
    find(library, "dc_subscribe", &subscribe_fn);
    find(library, "dc_consumer_close", &consumer_close_fn);
    find(library, "dc_recv", &recv_fn);
    find(library, "dc_consumer_fd", &fd_fn);
    find(library, "dc_last_error", &error_fn);
    return library;
}

static void use(uint64_t n, int leave_open) {
    dc_channel *channel = NULL;
    dc_producer *p = NULL;
    dc_consumer *c = NULL;
    dc_message m;
    dc_options o = small_options();
    CHECK_OK(open_fn(chan_path, &o, &channel));
    CHECK_OK(producer_fn(channel, &p));
    dc_subscribe_options s = DC_SUBSCRIBE_OPTIONS_INIT;
    s.start = DC_LATEST;
    s.ack = DC_ACK_RECEIVE;
    s.flags = DC_AUTO_NEXT_PAGE;
    CHECK_OK(subscribe_fn(channel, leave_open ? NULL : "g", &s, &c));
    CHECK(fd_fn(c) >= 0); /* the library thread runs */
    CHECK_OK(send_fn(p, &n, sizeof n, 0));
    CHECK_OK(recv_fn(c, &m, LONG_MS));
    CHECK_EQ(number_of(&m), n);
    CHECK_CODE(send_fn(p, NULL, 1, 0), DC_E_ARGUMENT);
    CHECK(error_fn()[0] != 0);
    if (leave_open) return;
    consumer_close_fn(c);
    producer_close_fn(p);
    close_fn(channel);
}

TEST(s136_loaded_and_unloaded_in_a_loop) {
    const char *path = copy_of_library();
    for (uint64_t n = 0; n < 50; n++) {
        void *library = load(path);
        use(n, 0);
        CHECK(dlclose(library) == 0);
    }
}

TEST(s136_unloaded_with_handles_open) {
    const char *path = copy_of_library();
    for (uint64_t n = 0; n < 20; n++) {
        void *library = load(path);
        use(n, 1);
        CHECK(dlclose(library) == 0);
    }
    sleep_ms(700); /* its thread must not run in code that is gone */
}

static void *in_thread(void *path) {
    void *library = load(path);
    use(1, 0);
    CHECK(dlclose(library) == 0);
    return NULL; /* thread-locals are destroyed after the code may be gone */
}

TEST(s136_unloaded_before_its_thread_ends) {
    const char *path = copy_of_library();
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, in_thread, (void *)(uintptr_t)path) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
}

static void *loads_only(void *path) {
    return load(path);
}

TEST(s136_loaded_by_a_thread_that_is_gone) {
    const char *path = copy_of_library();
    pthread_t thread;
    void *library;
    CHECK(pthread_create(&thread, NULL, loads_only, (void *)(uintptr_t)path) == 0);
    CHECK(pthread_join(thread, &library) == 0);
    for (uint64_t n = 0; n < 3; n++) use(n, 0);
    CHECK(dlclose(library) == 0);
}
