/*
 * What the device can do. Each workflow gets a scope: everything it makes lies there and is gone when it ends, so it
 * gives nothing back by itself. What is to stay is put where it stays: promoted, or made resident.
 *
 * An error is raised from wherever it happens, by longjmp, as an interpreter does it; the scopes that were open then are
 * left by the loop.
 */
#include "device.h"

#include <string.h>

void throw_error(Device *device, const char *what) {
  device->failure = what;
  longjmp(device->failed, 1);
}

void *need(Device *device, void *allocated) {
  if (allocated == NULL) {
    throw_error(device, "out of memory");
  }
  return allocated;
}

static uint32_t next_random(Device *device) {
  device->random = device->random * 1664525u + 1013904223u;
  return device->random >> 8;
}

/* ---- The screen ---- */

/* A line in front of the others. The text is the scope's; the site is the caller's. */
static Layout *line_at(Device *device, KnArena *scope, Layout *next, const char *text, const char *site) {
  Layout *layout = need(device, GC_newInAt(scope, device->types.layout, 0, site));
  if (text == NULL) {
    throw_error(device, "out of memory");
  }
  layout->text = text;
  layout->next = next; /* inside a scope nothing is counted */
  return layout;
}

#define line(device, scope, next, text) line_at((device), (scope), (next), (text), KN_HERE)

static void show(Device *device, const Layout *layout) {
  for (; layout != NULL; layout = layout->next) {
    for (const char *letter = layout->text; *letter != '\0'; letter++) {
      device->drawn = device->drawn * 31 + (uint8_t)*letter;
    }
  }
}

static void show_pin_timeout(Layout *layout) {
  (void)layout;
}

/* ---- Workflows ---- */

static void homescreen(Device *device, KnArena *scope, unsigned round) {
  (void)import_into(device, scope, "apps.homescreen");
  Layout *layout = line(device, scope, NULL, kn_arena_printf(scope, "workflow %u", round));
  layout = line(device, scope, layout, kn_arena_printf(scope, "%-16s|", device_label(device)));
  (void)need(device, kn_arena_calloc(scope, 240, 4)); /* a strip of the background */
  show(device, layout);
}

/* Storage calls back while a PIN is being stretched. It lies in static data, so it must be forgotten again. */
static void unlock(Device *device, KnArena *scope, unsigned round) {
  (void)import_into(device, scope, "trezor.ui.layouts"); /* function-local: only who draws pays for the screen */
  Layout *layout = line(device, scope, NULL, kn_arena_printf(scope, "Verifying PIN, %u %%", round % 100));
  device->pin.show = show_pin_timeout;
  device->pin.layout = layout;
  show(device, layout);
  if (!device->accident) {
    device->pin.layout = NULL;
  }
  if (round % 9 == 0 && !cache_add(device, round)) {
    throw_error(device, "storage.cache is full");
  }
}

static const char *derive(Device *device, KnArena *scope, unsigned index) {
  KnText text;
  kn_text_begin(&text, scope);
  (void)kn_text_put(&text, "bc1q");
  for (unsigned i = 0; i < 10; i++) {
    (void)kn_text_printf(&text, "%02x", (unsigned)(next_random(device) + index) & 0xFF);
  }
  return need(device, kn_text_finish(&text)); /* NULL if any of the calls before found no memory */
}

static void address(Device *device, KnArena *scope, unsigned round) {
  (void)import_into(device, scope, "apps.bitcoin.addresses");
  (void)import_into(device, scope, "apps.common.confirm");
  show(device, line(device, scope, NULL, derive(device, scope, round)));
}

