/*
 * The faults that the witness can be given: FAULT(name, what is wrong).
 *
 * As in faults.h, the environment variable KNOLL_FAULT names the one to have. These stand between the program and the
 * real library, see witness.c: every fault must be caught by some test, and every test must catch some fault.
 */
FAULT(fingerprint_constant, "every heap has the fingerprint 1")
FAULT(fingerprint_restless, "the fingerprint changes by itself")
FAULT(fingerprint_of_nothing, "a NULL heap has a fingerprint")
FAULT(fingerprint_misses_half, "the fingerprint leaves out blocks of its choice")
FAULT(term_constant, "every block has the same term")
FAULT(term_of_anything, "what is no block has a term")
FAULT(largest_is_free, "the largest free block is all that is free")
FAULT(largest_too_large, "the largest free block is 64 bytes larger than it is")
FAULT(free_short, "free memory leaves out 8 bytes")
FAULT(holes_miscounted, "one free block too many is counted")
FAULT(histogram_shifted, "the histogram is one entry lower")
FAULT(histogram_without_bytes, "the histogram's bytes are blocks")
FAULT(null_taken, "a NULL where a pointer must be answers KN_OK")
FAULT(json_cut, "the last byte of the JSON is not written")
FAULT(json_old, "the JSON's version is 0")
FAULT(json_not_escaped, "names are written into the JSON as they are")
FAULT(json_all_raw, "every block is told to be raw")
FAULT(json_without_names, "the JSON has no names")
FAULT(json_without_types, "the JSON has no types")
FAULT(json_harmless, "the harm of a pin is told to be 1")
FAULT(json_wrong_address, "addresses in the JSON end in 9")
FAULT(json_goes_on, "the JSON goes on when the writer is full")
FAULT(json_allocates, "telling leaves a block behind")
FAULT(pins_missing, "one pin less is told than there is")
FAULT(check_sees_nothing, "kn_fragmentation_check answers KN_OK to everything")
FAULT(check_sees_ghosts, "kn_fragmentation_check is never content")
FAULT(check_is_mute, "kn_fragmentation_check writes nothing")
FAULT(check_misreads, "kn_fragmentation_check is content with one in a thousand less")
