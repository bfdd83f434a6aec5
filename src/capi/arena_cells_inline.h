/* ---- Allocating in an arena in line: the same as kn_arena_alloc, without a call in the usual case. */

/* What an arena's record starts with. */
typedef struct KnArenaTop {
  char *at;
  char *end;
} KnArenaTop;

/* kn_arena_alloc in line; `arena` is a living arena. */
static inline void *kn_arena_allocInline(KnArena *arena, size_t size)
{
  KnArenaTop *top = (KnArenaTop *)(void *)arena;
  char *at = top->at;
#if defined(__GNUC__)
  if (__builtin_constant_p(size) && size <= 65536u) {
    /* No arena lies in the last 64 KB of all addresses: the sum does not overflow. */
    uintptr_t next = (uintptr_t)at + ((size + 7u) & ~(size_t)7u);
    if (next > (uintptr_t)top->end) {
      return kn_arena_alloc(arena, size);
    }
    top->at = (char *)next;
    return at;
  }
#endif
  if (size > (size_t)(top->end - at)) {
    return kn_arena_alloc(arena, size);
  }
  /* `at` is a multiple of 8. */
  top->at = (char *)(((uintptr_t)at + size + 7u) & ~(uintptr_t)7u);
  return at;
}

/* "file:line" where it stands: the site for GC_newInAt. */
#define KN_TEXT_OF(token) #token
#define KN_TEXT(token) KN_TEXT_OF(token)
#define KN_HERE __FILE__ ":" KN_TEXT(__LINE__)

/* GC_newIn with the place in the program where it stands. */
#define GC_newInHere(arena, type) GC_newInAt((arena), (type), 0, KN_HERE)

