/* Mappings. Each basis keeps its own intervals, because it cuts them by its own rules:
 *
 *   system     every mapping counts as a block of the bytes asked for, whatever its kind, until it is
 *              unmapped; mprotect changes nothing.
 *   requested  writable private anonymous memory counts; all else stands apart by class. A call of
 *              mprotect that makes bytes writable is their allocation. */
#include "events/events.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "events/own.h"
#include "heap/booking.h"
#include "heap/location.h"
#include "stack/provider.h"

/* Writable mappings of MAP_NORESERVE from this size on are address space, not use. */
#define RESERVED_BYTES ((size_t)64 << 20)

#define MAP_TYPE_BITS 0x0f

/* A page, as the kernel rounds lengths. */
static uintptr_t page_up(uintptr_t address)
{
	static _Atomic uintptr_t page;
	uintptr_t bytes = atomic_load_explicit(&page, memory_order_relaxed);

	if (bytes == 0) {
		bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
		atomic_store_explicit(&page, bytes, memory_order_relaxed);
	}
	return (address + bytes - 1) & ~(bytes - 1);
}

static bool is_interval(uintptr_t start, size_t bytes)
{
	return bytes != 0 && page_up(start) == start && start + bytes > start;
}

static enum cmr_range_class class_of(const struct cmr_thread *thread, size_t bytes, int prot,
				     int flags)
{
	if (thread->stock != 0)
		return CMR_RANGE_STOCK;
	if ((flags & MAP_ANONYMOUS) == 0)
		return CMR_RANGE_FILE;
	if ((flags & MAP_TYPE_BITS) != MAP_PRIVATE)
		return CMR_RANGE_SHARED;
	if ((prot & PROT_WRITE) == 0)
		return CMR_RANGE_UNWRITABLE;
	if ((flags & MAP_NORESERVE) != 0 && bytes >= RESERVED_BYTES)
		return CMR_RANGE_RESERVED;
	return CMR_RANGE_COUNTED;
}

static bool counts(enum cmr_basis basis, const struct cmr_range *range)
{
	return basis == CMR_BASIS_SYSTEM || range->class == CMR_RANGE_COUNTED;
}

static struct cmr_block block_of(const struct cmr_range *range, size_t bytes)
{
	return (struct cmr_block){ .size = bytes,
				   .weight = range->located ? bytes : 0,
				   .location = range->location,
				   .tag = range->tag,
				   .located = range->located };
}

/* --- bookings, for all that is cut or added ----------------------------------------------------- */

struct cutter {
	struct cmr_plane *plane;
	enum cmr_basis basis;
};

static void book_cut(const struct cutter *c, const struct cmr_range_cut *cut)
{
	struct cmr_block block = block_of(&cut->range, cut->bytes);

	if (counts(c->basis, &cut->range))
		cmr_booking_trim(c->plane, (enum cmr_audience)c->basis, &block, cut->blocks);
	else
		cmr_booking_apart(c->plane, cut->range.tag, cut->range.class,
				  -(int64_t)cut->bytes);
}

static void visit_cut(void *data, const struct cmr_range_cut *cut)
{
	book_cut(data, cut);
}

/* Cuts [START, END), booking what goes. Lock of the ranges held. */
static void cut_locked(struct cutter *c, uintptr_t start, uintptr_t end)
{
	if (!cmr_ranges_cut_locked(&c->plane->ranges[c->basis], start, end, visit_cut, c))
		cmr_lose(CMR_LOSS_mappings);
}

/* Adds RANGE and books it for THREAD. Lock of the ranges held. */
static void add_locked(struct cutter *c, const struct cmr_range *range,
		       struct cmr_thread *thread)
{
	struct cmr_block block = block_of(range, range->end - range->start);

	if (!cmr_ranges_add_locked(&c->plane->ranges[c->basis], range))
		cmr_lose(CMR_LOSS_mappings);
	else if (counts(c->basis, range))
		cmr_booking_add(c->plane, (enum cmr_audience)c->basis, &block, thread);
	else
		cmr_booking_apart(c->plane, range->tag, range->class, (int64_t)block.size);
}

