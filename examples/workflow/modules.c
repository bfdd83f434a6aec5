/*
 * Modules: what lies in flash, and what becomes of it in RAM when it is imported.
 *
 * - An import at the top of an always-active module happens once, at boot, into the resident end of the heap.
 * - An import in a workflow, at the top of its module or in a function, goes into the workflow's scope: the module, its
 *   table, its objects, and what it imports in turn, unless that is loaded already. Nothing of it outlives the scope.
 * - C modules lie in flash as a whole: to import one takes nothing.
 */
#include "device.h"

#include <string.h>

#define IMPORTS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* The seed's rule: the always-active ones import C modules (trezorconfig, trezorutils, …) or each other. */
static const Source sources[] = {
    {"trezor", 30, 4, NULL},
    {"trezor.utils", 20, 12, IMPORTS("trezorutils", "trezor")},
    {"storage", 20, 6, IMPORTS("storage.cache", "storage.common", "storage.device")},
    {"storage.common", 12, 10, IMPORTS("trezorconfig")},
    {"storage.cache", 72, 14, IMPORTS("trezorutils", "trezor.utils")},
    {"storage.device", 24, 16, IMPORTS("storage.common", "trezor.utils")},
    {"storage.fido2", 8, 4, IMPORTS("storage.common")},
    {"trezor.pin", 8, 3, IMPORTS("trezorconfig", "trezor.utils")},
    {"usb", 12, 6, IMPORTS("trezorio", "trezor.utils")},

    {"trezor.strings", 8, 6, IMPORTS("trezor.utils")},
    {"trezor.ui", 40, 60, IMPORTS("trezorui", "trezor.utils", "storage.device")},
    {"trezor.ui.layouts", 32, 48, IMPORTS("trezor.ui", "trezor.strings")},
    {"trezor.messages", 16, 24, IMPORTS("trezorproto")},
    {"trezor.wire", 16, 20, IMPORTS("trezor.messages", "storage.cache")},
    {"trezor.crypto", 12, 10, IMPORTS("trezorcrypto")},
    {"apps.common.keychain", 16, 18, IMPORTS("trezor.crypto", "trezor.wire", "storage.cache")},
    {"apps.common.confirm", 8, 6, IMPORTS("trezor.ui.layouts")},
    {"apps.homescreen", 8, 10, IMPORTS("trezor.ui", "storage.device")},
    {"apps.management.recovery", 20, 30, IMPORTS("trezor.ui.layouts", "trezor.crypto", "storage.device")},
    {"apps.bitcoin.addresses", 12, 16, IMPORTS("trezor.crypto", "apps.common.keychain")},
    {"apps.bitcoin.sign_tx", 32, 40, IMPORTS("apps.bitcoin.addresses", "apps.common.keychain", "trezor.wire")},
};

const Source *source_of(const char *name) {
  for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
    if (strcmp(sources[i].name, name) == 0) {
      return &sources[i];
    }
  }
  return NULL;
}

Module *module_loaded(const Device *device, const char *name) {
  for (size_t i = 0; i < device->module_count; i++) {
    if (strcmp(device->modules[i].name, name) == 0) {
      return device->modules[i].module;
    }
  }
  return NULL;
}

bool module_set(Module *module, void *value) {
  if (module->used == module->room) {
    return false;
  }
  void **slot = &module->slots[module->used];
  GC_assign(slot, value); /* asks whether the module may hold this; if not, the slot stays empty */
  if (*slot != value) {
    return false;
  }
  module->used++;
  return true;
}

/* Names the module in sys.modules, whose size was decided at boot. */
static bool enter_into_modules(Device *device, Module *module) {
  if (device->module_count == MODULES_MOST) {
    return false;
  }
  Loaded *entry = &device->modules[device->module_count++];
  entry->name = module->source->name;
  entry->module = module;
  return true;
}

static size_t module_bytes(const Source *source) {
  return offsetof(Module, slots) + source->slots * sizeof(void *);
}

static void fill_in(Module *module, const Source *source) {
  module->source = source;
  module->room = source->slots;
}

Module *import_always(Device *device, const char *name) {
  Module *module = module_loaded(device, name);
  const Source *source = source_of(name);
  if (module != NULL || source == NULL) {
    return module;
  }
  module = GC_newSized(always_type(name), module_bytes(source)); /* of no type: NULL, and the hook is told */
  if (module == NULL) {
    return NULL;
  }
  fill_in(module, source);
  /* Named before its own imports: modules may import each other. */
  if (!enter_into_modules(device, module) || kn_resident_alloc(device->heap, source->objects * 16u) == NULL) {
    return NULL;
  }
  for (const char *const *import = source->imports; import != NULL && *import != NULL; import++) {
    if (source_of(*import) == NULL) {
      continue;
    }
    Module *imported = import_always(device, *import);
    if (imported == NULL || !module_set(module, imported)) {
      return NULL;
    }
  }
  return module;
}

Module *import_into(Device *device, KnArena *scope, const char *name) {
  Module *module = module_loaded(device, name);
  const Source *source = source_of(name);
  if (module != NULL || source == NULL) {
    return module;
  }
  module = need(device, GC_newInAt(scope, device->types.loaded, module_bytes(source), name));
  fill_in(module, source);
  if (!enter_into_modules(device, module)) {
    throw_error(device, "sys.modules is full");
  }
  /* Functions and constants. */
  (void)need(device, kn_arena_calloc(scope, source->objects, 16));
  for (const char *const *import = source->imports; import != NULL && *import != NULL; import++) {
    if (source_of(*import) != NULL && !module_set(module, import_into(device, scope, *import))) {
      throw_error(device, "a module's table is full");
    }
  }
  return module;
}

void unimport(void *context) {
  Device *device = context;
  while (device->module_count > device->always_count) {
    Loaded *entry = &device->modules[--device->module_count];
    entry->name = NULL;
    entry->module = NULL;
  }
}
