/* What the examples share besides the channel itself: checking codes, a fresh channel, threads. */
#ifndef DISK_CHAN_EXAMPLE_H
#define DISK_CHAN_EXAMPLE_H

#include <disk_chan.h>

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Every call returns a code, and dc_last_error() says in a sentence what went wrong and what to do. */
#define MUST(call) must((call), #call)
static inline void must(int code, const char *call) {
    if (code == DC_OK) return;
    fprintf(stderr, "%s: %s: %s\n", call, dc_error_name(code), code < 0 ? dc_last_error() : "");
    exit(1);
}

/* The same for pthread calls (an error number) and conditions of our own. */
#define MUST_BE(condition) \
    ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition), exit(1)))

/* The channel: the last argument names it, or it is made in a fresh directory under $TMPDIR. */
static char example_directory[4000];
static char example_path[4096];
static inline const char *example_channel(int argc, char **argv, int index) {
    if (argc > index) return argv[index];
    const char *base = getenv("TMPDIR");
    snprintf(example_directory, sizeof example_directory, "%s/disk_chan.XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(example_directory)) {
        perror(example_directory);
        exit(1);
    }
    snprintf(example_path, sizeof example_path, "%s/channel", example_directory);
    return example_path;
}

/* Removes the channel, and the directory if example_channel made one. */
static inline void example_remove(const char *path) {
    MUST(dc_destroy(path));
    if (example_directory[0] && rmdir(example_directory) != 0) perror(example_directory);
}

static inline double example_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline void example_pause(int ms) {
    struct timespec pause = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&pause, NULL);
}

#endif
