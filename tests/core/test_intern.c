/* Append-only sets, and call stacks as a trie on top of one. */
#include "cmr_test.h"

#include <pthread.h>
#include <sys/mman.h>

#include "child.h"
#include "os/losses.h"
#include "os/memory.h"
#include "os/random.h"
#include "stack/nodes.h"
#include "stack/provider.h"
#include "table/column.h"
#include "table/intern.h"

static struct cmr_intern set;

static struct cmr_intern *fresh(uint32_t capacity)
{
	struct cmr_error err;

	cmr_intern_fini(&set);
	REQUIRE(cmr_intern_init(&set, capacity, &err) == CMR_OK);
	return &set;
}

static struct cmr_key key_number(uint64_t i)
{
	/* Many that differ in one word only. */
	return (struct cmr_key){ .a = i % 1000, .b = i / 1000 };
}

static bool holds(const struct cmr_intern *s, uint32_t number, struct cmr_key key)
{
	struct cmr_key found = cmr_intern_key(s, number);

	return found.a == key.a && found.b == key.b;
}

static int allowed;

static bool allow_some(size_t bytes)
{
	(void)bytes;
	return allowed-- > 0;
}

static void allow(int n)
{
	allowed = n;
	cmr_memory_set_gatekeeper(allow_some);
}

/* --- one thread --- */

CMR_TEST(numbers_are_dense_and_stay)
{
	struct cmr_intern *s = fresh(1000000);

	CHECK_EQ_U64(cmr_intern_count(s), 0);
	for (uint32_t i = 0; i < 200000; i++)
		CHECK_EQ_U64(cmr_intern_add(s, key_number(i)), i + 1);
	CHECK_EQ_U64(cmr_intern_count(s), 200000);
	for (uint32_t i = 0; i < 200000; i++) {
		CHECK_EQ_U64(cmr_intern_add(s, key_number(i)), i + 1);
		CHECK(holds(s, i + 1, key_number(i)));
	}
	CHECK_EQ_U64(cmr_intern_count(s), 200000);
}

CMR_TEST(any_key_is_a_key)
{
	struct cmr_intern *s = fresh(100);
	const struct cmr_key keys[] = {
		{ 0, 0 }, { 0, 1 }, { 1, 0 }, { UINT64_MAX, UINT64_MAX }, { 1, 1 }
	};

	for (uint32_t i = 0; i < 5; i++)
		CHECK_EQ_U64(cmr_intern_add(s, keys[i]), i + 1);
	for (uint32_t i = 0; i < 5; i++)
		CHECK_EQ_U64(cmr_intern_add(s, keys[i]), i + 1);
}

CMR_TEST(a_full_set_knows_its_keys_still)
{
	struct cmr_intern *s = fresh(3);

	CHECK_EQ_U64(cmr_intern_add(s, key_number(1)), 1);
	CHECK_EQ_U64(cmr_intern_add(s, key_number(2)), 2);
	CHECK_EQ_U64(cmr_intern_add(s, key_number(3)), 3);
	CHECK_EQ_U64(cmr_intern_add(s, key_number(4)), 0);
	CHECK_EQ_U64(cmr_intern_add(s, key_number(2)), 2);
	CHECK_EQ_U64(cmr_intern_count(s), 3);
}

CMR_TEST(refused_memory_is_a_status_and_leaves_nothing)
{
	size_t before;

	cmr_intern_fini(&set);
	before = cmr_memory_mapped();
	for (int n = 0; n < 2; n++) {
		struct cmr_error err = { .status = CMR_OK };

		allow(n);
		CHECK_EQ_U64(cmr_intern_init(&set, 100, &err), CMR_NO_MEMORY);
		CHECK_EQ_U64(err.status, CMR_NO_MEMORY);
		CHECK_EQ_U64(cmr_memory_mapped(), before);
	}
	cmr_memory_set_gatekeeper(NULL);
}

