/* In front of what docs/ shows in C and is no program: the includes, and what the code takes for granted. */
#include <disk_chan.h>

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-variable"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"

static inline void work_on(const dc_message *message) { (void)message; }
static inline void fail(int code) { fprintf(stderr, "%s: %s\n", dc_error_name(code), dc_last_error()); exit(1); }