/* Asks the user, in a scope of its own: what the screen takes is gone before the signing goes on. */
static void confirm(Device *device, const Input *inputs, uint64_t total) {
  KnArenaConfig config = {.name = "confirm", .presize = 64 * sizeof(void *)};
  KnArena *scope;
  if (kn_arena_enter(device->heap, &config, &scope) != KN_OK) {
    throw_error(device, "out of memory");
  }
  Layout *layout = NULL;
  for (const Input *input = inputs; input != NULL; input = input->next) {
    layout = line(device, scope, layout,
                  kn_arena_printf(scope, "%.12s… %llu", input->address, (unsigned long long)input->amount));
  }
  layout = line(device, scope, layout,
                kn_arena_printf(scope, "Send %llu.%08llu BTC?", (unsigned long long)(total / 100000000),
                                (unsigned long long)(total % 100000000)));
  show(device, layout);
  (void)kn_arena_leave(scope, NULL);
}

static void sign(Device *device, KnArena *scope, unsigned round) {
  (void)import_into(device, scope, "apps.bitcoin.sign_tx");
  (void)import_into(device, scope, "apps.common.confirm");
  Input *inputs = NULL;
  uint64_t total = 0;
  for (unsigned i = 0; i < 3 + round % 5; i++) {
    Input *input = need(device, GC_newInHere(scope, device->types.input));
    input->address = derive(device, scope, i);
    input->amount = next_random(device) % 5000000;
    input->next = inputs;
    inputs = input;
    total += input->amount;
  }
  confirm(device, inputs, total);

  /* The summary stays: a copy of it and of what it refers to, outside of all scopes, in the session. */
  Session *session = device->session;
  Summary *summary = need(device, GC_newInHere(scope, device->types.summary));
  void *kept = NULL;
  summary->fee = 200 + total % 1000;
  for (unsigned i = 0; i < 2; i++) {
    Output *output = need(device, GC_newInHere(scope, device->types.output));
    output->amount = (total - summary->fee) / 2;
    output->next = summary->outputs;
    summary->outputs = output;
  }
  if (kn_arena_promote(scope, summary, &kept) != KN_OK) {
    throw_error(device, "out of memory");
  }
  GC_assign(&session->summary, kept); /* the one of the transaction before goes */
  GC_unref(kept);
  if (!log_add(device, (uint32_t)total)) {
    throw_error(device, "out of memory");
  }
  Layout *signed_text = line(device, scope, NULL, "Transaction signed");
  show(device, signed_text);
  if (device->accident) {
    GC_assign(&session->last_layout, signed_text); /* the mistake: the session outlives the scope */
  }
}

/* A seed, word by word. Candidates for a word are gone before the next one: the scope is rewound. */
static void recovery(Device *device, KnArena *scope, unsigned round) {
  unsigned words = device->accident ? 100000 : 12 + 6 * (round % 3); /* what a hostile host says */
  (void)import_into(device, scope, "apps.management.recovery");
  Layout *typed = NULL;
  for (unsigned i = 0; i < words; i++) {
    KnArenaMark mark = kn_arena_mark(scope);
    Layout *candidates = NULL;
    for (unsigned letter = 0; letter < 4; letter++) {
      candidates = line(device, scope, candidates, kn_arena_printf(scope, "word %u%c", i, 'a' + letter));
    }
    show(device, candidates);
    if (kn_arena_rewind(scope, mark) != KN_OK) {
      throw_error(device, "rewind");
    }
    typed = line(device, scope, typed, kn_arena_printf(scope, "%u", (unsigned)next_random(device) % 2048));
  }
  show(device, typed);
}

enum { PER_WORD = sizeof(void *) / 4 }; /* pointers are most of what the workflows keep */

Workflow workflows[] = {
    [HOMESCREEN] = {.name = "homescreen", .run = homescreen, .presize = 512 * PER_WORD},
    [UNLOCK] = {.name = "unlock", .run = unlock, .presize = 512 * PER_WORD},
    [ADDRESS] = {.name = "address", .run = address, .presize = 512 * PER_WORD},
    [SIGN] = {.name = "sign", .run = sign, .presize = 512 * PER_WORD},
    [RECOVERY] = {.name = "recovery", .run = recovery, .presize = 512 * PER_WORD, .budget = 16 * 1024 * PER_WORD},
};
const size_t workflow_count = sizeof workflows / sizeof workflows[0];
