/* Runs a program and says what it took: `run PRELOAD OUTPUT PROGRAM ARGUMENT…`; PRELOAD may be `-`.
 *
 * Its standard output goes to the file OUTPUT. Prints `processor N peak_kb N status N`: nanoseconds of processor time,
 * user and system, and the highest resident set of the program. That is what wait4 tells of it; the kernel counts in
 * what the parent had when it started the program, so the parent has to be as small as this one.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned long long nanoseconds(struct timeval time) {
    return (unsigned long long)time.tv_sec * 1000000000u + (unsigned long long)time.tv_usec * 1000u;
}

int main(int count, char **arguments) {
    if (count < 4) return 2;
    pid_t child = fork();
    if (child < 0) return 2;
    if (child == 0) {
        int output = open(arguments[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (output < 0 || dup2(output, 1) != 1) _exit(126);
        if (strcmp(arguments[1], "-") && setenv("LD_PRELOAD", arguments[1], 1)) _exit(126);
        execvp(arguments[3], arguments + 3);
        _exit(127);
    }
    int status;
    struct rusage usage;
    if (wait4(child, &status, 0, &usage) != child) return 2;
    /* As a shell says it. */
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    printf("processor %llu peak_kb %ld status %d\n", nanoseconds(usage.ru_utime) + nanoseconds(usage.ru_stime),
           usage.ru_maxrss, code);
    return 0;
}
