/* Random programs of events against the naive model, and the corners one by one. */
#include "cmr_test.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>

#include "events/hot.h"
#include "fake_stack.h"
#include "heap_model.h"
#include "os/memory.h"
#include "os/random.h"

/* --- threads that lend their state ------------------------------------------------------------- */

/* Real threads that only wait; the test takes the place of each in turn, so that a program of many
 * threads has one order of events. */
static struct cmr_thread *threads[M_THREADS];
static pthread_t handles[M_THREADS];
static sem_t ready, finish;

static void *lend(void *at)
{
	uint64_t stamp = cmr_thread_stamp();

	cmr_thread_born(stamp);
	*(struct cmr_thread **)at = cmr_thread_self();
	sem_post(&ready);
	sem_wait(&finish);
	return NULL;
}

static void make_thread(int i)
{
	REQUIRE(pthread_create(&handles[i], NULL, lend, &threads[i]) == 0);
	sem_wait(&ready);
	REQUIRE(threads[i] != NULL);
}

static void act_as(int thread)
{
	cmr_tls.self = threads[thread];
}

static void begin(void)
{
	static bool made;

	if (!made) {
		REQUIRE(cmr_thread_init(NULL) == CMR_OK);
		REQUIRE(cmr_nodes_init(NULL) == CMR_OK);
		REQUIRE(cmr_locations_init(NULL) == CMR_OK);
		fake_stack_init();
		made = true;
	}
	for (int p = 0; p < CMR_N_PLANES; p++) {
		REQUIRE(cmr_plane_init((enum cmr_plane_id)p, NULL) == CMR_OK);
		for (int b = 0; b < CMR_N_BASES; b++) /* intervals of the last program */
			cmr_ranges_reset(&cmr_planes[p].ranges[b]);
	}
	fake_stack_at(1);
	threads[0] = cmr_thread_self();
	REQUIRE(threads[0] != NULL);
	sem_init(&ready, 0, 0);
	sem_init(&finish, 0, 0);
}

static void end(int n_threads)
{
	act_as(0);
	for (int i = 1; i < n_threads; i++)
		sem_post(&finish);
	for (int i = 1; i < n_threads; i++)
		pthread_join(handles[i], NULL);
}

/* --- random programs --------------------------------------------------------------------------- */

#define N_BLOCKS 1500
#define MAP_BASE ((uintptr_t)0x200000000000)

struct block {
	bool live;
	unsigned planes; /* that are told of it */
	struct m_owned owned;
	int64_t size;
};

struct program {
	struct model model;
	struct block blocks[N_BLOCKS];
	uint64_t random;
	int n_threads, thread;
	unsigned told; /* planes with an open region */
	unsigned site;
	unsigned opened, refused;
};

static uint64_t below(struct program *p, uint64_t n)
{
	return cmr_random_next(&p->random) % n;
}

/* Most on the granule map; some that are not aligned, some above it. */
static uintptr_t address_of(unsigned i)
{
	uintptr_t address = 0x100000000000 + (uintptr_t)i * 0x100;

	if (i % 31 == 0)
		return address + 8;
	if (i % 37 == 0)
		return address + ((uintptr_t)1 << 47);
	return address + (i % 5) * ((uintptr_t)1 << CMR_LEAF_LOG2);
}

static size_t random_size(struct program *p)
{
	switch (below(p, 20)) {
	case 0:
		return 0;
	case 1:
		return CMR_SMALL_MAX + below(p, 3);
	case 2:
		return below(p, 100000);
	default:
		return 1 + below(p, 500);
	}
}

static void elsewhere(struct program *p)
{
	p->site = 1 + (unsigned)below(p, M_SITES - 1);
	fake_stack_at(p->site);
}

#define EACH_TOLD(plane, planes)                                                                  \
	for (enum cmr_plane_id plane = CMR_PLANE_OUTER; plane < CMR_N_PLANES; plane++)            \
		if (((planes) >> plane & 1) != 0)

static unsigned mask_of(const struct program *p, unsigned planes)
{
	unsigned mask = 0;

	EACH_TOLD(plane, planes)
		mask |= m_mask(&p->model, plane, CMR_N_BASES);
	return mask;
}

