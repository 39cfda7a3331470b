/* The files of a closed channel, for tests that look at them or damage them. */
#ifndef DC_TEST_FILES_H
#define DC_TEST_FILES_H

#include "chan.h"

/* A file of the channel, with its content. */
struct file {
    char path[1200];
    unsigned char *bytes;
    size_t len;
};

struct files {
    struct file file[256];
    size_t count;
};

UNUSED static void read_files(struct files *f, const char *path) {
    DIR *d = opendir(path);
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        char child[1200];
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        if (lstat(child, &st) != 0) continue;
        if (S_ISDIR(st.st_mode)) {
            read_files(f, child);
            continue;
        }
        CHECK(f->count < 256);
        struct file *file = &f->file[f->count++];
        snprintf(file->path, sizeof file->path, "%s", child);
        file->len = (size_t)st.st_size;
        file->bytes = malloc(file->len + 1);
        int fd = open(child, O_RDONLY | O_CLOEXEC);
        SYS(fd);
        for (size_t done = 0; done < file->len;) {
            ssize_t n = pread(fd, file->bytes + done, file->len - done, (off_t)done);
            CHECK(n > 0);
            done += (size_t)n;
        }
        close(fd);
    }
    closedir(d);
}

/* Where in which file these bytes lie (the first time), or NULL. */
UNUSED static struct file *find_bytes(struct files *f, const void *bytes, size_t len, size_t *at) {
    for (size_t i = 0; i < f->count; i++) {
        unsigned char *found = memmem(f->file[i].bytes, f->file[i].len, bytes, len);
        if (!found) continue;
        *at = (size_t)(found - f->file[i].bytes);
        return &f->file[i];
    }
    return NULL;
}

UNUSED static void overwrite(const char *path, size_t at, const void *bytes, size_t len) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    SYS(fd);
    CHECK_EQ(pwrite(fd, bytes, len, (off_t)at), len);
    close(fd);
}

UNUSED static void restore(const struct file *file) {
    int fd = open(file->path, O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC, 0600);
    SYS(fd);
    for (size_t done = 0; done < file->len;) {
        ssize_t n = write(fd, file->bytes + done, file->len - done);
        CHECK(n > 0);
        done += (size_t)n;
    }
    close(fd);
}

/* Bytes of disk under a directory, as du counts them. */
UNUSED static uint64_t disk_of(const char *path) {
    uint64_t total = 0;
    DIR *d = opendir(path);
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d));) {
        struct stat st;
        char child[1200];
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        if (lstat(child, &st) != 0) continue;
        total += S_ISDIR(st.st_mode) ? disk_of(child) : (uint64_t)st.st_blocks * 512;
    }
    closedir(d);
    return total;
}

/* The same every run. */
UNUSED static uint32_t random_number(uint64_t *state) {
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 33);
}

#endif