CMR_TEST(without_memory_what_is_known_is_known)
{
	struct cmr_intern *s = fresh(1000000);
	uint32_t n = 0, last;

	allow(0);
	CHECK_EQ_U64(cmr_intern_add(s, key_number(0)), 0); /* no room for keys */
	allow(1);
	while ((last = cmr_intern_add(s, key_number(n))) != 0)
		CHECK_EQ_U64(last, ++n);
	cmr_memory_set_gatekeeper(NULL);
	/* 512 slots, filled by 7/8 for want of more. */
	CHECK_EQ_U64(n, 511 / 8 * 7);
	for (uint32_t i = 0; i < n; i++)
		CHECK_EQ_U64(cmr_intern_add(s, key_number(i)), i + 1);
	for (uint32_t i = n; i < 100000; i++)
		CHECK_EQ_U64(cmr_intern_add(s, key_number(i)), i + 1);
	allow(0);
	for (uint32_t i = 0; i < 100000; i++)
		CHECK_EQ_U64(cmr_intern_add(s, key_number(i)), i + 1);
	cmr_memory_set_gatekeeper(NULL);
}

CMR_TEST(reset_forgets_and_gives_back)
{
	struct cmr_intern *s = fresh(1000000);
	size_t one_chunk;

	cmr_intern_add(s, key_number(5));
	one_chunk = cmr_memory_mapped();
	for (uint32_t i = 0; i < 300000; i++)
		CHECK(cmr_intern_add(s, key_number(i)) != 0);
	CHECK(cmr_memory_mapped() > one_chunk + 300000 * 16);
	cmr_intern_reset(s);
	CHECK_EQ_U64(cmr_memory_mapped(), one_chunk);
	CHECK_EQ_U64(cmr_intern_count(s), 0);
	for (uint32_t i = 0; i < 100000; i++)
		CHECK_EQ_U64(cmr_intern_add(s, key_number(300000 - i)), i + 1);
	cmr_intern_reset(s);
	cmr_intern_reset(s);
	CHECK_EQ_U64(cmr_intern_add(s, key_number(1)), 1);
}

CMR_TEST(a_reset_set_is_as_a_new_one)
{
	struct cmr_intern *s = fresh(1000000);
	unsigned char resident = 0;
	size_t filled;

	for (uint32_t i = 0; i < 100000; i++)
		CHECK_EQ_U64(cmr_intern_add(s, key_number(i)), i + 1);
	filled = cmr_memory_mapped();
	cmr_intern_reset(s);
	REQUIRE(mincore(s->chunks[0], 1, &resident) == 0);
	CHECK_EQ_U64(resident & 1, 0);
	/* Forgotten numbers lead to keys of zeros. */
	CHECK_EQ_U64(cmr_intern_add(s, key_number(0)), 1);
	cmr_intern_reset(s);
	for (uint32_t i = 0; i < 100000; i++)
		CHECK_EQ_U64(cmr_intern_add(s, key_number(99999 - i)), i + 1);
	CHECK_EQ_U64(cmr_memory_mapped(), filled);
	cmr_intern_reset(s);
	CHECK_EQ_U64(cmr_intern_add(s, key_number(0)), 1);
}

static long resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	long size = 0, resident = 0;

	REQUIRE(file != NULL && fscanf(file, "%ld %ld", &size, &resident) == 2);
	fclose(file);
	return resident * sysconf(_SC_PAGESIZE);
}

/* Measured at numbers from just after the slots were doubled to just before. What was left behind by
 * doubling must not count: it would be as much again. */
CMR_TEST(a_key_takes_few_bytes)
{
#if defined(__SANITIZE_THREAD__)
	CMR_TEST_SKIP("ThreadSanitizer keeps notes of its own on each byte");
#endif
	for (uint32_t words = 2; words <= 4; words++) {
		struct cmr_intern keys = { 0 };
		long before;

		REQUIRE(cmr_intern_init_words(&keys, words, 1000000, NULL) == CMR_OK);
		before = resident_bytes();
		for (uint32_t n = 1; n <= 400000; n++) {
			REQUIRE(cmr_intern_add(&keys, (struct cmr_key){ n, 0 }) == n);
			if (n % 50000 == 0 && n >= 200000)
				CHECK((double)(resident_bytes() - before) / n <
				      4.0 * words + 8.0 / (5.0 / 16) + 4);
		}
		cmr_intern_fini(&keys);
	}
}

