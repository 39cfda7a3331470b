/* A job queue: processes share a group. One is killed in mid-job, and nothing is lost; a poison job,
 * which kills whoever takes it, is set aside by its delivery count.
 *
 * Prints last: 200 jobs: 199 done, 1 set aside, 3 workers lost */
#include "example.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { JOBS = 200, WORKERS = 3, UNLUCKY = 50, POISON = 120, TRIES = 3 };

/* A worker opens the channel itself: handles do not cross a fork. */
static void work(const char *path, const char *aside_path, _Atomic int *done) {
    dc_channel *channel = NULL, *aside = NULL;
    dc_consumer *consumer = NULL;
    dc_producer *producer = NULL;
    dc_subscribe_options options = DC_SUBSCRIBE_OPTIONS_INIT;
    options.flags = DC_AUTO_NEXT_PAGE;
    options.prefetch = 1; /* take one job at a time, leave the rest to the others */
    MUST(dc_open(path, NULL, &channel));
    MUST(dc_open(aside_path, NULL, &aside));
    MUST(dc_producer_open(aside, &producer));
    MUST(dc_subscribe(channel, "workers", &options, &consumer));
    for (;;) { /* until the boss says SIGTERM */
        dc_message message;
        int job;
        MUST(dc_recv(consumer, &message, -1)); /* acknowledges the job before: it is done */
        MUST_BE(message.len == sizeof job);
        memcpy(&job, message.data, sizeof job);
        if (message.deliveries >= TRIES) { /* it has cost enough workers */
            MUST(dc_send(producer, message.data, message.len, -1));
            continue;
        }
        if (job == POISON) kill(getpid(), SIGKILL);
        if (job == UNLUCKY && !(message.flags & DC_MESSAGE_REDELIVERED)) kill(getpid(), SIGKILL);
        example_pause(1);
        done[job]++;
    }
}

static pid_t start(const char *path, const char *aside_path, _Atomic int *done) {
    pid_t pid = fork(); /* the boss has no handle open now */
    MUST_BE(pid >= 0);
    if (pid == 0) work(path, aside_path, done);
    return pid;
}

/* All jobs were received and acknowledged. */
static int finished(const char *path) {
    dc_channel *channel = NULL;
    dc_options options = DC_OPTIONS_INIT;
    options.flags = DC_READ_ONLY;
    MUST(dc_open(path, &options, &channel));
    dc_group_info group = DC_GROUP_INFO_INIT;
    int code = dc_group_stats(channel, "workers", &group);
    if (code != -ENOENT) MUST(code); /* no worker has subscribed yet */
    dc_close(channel);
    return code == DC_OK && group.lag == 0 && group.unacked == 0;
}

int main(int argc, char **argv) {
    const char *path = example_channel(argc, argv, 1);
    char aside_path[4200];
    snprintf(aside_path, sizeof aside_path, "%s-aside", path);
    dc_channel *channel = NULL;
    dc_producer *producer = NULL;
    dc_options options = DC_OPTIONS_INIT;
    options.retention = DC_RETAIN_UNREAD; /* a job stays until it is acknowledged */
    MUST(dc_open(path, &options, &channel));
    MUST(dc_producer_open(channel, &producer));
    for (int job = 0; job < JOBS; job++) MUST(dc_send(producer, &job, sizeof job, -1));
    dc_producer_close(producer);
    dc_close(channel);

    _Atomic int *done = mmap(NULL, JOBS * sizeof *done, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST_BE(done != MAP_FAILED);
    pid_t workers[WORKERS];
    for (int i = 0; i < WORKERS; i++) workers[i] = start(path, aside_path, done);
    int lost = 0, complete = 0;
    while (!finished(path)) {
        example_pause(20);
        for (int i = 0; i < WORKERS; i++) {
            int status = 0;
            if (waitpid(workers[i], &status, WNOHANG) != workers[i]) continue;
            MUST_BE(WIFSIGNALED(status)); /* killed, and not ended by a mistake of ours */
            lost++;
            workers[i] = start(path, aside_path, done); /* what it held goes to a living one */
        }
    }
    for (int i = 0; i < WORKERS; i++) MUST_BE(!kill(workers[i], SIGTERM) && waitpid(workers[i], NULL, 0) == workers[i]);
    for (int job = 0; job < JOBS; job++) complete += done[job] == 1;

    dc_channel_info aside = DC_CHANNEL_INFO_INIT;
    MUST(dc_open(aside_path, NULL, &channel));
    MUST(dc_channel_stats(channel, &aside));
    dc_close(channel);
    MUST(dc_destroy(aside_path));
    example_remove(path);
    printf("%d jobs: %d done, %d set aside, %d workers lost\n", JOBS, complete, (int)aside.messages, lost);
    return 0;
}
