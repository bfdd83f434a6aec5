/* ---- Counting in line: the same as GC_ref, GC_unref, GC_assign and GC_move, without a call in the usual
 * case, and without verifying that the pointer is a cell's. For the hot paths of a runtime that is sure of
 * its pointers. The constants are those of src/counted/cell.rs. */

/* The counter word of a cell. */
static inline uint32_t *kn_cell_word(void *object)
{
  return (uint32_t *)((char *)object - 8);
}

/* Its value; other threads count a shared cell. */
static inline uint32_t kn_cell_load(void *object)
{
#if defined(__GNUC__)
  return __atomic_load_n(kn_cell_word(object), __ATOMIC_RELAXED);
#else
  return *(volatile uint32_t *)kn_cell_word(object);
#endif
}

/* GC_ref in line. */
static inline void *GC_refInline(void *object)
{
  if (object != NULL) {
    uint32_t word = (kn_cell_load(object) + 32u) & ~2u;
    if ((int32_t)word < 0) {
      GC_refSpecial(object);
    } else {
      *kn_cell_word(object) = word;
    }
  }
  return object;
}

/* GC_unref in line. */
static inline void GC_unrefInline(void *object)
{
  if (object != NULL) {
    uint32_t before = kn_cell_load(object);
    if ((int32_t)before < 64) {
      GC_unrefSpecial(object);
    } else {
      uint32_t word = before - 32u;
      *kn_cell_word(object) = word | 2u;
      if ((word & 5u) == 0) {
        GC_firstRoot(object);
      }
    }
  }
}

/* GC_assign in line. */
static inline void GC_assignInline(void **slot, void *object)
{
  void *before = *slot;
  if ((object != NULL && (int32_t)kn_cell_load(object) < 0) || (before != NULL && (int32_t)kn_cell_load(before) < 0)) {
    /* One of them may lie in an arena: then the slot matters. */
    GC_assign(slot, object);
    return;
  }
  GC_refInline(object);
  *slot = object;
  GC_unrefInline(before);
}

/* GC_move in line. */
static inline void *GC_moveInline(void **slot)
{
  void *object = *slot;
  if (object != NULL && (int32_t)kn_cell_load(object) < 0) {
    return GC_move(slot);
  }
  *slot = NULL;
  return object;
}

/* GC_typeOf in line; not for NULL. */
static inline KnTypeId GC_typeOfInline(const void *object)
{
  return ((const uint32_t *)object)[-1] & 0x3FFFu;
}
