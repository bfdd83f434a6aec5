/*
 * Which fault a file of this folder is to have: the environment variable KNOLL_FAULT names it.
 *
 * The including file defines FAULTS as the file that lists its faults, and gets `has(FAULT_name)`. A name that is not in
 * the list ends the program; without the variable there is no fault.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const fault_names[] = {
#define FAULT(name, what) #name,
#include FAULTS
#undef FAULT
};

typedef enum Fault {
#define FAULT(name, what) FAULT_##name,
#include FAULTS
#undef FAULT
    FAULT_COUNT
} Fault;

static bool has(Fault fault) {
    static int chosen = -1;
    if (chosen < 0) {
        const char *wanted = getenv("KNOLL_FAULT");
        int found = 0;
        while (found < FAULT_COUNT && (wanted == NULL || strcmp(wanted, fault_names[found]) != 0)) {
            found++;
        }
        if (wanted != NULL && found == FAULT_COUNT) {
            fprintf(stderr, "no such fault: %s\n", wanted);
            exit(2);
        }
        chosen = found;
    }
    return chosen == (int)fault;
}
