/* Counted cells: a family tree with parents and children that hold each other, a report of what is
 * garbage before it is collected, and who holds whom. */
#include <knoll.h>
#include <stddef.h>
#include <stdio.h>

struct person {
  void *parent;   /* fields that hold references are pointers to void: GC_assign writes them */
  void *children; /* a list */
  int year;
};

struct list {
  void *person, *next;
};

static int buried;

static void bury(void *object) {
  (void)object; /* its references are still there, but for those to cells of the same dead cycle */
  buried++;
}

/* What the types say is all that the collector knows. They can be constant, in flash. */
static const uint32_t person_fields[] = {offsetof(struct person, parent), offsetof(struct person, children)};
static const char *const person_names[] = {"parent", "children"};
static const KnType person_type = {.name = "person", .size = sizeof(struct person), .ref_count = 2,
                                   .ref_offsets = person_fields, .ref_names = person_names, .destroy = bury};

static const uint32_t list_fields[] = {offsetof(struct list, person), offsetof(struct list, next)};
static const char *const list_names[] = {"person", "next"};
static const KnType list_type = {.name = "list", .size = sizeof(struct list), .ref_count = 2,
                                 .ref_offsets = list_fields, .ref_names = list_names};

static KnTypeId persons, lists;

/* A person whose parent holds it, and who holds its parent. NULL without memory; else the caller owns it. */
static struct person *born(int year, struct person *parent) {
  struct person *child = GC_new(persons);
  if (child == NULL) return NULL;
  child->year = year;
  if (parent != NULL) {
    struct list *entry = GC_new(lists);
    if (entry == NULL) {
      GC_unref(child);
      return NULL;
    }
    entry->person = GC_ref(child);
    entry->next = parent->children; /* moved, as is the next line: no count changes */
    parent->children = entry;
    child->parent = GC_ref(parent);
  }
  return child;
}

static size_t to_stdout(void *context, const char *text, size_t length) {
  (void)context;
  return fwrite(text, 1, length, stdout);
}

int main(void) {
  persons = GC_registerType(&person_type);
  lists = GC_registerType(&list_type);
  struct person *ada = born(1815, NULL);
  if (persons == 0 || lists == 0 || ada == NULL) return 1;
  for (int year = 1836; year <= 1839; year += 3) GC_unref(born(year, ada)); /* the tree holds them */
  printf("references to ada: %u\n", (unsigned)GC_refcount(ada));

  GC_unref(ada); /* from here on they hold each other, and nothing else does */
  printf("buried without a collection: %d\n", buried);
  if (GC_reportCycles(to_stdout, NULL) != KN_OK) return 1;
  GC_runOrc();
  printf("buried: %d, in use: %zu bytes, check: %s\n", buried, GC_getOccupiedMem(), kn_status_str(GC_check()));
  return GC_getOccupiedMem() != 0;
}