static struct cmr_key key_of(uint64_t n, uint64_t b)
{
	return (struct cmr_key){ n << 32 | (n & 3), b };
}

CMR_TEST(keys_of_few_words_are_keys)
{
	for (uint32_t words = 2; words <= 4; words++) {
		struct cmr_intern keys = { 0 };
		uint64_t b = words == 2 ? 0 : words == 3 ? UINT32_MAX - 1 : UINT64_MAX - 1;

		REQUIRE(cmr_intern_init_words(&keys, words, 1000000, NULL) == CMR_OK);
		for (uint64_t n = 1; n <= 70000; n++)
			CHECK_EQ_U64(cmr_intern_add(&keys, key_of(n, b)), n);
		for (uint64_t n = 1; n <= 70000; n++) {
			CHECK_EQ_U64(cmr_intern_key(&keys, (uint32_t)n).a, n << 32 | (n & 3));
			CHECK_EQ_U64(cmr_intern_key(&keys, (uint32_t)n).b, b);
			CHECK_EQ_U64(cmr_intern_add(&keys, key_of(n, b)), n);
		}
		cmr_intern_fini(&keys);
	}
}

/* Keys by families, each with a place for one of them. */
CMR_TEST(the_first_of_a_family_needs_no_slot)
{
	struct cmr_intern *s = fresh(1000000);
	static _Atomic uint32_t places[1000];

	for (uint32_t i = 0; i < 3000; i++)
		CHECK_EQ_U64(cmr_intern_add_at(s, key_number(i), &places[i % 1000]), i + 1);
	for (uint32_t i = 0; i < 1000; i++)
		CHECK_EQ_U64(atomic_load(&places[i]), i + 1);
	CHECK_EQ_U64(s->n_used, 2000);
	for (uint32_t i = 0; i < 3000; i++) {
		CHECK_EQ_U64(cmr_intern_add_at(s, key_number(i), &places[i % 1000]), i + 1);
		CHECK(holds(s, i + 1, key_number(i)));
	}
	CHECK_EQ_U64(cmr_intern_count(s), 3000);
	cmr_intern_reset(s);
	CHECK_EQ_U64(s->n_used, 0);
}

CMR_TEST(a_column_has_a_word_for_each_number)
{
	struct cmr_column column = { 0 };
	size_t before = cmr_memory_mapped();
	cmr_word *first;

	REQUIRE(cmr_column_init(&column, 1000000, NULL) == CMR_OK);
	CHECK(cmr_column_at(&column, 0) == NULL);
	for (uint32_t i = 0; i <= 1000000; i += 7) {
		REQUIRE(cmr_column_make(&column, i) != NULL);
		CHECK_EQ_U64(atomic_exchange(cmr_column_make(&column, i), i + 1), 0);
	}
	for (uint32_t i = 0; i <= 1000000; i++)
		CHECK_EQ_U64(atomic_load(cmr_column_at(&column, i)), i % 7 == 0 ? i + 1 : 0);
	CHECK(cmr_column_make(&column, 1000001) == NULL);
	first = cmr_column_at(&column, 0);
	cmr_column_reset(&column);
	CHECK(cmr_column_at(&column, 0) == first); /* stays for the next time */
	CHECK_EQ_U64(atomic_load(first), 0);
	CHECK(cmr_column_at(&column, 70000) == NULL);
	allow(0);
	CHECK(cmr_column_make(&column, 70000) == NULL);
	cmr_memory_set_gatekeeper(NULL);
	CHECK(cmr_column_make(&column, 70000) != NULL);
	cmr_column_fini(&column);
	CHECK_EQ_U64(cmr_memory_mapped(), before);
	allow(0);
	CHECK(cmr_column_init(&column, 10, NULL) == CMR_NO_MEMORY);
	cmr_memory_set_gatekeeper(NULL);
	cmr_column_fini(&column);
}

