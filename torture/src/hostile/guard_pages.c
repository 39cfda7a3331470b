/* Memory that nobody may touch, before and behind every shared mapping of a file: a read beyond one is a
 * signal, not a look at whatever happens to lie beside it. Loaded before libc (LD_PRELOAD). */
#include <pthread.h>
#include <stdint.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define PAGE 4096ul
#define MANY 4096

static struct range { uintptr_t base; size_t len; } ours[MANY];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *map(void *at, size_t len, int access, int flags, int fd, off_t from) {
    return (void *)syscall(SYS_mmap, at, len, access, flags, fd, from);
}

static size_t whole(size_t len) { return (len + PAGE - 1) / PAGE * PAGE; }

void *mmap(void *at, size_t len, int access, int flags, int fd, off_t from) {
    if (at || fd < 0 || (flags & MAP_TYPE) == MAP_PRIVATE || len == 0) return map(at, len, access, flags, fd, from);
    char *room = map(NULL, whole(len) + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return MAP_FAILED;
    void *got = map(room + PAGE, len, access, flags | MAP_FIXED, fd, from);
    if (got == MAP_FAILED) {
        syscall(SYS_munmap, room, whole(len) + 2 * PAGE);
        return MAP_FAILED;
    }
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MANY; i++)
        if (!ours[i].base) {
            ours[i] = (struct range){(uintptr_t)got, len};
            break;
        }
    pthread_mutex_unlock(&lock);
    return got;
}
void *mmap64(void *at, size_t len, int access, int flags, int fd, off_t from) { return mmap(at, len, access, flags, fd, from); }

int munmap(void *at, size_t len) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MANY; i++)
        if (ours[i].base == (uintptr_t)at && whole(ours[i].len) == whole(len)) {
            ours[i].base = 0;
            pthread_mutex_unlock(&lock);
            return (int)syscall(SYS_munmap, (char *)at - PAGE, whole(len) + 2 * PAGE);
        }
    pthread_mutex_unlock(&lock);
    return (int)syscall(SYS_munmap, at, len);
}
