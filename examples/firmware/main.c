/* Knoll in a firmware: a default heap in static memory, a hook that records errors, a second heap
 * for a driver, the lock of an RTOS in place of the interrupt mask, and counted cells whose cycles are
 * collected a few cells at a time.
 *
 * It runs in the emulator: emu/firmware/build.sh m4 OUT.elf examples/firmware/main.c libknoll.a
 */
#include "knoll.h"
#include <stddef.h>
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

/* A task of a scheduler: it knows the next one, the last one the first. */
struct task {
  void *next; /* a counted reference */
  unsigned number;
};

static unsigned tasks_gone;

static void task_goes(void *task) {
  (void)task;
  tasks_gone++;
}

/* Constant: in flash. */
static const uint32_t task_fields[] = {offsetof(struct task, next)};
static const KnType task_type = {.name = "task", .size = sizeof(struct task), .ref_count = 1,
                                 .ref_offsets = task_fields, .destroy = task_goes};

/* A ring of tasks, let go of. No call to the collector visits more than eight cells. */
static int ring_of_tasks(unsigned count) {
  const KnGcConfig bounded = {.flags = KN_GC_COLLECT_WHEN_FULL, .slice = 8, .frees_per_unref = 8};
  KnTypeId type = GC_registerType(&task_type);
  if (type == 0 || GC_configure(&bounded) != KN_OK) return fail("the type of tasks");
  struct task *first = GC_new(type);
  if (first == NULL) return fail("no memory for a task");
  struct task *last = first;
  for (unsigned number = 1; number < count; number++) {
    struct task *task = GC_new(type);
    if (task == NULL) return fail("no memory for a task");
    task->number = number;
    last->next = task; /* what GC_new gives is owned, and moves into an empty field */
    last = task;
  }
  GC_assign(&last->next, first);
  GC_unref(first); /* from here on the ring holds itself */

  unsigned slices = 1;
  while (!GC_step(8)) slices++;
  KnGcStats stats;
  if (GC_stats(&stats) != KN_OK || GC_check() != KN_OK) return fail("counted memory");
  printf("a ring of %u tasks went in %u slices, the longest of %u cells\n", tasks_gone, slices, (unsigned)stats.longest);
  if (tasks_gone != count || stats.cells != 0 || stats.longest > 8) return fail("the ring of tasks");
  return 0;
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
  if (stats.used != 0) return fail("the heap is not as it was");

  if (ring_of_tasks(30) != 0) return 1;
  if (kn_heap_stats(kn_heap_default(), &stats) != KN_OK) return fail("kn_heap_stats");
  printf("default heap: %u bytes used by the collector, peak %u\n", (unsigned)stats.used, (unsigned)stats.peak);
  if (kn_heap_check(kn_heap_default()) != KN_OK) return fail("kn_heap_check");
  printf("all as it should be\n");
  return 0;
}