CMR_TEST(finishing_gives_everything_back)
{
	size_t before;

	cmr_intern_fini(&set);
	before = cmr_memory_mapped();
	fresh(1000000);
	for (uint32_t i = 0; i < 100000; i++)
		CHECK(cmr_intern_add(&set, key_number(i)) != 0);
	cmr_intern_fini(&set);
	CHECK_EQ_U64(cmr_memory_mapped(), before);
	cmr_intern_fini(&set);
	CHECK_EQ_U64(cmr_memory_mapped(), before);
}

CMR_TEST(after_a_fork_the_lock_is_free)
{
	struct cmr_intern *s = fresh(100);

	CHECK_EQ_U64(cmr_intern_add(s, key_number(1)), 1);
	atomic_store(&s->lock.held, 1); /* as by a thread that the child does not have */
	CHECK_EQ_U64(cmr_intern_add(s, key_number(1)), 1); /* lookup wants no lock */
	cmr_intern_after_fork(s);
	CHECK_EQ_U64(cmr_intern_add(s, key_number(2)), 2);
}

/* --- threads --- */

#define N_THREADS 4
#define N_KEYS 40000

static uint32_t numbers[N_THREADS][N_KEYS];
static _Atomic uint32_t families[N_KEYS / 3]; /* most have three keys, one of them without a slot */

/* All threads add the same keys, each from another end, while the slots double many times. */
static void *add_all(void *argument)
{
	unsigned me = *(unsigned *)argument;

	for (uint32_t k = 0; k < N_KEYS; k++) {
		uint32_t i = (k + me * (N_KEYS / N_THREADS)) % N_KEYS;
		uint32_t number = cmr_intern_add_at(&set, key_number(i),
						    i % 4 == 0 ? NULL : &families[i % (N_KEYS / 3)]);

		numbers[me][i] = number;
		CHECK(number != 0 && holds(&set, number, key_number(i)));
	}
	return NULL;
}

