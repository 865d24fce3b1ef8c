/* Has the program frozen objects of its own (gc.freeze)? */
#ifndef CMR_BINDING_FROZEN_H
#define CMR_BINDING_FROZEN_H

#include <stdbool.h>

/* True when objects are frozen that the interpreter did not put there itself: 3.12 moves immortal
 * ones among them at every full collection. With the interpreter's lock. */
bool cmr_frozen_any(void);

#endif
