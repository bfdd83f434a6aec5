/*
 * What goes wrong in such a device, done on purpose, and how Knoll tells it. After each the heap is as it was: a mistake
 * in a workflow costs that workflow, and no more.
 */
#include "device.h"

#include <stdio.h>
#include <string.h>

/* The part of a path that is the same wherever the sources lie. */
static const char *base(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash != NULL ? slash + 1 : path;
}

static const char *or_none(const char *text) {
  return text != NULL ? text : "(none)";
}

/* What a check writes, on a line of ours; addresses are left out, as they differ from run to run. */
typedef struct Words {
  char text[400];
  size_t length;
} Words;

static size_t take_words(void *context, const char *text, size_t length) {
  Words *words = context;
  for (size_t i = 0; i < length && words->length + 1 < sizeof words->text; i++) {
    words->text[words->length++] = text[i];
  }
  words->text[words->length] = '\0';
  return length;
}

static void print_words(const Words *words) {
  const char *at = words->text;
  fputs("  ", stdout);
  while (*at != '\0') {
    if (strncmp(at, "0x", 2) == 0) {
      at += 2 + strspn(at + 2, "0123456789abcdef");
      fputs("(address)", stdout);
    } else {
      putchar(*at++);
    }
  }
}

static void print_escape(const KnLeaveReport *report) {
  const KnEscape *escape = &report->first;
  printf("  %s: %u escaped, %u set to NULL\n", report->name, (unsigned)report->escapes, (unsigned)report->nulled);
  printf("  the first: %s%s%s -> %s, allocated at %s%s\n", or_none(escape->holder_type), escape->field != NULL ? "." : "",
         escape->field != NULL ? escape->field : "", or_none(escape->target_type), base(or_none(escape->site)),
         escape->raw ? ", stored past GC_assign" : "");
}

/* An always-active module imports one that is not: refused at once, or found by the check. */
static int careless_import(Device *device) {
  KnArenaConfig config = {.name = "careless", .flags = KN_ARENA_SITES};
  KnCleanup forget = {.run = unimport, .context = device};
  Module *utils = module_loaded(device, "trezor.utils");
  KnArena *scope;
  KnLeaveReport report;
  if (utils == NULL || kn_arena_enter(device->heap, &config, &scope) != KN_OK ||
      kn_arena_on_leave(scope, &forget) != KN_OK) {
    return fail("careless: enter");
  }
  Module *ui = import_into(device, scope, "trezor.ui");
  puts("trezor.utils imports trezor.ui:");
  if (module_set(utils, ui)) {
    return fail("an always-active module holds one of a scope");
  }
  unimport(device);
  if (kn_resident_check(device->heap, write_out, NULL) != KN_OK) {
    return fail("it was refused, and yet it is there");
  }
  puts("the same by a plain store, and kn_resident_check:");
  utils->slots[utils->used] = ui;
  Words words = {.length = 0};
  if (kn_resident_check(device->heap, take_words, &words) != KN_E_RESIDENT) {
    return fail("the check does not see it");
  }
  print_words(&words);
  utils->slots[utils->used] = NULL;
  return kn_arena_leave(scope, &report) == KN_OK && report.escapes == 0 ? 0 : fail("careless: leave");
}

/* Runs a workflow that makes its mistake. */
static KnStatus with_accident(Device *device, size_t which, KnLeaveReport *report) {
  device->accident = true;
  device->failure = NULL;
  KnStatus status = run_workflow(device, &workflows[which], 2, report);
  device->accident = false;
  return status;
}

static int escapes(Device *device) {
  KnLeaveReport report;
  Session *session = device->session;
  puts("signing leaves its layout in the session:");
  if (with_accident(device, SIGN, &report) != KN_OK || report.escapes != 1) {
    return fail("sign: no escape was told");
  }
  print_escape(&report);
  if (report.first.slot != &session->last_layout || session->last_layout != NULL || report.first.raw) {
    return fail("sign: not the slot");
  }
  puts("unlocking forgets to take back its callback:");
  if (with_accident(device, UNLOCK, &report) != KN_OK || report.escapes != 1) {
    return fail("unlock: no escape was told");
  }
  print_escape(&report);
  if (report.first.slot != (const void *)&device->pin.layout || device->pin.layout != NULL || !report.first.raw) {
    return fail("unlock: not the slot");
  }
  return 0;
}

static int budgets(Device *device) {
  KnLeaveReport report;
  uint64_t before = kn_heap_fingerprint(device->heap);
  Workflow *recovery = &workflows[RECOVERY];
  size_t presize = recovery->presize;
  uint32_t drawn = device->drawn, random = device->random;
  puts("a host sends a seed of 100000 words:");
  if (with_accident(device, RECOVERY, &report) != KN_OK || device->failure == NULL) {
    return fail("recovery went on");
  }
  printf("  %s: %s\n", recovery->name, device->failure);
  recovery->presize = presize; /* what went wrong is no measure */
  recovery->peak = 0;
  device->drawn = drawn; /* how far it came depends on how large a pointer is */
  device->random = random;

  puts("a workflow that needs more than there is:");
  Workflow update = {.name = "update", .run = workflows[HOMESCREEN].run, .presize = (size_t)1024 * 1024};
  KnStatus status = run_workflow(device, &update, 0, &report);
  printf("  %s: %s, before it has begun\n", update.name, kn_status_str(status));
  if (status != KN_E_NO_MEMORY || update.runs != 0) {
    return fail("it was let in");
  }
  return kn_heap_fingerprint(device->heap) == before ? 0 : fail("the heap is not as it was");
}

int accidents(Device *device) {
  return careless_import(device) != 0 || escapes(device) != 0 || budgets(device) != 0;
}
