#include "heap/usage.h"

#include <stddef.h>

#include "os/memory.h"

#define DIRECTORY_BYTES (CMR_USAGE_CHUNKS * sizeof(struct cmr_usage *))
#define CHUNK_BYTES (CMR_USAGE_CHUNK * sizeof(struct cmr_usage))

bool cmr_usages_init(struct cmr_usages *usages)
{
	if (usages->chunks == NULL)
		usages->chunks = cmr_memory_map(DIRECTORY_BYTES);
	return usages->chunks != NULL;
}

static void drop_chunks(struct cmr_usages *usages)
{
	for (uint32_t i = 0; i < CMR_USAGE_CHUNKS; i++) {
		if (usages->chunks[i] == NULL)
			continue;
		cmr_memory_unmap(usages->chunks[i], CHUNK_BYTES);
		usages->chunks[i] = NULL;
	}
}

void cmr_usages_fini(struct cmr_usages *usages)
{
	if (usages->chunks != NULL) {
		drop_chunks(usages);
		cmr_memory_unmap(usages->chunks, DIRECTORY_BYTES);
	}
	*usages = (struct cmr_usages){ 0 };
}

void cmr_usages_restart(struct cmr_usages *usages)
{
	usages->first = 0;
	usages->n_touched = 0;
	if (++usages->serial == 0) {
		/* Serials begin anew: entries of long ago must not look like ours. */
		drop_chunks(usages);
		usages->serial = 1;
	}
}

/* A new entry for LOCATION; NULL when memory is refused. */
static struct cmr_usage *make_entry(struct cmr_usages *usages, const struct cmr_ledger *ledger,
				    uint32_t location)
{
	uint32_t at = location / CMR_USAGE_CHUNK;
	struct cmr_usage *entry;

	if (at >= CMR_USAGE_CHUNKS)
		return NULL;
	if (usages->chunks[at] == NULL)
		usages->chunks[at] = cmr_memory_map(CHUNK_BYTES);
	if (usages->chunks[at] == NULL)
		return NULL;
	entry = &usages->chunks[at][location % CMR_USAGE_CHUNK];
	*entry = (struct cmr_usage){ .epoch = ledger->epoch,
				     .serial = usages->serial,
				     .next = usages->first };
	usages->first = location;
	usages->n_touched++;
	return entry;
}

bool cmr_usages_book(struct cmr_usages *usages, const struct cmr_ledger *ledger, uint32_t location,
		     int64_t bytes, int64_t blocks, int64_t variance)
{
	struct cmr_usage *entry = cmr_usages_known(usages, location);

	if (__builtin_expect(entry == NULL, 0)) {
		if (bytes <= 0 && blocks <= 0)
			return true;
		entry = make_entry(usages, ledger, location);
		if (entry == NULL)
			return false;
	}
	cmr_usage_settle(entry, ledger->epoch);
	entry->since_bytes += bytes;
	entry->since_blocks += blocks;
	entry->since_variance += variance;
	return true;
}

uint32_t cmr_usages_rows(const struct cmr_usages *usages, const struct cmr_ledger *ledger, bool peak,
			 struct cmr_usage_row *out, uint32_t n_out)
{
	bool now = !peak || (!ledger->sealed && cmr_ledger_at_peak(ledger));
	uint32_t n = 0, location = usages->first;

	while (location != 0 && n < n_out) {
		const struct cmr_usage *e =
			&usages->chunks[location / CMR_USAGE_CHUNK][location % CMR_USAGE_CHUNK];
		struct cmr_usage_row row = { location, e->at_peak_bytes, e->at_peak_blocks,
					     e->at_peak_variance };

		if (now || e->epoch != ledger->epoch) {
			row.bytes += e->since_bytes;
			row.blocks += e->since_blocks;
			row.variance += e->since_variance;
		}
		if (row.bytes > 0 || row.blocks > 0)
			out[n++] = row;
		location = e->next;
	}
	return n;
}
