/* The naive model of heap and events: every number recomputed the slow, obvious way. Include in one
 * .c file, after cmr_test.h.
 *
 * After each change of a region's live bytes the whole table of sites is copied if they are at their
 * highest. Mappings are pages that each know the mapping they belong to. */
#ifndef CMR_HEAP_MODEL_H
#define CMR_HEAP_MODEL_H

#include "heap/region.h"

enum { M_REGIONS = 6, M_THREADS = 8, M_SITES = 40, M_PAGES = 96, M_PAGE = 4096 };

struct m_region {
	struct cmr_region *real;
	struct cmr_region_options options;
	bool sealed;
	int opener;
	unsigned born; /* on the model's clock */
	int64_t current, blocks, total, count, peak, peak_blocks, largest, resized_old;
	int64_t old_current, old_blocks, old_at_peak, own_peak;
	int64_t live[M_SITES], live_n[M_SITES], at_peak[M_SITES], at_peak_n[M_SITES];
	int64_t apart[CMR_N_RANGE_CLASSES], apart_max[CMR_N_RANGE_CLASSES];
	int64_t by_old[M_THREADS], by_old_n[M_THREADS];
};

/* What a block or a page of a mapping counts for: bit per region. */
struct m_owned {
	unsigned in, old;
	unsigned site;
};

struct m_page {
	int mapping; /* 0: none; pages side by side with one number are one interval */
	int64_t bytes;
	enum cmr_range_class class;
	struct m_owned owned;
};

struct model {
	struct m_region regions[M_REGIONS]; /* real == NULL: not open */
	unsigned thread_born[M_THREADS];
	unsigned clock;
	int mappings;
	struct m_page pages[CMR_N_PLANES][CMR_N_BASES][M_PAGES];
};

static void m_note(struct m_region *r)
{
	if (r->sealed)
		return;
	if (r->current - r->old_current > r->own_peak)
		r->own_peak = r->current - r->old_current;
	if (r->current < r->peak)
		return;
	r->peak = r->current;
	r->peak_blocks = r->blocks;
	r->old_at_peak = r->old_current;
	memcpy(r->at_peak, r->live, sizeof r->live);
	memcpy(r->at_peak_n, r->live_n, sizeof r->live_n);
}

/* BYTES and BLOCKS, either sign, for every region of OWNED and MASK. */
static void m_change(struct model *m, const struct m_owned *owned, unsigned mask, int64_t bytes,
		     int64_t blocks)
{
	for (int i = 0; i < M_REGIONS; i++) {
		struct m_region *r = &m->regions[i];

		if ((owned->in & mask & (1u << i)) == 0)
			continue;
		r->current += bytes;
		r->blocks += blocks;
		r->live[owned->site] += bytes;
		r->live_n[owned->site] += blocks;
		if ((owned->old & (1u << i)) != 0) {
			r->old_current += bytes;
			r->old_blocks += blocks;
		}
		m_note(r);
	}
}

static void m_allocated(struct model *m, const struct m_owned *owned, unsigned mask, int64_t bytes,
			int thread)
{
	for (int i = 0; i < M_REGIONS; i++) {
		struct m_region *r = &m->regions[i];

		if ((owned->in & mask & (1u << i)) == 0 || r->sealed)
			continue;
		r->total += bytes;
		r->count++;
		if (bytes > r->largest)
			r->largest = bytes;
		if ((owned->old & (1u << i)) != 0) {
			r->by_old[thread] += bytes;
			r->by_old_n[thread]++;
		}
	}
	m_change(m, owned, mask, bytes, 1);
}

/* Regions of PLANE (and of BASIS unless CMR_N_BASES). */
static unsigned m_mask(const struct model *m, enum cmr_plane_id plane, unsigned basis)
{
	unsigned mask = 0;

	for (int i = 0; i < M_REGIONS; i++) {
		const struct m_region *r = &m->regions[i];

		if (r->real != NULL && cmr_region_plane(&r->options) == plane &&
		    (basis == CMR_N_BASES || r->options.basis == basis))
			mask |= 1u << i;
	}
	return mask;
}

/* What THREAD allocates now at SITE, in any plane. */
static struct m_owned m_owned_by(const struct model *m, int thread, unsigned site)
{
	struct m_owned owned = { 0, 0, site };

	for (int i = 0; i < M_REGIONS; i++) {
		const struct m_region *r = &m->regions[i];
		bool opener = r->opener == thread, young = m->thread_born[thread] > r->born;

		if (r->real == NULL)
			continue;
		if (r->options.scope == CMR_SCOPE_ALL || opener ||
		    (r->options.scope == CMR_SCOPE_TEST && young))
			owned.in |= 1u << i;
		if (r->options.scope == CMR_SCOPE_ALL && !opener && !young)
			owned.old |= 1u << i;
	}
	return owned;
}

static void m_resized_old(struct model *m, unsigned regions, int64_t bytes)
{
	for (int i = 0; i < M_REGIONS; i++)
		if ((regions & (1u << i)) != 0 && !m->regions[i].sealed)
			m->regions[i].resized_old += bytes;
}

