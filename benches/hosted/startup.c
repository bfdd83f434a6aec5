/* What a preloaded library adds to the start of a process: `startup ROUNDS PRELOAD…`; a PRELOAD may be `-`.
 *
 * In each round, for each library in turn, ten processes of /bin/true are started and waited for. Prints a line of the
 * nanoseconds a process took in each library's best round, in the order of the arguments.
 */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#define PROCESSES 10
#define MOST_LIBRARIES 32

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int main(int count, char **arguments) {
    int libraries = count - 2;
    uint64_t best[MOST_LIBRARIES];
    if (libraries < 1 || libraries > MOST_LIBRARIES) return 2;
    for (int i = 0; i < libraries; i++) best[i] = UINT64_MAX;
    for (long round = strtol(arguments[1], NULL, 10); round > 0; round--) {
        for (int i = 0; i < libraries; i++) {
            char setting[4096], program[] = "/bin/true";
            snprintf(setting, sizeof setting, "LD_PRELOAD=%s", arguments[2 + i]);
            char *nothing[] = {NULL}, *with[] = {setting, NULL}, *command[] = {program, NULL};
            uint64_t began = now();
            for (int n = 0; n < PROCESSES; n++) {
                pid_t process;
                int status;
                if (posix_spawn(&process, program, NULL, NULL, command, strcmp(arguments[2 + i], "-") ? with : nothing)) {
                    return 1;
                }
                if (waitpid(process, &status, 0) != process || status) return 1;
            }
            uint64_t took = (now() - began) / PROCESSES;
            if (took < best[i]) best[i] = took;
        }
    }
    for (int i = 0; i < libraries; i++) printf("%llu%c", (unsigned long long)best[i], i + 1 < libraries ? ' ' : '\n');
    return 0;
}
