/* Counts the instructions that a program executes in user space, one by one: `step [OPTION…] PROGRAM ARGUMENT…`.
 *
 * - The program (`operations`) writes the first and the end address of its own loops to the pipe that is file 3, raises
 *   SIGUSR1 where the counting begins, and again where it ends. The processor stops it after each instruction between.
 * - Printed: `all N`, the instructions outside of these loops, and `library N`, those inside the object whose path has
 *   the word of `--library`. A repeated string instruction counts as one.
 * - `--preload FILE` goes to the program alone. It runs at the same addresses each time.
 * - `--list FILE`: each instruction's offset in that library, and how often it was executed.
 *
 * Needs no counters of the hardware and works where valgrind does not (allocators that reserve huge ranges).
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIPE 3
#define MOST_RANGES 16

/* Instructions of the library; its code is far smaller. */
#define MOST_CODE (1u << 20)

struct range {
    uint64_t begin, end;
};

static struct range loops, library[MOST_RANGES];
static size_t ranges;
/* Where the library's file begins in memory. */
static uint64_t base;
static uint32_t *seen;

static void fail(const char *what) {
    printf("error %s: %s\n", what, errno ? strerror(errno) : "failed");
    fflush(stdout);
    _exit(2);
}

/* The program counter of a stopped process. */
static uint64_t where(pid_t process) {
    struct user_regs_struct registers;
    struct iovec data = {&registers, sizeof registers};
    if (ptrace(PTRACE_GETREGSET, process, (void *)NT_PRSTATUS, &data)) fail("registers");
#if defined(__x86_64__)
    return registers.rip;
#elif defined(__aarch64__)
    return registers.pc;
#else
#error "no program counter known"
#endif
}

static void find_library(pid_t process, const char *name) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)process);
    FILE *maps = fopen(path, "r");
    if (!maps) fail(path);
    while (fgets(line, sizeof line, maps)) {
        unsigned long begin, end;
        char rights[8];
        if (!strstr(line, name) || sscanf(line, "%lx-%lx %7s", &begin, &end, rights) != 3) continue;
        if (!base) base = begin;
        if (rights[2] == 'x' && ranges < MOST_RANGES) library[ranges++] = (struct range){begin, end};
    }
    fclose(maps);
}

static bool within(const struct range *range, uint64_t address) { return address >= range->begin && address < range->end; }

/* Lets the process go on, by `request`, until it stops; false: it has ended or stopped for another reason. */
static int next_stop(pid_t process, int request) {
    int status;
    if (ptrace(request, process, NULL, NULL)) fail("ptrace");
    while (waitpid(process, &status, 0) < 0) {
        if (errno != EINTR) fail("waitpid");
    }
    return WIFSTOPPED(status) ? WSTOPSIG(status) : -1;
}

static void start(char **command, const char *preload, int pipe_end) {
    if (dup2(pipe_end, PIPE) != PIPE) fail("pipe");
    personality(ADDR_NO_RANDOMIZE);
    if (preload && setenv("LD_PRELOAD", preload, 1)) fail("setenv");
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) fail("ptrace");
    execv(command[0], command);
    fail(command[0]);
}

/* On one processor the two take turns without waking each other across processors: five times as fast. */
static void stay(void) {
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET((unsigned)sched_getcpu(), &here);
    sched_setaffinity(0, sizeof here, &here);
}

int main(int count, char **arguments) {
    const char *preload = NULL, *name = NULL, *list = NULL;
    int at = 1;
    for (; at + 1 < count && !strncmp(arguments[at], "--", 2); at += 2) {
        if (!strcmp(arguments[at], "--preload")) preload = arguments[at + 1];
        if (!strcmp(arguments[at], "--library")) name = arguments[at + 1];
        if (!strcmp(arguments[at], "--list")) list = arguments[at + 1];
    }
    int ends[2];
    stay();
    if (at >= count || pipe(ends)) return 2;
    pid_t process = fork();
    if (process < 0) fail("fork");
    if (process == 0) start(arguments + at, preload, ends[1]);

    int status;
    if (waitpid(process, &status, 0) != process || !WIFSTOPPED(status)) return 2;
    ptrace(PTRACE_SETOPTIONS, process, NULL, (void *)PTRACE_O_EXITKILL);
    if (next_stop(process, PTRACE_CONT) != SIGUSR1 || read(ends[0], &loops, sizeof loops) != sizeof loops) {
        printf("error the program did not come to its first mark\n");
        return 1;
    }
    if (name) find_library(process, name);
    if (list && !(seen = calloc(MOST_CODE, sizeof *seen))) fail("calloc");

    uint64_t all = 0, inside = 0, last = 0;
    int signal;
    while ((signal = next_stop(process, PTRACE_SINGLESTEP)) == SIGTRAP) {
        uint64_t address = where(process);
        bool repeated = address == last;
        last = address;
        if (repeated || within(&loops, address)) continue;
        all++;
        for (size_t i = 0; i < ranges; i++) {
            if (!within(&library[i], address)) continue;
            inside++;
            if (seen && address - base < MOST_CODE) seen[address - base]++;
        }
    }
    if (signal != SIGUSR1) {
        printf("error the program did not come to its second mark\n");
        return 1;
    }
    printf("all %llu library %llu\n", (unsigned long long)all, (unsigned long long)inside);
    if (list) {
        FILE *file = fopen(list, "w");
        if (!file) fail(list);
        for (size_t i = 0; i < MOST_CODE; i++) {
            if (seen[i]) fprintf(file, "%zx %u\n", i, seen[i]);
        }
        fclose(file);
    }
    ptrace(PTRACE_KILL, process, NULL, NULL);
    return 0;
}