/* --- mappings ---------------------------------------------------------------------------------- */

static bool m_counts(unsigned basis, const struct m_page *page)
{
	return basis == CMR_BASIS_SYSTEM || page->class == CMR_RANGE_COUNTED;
}

static void m_apart(struct model *m, const struct m_page *page, unsigned mask, int64_t bytes)
{
	for (int i = 0; i < M_REGIONS; i++) {
		struct m_region *r = &m->regions[i];

		if ((page->owned.in & mask & (1u << i)) == 0)
			continue;
		r->apart[page->class] += bytes;
		if (r->apart[page->class] > r->apart_max[page->class] && !r->sealed)
			r->apart_max[page->class] = r->apart[page->class];
	}
}

static void m_book_cut(struct model *m, unsigned plane, unsigned basis, const struct m_page *page,
		       int64_t bytes, int64_t blocks)
{
	unsigned mask = m_mask(m, (enum cmr_plane_id)plane, basis);

	if (m_counts(basis, page))
		m_change(m, &page->owned, mask, -bytes, blocks);
	else
		m_apart(m, page, mask, -bytes);
}

/* Cuts pages [LO, HI), one interval after the other. */
static void m_cut(struct model *m, unsigned plane, unsigned basis, int lo, int hi)
{
	struct m_page *pages = m->pages[plane][basis];

	for (int at = lo; at < hi;) {
		struct m_page first = pages[at];
		int end = at;
		int64_t bytes = 0, blocks = -1;

		while (end < hi && pages[end].mapping == first.mapping) {
			bytes += pages[end].bytes;
			pages[end++].mapping = 0;
		}
		if (first.mapping != 0) {
			blocks += at > 0 && pages[at - 1].mapping == first.mapping;
			blocks += end < M_PAGES && pages[end].mapping == first.mapping;
			m_book_cut(m, plane, basis, &first, bytes, blocks);
		}
		for (int i = at; i < end; i++)
			pages[i] = (struct m_page){ 0 };
		at = end;
	}
}

static void m_add(struct model *m, unsigned plane, unsigned basis, int lo, int64_t bytes,
		  enum cmr_range_class class, const struct m_owned *owned, int thread)
{
	unsigned mask = m_mask(m, (enum cmr_plane_id)plane, basis);
	struct m_page page = { ++m->mappings, 0, class, *owned };
	int64_t left = bytes;

	for (int i = lo; left > 0; i++, left -= M_PAGE) {
		page.bytes = left < M_PAGE ? left : M_PAGE;
		m->pages[plane][basis][i] = page;
	}
	if (m_counts(basis, &page))
		m_allocated(m, owned, mask, bytes, thread);
	else
		m_apart(m, &page, mask, bytes);
}

static int m_pages_of(int64_t bytes)
{
	return (int)((bytes + M_PAGE - 1) / M_PAGE);
}

static void m_map(struct model *m, unsigned plane, int lo, int64_t bytes,
		  enum cmr_range_class class, unsigned site, int thread)
{
	struct m_owned owned = m_owned_by(m, thread, site);

	for (unsigned basis = 0; basis < CMR_N_BASES; basis++) {
		m_cut(m, plane, basis, lo, lo + m_pages_of(bytes));
		if ((owned.in & m_mask(m, (enum cmr_plane_id)plane, basis)) != 0)
			m_add(m, plane, basis, lo, bytes, class, &owned, thread);
	}
}

static void m_protect(struct model *m, unsigned plane, int lo, int hi, unsigned site, int thread)
{
	struct m_owned owned = m_owned_by(m, thread, site);
	struct m_page *pages = m->pages[plane][CMR_BASIS_REQUESTED];

	if ((owned.in & m_mask(m, (enum cmr_plane_id)plane, CMR_BASIS_REQUESTED)) == 0)
		return;
	for (int at = lo; at < hi;) {
		int end = at, mapping = pages[at].mapping;
		int64_t bytes = 0;

		while (end < hi && pages[end].mapping == mapping)
			bytes += pages[end++].bytes;
		if (mapping != 0 && pages[at].class == CMR_RANGE_UNWRITABLE) {
			m_cut(m, plane, CMR_BASIS_REQUESTED, at, end);
			m_add(m, plane, CMR_BASIS_REQUESTED, at, bytes, CMR_RANGE_COUNTED, &owned,
			      thread);
		}
		at = end;
	}
}

/* Intervals of [LO, HI) in both tables of PLANE. */
static unsigned m_intervals(const struct model *m, unsigned plane, int lo, int hi)
{
	unsigned n = 0;

	for (unsigned basis = 0; basis < CMR_N_BASES; basis++) {
		int last = 0;

		for (int i = lo; i < hi; i++) {
			int mapping = m->pages[plane][basis][i].mapping;

			n += mapping != 0 && mapping != last;
			last = mapping;
		}
	}
	return n;
}

