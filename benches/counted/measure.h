/* What every program of this bench measures of itself, in C, Nim and Rust alike.
 *
 * A run is: set-up; measure_begin; the work, cut into steps by measure_step; measure_end. It prints one line of words
 *
 *   figures PROGRAM operations N nanoseconds N peak_kb N
 *
 * nanoseconds: processor time of the work alone. peak_kb: VmHWM, the process's highest resident set. Where steps are
 * recorded, each one's processor time goes to a file as a 32-bit number of nanoseconds; recording takes a clock call a
 * step, so such a run's other figures are not used. Nothing here calls malloc: the heap is the peer's alone.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Tells the program's name and where steps are recorded; NULL or "": nowhere. */
void measure_start(const char *program, const char *steps_file);
void measure_begin(void);
/* One step of the program has ended: what a caller would wait for. Nim and Rust look at the variable themselves, so
 * that a step which is not recorded costs each of them a comparison. */
extern bool measure_recording;
void measure_record(void);
static inline void measure_step(void) {
    if (__builtin_expect(measure_recording, 0)) measure_record();
}
/* What was done since the last step belongs to none: nobody waits for it in one piece. */
void measure_skip(void);
/* The work is done: prints the line. */
void measure_end(uint64_t operations);
/* Prints `alive N expected N`: cells alive by the peer's own count, and by a walk from the program's roots. */
void measure_alive(uint64_t alive, uint64_t expected);
/* Prints `NAME N`. */
void measure_number(const char *name, uint64_t value);
/* Ends the run with a message and status 2. */
void measure_fail(const char *message);

#endif
