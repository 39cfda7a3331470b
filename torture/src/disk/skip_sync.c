/*
 * Preloaded: fsync and fdatasync of one kind of file do nothing and say that they did (SKIP_SYNC: `page`,
 * `group`, `channel`, `tmp`, `dir`, `parent`; CHANNEL: the channel's path). Which syncs does which file
 * system need, and would anybody notice if the library left them out?
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int skipped(int fd)
{
    const char *skip = getenv("SKIP_SYNC"), *channel = getenv("CHANNEL"), *name;
    char link[64], path[4096];
    struct stat s;
    ssize_t n;
    if (!skip || !channel || fstat(fd, &s) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    if (S_ISDIR(s.st_mode)) return strcmp(skip, strcmp(path, channel) == 0 ? "dir" : "parent") == 0;
    name = strrchr(path, '/');
    return name && strncmp(name + 1, skip, strlen(skip)) == 0;
}

int fsync(int fd) { return skipped(fd) ? 0 : (int)syscall(SYS_fsync, fd); }

int fdatasync(int fd) { return skipped(fd) ? 0 : (int)syscall(SYS_fdatasync, fd); }