static void m_remap(struct model *m, unsigned plane, int lo, int hi, int to, int64_t bytes,
		    unsigned site, int thread)
{
	struct m_owned owned = m_owned_by(m, thread, site);

	for (unsigned basis = 0; basis < CMR_N_BASES; basis++) {
		struct m_page *pages = m->pages[plane][basis];
		unsigned mask = m_mask(m, (enum cmr_plane_id)plane, basis), known = 0;
		struct m_page page = { 0, 0, CMR_RANGE_COUNTED, owned };
		int at = lo;

		while (at < hi && pages[at].mapping == 0)
			at++;
		if (at < hi) {
			page.class = pages[at].class;
			known = pages[at].owned.in;
		}
		m_cut(m, plane, basis, lo, hi);
		m_cut(m, plane, basis, to, to + m_pages_of(bytes));
		if ((owned.in & mask) == 0)
			continue;
		m_add(m, plane, basis, to, bytes, page.class, &owned, thread);
		if (m_counts(basis, &page))
			m_resized_old(m, owned.in & mask & ~known, bytes);
	}
}

/* --- regions ----------------------------------------------------------------------------------- */

static void m_open(struct model *m, int i, struct cmr_region *real,
		   const struct cmr_region_options *options, int thread)
{
	m->regions[i] = (struct m_region){
		.real = real, .options = *options, .opener = thread, .born = ++m->clock
	};
}

/* Region I is over: nothing is in it any more. */
static void m_close(struct model *m, int i, unsigned keep)
{
	m->regions[i].real = NULL;
	for (unsigned p = 0; p < CMR_N_PLANES; p++)
		for (unsigned b = 0; b < CMR_N_BASES; b++)
			for (int at = 0; at < M_PAGES; at++)
				m->pages[p][b][at].owned.in &= keep;
}

static bool m_check_rows(const struct m_region *r, bool peak)
{
	enum { ROOM = 4 * M_SITES };
	static struct cmr_usage_row rows[ROOM];
	int64_t bytes[M_SITES] = { 0 }, blocks[M_SITES] = { 0 };
	uint32_t n = cmr_usages_rows(&r->real->usages, &r->real->ledger, peak, rows, ROOM);
	bool same = true;

	for (uint32_t i = 0; i < n; i++) {
		unsigned site = fake_site_of(rows[i].location);

		if (!CHECK(site < M_SITES))
			return false;
		bytes[site] += rows[i].bytes;
		blocks[site] += rows[i].blocks;
	}
	for (int s = 0; s < M_SITES; s++) {
		same &= CHECK_EQ_I64(bytes[s], peak ? r->at_peak[s] : r->live[s]);
		same &= CHECK_EQ_I64(blocks[s],
				     CMR_BLOCK_UNIT * (peak ? r->at_peak_n[s] : r->live_n[s]));
	}
	return same;
}

static bool m_check(const struct m_region *r, struct cmr_thread *const threads[M_THREADS])
{
	struct cmr_totals t;
	struct cmr_apart apart;
	struct cmr_old_thread old[CMR_MAX_OLD_THREADS];
	unsigned n_old = cmr_region_old_threads(r->real, old), n_model = 0;
	bool same = true;

	cmr_region_totals(r->real, &t);
	cmr_region_apart(r->real, &apart);
#define SAME(field, value) same &= CHECK_EQ_I64((int64_t)t.field, value)
	SAME(current, r->current);
	SAME(current_blocks, r->blocks);
	SAME(peak, r->peak);
	SAME(peak_blocks, r->peak_blocks);
	SAME(total, r->total);
	SAME(count, r->count);
	SAME(largest, r->largest);
	SAME(resized_old, r->resized_old);
	SAME(old_current, r->old_current);
	SAME(old_blocks, r->old_blocks);
	SAME(old_at_peak, r->old_at_peak);
	SAME(own_peak, r->own_peak);
#define X(name) SAME(losses.name, 0);
	CMR_LOSS_LIST(X)
#undef X
#undef SAME
	for (int c = 0; c < CMR_N_RANGE_CLASSES; c++) {
		same &= CHECK_EQ_I64((int64_t)apart.current[c], r->apart[c]);
		same &= CHECK_EQ_I64((int64_t)apart.mapped[c], r->apart_max[c]);
	}
	for (int i = 0; i < M_THREADS; i++) {
		if (r->by_old_n[i] == 0)
			continue;
		n_model++;
		for (unsigned j = 0; j < n_old; j++) {
			if (old[j].native_id != threads[i]->native_id)
				continue;
			same &= CHECK_EQ_I64((int64_t)old[j].bytes, r->by_old[i]);
			same &= CHECK_EQ_I64((int64_t)old[j].blocks, r->by_old_n[i]);
		}
	}
	same &= CHECK_EQ_U64(n_old, n_model);
	if (r->options.exact) {
		same &= m_check_rows(r, true);
		same &= m_check_rows(r, false);
	}
	return same;
}

#endif
