/* One 32-bit word per small number, 0 at first, in chunks that are made as they are needed and never
 * move. Reading takes no lock; making takes the lock of whoever owns the column. */
#ifndef CMR_TABLE_COLUMN_H
#define CMR_TABLE_COLUMN_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "os/status.h"

#define CMR_COLUMN_CHUNK_LOG2 16
#define CMR_COLUMN_CHUNK ((uint32_t)1 << CMR_COLUMN_CHUNK_LOG2)

typedef _Atomic uint32_t cmr_word;

struct cmr_column {
	_Atomic(cmr_word *) *chunks; /* of CMR_COLUMN_CHUNK words; NULL where there is none */
	uint32_t capacity;           /* highest number */
};

/* Makes an empty column for the numbers 0..CAPACITY. COLUMN is zero-initialised or was finished. */
enum cmr_status cmr_column_init(struct cmr_column *column, uint32_t capacity,
				struct cmr_error *err) CMR_CHECKED;

/* Unmaps all. COLUMN may be zero, or have failed to be made. */
void cmr_column_fini(struct cmr_column *column);

/* The word of NUMBER; NULL where none was made yet, and above the capacity. [hot] */
static inline cmr_word *cmr_column_at(const struct cmr_column *column, uint32_t number)
{
	cmr_word *chunk;

	if (__builtin_expect(number > column->capacity, 0))
		return 0;
	/* Pairs with the release store of cmr_column_make. */
	chunk = atomic_load_explicit(&column->chunks[number >> CMR_COLUMN_CHUNK_LOG2],
				     memory_order_acquire);
	return chunk != 0 ? &chunk[number & (CMR_COLUMN_CHUNK - 1)] : 0;
}

/* The same, made when it is not there yet. NULL: memory was refused, or above the capacity. The
 * owner's lock is held. [nomalloc] */
cmr_word *cmr_column_make(struct cmr_column *column, uint32_t number);

/* All words are 0 again; gives the pages back. No reader or writer may be in flight. */
void cmr_column_reset(struct cmr_column *column);

#endif