static void model_alloc(struct program *p, struct block *b, size_t size)
{
	b->owned = m_owned_by(&p->model, p->thread, p->site);
	b->owned.in &= mask_of(p, b->planes);
	b->size = (int64_t)size;
	m_allocated(&p->model, &b->owned, ~0u, b->size, p->thread);
}

static void model_free(struct program *p, struct block *b)
{
	m_change(&p->model, &b->owned, ~0u, -b->size, -1);
	b->owned.in = 0;
}

static void step_alloc(struct program *p, unsigned i)
{
	struct block *b = &p->blocks[i];
	size_t size = random_size(p);

	elsewhere(p);
	b->live = true;
	b->planes = (1 + (unsigned)below(p, 3)) & p->told;
	EACH_TOLD(plane, b->planes) {
		if (below(p, 2) != 0)
			cmr_on_alloc_hot(plane, address_of(i), size, CMR_KIND_MALLOC);
		else
			cmr_on_alloc(plane, address_of(i), size, CMR_KIND_MALLOC);
	}
	model_alloc(p, b, size);
}

static void step_free(struct program *p, unsigned i)
{
	struct block *b = &p->blocks[i];

	/* Planes that were not open then are told as well: they know nothing of it. */
	EACH_TOLD(plane, p->told) {
		if (below(p, 2) != 0)
			cmr_on_free_hot(plane, address_of(i));
		else
			cmr_on_free(plane, address_of(i));
	}
	model_free(p, b);
	b->live = false;
}

static void step_resize(struct program *p, unsigned from)
{
	unsigned to = below(p, 2) != 0 ? from : (unsigned)below(p, N_BLOCKS), how;
	struct cmr_taken taken[CMR_N_PLANES];
	size_t size = random_size(p);
	struct block moved;

	if (p->blocks[to].live && to != from)
		return;
	how = (unsigned)below(p, 10);
	elsewhere(p);
	EACH_TOLD(plane, p->told) {
		cmr_on_resize_begin(plane, address_of(from), &taken[plane]);
		if (how == 0)
			cmr_on_resize_failed(plane, address_of(from), &taken[plane]);
		else if (how == 1)
			cmr_on_resize_freed(plane, &taken[plane]);
		else
			cmr_on_resize_done(plane, address_of(from), &taken[plane], address_of(to),
					   size, CMR_KIND_REALLOC);
	}
	if (how == 0)
		return;
	moved = p->blocks[from];
	p->blocks[from].live = false;
	model_free(p, &p->blocks[from]);
	if (how == 1)
		return;
	p->blocks[to].live = true;
	p->blocks[to].planes = p->told;
	model_alloc(p, &p->blocks[to], size);
	m_resized_old(&p->model, p->blocks[to].owned.in & ~moved.owned.in, (int64_t)size);
}

/* resize of nothing is an allocation. */
static void step_resize_nothing(struct program *p, unsigned i)
{
	struct cmr_taken taken;
	size_t size = random_size(p);

	elsewhere(p);
	EACH_TOLD(plane, p->told) {
		cmr_on_resize_begin(plane, 0, &taken);
		CHECK(!taken.found);
		cmr_on_resize_done(plane, 0, &taken, address_of(i), size, CMR_KIND_REALLOC);
	}
	p->blocks[i].live = true;
	p->blocks[i].planes = p->told;
	model_alloc(p, &p->blocks[i], size);
}

static uintptr_t page_at(int page)
{
	return MAP_BASE + (uintptr_t)page * M_PAGE;
}