/* --- events ----------------------------------------------------------------------------------- */

/* A new mapping of THREAD (NULL: that counts for nobody) in the place of whatever was there. */
static void replace(struct cutter *c, struct cmr_thread *thread,
		    const struct cmr_range *range)
{
	struct cmr_ranges *ranges = &c->plane->ranges[c->basis];

	cmr_lock_take(&ranges->lock);
	cut_locked(c, range->start, page_up(range->end));
	if (thread != NULL &&
	    cmr_booking_wanted(c->plane, (enum cmr_audience)c->basis, range->tag))
		add_locked(c, range, thread);
	cmr_lock_drop(&ranges->lock);
}

/* Whether this thread may be in a signal's handler: there, the signal is blocked. A thread that blocks
 * some at all times passes for one. */
static bool may_be_handling(void)
{
	sigset_t blocked;

	sigemptyset(&blocked);
	(void)pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	for (int number = 1; number < NSIG; number++)
		if (sigismember(&blocked, number) == 1)
			return true;
	return false;
}

/* A handler may not allocate, but mmap and mprotect are system calls, which work anywhere. */
static uint32_t locate(struct cmr_thread *thread, enum cmr_kind kind)
{
	if (cmr_provider != NULL && cmr_provider->loose && may_be_handling())
		return cmr_locations_add(0, kind);
	return cmr_locations_here(thread, kind);
}

void cmr_on_map(enum cmr_plane_id id, uintptr_t start, size_t bytes, int prot, int flags, int fd,
		enum cmr_kind kind)
{
	struct cmr_plane *plane = &cmr_planes[id];
	struct cmr_thread *thread = cmr_events_thread(plane);
	struct cmr_range range = { .start = start, .end = start + bytes };

	(void)fd;
	if (!is_interval(start, bytes))
		return;
	if (thread != NULL) {
		range.location = locate(thread, kind);
		range.located = range.location != 0;
		range.tag = thread->view[id].tag;
		range.class = (uint8_t)class_of(thread, bytes, prot, flags);
	}
	for (int basis = 0; basis < CMR_N_BASES; basis++) {
		struct cutter c = { plane, (enum cmr_basis)basis };

		replace(&c, thread, &range);
	}
}

void cmr_on_unmap(enum cmr_plane_id id, uintptr_t start, size_t bytes)
{
	struct cmr_plane *plane = &cmr_planes[id];

	if (!is_interval(start, bytes))
		return;
	for (int basis = 0; basis < CMR_N_BASES; basis++) {
		struct cutter c = { plane, (enum cmr_basis)basis };

		cmr_lock_take(&plane->ranges[basis].lock);
		cut_locked(&c, start, page_up(start + bytes));
		cmr_lock_drop(&plane->ranges[basis].lock);
	}
}

/* The class of RANGE after mprotect to PROT by THREAD. */
static enum cmr_range_class protected_class(const struct cmr_range *range,
					    const struct cmr_thread *thread, int prot)
{
	if (range->class == CMR_RANGE_UNWRITABLE && (prot & PROT_WRITE) != 0)
		return CMR_RANGE_COUNTED;
	/* The interpreter's compiler maps its code writable first. */
	if (range->class == CMR_RANGE_COUNTED && (prot & PROT_EXEC) != 0 && thread->stock != 0)
		return CMR_RANGE_STOCK;
	return range->class;
}

