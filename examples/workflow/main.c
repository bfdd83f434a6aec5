/*
 * The loop: one workflow after the other, each in a scope of its own that is as large from the start as the last run
 * turned out to need.
 *
 * After each workflow it is verified that nothing of it is left: sys.modules has the always-active modules only, no
 * resident cell or block refers into a scope, the heap's largest free block is nearly all that is free, and its free map
 * is what it was before, by fingerprint, unless something was put where it stays.
 *
 *   workflow [RUNS]      1000 of them if not said otherwise; the exit status is 0 iff all was as it should be
 *
 * Lines that begin with "figure" differ between machines; all others are the same everywhere.
 */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef DEVICE_IS_WATCHED
#include "mark.h" /* the emulator's: where Knoll may write */
#else
#define knoll_watch_allow(start, bytes) (void)0
#endif

#ifndef DEVICE_HEAP_BYTES
#define DEVICE_HEAP_BYTES (140u * 1024 * sizeof(void *) / 4)
#endif

/* Of what is free, so many thousandths must be in one piece. */
enum { LEAST_PERMILLE = 970, RUNS = 1000 };

static uint64_t memory[DEVICE_HEAP_BYTES / sizeof(uint64_t)];

size_t write_out(void *context, const char *text, size_t length) {
  (void)context;
  return fwrite(text, 1, length, stdout);
}

int fail(const char *what) {
  printf("FAILED: %s\n", what);
  return 1;
}

static void on_error(KnStatus status, const void *where, const char *what) {
  (void)where, (void)what;
  printf("  told: %s\n", kn_status_str(status));
}

/* ---- One workflow ---- */

/* The work itself, and the way back when it raises an error. */
static bool work(Device *device, Workflow *workflow, KnArena *scope, unsigned round) {
  if (setjmp(device->failed) == 0) {
    workflow->run(device, scope, round);
    return true;
  }
  /* Whatever scopes were open inside of this one. */
  if (kn_arena_unwind(device->heap, scope) != KN_OK) {
    device->failure = "unwind";
  }
  return false;
}

KnStatus run_workflow(Device *device, Workflow *workflow, unsigned round, KnLeaveReport *report) {
  KnArenaConfig config = {.name = workflow->name,
                          .presize = workflow->presize,
                          .budget = workflow->budget,
                          .flags = KN_ARENA_CHECK_LEAVE | KN_ARENA_SITES};
  KnCleanup forget = {.run = unimport, .context = device};
  KnArena *scope;
  KnStatus status = kn_arena_enter(device->heap, &config, &scope);
  if (status != KN_OK) {
    return status; /* before the work has begun */
  }
  if (kn_arena_on_leave(scope, &forget) != KN_OK) {
    return KN_E_INVALID;
  }
  workflow->runs++;
  if (!work(device, workflow, scope, round)) {
    KnArenaStats stats;
    workflow->failures++;
    if (kn_arena_stats(scope, &stats) == KN_OK && stats.refused_by != NULL) {
      device->failure = "over budget";
    }
  }
  status = kn_arena_leave(scope, report);
  if (workflow->runs == 1) {
    workflow->first_presize = workflow->presize;
  }
  workflow->grown += report->peak > workflow->presize;
  workflow->peak = report->peak > workflow->peak ? report->peak : workflow->peak;
  workflow->presize = report->suggested > workflow->presize ? report->suggested : workflow->presize;
  return status;
}

/* ---- What is verified ---- */

/* What was put where it stays: then the free map may have changed. */
static size_t kept(const Device *device) {
  return device->cache->used + device->log_room;
}

static int verify(Device *device, uint64_t before, size_t kept_before, bool same_cells) {
  KnFragmentation found;
  if (device->module_count != device->always_count || device->always_count > MODULES_MOST) {
    return fail("a workflow's module is still in sys.modules");
  }
  if (kn_resident_check(device->heap, write_out, NULL) != KN_OK) {
    return fail("always-active data refers to something else");
  }
  if (same_cells && kept(device) == kept_before && kn_heap_fingerprint(device->heap) != before) {
    return fail("the heap is not as it was");
  }
  if (kn_fragmentation(device->heap, &found) != KN_OK || found.permille < LEAST_PERMILLE) {
    printf("  %u of 1000\n", (unsigned)found.permille);
    return fail("free memory is in pieces");
  }
  return 0;
}

/* ---- The whole ---- */

