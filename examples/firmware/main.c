/* Knoll in a firmware: a default heap in static memory, a hook that records errors, a second heap
 * for a driver, and the lock of an RTOS in place of the interrupt mask.
 *
 * It runs in the emulator: emu/firmware/build.sh m4 OUT.elf examples/firmware/main.c libknoll.a
 */
#include "knoll.h"
#include <stdio.h>

/* On a device the linker script may give all memory that is left; see docs/porting.md. */
static uint64_t main_memory[8 * 1024 / sizeof(uint64_t)];
static uint64_t driver_memory[1024 / sizeof(uint64_t)];

static KnStatus last_error = KN_OK;
static unsigned lock_depth, locks_taken;

static void on_error(KnStatus status, const void *where, const char *what) {
  (void)where;
  last_error = status;
  printf("error hook: %s: %s\n", what, kn_status_str(status));
}

/* An RTOS has its own: portENTER_CRITICAL, k_sched_lock, BASEPRI, ... */
static size_t lock(void) {
  locks_taken++;
  return lock_depth++;
}

static void unlock(size_t before) { lock_depth = (unsigned)before; }

static int fail(const char *what) {
  printf("FAILED: %s\n", what);
  return 1;
}

int main(void) {
  kn_on_error(on_error);
  if (kn_malloc(16) != NULL) return fail("there is no default heap yet");
  if (kn_init(main_memory, sizeof main_memory) != KN_OK) return fail("kn_init");
  if (kn_lock_use(lock, unlock) != KN_OK) return fail("kn_lock_use");

  char *text = kn_malloc(32);
  if (text == NULL) return fail("kn_malloc");
  snprintf(text, 32, "a block of %u bytes", (unsigned)kn_usable_size(text));
  printf("%s\n", text);
  kn_free(text);
  kn_free(text);
  if (last_error != KN_E_DOUBLE_FREE) return fail("a double free was not told");
  if (locks_taken == 0 || lock_depth != 0) return fail("the lock was not used as it should be");

  /* A heap of its own for one driver: no lock, and its blocks never mix with the others. */
  KnHeap *driver = kn_heap_create(driver_memory, sizeof driver_memory);
  unsigned frames = 0;
  while (kn_heap_malloc(driver, 64) != NULL) frames++;
  printf("%u frames of 64 bytes in 1 KB\n", frames);
  if (frames == 0) return fail("no frame");

  KnHeapStats stats;
  if (kn_heap_stats(kn_heap_default(), &stats) != KN_OK) return fail("kn_heap_stats");
  printf("default heap: %u of %u bytes used, peak %u, control %u\n", (unsigned)stats.used, (unsigned)stats.total,
         (unsigned)stats.peak, (unsigned)stats.overhead);
  if (stats.used != 0 || kn_heap_check(kn_heap_default()) != KN_OK) return fail("the heap is not as it was");
  printf("all as it should be\n");
  return 0;
}
