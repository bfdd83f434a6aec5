/* Newlib's system calls over semihosting: files, standard streams, time, memory and exit.
 *
 * File descriptors 0, 1 and 2 are the host's stdin, stdout and stderr, opened when first used.
 * Files are opened by the host inside the folder it was given; a failing call sets errno to
 * the host's. _sbrk hands out the region the linker script leaves for newlib and never more.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/times.h>
#include <unistd.h>

#include "semihosting.h"

extern char __newlib_heap_start[], __newlib_heap_end[];

enum { FILES = 24, APPLICATION_EXIT = 0x20026 };

/* Semihosting can't tell where a file's position is, so we keep it. handle 0 = closed. */
static struct {
    int32_t handle;
    int32_t position;
} files[FILES];

static int fail(void)
{
    errno = semihosting_call(SYS_ERRNO, NULL);
    return -1;
}

static int32_t host_open(const char *name, uint32_t mode)
{
    struct {
        const char *name;
        uint32_t mode, length;
    } block = {name, mode, strlen(name)};
    return semihosting_call(SYS_OPEN, &block);
}

/* The host's handle of a descriptor, or -1. */
static int32_t handle_of(int file)
{
    static const uint32_t modes[3] = {0, 4, 8}; /* :tt is stdin, stdout or stderr by its mode */
    if (file < 0 || file >= FILES) {
        return -1;
    }
    if (files[file].handle == 0 && file <= 2) {
        files[file].handle = host_open(":tt", modes[file]);
    }
    return files[file].handle > 0 ? files[file].handle : -1;
}

int _open(const char *name, int flags, int mode)
{
    uint32_t host_mode;
    int file;
    (void)mode;
    if ((flags & O_APPEND) != 0) {
        host_mode = 9;
    } else if ((flags & O_TRUNC) != 0 || (flags & O_CREAT) != 0) {
        host_mode = 5;
    } else {
        host_mode = 1;
    }
    if ((flags & O_ACCMODE) == O_RDWR) {
        host_mode += 2;
    } else if ((flags & O_ACCMODE) == O_WRONLY && host_mode == 1) {
        host_mode = 3;
    }
    for (file = 3; file < FILES && files[file].handle != 0; file++) {
    }
    if (file == FILES) {
        errno = EMFILE;
        return -1;
    }
    int32_t handle = host_open(name, host_mode);
    if (handle <= 0) {
        return fail();
    }
    files[file].handle = handle;
    files[file].position = 0;
    return file;
}

int _close(int file)
{
    int32_t handle = handle_of(file);
    if (handle < 0) {
        errno = EBADF;
        return -1;
    }
    files[file].handle = 0;
    return semihosting_call(SYS_CLOSE, &handle) == 0 ? 0 : fail();
}

/* SYS_READ and SYS_WRITE answer the number of bytes that were NOT transferred. */
static int transfer(uint32_t operation, int file, const void *memory, size_t bytes)
{
    struct {
        int32_t handle;
        const void *memory;
        uint32_t bytes;
    } block = {handle_of(file), memory, bytes};
    if (block.handle < 0) {
        errno = EBADF;
        return -1;
    }
    int32_t left = semihosting_call(operation, &block);
    if (left < 0 || (size_t)left > bytes) {
        return fail();
    }
    files[file].position += (int32_t)(bytes - (size_t)left);
    return (int)(bytes - (size_t)left);
}

int _read(int file, void *memory, size_t bytes)
{
    return transfer(SYS_READ, file, memory, bytes);
}

int _write(int file, const void *memory, size_t bytes)
{
    int written = transfer(SYS_WRITE, file, memory, bytes);
    return written == 0 && bytes != 0 ? fail() : written;
}

off_t _lseek(int file, off_t offset, int whence)
{
    struct {
        int32_t handle, position;
    } block = {handle_of(file), (int32_t)offset};
    if (block.handle < 0) {
        errno = EBADF;
        return -1;
    }
    if (whence == SEEK_CUR) {
        block.position += files[file].position;
    } else if (whence == SEEK_END) {
        int32_t length = semihosting_call(SYS_FLEN, &block.handle);
        if (length < 0) {
            return fail();
        }
        block.position += length;
    }
    if (semihosting_call(SYS_SEEK, &block) != 0) {
        return fail();
    }
    files[file].position = block.position;
    return block.position;
}

int _isatty(int file)
{
    int32_t handle = handle_of(file);
    if (handle < 0) {
        errno = EBADF;
        return 0;
    }
    return semihosting_call(SYS_ISTTY, &handle) == 1;
}

int _fstat(int file, struct stat *out)
{
    int32_t handle = handle_of(file);
    if (handle < 0) {
        errno = EBADF;
        return -1;
    }
    memset(out, 0, sizeof *out);
    if (file <= 2) {
        out->st_mode = S_IFCHR;
        return 0;
    }
    int32_t length = semihosting_call(SYS_FLEN, &handle);
    out->st_mode = S_IFREG;
    out->st_size = length;
    out->st_blksize = 1024;
    return length < 0 ? fail() : 0;
}

int _stat(const char *name, struct stat *out)
{
    int file = _open(name, O_RDONLY, 0);
    if (file < 0) {
        return -1;
    }
    int status = _fstat(file, out);
    _close(file);
    return status;
}

int _unlink(const char *name)
{
    struct {
        const char *name;
        uint32_t length;
    } block = {name, strlen(name)};
    return semihosting_call(SYS_REMOVE, &block) == 0 ? 0 : fail();
}

int _link(const char *from, const char *to)
{
    (void)from;
    (void)to;
    errno = EMLINK;
    return -1;
}

int _gettimeofday(struct timeval *now, void *zone)
{
    (void)zone;
    now->tv_sec = semihosting_call(SYS_TIME, NULL);
    now->tv_usec = 0;
    return 0;
}

/* The host's clock counts instructions (a hundredth of a second is 640 000 of them: a part of
 * 64 MHz at one instruction a cycle), so that runs repeat exactly. */
clock_t _times(struct tms *out)
{
    clock_t ticks = (clock_t)semihosting_call(SYS_CLOCK, NULL);
    out->tms_utime = ticks;
    out->tms_stime = out->tms_cutime = out->tms_cstime = 0;
    return ticks;
}

void *_sbrk(ptrdiff_t increment)
{
    static char *top = __newlib_heap_start;
    char *old = top;
    if (increment > __newlib_heap_end - top || increment < __newlib_heap_start - top) {
        errno = ENOMEM;
        return (void *)-1;
    }
    top += increment;
    return old;
}

int _getpid(void)
{
    return 1;
}

int _kill(int process, int signal)
{
    (void)process;
    _exit(128 + signal);
}

__attribute__((noreturn)) void _exit(int status)
{
    struct {
        uint32_t reason;
        int32_t status;
    } block = {APPLICATION_EXIT, status};
    for (;;) {
        semihosting_call(SYS_EXIT_EXTENDED, &block);
    }
}
