/*
 * A device after Trezor's: a handful of modules that are always active, and workflows that come and go.
 *
 *   always.c     the always-active modules, and the tables that are made once, as large as they will ever be
 *   modules.c    what lies in flash, and the import of it: into the heap's resident end or into a workflow's scope
 *   workflows.c  what the device can do; each is a function that gets a scope
 *   accidents.c  what goes wrong, on purpose, and how it is told
 *   main.c       the loop: one scope for each workflow, and what is verified after each
 *
 *   bottom                                                                        top
 *   │ sys.modules │ trezor storage usb … │ log │ free ………………………………… │ confirm │ sign │
 *     resident: stays                                                  scopes: gone at leave
 *
 * One Device lies in main's frame: Knoll writes nothing but its heap and what the program hands to it.
 */
#ifndef DEVICE_H
#define DEVICE_H

#include "knoll.h"
#include "knoll/format.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Modules ---- */

/* What lies in flash of a module: constant, and costs no RAM. */
typedef struct Source {
  const char *name;
  uint16_t slots;                /* names that it defines, at most: how large its table is made */
  uint16_t objects;              /* functions and constants that take RAM once it is loaded */
  const char *const *imports;    /* NULL: none; ends with NULL */
} Source;

/* A loaded module, a cell: its table is as large as it will ever be (the seed's presize_module). */
typedef struct Module {
  const Source *source;
  uint32_t room;                 /* slots there are */
  uint32_t used;                 /* slots taken */
  void *slots[];                 /* counted references: modules that it imported, values that it holds */
} Module;

/* sys.modules: which module is loaded, by name. */
typedef struct Loaded {
  const char *name;
  Module *module;
} Loaded;

enum { MODULES_MOST = 160 }; /* as MICROPY_LOADED_MODULES_DICT_SIZE: verified after every workflow */

/* ---- Other cells ---- */

/* A line on the screen; lines of one layout form a list. */
typedef struct Layout {
  void *next;
  const char *text;
} Layout;

/* An input of a transaction. */
typedef struct Input {
  void *next;
  const char *address;
  uint64_t amount;
} Input;

typedef struct Output {
  void *next;
  uint64_t amount;
} Output;

/* What is known of a transaction when it has been signed. */
typedef struct Summary {
  void *outputs;
  uint64_t fee;
} Summary;

/* What the host's session remembers between workflows: an ordinary counted cell, outside of all scopes. */
typedef struct Session {
  void *last_layout;
  void *summary;
} Session;

/* An entry of storage.cache, always active. */
typedef struct CacheEntry {
  uint32_t session, key;
} CacheEntry;

typedef struct Types {
  KnTypeId loaded;               /* a module in a scope; each always-active one has its own */
  KnTypeId cache_entry;
  KnTypeId layout, input, output, summary, session;
} Types;

/* ---- The device ---- */

/* Who is called when a PIN takes long: static data of the firmware, which Knoll is told of by name. */
typedef struct PinCallback {
  void (*show)(Layout *);
  Layout *layout;
} PinCallback;

typedef struct Device {
  KnHeap *heap;
  Types types;
  Loaded *modules;               /* MODULES_MOST of them */
  size_t module_count, always_count;
  Module *cache;                 /* storage.cache; its entries lie behind its imports */
  uint32_t cache_imports;
  uint32_t *log;                 /* grows now and then: a table that is always active, too */
  size_t log_count, log_room;
  void *session;                 /* a Session */
  PinCallback pin;
  KnRootRange pin_range;         /* names `pin` */
  jmp_buf failed;                /* where throw_error goes */
  const char *failure;
  uint32_t drawn;                /* what the screen has shown, as a sum */
  uint32_t random;
  bool accident;                 /* the next workflow makes the mistake it is written for */
} Device;

/* always.c */
bool device_begin(Device *device, void *memory, size_t bytes);
KnTypeId always_type(const char *name);           /* 0: that module is not always active, or no memory */
bool cache_add(Device *device, uint32_t key);     /* a new entry of storage.cache; false: no slot, no memory */
bool log_add(Device *device, uint32_t what);
const char *device_label(const Device *device);

/* modules.c */
const Source *source_of(const char *name);        /* NULL: a C module, which lies in flash as a whole */
Module *module_loaded(const Device *device, const char *name);
Module *import_always(Device *device, const char *name);
Module *import_into(Device *device, KnArena *scope, const char *name); /* raises when memory ends */
bool module_set(Module *module, void *value);     /* in the next slot; false: no slot, or the reference was refused */
void unimport(void *device);                      /* the scopes' modules leave sys.modules: a cleanup */

/* workflows.c: what a workflow is, and what is known of it from its runs. */
typedef struct Workflow {
  const char *name;
  void (*run)(Device *device, KnArena *scope, unsigned round);
  size_t presize;                /* of the first run: a guess. Then what the last run suggested */
  size_t budget;
  unsigned runs, failures, grown;
  size_t peak, first_presize;
} Workflow;

extern Workflow workflows[];
extern const size_t workflow_count;
enum { HOMESCREEN, UNLOCK, ADDRESS, SIGN, RECOVERY };

void throw_error(Device *device, const char *what);     /* as the interpreter's exceptions: by longjmp */
void *need(Device *device, void *allocated);      /* raises "out of memory" for NULL */

/* main.c */
KnStatus run_workflow(Device *device, Workflow *workflow, unsigned round, KnLeaveReport *report);
size_t write_out(void *context, const char *text, size_t length);
int fail(const char *what);

/* accidents.c */
int accidents(Device *device);

#endif
