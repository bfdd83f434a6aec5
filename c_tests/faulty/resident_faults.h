/*
 * The faults that always-active data can be given: FAULT(name, what is wrong).
 *
 * As in faults.h, the environment variable KNOLL_FAULT names the one to have. These stand between the programs and the
 * real library, see resident.c: every fault must be caught by some test, and every test must catch some fault.
 */
FAULT(type_ignored, "KN_TYPE_RESIDENT is not regarded")
FAULT(assign_takes_all, "GC_assign lets a resident cell refer to any other")
FAULT(assign_refuses_silently, "a refused assignment is not told")
FAULT(assign_clears, "a refused assignment leaves NULL in the field")
FAULT(assign_refuses_residents, "GC_assign refuses resident cells too")
FAULT(assign_refuses_lasting, "GC_assign refuses immortal and shared cells")
FAULT(cells_stay, "resident cells never die")
FAULT(scopes_take_residents, "GC_newIn makes a cell of a resident type")
FAULT(check_sees_nothing, "kn_resident_check answers KN_OK to everything")
FAULT(check_sees_ghosts, "kn_resident_check is never content")
FAULT(check_is_mute, "kn_resident_check writes nothing")
FAULT(check_tells_no_chain, "kn_resident_check tells only the last field")
FAULT(check_tells_one, "kn_resident_check tells the first wrong reference only")
FAULT(check_tells_no_site, "kn_resident_check tells no site")
FAULT(block_dirty, "the last byte of a resident block is not zero")
FAULT(block_unlisted, "a resident block is a block of the heap and no more")
FAULT(block_at_top, "resident blocks come from the heap's top end")
FAULT(block_wraps, "a size near SIZE_MAX wraps to a small one")
FAULT(free_leaks, "kn_resident_free does nothing")
FAULT(free_takes_all, "kn_resident_free takes any pointer in silence")
FAULT(realloc_forgets, "kn_resident_realloc loses the contents")
FAULT(realloc_dirty, "what kn_resident_realloc adds is not zero")
