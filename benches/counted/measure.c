/* Clock, peak of memory and the record of steps; see measure.h. */
#define _GNU_SOURCE
#include "measure.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define MOST_STEPS (16u << 20)

bool measure_recording;

static const char *program_name, *steps_path;
static uint64_t began, last_step;
static uint32_t *steps;
static size_t step_count;

static void say(const char *format, ...) {
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length > 0 && write(1, line, (size_t)length) != length) _exit(3);
}

void measure_fail(const char *message) {
    say("error %s\n", message);
    _exit(2);
}

static uint64_t processor_time(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)) measure_fail("no processor clock");
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* VmHWM of this process in KB; it begins anew with each program. */
static uint64_t peak_kb(void) {
    char text[4096];
    int file = open("/proc/self/status", O_RDONLY);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (length <= 0) measure_fail("no /proc/self/status");
    close(file);
    text[length] = 0;
    const char *line = strstr(text, "VmHWM:");
    if (!line) measure_fail("no VmHWM in /proc/self/status");
    return strtoull(line + 6, NULL, 10);
}

void measure_start(const char *program, const char *steps_file) {
    program_name = program;
    if (!steps_file || !*steps_file) return;
    steps_path = steps_file;
    steps = mmap(NULL, MOST_STEPS * sizeof *steps, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_POPULATE, -1, 0);
    if (steps == MAP_FAILED) measure_fail("no memory for the record of steps");
    measure_recording = true;
}

void measure_begin(void) { began = last_step = processor_time(); }

void measure_record(void) {
    uint64_t took = processor_time() - last_step;
    if (step_count == MOST_STEPS) measure_fail("more steps than the record holds");
    steps[step_count++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    last_step = processor_time();
}

void measure_skip(void) {
    if (steps) last_step = processor_time();
}

void measure_end(uint64_t operations) {
    uint64_t took = processor_time() - began;
    say("figures %s operations %llu nanoseconds %llu peak_kb %llu\n", program_name, (unsigned long long)operations,
        (unsigned long long)took, (unsigned long long)peak_kb());
    if (!steps) return;
    int file = open(steps_path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    size_t bytes = step_count * sizeof *steps, written = 0;
    while (file >= 0 && written < bytes) {
        ssize_t some = write(file, (const char *)steps + written, bytes - written);
        if (some <= 0) break;
        written += (size_t)some;
    }
    if (file < 0 || written < bytes || close(file)) measure_fail("the record of steps could not be written");
}

void measure_alive(uint64_t alive, uint64_t expected) {
    say("alive %llu expected %llu\n", (unsigned long long)alive, (unsigned long long)expected);
}

void measure_number(const char *name, uint64_t value) { say("%s %llu\n", name, (unsigned long long)value); }
