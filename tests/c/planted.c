/* Programs that are wrong: scripts/sanitize.sh runs each before it believes that nothing was found.
 *
 *   planted overflow     C code writes behind an allocation
 *   planted shift        C code is undefined in a way that only UBSan sees
 *   planted freed        the library (in Rust) reads a message from memory that was freed
 *   planted unset        a length depends on what nobody ever set
 *   planted race         two threads of a C program write one variable
 *   planted handle       two threads use one producer, which the header forbids: the library's own fields race
 *   planted leak         a program forgets a handle
 *   planted none         nothing is wrong: this one must be silent */
#include <disk_chan.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dc_channel *channel;
static dc_producer *producer;
static volatile int shared;

static int opens(const char *path) {
    dc_options o = DC_OPTIONS_INIT;
    o.page_size = 64 * 1024;
    return dc_open(path, &o, &channel) != DC_OK || dc_producer_open(channel, &producer) != DC_OK;
}

static void *sends(void *unused) {
    for (int n = 0; n < 2000; n++)
        if (dc_send(producer, &n, sizeof n, -1) != DC_OK) abort();
    return unused;
}

static void *writes(void *unused) {
    for (int n = 0; n < 2000; n++) shared = n;
    return unused;
}

static int threads(void *(*run)(void *)) {
    pthread_t other;
    if (pthread_create(&other, NULL, run, NULL) != 0) return 1;
    run(NULL);
    return pthread_join(other, NULL);
}

int main(int argc, char **argv) {
    const char *what = argc == 3 ? argv[1] : "";
    if (opens(argc == 3 ? argv[2] : "")) {
        fprintf(stderr, "planted WHAT DIRECTORY: %s\n", dc_last_error());
        return 2;
    }
    int result = 0;
    char *volatile bytes = malloc(4096);
    if (!bytes) return 2;
    if (!strcmp(what, "overflow")) bytes[4096 + (argc - 3)] = 1;
    if (!strcmp(what, "shift")) shared = 1 << (argc + 40);
    if (!strcmp(what, "freed")) {
        memset(bytes, 1, 4096);
        free(bytes);
        result = dc_send(producer, bytes, 4096, -1);
        bytes = NULL;
    }
    if (!strcmp(what, "unset")) result = dc_send(producer, bytes, bytes[100] ? 8 : 16, -1);
    if (!strcmp(what, "race")) result = threads(writes);
    if (!strcmp(what, "handle")) result = threads(sends);
    if (!strcmp(what, "none")) sends(NULL);
    free(bytes);
    if (!strcmp(what, "leak")) {
        dc_close(channel);
        channel = NULL, producer = NULL;
        return 0;
    }
    dc_producer_close(producer);
    dc_close(channel);
    return result != 0;
}