static void step_map(struct program *p)
{
	static const struct {
		int prot, flags;
		enum cmr_range_class class;
	} ways[] = {
		{ PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, CMR_RANGE_COUNTED },
		{ PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		  CMR_RANGE_COUNTED },
		{ PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, CMR_RANGE_UNWRITABLE },
		{ PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, CMR_RANGE_UNWRITABLE },
		{ PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, CMR_RANGE_SHARED },
		{ PROT_READ | PROT_WRITE, MAP_PRIVATE, CMR_RANGE_FILE },
		{ PROT_READ, MAP_SHARED, CMR_RANGE_FILE },
		{ PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, CMR_RANGE_STOCK },
	};
	unsigned way = (unsigned)below(p, sizeof ways / sizeof *ways);
	int lo = (int)below(p, M_PAGES - 12), n = 1 + (int)below(p, 12);
	int64_t bytes = (int64_t)n * M_PAGE - (int64_t)(below(p, 3) == 0 ? below(p, M_PAGE) : 0);

	elsewhere(p);
	if (ways[way].class == CMR_RANGE_STOCK)
		cmr_stock_begin();
	EACH_TOLD(plane, p->told) {
		cmr_on_map(plane, page_at(lo), (size_t)bytes, ways[way].prot, ways[way].flags,
			   (ways[way].flags & MAP_ANONYMOUS) != 0 ? -1 : 3, CMR_KIND_MMAP);
		m_map(&p->model, plane, lo, bytes, ways[way].class, p->site, p->thread);
	}
	if (ways[way].class == CMR_RANGE_STOCK)
		cmr_stock_end();
}

/* Intervals that no open region counts: forgotten at some time, known until then. */
static bool has_dead(const struct program *p, int lo, int hi)
{
	for (int i = lo; i < hi; i++)
		for (unsigned plane = 0; plane < CMR_N_PLANES; plane++)
			for (unsigned basis = 0; basis < CMR_N_BASES; basis++)
				if (p->model.pages[plane][basis][i].mapping != 0 &&
				    p->model.pages[plane][basis][i].owned.in == 0)
					return true;
	return false;
}

static void step_remap(struct program *p, int lo, int hi)
{
	int to = below(p, 2) != 0 ? lo : (int)below(p, M_PAGES - 12);
	int64_t bytes = (1 + (int64_t)below(p, 12)) * M_PAGE - (int64_t)below(p, M_PAGE);
	struct cmr_range_taken taken;
	bool fails = below(p, 4) == 0;

	if (to + m_pages_of(bytes) > M_PAGES || has_dead(p, lo, hi))
		return;
	EACH_TOLD(plane, p->told) {
		if (m_intervals(&p->model, plane, lo, hi) > CMR_MAX_TAKEN)
			continue;
		cmr_on_remap_begin(plane, page_at(lo), (size_t)(hi - lo) * M_PAGE, &taken);
		if (fails) {
			cmr_on_remap_failed(plane, &taken);
			continue;
		}
		cmr_on_remap_done(plane, &taken, page_at(lo), (size_t)(hi - lo) * M_PAGE,
				  page_at(to), (size_t)bytes);
		m_remap(&p->model, plane, lo, hi, to, bytes, p->site, p->thread);
	}
}

static void step_ranges(struct program *p)
{
	int lo = (int)below(p, M_PAGES - 12), hi = lo + 1 + (int)below(p, 12);
	size_t bytes = (size_t)(hi - lo) * M_PAGE - below(p, M_PAGE);
	unsigned what = (unsigned)below(p, 8);

	if (what < 3) {
		step_map(p);
		return;
	}
	elsewhere(p);
	if (what < 5) {
		step_remap(p, lo, hi);
		return;
	}
	EACH_TOLD(plane, p->told) {
		if (what == 5) {
			cmr_on_unmap(plane, page_at(lo), bytes);
			for (unsigned basis = 0; basis < CMR_N_BASES; basis++)
				m_cut(&p->model, plane, basis, lo, hi);
		} else if (what == 6 && !has_dead(p, lo, hi)) {
			cmr_on_protect(plane, page_at(lo), bytes, PROT_READ | PROT_WRITE);
			m_protect(&p->model, plane, lo, hi, p->site, p->thread);
		} else {
			cmr_on_protect(plane, page_at(lo), bytes, PROT_READ);
		}
	}
}

static void find_told(struct program *p)
{
	p->told = 0;
	for (unsigned plane = 0; plane < CMR_N_PLANES; plane++)
		if (m_mask(&p->model, (enum cmr_plane_id)plane, CMR_N_BASES) != 0)
			p->told |= 1u << plane;
}