void cmr_on_protect(enum cmr_plane_id id, uintptr_t start, size_t bytes, int prot)
{
	struct cutter c = { &cmr_planes[id], CMR_BASIS_REQUESTED };
	struct cmr_ranges *ranges = &c.plane->ranges[c.basis];
	struct cmr_thread *thread = cmr_events_thread(c.plane);
	uintptr_t end = page_up(start + bytes), at = start;
	const struct cmr_range *found;
	uint32_t location;

	if (thread == NULL || !is_interval(start, bytes) ||
	    (prot & (PROT_WRITE | PROT_EXEC)) == 0 ||
	    !cmr_booking_wanted(c.plane, CMR_FOR_REQUESTED, thread->view[id].tag))
		return;
	location = locate(thread, CMR_KIND_MPROTECT);
	cmr_lock_take(&ranges->lock);
	while ((found = cmr_ranges_find_locked(ranges, at)) != NULL && found->start < end) {
		struct cmr_range piece = *found;
		enum cmr_range_class class = protected_class(&piece, thread, prot);

		at = piece.end;
		if (class == piece.class)
			continue;
		if (piece.start < start)
			piece.start = start;
		if (piece.end > end)
			piece.end = end;
		cut_locked(&c, piece.start, page_up(piece.end));
		piece.class = (uint8_t)class;
		piece.tag = thread->view[id].tag;
		piece.location = location;
		piece.located = location != 0;
		add_locked(&c, &piece, thread);
	}
	cmr_lock_drop(&ranges->lock);
}

/* --- mremap ----------------------------------------------------------------------------------- */

struct taker {
	struct cutter cutter;
	struct cmr_range_taken *taken;
};

static void visit_taken(void *data, const struct cmr_range_cut *cut)
{
	struct taker *t = data;

	if (t->taken->n == CMR_MAX_TAKEN) {
		t->taken->n_booked++;
		book_cut(&t->cutter, cut);
		return;
	}
	t->taken->basis[t->taken->n] = (uint8_t)t->cutter.basis;
	t->taken->pieces[t->taken->n++] = *cut;
}

void cmr_on_remap_begin(enum cmr_plane_id id, uintptr_t start, size_t bytes,
			struct cmr_range_taken *taken)
{
	struct cmr_plane *plane = &cmr_planes[id];

	*taken = (struct cmr_range_taken){ .start = start, .end = page_up(start + bytes) };
	if (!is_interval(start, bytes))
		return;
	(void)cmr_thread_self(); /* see cmr_on_free */
	for (int basis = 0; basis < CMR_N_BASES; basis++) {
		struct taker t = { { plane, (enum cmr_basis)basis }, taken };
		struct cmr_ranges *ranges = &plane->ranges[basis];

		cmr_lock_take(&ranges->lock);
		if (!cmr_ranges_cut_locked(ranges, start, taken->end, visit_taken, &t))
			cmr_lose(CMR_LOSS_mappings);
		cmr_lock_drop(&ranges->lock);
	}
}

static void visit_nothing(void *data, const struct cmr_range_cut *cut)
{
	(void)data;
	(void)cut;
}

static bool is_part(const struct cmr_range *rest, const struct cmr_range *before)
{
	return rest != NULL && rest->tag == before->tag && rest->class == before->class &&
	       rest->location == before->location;
}

/* [START, END), cut out of BEFORE, joined again with what is left of that. *GONE is the number of
 * sides that were left and are no more: another thread unmapped them, and booked that. */
static struct cmr_range rejoin_locked(struct cmr_ranges *ranges, uintptr_t start, uintptr_t end,
				      const struct cmr_range *before, int *gone)
{
	struct cmr_range whole = *before;
	const struct cmr_range *rest;

	*gone = 0;
	if (whole.start < start) {
		rest = cmr_ranges_find_locked(ranges, start - 1);
		whole.start = start;
		if (is_part(rest, before) && rest->end == start)
			whole.start = rest->start;
		else
			++*gone;
	}
	if (whole.end > end) {
		rest = cmr_ranges_find_locked(ranges, end);
		whole.end = end;
		if (is_part(rest, before) && rest->start == end)
			whole.end = rest->end;
		else
			++*gone;
	}
	return whole;
}

static void lose_booked(const struct cmr_range_taken *taken)
{
	for (unsigned i = 0; i < taken->n_booked; i++)
		cmr_lose(CMR_LOSS_mappings);
}

