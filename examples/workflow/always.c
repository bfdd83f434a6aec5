/*
 * What is always active: the modules of the seed's list, and tables that are made once, as large as they will ever be.
 *
 * - All of it lies at the bottom end of the heap, whenever it is made: a cache entry that a workflow adds in its midst
 *   does not stay behind in the middle of free memory.
 * - Modules and cache entries are cells of resident types: GC_assign refuses a reference from one of them to anything
 *   else, and kn_resident_check finds what was stored past it.
 */
#include "device.h"

#include <string.h>

/* ---- Types ---- */

/* A type for each always-active module, so that a report names the module. They import each other, but none of them ever
 * goes: no reason to look for cycles among them. */
#define ALWAYS(module)                                                                                                 \
  {.name = module, .size = offsetof(Module, slots), .flags = KN_TYPE_RESIDENT | KN_TYPE_ARRAY | KN_TYPE_ACYCLIC}
static const KnType always_types[] = {ALWAYS("trezor"),         ALWAYS("trezor.utils"),   ALWAYS("storage"),
                                      ALWAYS("storage.common"), ALWAYS("storage.cache"),  ALWAYS("storage.device"),
                                      ALWAYS("storage.fido2"),  ALWAYS("trezor.pin"),     ALWAYS("usb")};
enum { ALWAYS_COUNT = sizeof always_types / sizeof always_types[0] };

KnTypeId always_type(const char *name) {
  for (size_t i = 0; i < ALWAYS_COUNT; i++) {
    if (strcmp(always_types[i].name, name) == 0) {
      return GC_registerType(&always_types[i]);
    }
  }
  return 0;
}

static const KnType loaded_type = {.name = "module", .size = offsetof(Module, slots), .flags = KN_TYPE_ARRAY};
static const KnType cache_entry_type = {.name = "cache entry", .size = sizeof(CacheEntry), .flags = KN_TYPE_RESIDENT};

static const uint32_t layout_fields[] = {offsetof(Layout, next)};
static const char *const layout_names[] = {"next"};
static const KnType layout_type = {.name = "layout", .size = sizeof(Layout), .flags = KN_TYPE_ACYCLIC, .ref_count = 1,
                                   .ref_offsets = layout_fields, .ref_names = layout_names};

static const uint32_t input_fields[] = {offsetof(Input, next)};
static const KnType input_type = {.name = "input", .size = sizeof(Input), .flags = KN_TYPE_ACYCLIC, .ref_count = 1,
                                  .ref_offsets = input_fields};

static const uint32_t output_fields[] = {offsetof(Output, next)};
static const KnType output_type = {.name = "output", .size = sizeof(Output), .flags = KN_TYPE_ACYCLIC, .ref_count = 1,
                                   .ref_offsets = output_fields};

static const uint32_t summary_fields[] = {offsetof(Summary, outputs)};
static const KnType summary_type = {.name = "summary", .size = sizeof(Summary), .flags = KN_TYPE_ACYCLIC,
                                    .ref_count = 1, .ref_offsets = summary_fields};

static const uint32_t session_fields[] = {offsetof(Session, last_layout), offsetof(Session, summary)};
static const char *const session_names[] = {"last_layout", "summary"};
static const KnType session_type = {.name = "session", .size = sizeof(Session), .ref_count = 2,
                                    .ref_offsets = session_fields, .ref_names = session_names};

static bool register_types(Types *types) {
  types->loaded = GC_registerType(&loaded_type);
  types->cache_entry = GC_registerType(&cache_entry_type);
  types->layout = GC_registerType(&layout_type);
  types->input = GC_registerType(&input_type);
  types->output = GC_registerType(&output_type);
  types->summary = GC_registerType(&summary_type);
  types->session = GC_registerType(&session_type);
  return types->loaded != 0 && types->cache_entry != 0 && types->layout != 0 && types->input != 0 &&
         types->output != 0 && types->summary != 0 && types->session != 0;
}

/* ---- Boot ---- */

bool device_begin(Device *device, void *memory, size_t bytes) {
  memset(device, 0, sizeof *device);
  device->random = 20260101;
  device->heap = kn_heap_create(memory, bytes);
  if (device->heap == NULL) {
    return false;
  }
  (void)kn_heap_use(device->heap);
  device->log_room = 16;
  device->modules = kn_resident_calloc(device->heap, MODULES_MOST, sizeof *device->modules);
  device->log = kn_resident_calloc(device->heap, device->log_room, sizeof *device->log);
  if (device->modules == NULL || device->log == NULL || !register_types(&device->types)) {
    return false;
  }
  for (size_t i = 0; i < ALWAYS_COUNT; i++) {
    if (import_always(device, always_types[i].name) == NULL) {
      return false;
    }
  }
  device->always_count = device->module_count;
  device->cache = module_loaded(device, "storage.cache");
  device->cache_imports = device->cache->used;
  device->session = GC_new(device->types.session);
  device->pin_range.start = &device->pin;
  device->pin_range.bytes = sizeof device->pin;
  device->pin_range.name = "trezorconfig's callback";
  return device->session != NULL && kn_roots_add(device->heap, &device->pin_range) == KN_OK;
}

/* ---- What is added later ---- */

bool cache_add(Device *device, uint32_t key) {
  CacheEntry *entry = GC_new(device->types.cache_entry);
  if (entry == NULL) {
    return false;
  }
  entry->session = 1;
  entry->key = key;
  bool kept = module_set(device->cache, entry);
  GC_unref(entry); /* the module holds it now, or nobody */
  return kept;
}

bool log_add(Device *device, uint32_t what) {
  if (device->log_count == device->log_room) {
    size_t room = device->log_room * 2;
    uint32_t *log = kn_resident_realloc(device->heap, device->log, room * sizeof *log);
    if (log == NULL) {
      return false;
    }
    device->log = log;
    device->log_room = room;
  }
  device->log[device->log_count++] = what;
  return true;
}

const char *device_label(const Device *device) {
  (void)device;
  return "My Trezor";
}
