/* Garbage collections around a measurement. */
#ifndef CMR_BINDING_COLLECT_H
#define CMR_BINDING_COLLECT_H

#include "compat.h"

/* Looks up the functions of the module gc, once; false with an exception set. */
bool cmr_collect_init(void);

/* Collects the young generations, empties the interpreter's free lists and resets the collection
 * counters. 1: done; 0, and nothing done, when the program holds frozen objects of its own or on a
 * free-threaded build; -1 with an exception set. */
int cmr_collect_free_lists(void);

/* The same, by a full collection where it cannot be done otherwise; false with an exception set. */
bool cmr_collect_or_fully(void);

/* gc.collect(1), and gc.collect(); false with an exception set. */
bool cmr_collect_young(void);
bool cmr_collect_fully(void);

#endif