static void put_back_locked(struct cutter *c, const struct cmr_range_taken *taken,
			    const struct cmr_range_cut *piece)
{
	struct cmr_ranges *ranges = &c->plane->ranges[c->basis];
	struct cmr_range_cut regrown = *piece;
	struct cmr_range whole =
		rejoin_locked(ranges, taken->start, taken->end, &piece->range, &regrown.blocks);

	if (!cmr_ranges_cut_locked(ranges, whole.start, page_up(whole.end), visit_nothing, NULL) ||
	    !cmr_ranges_add_locked(ranges, &whole)) {
		cmr_lose(CMR_LOSS_mappings);
		book_cut(c, piece);
		return;
	}
	regrown.bytes = 0;
	if (regrown.blocks != 0)
		book_cut(c, &regrown);
}

void cmr_on_remap_failed(enum cmr_plane_id id, const struct cmr_range_taken *taken)
{
	lose_booked(taken);
	for (unsigned i = 0; i < taken->n; i++) {
		struct cutter c = { &cmr_planes[id], (enum cmr_basis)taken->basis[i] };
		struct cmr_ranges *ranges = &c.plane->ranges[c.basis];

		cmr_lock_take(&ranges->lock);
		put_back_locked(&c, taken, &taken->pieces[i]);
		cmr_lock_drop(&ranges->lock);
	}
}

void cmr_on_unmap_done(enum cmr_plane_id id, const struct cmr_range_taken *taken)
{
	for (unsigned i = 0; i < taken->n; i++) {
		struct cutter c = { &cmr_planes[id], (enum cmr_basis)taken->basis[i] };

		book_cut(&c, &taken->pieces[i]);
	}
}

/* The first piece of BASIS that was taken, or NULL. */
static const struct cmr_range *first_taken(const struct cmr_range_taken *taken, int basis)
{
	for (unsigned i = 0; i < taken->n; i++)
		if (taken->basis[i] == basis)
			return &taken->pieces[i].range;
	return NULL;
}

void cmr_on_remap_done(enum cmr_plane_id id, const struct cmr_range_taken *taken,
		       uintptr_t old_start, size_t old_bytes, uintptr_t start, size_t bytes)
{
	struct cmr_plane *plane = &cmr_planes[id];
	struct cmr_thread *thread = cmr_events_thread(plane);
	struct cmr_range range = { .start = start, .end = start + bytes };

	(void)old_start;
	lose_booked(taken);
	if (thread != NULL) {
		range.location = locate(thread, CMR_KIND_MREMAP);
		range.located = range.location != 0;
		range.tag = thread->view[id].tag;
	}
	for (int basis = 0; basis < CMR_N_BASES; basis++) {
		struct cutter c = { plane, (enum cmr_basis)basis };
		const struct cmr_range *before = first_taken(taken, basis);

		for (unsigned i = 0; i < taken->n; i++)
			if (taken->basis[i] == basis)
				book_cut(&c, &taken->pieces[i]);
		range.class = CMR_RANGE_COUNTED;
		if (before != NULL)
			range.class = before->class;
		else if (old_bytes == 0)
			range.class = CMR_RANGE_SHARED;
		replace(&c, thread, &range);
		if (thread != NULL && old_bytes != 0 && counts(c.basis, &range))
			cmr_booking_resized_old(plane, (enum cmr_audience)basis, range.tag,
						before != NULL ? before->tag : 0, bytes);
	}
}

void cmr_stock_begin(void)
{
	uintptr_t before = cmr_guard_raise(CMR_GUARD_ALL);
	struct cmr_thread *thread = cmr_thread_self();

	if (thread != NULL)
		thread->stock++;
	cmr_guard_restore(before);
}

void cmr_stock_end(void)
{
	struct cmr_thread *thread = cmr_tls.self;

	if (thread != NULL && thread->stock > 0)
		thread->stock--;
}