CMR_TEST(threads_agree_on_the_numbers)
{
	pthread_t threads[N_THREADS];
	unsigned me[N_THREADS];
	static bool seen[N_KEYS + 1];

	fresh(1000000);
	for (unsigned i = 0; i < N_THREADS; i++) {
		me[i] = i;
		REQUIRE(pthread_create(&threads[i], NULL, add_all, &me[i]) == 0);
	}
	for (unsigned i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ_U64(cmr_intern_count(&set), N_KEYS);
	for (uint32_t i = 0; i < N_KEYS; i++) {
		for (unsigned t = 1; t < N_THREADS; t++)
			CHECK_EQ_U64(numbers[t][i], numbers[0][i]);
		REQUIRE(numbers[0][i] >= 1 && numbers[0][i] <= N_KEYS);
		CHECK(!seen[numbers[0][i]]);
		seen[numbers[0][i]] = true;
	}
}

/* --- nodes --- */

static uint64_t stack_losses(void)
{
	struct cmr_losses losses;

	cmr_losses_read(&losses);
	return losses.stacks;
}

static unsigned forgotten;

static void forget(void)
{
	forgotten++;
}

/* Runs before the nodes are made. */
CMR_TEST(nodes_that_were_never_made_are_lost)
{
	uint64_t lost = stack_losses();

	CHECK_EQ_U64(cmr_nodes_child(0, 1, 1), CMR_NODE_LOST);
	CHECK_EQ_U64(stack_losses() - lost, 1);
	CHECK_EQ_U64(cmr_nodes_count(), 0);
	cmr_nodes_reset();
	CHECK_EQ_U64(cmr_nodes_count(), 0);
}

static void make_nodes(void)
{
	struct cmr_error err;

	REQUIRE(cmr_nodes_init(&err) == CMR_OK);
}

static void check_node(cmr_node_id id, cmr_node_id parent, uint32_t code, int32_t offset)
{
	struct cmr_node node = cmr_nodes_get(id);

	CHECK_EQ_U64(node.parent, parent);
	CHECK_EQ_U64(node.code, code);
	CHECK_EQ_I64(node.offset, offset);
}

CMR_TEST(nodes_are_parent_code_and_offset)
{
	cmr_node_id a, b;

	make_nodes();
	make_nodes();
	a = cmr_nodes_child(0, 1, 20);
	b = cmr_nodes_child(a, 1, 20);
	CHECK(a != 0 && b != 0 && a != b);
	CHECK_EQ_U64(cmr_nodes_child(0, 1, 20), a);
	CHECK_EQ_U64(cmr_nodes_child(a, 1, 20), b);
	check_node(a, 0, 1, 20);
	check_node(b, a, 1, 20);
	CHECK(cmr_nodes_child(a, 2, 20) != b);
	CHECK(cmr_nodes_child(a, 1, 21) != b);
	check_node(cmr_nodes_child(b, 0xffffffff, -1), b, 0xffffffff, -1);
	check_node(cmr_nodes_child(b, 7, CMR_NO_OFFSET), b, 7, CMR_NO_OFFSET);
	check_node(cmr_nodes_child(CMR_MOST_NODES, 0xffffffff, INT32_MAX), CMR_MOST_NODES,
		   0xffffffff, INT32_MAX);
	CHECK_EQ_U64(cmr_nodes_count(), 7);
}

CMR_TEST(below_a_lost_stack_all_is_lost)
{
	uint64_t lost = stack_losses();
	uint32_t n;

	make_nodes();
	n = cmr_nodes_count();
	CHECK_EQ_U64(cmr_nodes_child(CMR_NODE_LOST, 1, 1), CMR_NODE_LOST);
	CHECK_EQ_U64(stack_losses() - lost, 1);
	CHECK_EQ_U64(cmr_nodes_count(), n);
}

CMR_TEST(resetting_nodes_voids_codes_and_caches)
{
	static const struct cmr_provider provider = { .forget = forget }, deaf = { 0 };
	uint32_t epoch = atomic_load(&cmr_code_epoch);

	make_nodes();
	cmr_nodes_child(0, 1, 1);
	cmr_provider = &provider;
	cmr_nodes_reset();
	CHECK_EQ_U64(cmr_nodes_count(), 0);
	CHECK_EQ_U64(forgotten, 1);
	CHECK(atomic_load(&cmr_code_epoch) != epoch);
	CHECK_EQ_U64(cmr_nodes_child(0, 9, 9), 1);
	cmr_provider = &deaf;
	cmr_nodes_reset();
	cmr_provider = NULL;
	cmr_nodes_reset();
	CHECK_EQ_U64(forgotten, 1);
	CHECK_EQ_U64(cmr_nodes_count(), 0);
	CHECK_EQ_U64(cmr_nodes_child(0, 9, 9), 1);
}

static atomic_bool stop;

static void *make_many(void *nothing)
{
	for (uint32_t i = 0; !atomic_load(&stop); i = (i + 1) % 1000000)
		cmr_nodes_child(0, 5, (int32_t)i);
	return nothing;
}

static void make_one(void)
{
	cmr_node_id node;

	cmr_nodes_after_fork();
	node = cmr_nodes_child(0, 6, 1);
	check_node(node, 0, 6, 1);
	CHECK_EQ_U64(cmr_nodes_child(0, 6, 1), node);
}

/* The lock may be held by a thread that the child does not have. */
CMR_TEST(nodes_go_on_in_the_child_of_a_fork)
{
	pthread_t thread;

	make_nodes();
	REQUIRE(pthread_create(&thread, NULL, make_many, NULL) == 0);
	for (int round = 0; round < 30; round++)
		CHECK(passes_in_child(make_one));
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
}
