/* A heap in memory of your own: take, give back, ask how it stands. */
#include <knoll.h>
#include <stdio.h>

static double memory[4096 / sizeof(double)];

static void on_error(KnStatus status, const void *where, const char *what) {
  (void)where, (void)what;
  printf("told: %s\n", kn_status_str(status));
}

int main(void) {
  kn_on_error(on_error);
  KnHeap *heap = kn_heap_create(memory, sizeof memory);
  int *numbers = kn_heap_malloc(heap, 100 * sizeof *numbers);
  if (numbers == NULL) return 1;
  for (int i = 0; i < 100; i++) numbers[i] = i;

  int *more = kn_heap_realloc(heap, numbers, 200 * sizeof *more);
  if (more == NULL) return 1;
  printf("still there: %d\n", more[99]);
  kn_heap_free(heap, more);
  kn_heap_free(heap, more); /* a mistake: told, and the heap is as it was */

  KnHeapStats stats;
  if (kn_heap_stats(heap, &stats) != KN_OK) return 1;
  printf("used %zu, blocks %zu, check: %s\n", stats.used, stats.blocks, kn_status_str(kn_heap_check(heap)));
  return stats.used != 0;
}