static void close_region(struct program *p, int i)
{
	struct m_region *r = &p->model.regions[i];
	struct cmr_region *real = r->real;

	cmr_region_close(real);
	CHECK(m_check(r, threads));
	for (int b = 0; b < N_BLOCKS; b++)
		p->blocks[b].owned.in &= ~(1u << i);
	m_close(&p->model, i, ~(1u << i));
	cmr_region_free(real);
	find_told(p);
}

static void open_region(struct program *p, int i)
{
	struct cmr_region_options options = {
		.basis = (enum cmr_basis)below(p, 2),
		.trace_python = below(p, 2) != 0,
		.exact = below(p, 2) != 0,
		.max_period = (uint64_t)1 << below(p, 17),
		.scope = (enum cmr_scope)below(p, 3),
		.seed = below(p, 1000),
	};
	struct cmr_region *real = cmr_region_new(&options);
	struct cmr_error err;

	REQUIRE(real != NULL);
	p->opened++;
	if (cmr_region_open(real, &err) != CMR_OK) {
		/* Regions that end in any order leave blocks of any set of them. */
		CHECK_EQ_I64(err.status, CMR_TOO_MANY);
		p->refused++;
		cmr_region_free(real);
		return;
	}
	m_open(&p->model, i, real, &options, p->thread);
	find_told(p);
}

static void step_regions(struct program *p)
{
	int i = (int)below(p, M_REGIONS);
	struct m_region *r = &p->model.regions[i];

	if (r->real == NULL) {
		open_region(p, i);
	} else if (below(p, 3) == 0) {
		cmr_region_seal(r->real);
		r->sealed = true;
	} else {
		close_region(p, i);
	}
}

static void step(struct program *p)
{
	unsigned i = (unsigned)below(p, N_BLOCKS), what = (unsigned)below(p, 1000);

	act_as(p->thread);
	if (what < 6) {
		step_regions(p);
	} else if (what < 40) {
		p->thread = (int)below(p, (uint64_t)p->n_threads);
	} else if (what == 40 && p->n_threads < M_THREADS && below(p, 8) == 0) {
		make_thread(p->n_threads);
		p->model.thread_born[p->n_threads++] = ++p->model.clock;
	} else if (what < 140) {
		step_ranges(p);
	} else if (!p->blocks[i].live) {
		if (what % 8 == 0)
			step_resize_nothing(p, i);
		else
			step_alloc(p, i);
	} else if (what < 300) {
		step_resize(p, i);
	} else {
		step_free(p, i);
	}
}

static bool all_equal(const struct program *p)
{
	bool same = true;

	for (int i = 0; i < M_REGIONS; i++)
		if (p->model.regions[i].real != NULL)
			same &= m_check(&p->model.regions[i], threads);
	return same;
}

static void run_program(uint64_t seed, int steps)
{
	static struct program program;
	struct program *p = &program;

	begin();
	memset(p, 0, sizeof *p);
	p->random = seed;
	p->n_threads = 1;
	p->model.thread_born[0] = ++p->model.clock;
	open_region(p, 0);
	for (int at = 0; at < steps; at++) {
		step(p);
		if (at % 64 == 0 && !all_equal(p)) {
			cmr_test_print("seed %" PRIu64 ", step %d\n", seed, at);
			exit(1);
		}
	}
	if (!CHECK(p->refused * 10 <= p->opened))
		cmr_test_print("seed %" PRIu64 ": %u of %u\n", seed, (unsigned)p->refused, (unsigned)p->opened);
	for (int i = 0; i < M_REGIONS; i++)
		if (p->model.regions[i].real != NULL)
			close_region(p, i);
	end(p->n_threads);
}

CMR_TEST(random_programs_equal_a_naive_model)
{
	run_program(1, 100000);
}

CMR_TEST(many_short_random_programs_equal_a_naive_model)
{
	for (uint64_t seed = 2; seed < 42; seed++)
		run_program(seed, 3000);
}