/* Each workflow once, with what there is to say of it. */
static int each_once(Device *device) {
  puts("each workflow once:");
  for (size_t i = 0; i < workflow_count; i++) {
    KnLeaveReport report;
    uint64_t before = kn_heap_fingerprint(device->heap);
    size_t kept_before = kept(device);
    if (run_workflow(device, &workflows[i], 1, &report) != KN_OK) {
      return fail(workflows[i].name);
    }
    printf("  %-10s released %u references to what stays, %u escaped, %u inner scopes were open\n", workflows[i].name,
           (unsigned)report.released, (unsigned)report.escapes, (unsigned)report.children);
    if (verify(device, before, kept_before, i != SIGN) != 0) {
      return 1;
    }
  }
  return 0;
}

/* What a user does: mostly nothing. */
static size_t chosen(unsigned round) {
  static const uint8_t day[] = {UNLOCK, HOMESCREEN, ADDRESS, HOMESCREEN, SIGN,
                                HOMESCREEN, SIGN, HOMESCREEN, UNLOCK, RECOVERY};
  return day[round % (sizeof day / sizeof day[0])];
}

static int many(Device *device, unsigned runs) {
  uint32_t least = 1000;
  size_t as_found = 0;
  for (unsigned round = 0; round < runs; round++) {
    Workflow *workflow = &workflows[chosen(round)];
    KnLeaveReport report;
    KnFragmentation found;
    uint64_t before = kn_heap_fingerprint(device->heap);
    size_t kept_before = kept(device);
    if (run_workflow(device, workflow, round, &report) != KN_OK || report.escapes != 0) {
      return fail(workflow->name);
    }
    if (verify(device, before, kept_before, chosen(round) != SIGN) != 0) {
      return 1;
    }
    as_found += kn_heap_fingerprint(device->heap) == before;
    if (kn_fragmentation(device->heap, &found) == KN_OK && found.permille < least) {
      least = found.permille;
    }
  }
  printf("%u workflows, and after each of them:\n", runs);
  printf("  no module of theirs is loaded, nothing always active refers to them,\n");
  printf("  at least %u %% of what is free is in one piece,\n", LEAST_PERMILLE / 10);
  printf("  and the free map is what it was before, unless something was kept\n");
  printf("  cache entries %u, log entries %u, shown %08lx\n", (unsigned)(device->cache->used - device->cache_imports),
         (unsigned)device->log_count, (unsigned long)device->drawn);
  printf("figure thousandths of free memory in one piece at the least: %u\n", (unsigned)least);
  printf("figure workflows that left the free map as it was: %u\n", (unsigned)as_found);
  return 0;
}

static void print_figures(Device *device) {
  KnHeapStats stats;
  for (size_t i = 0; i < workflow_count; i++) {
    const Workflow *workflow = &workflows[i];
    printf("figure %s, runs: %u\n", workflow->name, workflow->runs);
    printf("figure %s, bytes at most: %u\n", workflow->name, (unsigned)workflow->peak);
    printf("figure %s, first presize: %u\n", workflow->name, (unsigned)workflow->first_presize);
    printf("figure %s, last presize: %u\n", workflow->name, (unsigned)workflow->presize);
    printf("figure %s, runs that needed more: %u\n", workflow->name, workflow->grown);
  }
  if (kn_heap_stats(device->heap, &stats) == KN_OK) {
    printf("figure bytes of the heap: %u\n", (unsigned)stats.total);
    printf("figure bytes in use at the end: %u\n", (unsigned)stats.used);
  }
}

int main(int argc, char **argv) {
  unsigned runs = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : RUNS;
  Device device;
  knoll_watch_allow(memory, sizeof memory);
  kn_on_error(on_error);
  if (!device_begin(&device, memory, sizeof memory)) {
    return fail("boot");
  }
  printf("always active: %u modules, %u slots in sys.modules\n", (unsigned)device.always_count, MODULES_MOST);
  if (each_once(&device) != 0 || accidents(&device) != 0 || many(&device, runs) != 0) {
    return 1;
  }
  /* As a test suite would have it: the pins are named if it is worse. */
  if (kn_fragmentation_check(device.heap, LEAST_PERMILLE, write_out, NULL) != KN_OK) {
    return fail("fragmentation");
  }
  GC_unref(device.session);
  if (GC_check() != KN_OK || kn_heap_check(device.heap) != KN_OK) {
    return fail("records");
  }
  print_figures(&device);
  puts("all as it should be");
  return 0;
}
