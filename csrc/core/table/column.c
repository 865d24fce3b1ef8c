#include "table/column.h"

#include <errno.h>

#include "os/memory.h"

#define CHUNK_BYTES (CMR_COLUMN_CHUNK * sizeof(cmr_word))

static size_t n_chunks(const struct cmr_column *column)
{
	return ((size_t)column->capacity >> CMR_COLUMN_CHUNK_LOG2) + 1;
}

enum cmr_status cmr_column_init(struct cmr_column *column, uint32_t capacity, struct cmr_error *err)
{
	column->capacity = capacity;
	column->chunks = cmr_memory_map(n_chunks(column) * sizeof *column->chunks);
	if (column->chunks == NULL)
		return cmr_fail(err, CMR_NO_MEMORY, ENOMEM, "no memory for a column of numbers");
	return CMR_OK;
}

static void free_chunk(struct cmr_column *column, size_t i)
{
	cmr_word *chunk = atomic_load(&column->chunks[i]);

	if (chunk != NULL)
		cmr_memory_unmap(chunk, CHUNK_BYTES);
	atomic_store(&column->chunks[i], NULL);
}

void cmr_column_fini(struct cmr_column *column)
{
	if (column->chunks != NULL) {
		for (size_t i = 0; i < n_chunks(column); i++)
			free_chunk(column, i);
		cmr_memory_unmap(column->chunks, n_chunks(column) * sizeof *column->chunks);
	}
	*column = (struct cmr_column){ 0 };
}

cmr_word *cmr_column_make(struct cmr_column *column, uint32_t number)
{
	cmr_word *word = cmr_column_at(column, number), *chunk;

	if (word != NULL || number > column->capacity)
		return word;
	chunk = cmr_memory_map(CHUNK_BYTES);
	if (chunk == NULL)
		return NULL;
	atomic_store_explicit(&column->chunks[number >> CMR_COLUMN_CHUNK_LOG2], chunk,
			      memory_order_release);
	return &chunk[number & (CMR_COLUMN_CHUNK - 1)];
}

/* The first chunk will be needed again. */
void cmr_column_reset(struct cmr_column *column)
{
	cmr_word *first = atomic_load(&column->chunks[0]);

	if (first != NULL)
		cmr_memory_discard(first, CHUNK_BYTES);
	for (size_t i = 1; i < n_chunks(column); i++)
		if (atomic_load(&column->chunks[i]) != NULL)
			free_chunk(column, i);
}
