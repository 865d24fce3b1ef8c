#include "heap/tags.h"

#include <stddef.h>

#include "os/random.h"

/* A sweep is due when fewer tags than this are free. A region needs one for each kind of thread:
 * opener, older and younger ones. */
#define FEW_TAGS 16
#define LEAST_TAGS 7

/* With nothing open every entry of the hash is stale; so many are let stand. */
#define MANY_STALE 16384

unsigned cmr_tags_find_locked(struct cmr_plane *plane, uint16_t regions, uint16_t old, bool exact)
{
	unsigned empty = 0;
	struct cmr_tag *tag;

	for (unsigned t = CMR_N_TAGS - 1; t > 0; t--) {
		tag = &plane->tags[t];
		if (!tag->used)
			empty = t;
		else if (tag->regions == regions && tag->old == old && tag->exact == exact &&
			 !tag->retired)
			return t;
	}
	if (empty == 0)
		return 0;
	tag = &plane->tags[empty];
	*tag = (struct cmr_tag){ .regions = regions, .old = old, .exact = exact, .used = true };
	if (old == 0 && (regions & (regions - 1)) == 0)
		tag->only = plane->slots[__builtin_ctz(regions)];
	return empty;
}

void cmr_tags_leave_locked(struct cmr_plane *plane, uint16_t gone)
{
	for (unsigned t = 1; t < CMR_N_TAGS; t++) {
		struct cmr_tag *tag = &plane->tags[t];

		tag->regions &= (uint16_t)~gone;
		tag->old &= (uint16_t)~gone;
		tag->only = NULL;
		if (tag->regions != 0 && tag->old == 0 && (tag->regions & (tag->regions - 1)) == 0)
			tag->only = plane->slots[__builtin_ctz(tag->regions)];
	}
}

void cmr_tags_publish_locked(struct cmr_plane *plane)
{
	uint32_t next = atomic_load_explicit(&plane->config, memory_order_relaxed) + 1;

	cmr_biased_no_pass(&plane->lock);
	/* Threads draw anew from it: never the same numbers twice. */
	plane->seed = cmr_mix(plane->seed + 0x9e3779b97f4a7c15u);
	/* Pairs with the acquire load of the hot path. */
	atomic_store_explicit(&plane->config, next != 0 ? next : 1, memory_order_release);
}

static unsigned count_free(struct cmr_plane *plane)
{
	unsigned n = 0;

	struct cmr_seat *held = cmr_plane_enter(plane);
	for (unsigned t = 1; t < CMR_N_TAGS; t++)
		n += !plane->tags[t].used;
	cmr_plane_leave(plane, held);
	return n;
}

/* Retires every tag whose set an earlier one names as well, and those that name none. MAP becomes
 * what cmr_blocks_retag wants. */
static void retire_locked(struct cmr_plane *plane, uint8_t map[CMR_N_TAGS])
{
	map[0] = 0;
	for (unsigned t = 1; t < CMR_N_TAGS; t++) {
		struct cmr_tag *tag = &plane->tags[t];

		map[t] = (uint8_t)t;
		if (!tag->used)
			continue;
		if (tag->regions == 0) {
			map[t] = 0;
			tag->retired = true;
			continue;
		}
		for (unsigned c = 1; c < t; c++) {
			const struct cmr_tag *other = &plane->tags[c];

			if (other->used && !other->retired && other->regions == tag->regions &&
			    other->old == tag->old && other->exact == tag->exact) {
				map[t] = (uint8_t)c;
				tag->retired = true;
				break;
			}
		}
	}
	cmr_tags_publish_locked(plane);
}

static void free_retired_locked(struct cmr_plane *plane, const uint8_t map[CMR_N_TAGS])
{
	for (unsigned t = 1; t < CMR_N_TAGS; t++) {
		if (map[t] != t)
			plane->tags[t] = (struct cmr_tag){ 0 };
	}
}

/* See the head of tags.h. */
static bool sweep(struct cmr_plane *plane)
{
	uint8_t map[CMR_N_TAGS];
	bool empty;

	struct cmr_seat *held = cmr_plane_enter(plane);
	empty = plane->open == 0;
	retire_locked(plane, map);
	cmr_plane_leave(plane, held);
	if (!cmr_thread_quiesce(plane->id))
		return false;
	if (empty) {
		cmr_blocks_reset(&plane->blocks);
		for (unsigned b = 0; b < CMR_N_BASES; b++)
			cmr_ranges_reset(&plane->ranges[b]);
	} else {
		cmr_blocks_retag(&plane->blocks, map);
		for (unsigned b = 0; b < CMR_N_BASES; b++)
			cmr_ranges_retag(&plane->ranges[b], map);
	}
	if (!cmr_thread_quiesce(plane->id))
		return false;
	held = cmr_plane_enter(plane);
	free_retired_locked(plane, map);
	cmr_plane_leave(plane, held);
	return true;
}

bool cmr_tags_tidy(struct cmr_plane *plane)
{
	size_t stale = 0, leaves = 0;

	if (plane->open == 0) /* which only this thread could change now */
		cmr_blocks_measure(&plane->blocks, &stale, &leaves);
	if (count_free(plane) >= FEW_TAGS && stale < MANY_STALE)
		return true;
	/* Not quiet is no failure while there are tags. */
	return sweep(plane) || count_free(plane) >= LEAST_TAGS;
}
