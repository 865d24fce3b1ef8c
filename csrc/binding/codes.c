#include "codes.h"

#include <string.h>

#include "offsets.h"
#include "os/lock.h"
#include "os/memory.h"
#include "os/random.h"
#include "os/thread.h"

#define N_BUCKETS 16384u
#define MAX_TEXT_BYTES 65536u /* of a name; longer ones are cut */
#define FIRST_SLOTS 4096u

/* A string as the interpreter stores it: LENGTH units of KIND (1, 2, 4) bytes. */
struct text {
	struct text *next;
	uint64_t hash;
	uint32_t number, length, kind;
	uint32_t spare;
	unsigned char data[];
};

struct copy {
	struct copy *next;
	uint64_t hash;
	struct cmr_code_copy content;
	uint32_t number;
	int32_t first_traceable;
};

/* A living code object. Addresses are even: the lowest bit of a key marks one that has died, whose
 * slot and struct wait for the address to come back. */
struct slot {
	_Atomic uintptr_t key; /* 0 = never used */
	struct cmr_code *code; /* stored before key */
};

struct slots {
	size_t mask, used; /* used: by living and dead */
	struct slot items[];
};

/* Growable array of pointers, index = number - 1. */
struct directory {
	void **items;
	uint32_t n, capacity;
};

/* All protected by lock, but for the lock-free reads of `slots`. */
static struct {
	struct cmr_lock lock;
	_Atomic(struct slots *) slots;
	size_t n_living;
	struct cmr_arena arena;
	struct directory copies, texts;
	struct copy *copy_buckets[N_BUCKETS];
	struct text *text_buckets[N_BUCKETS];
	struct cmr_code *unused; /* linked through `bytecode` */
} registry = { .lock = CMR_LOCK(CMR_RANK_CODES) };

static destructor original_dealloc;

/* --- addresses ------------------------------------------------------------------------------- */

static size_t slots_bytes(size_t n)
{
	return sizeof(struct slots) + n * sizeof(struct slot);
}

static struct slots *make_slots(size_t n)
{
	struct slots *slots = cmr_memory_map(slots_bytes(n));

	if (slots != NULL)
		slots->mask = n - 1;
	return slots;
}

/* The slot of ADDRESS, living or dead, or the empty one where it belongs. */
static struct slot *find_slot(struct slots *slots, uintptr_t address)
{
	size_t i = (size_t)cmr_mix(address) & slots->mask;
	uintptr_t key;

	for (;; i = (i + 1) & slots->mask) {
		/* pairs with the release store of a key: its code is seen too */
		key = atomic_load_explicit(&slots->items[i].key, memory_order_acquire);
		if (key == 0 || (key & ~(uintptr_t)1) == address)
			return &slots->items[i];
	}
}

/* Moves the living to a table of twice their number at least. Readers of the old table miss new
 * addresses only, and come here for them; it is never given back. */
static bool grow_slots_locked(struct slots *old)
{
	size_t n = FIRST_SLOTS;
	struct slots *slots;
	struct slot *slot;
	uintptr_t key;

	while (n < registry.n_living * 4)
		n *= 2;
	slots = make_slots(n);
	if (slots == NULL)
		return false;
	for (size_t i = 0; i <= old->mask; i++) {
		key = atomic_load_explicit(&old->items[i].key, memory_order_relaxed);
		if (key == 0)
			continue;
		if (key & 1) {
			old->items[i].code->bytecode = (uintptr_t)registry.unused;
			registry.unused = old->items[i].code;
			continue;
		}
		slot = find_slot(slots, key);
		slot->code = old->items[i].code;
		atomic_store_explicit(&slot->key, key, memory_order_relaxed);
		slots->used++;
	}
	atomic_store_explicit(&registry.slots, slots, memory_order_release);
	return true;
}

/* --- texts ----------------------------------------------------------------------------------- */

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t n)
{
	const unsigned char *bytes = data;
	uint64_t word;

	for (; n >= sizeof word; bytes += sizeof word, n -= sizeof word) {
		memcpy(&word, bytes, sizeof word);
		hash = cmr_mix(hash ^ word);
	}
	word = n;
	memcpy(&word, bytes, n);
	return cmr_mix(hash ^ word ^ ((uint64_t)n << 56));
}

/* The next number of DIRECTORY, or 0. */
static uint32_t add_entry(struct directory *directory, void *item)
{
	uint32_t capacity = directory->capacity ? directory->capacity * 2 : 4096;
	void **items;

	if (directory->n == directory->capacity) {
		items = directory->items == NULL
				? cmr_memory_map(capacity * sizeof *items)
				: cmr_memory_grow(directory->items,
						  directory->capacity * sizeof *items,
						  capacity * sizeof *items);
		if (items == NULL)
			return 0;
		directory->items = items;
		directory->capacity = capacity;
	}
	directory->items[directory->n++] = item;
	return directory->n;
}

static void *get_entry(const struct directory *directory, uint32_t number)
{
	return number - 1u < directory->n ? directory->items[number - 1] : NULL;
}

/* Number of a text, 0 when memory is refused. */
static uint32_t add_text_locked(const void *data, uint32_t length, uint32_t kind)
{
	uint64_t hash = hash_bytes(kind, data, (size_t)length * kind);
	struct text **bucket = &registry.text_buckets[hash % N_BUCKETS], *text;
	size_t n_bytes = (size_t)length * kind;

	for (text = *bucket; text != NULL; text = text->next)
		if (text->hash == hash && text->length == length && text->kind == kind &&
		    memcmp(text->data, data, n_bytes) == 0)
			return text->number;
	text = cmr_arena_take(&registry.arena, sizeof *text + n_bytes);
	if (text == NULL)
		return 0;
	text->hash = hash;
	text->length = length;
	text->kind = kind;
	memcpy(text->data, data, n_bytes);
	text->number = add_entry(&registry.texts, text);
	if (text->number != 0) {
		text->next = *bucket;
		*bucket = text;
	}
	return text->number;
}

/* Reads the characters in place: no UTF-8 cache is filled, nothing is allocated. */
static uint32_t add_str_locked(PyObject *str)
{
	static const char unknown[] = "<unknown>";
	size_t length, kind;

	if (str == NULL || !PyUnicode_Check(str) || (kind = (size_t)PyUnicode_KIND(str)) == 0)
		return add_text_locked(unknown, sizeof unknown - 1, 1);
	length = (size_t)PyUnicode_GET_LENGTH(str);
	if (length > MAX_TEXT_BYTES / kind)
		length = MAX_TEXT_BYTES / kind;
	return add_text_locked(PyUnicode_DATA(str), (uint32_t)length, (uint32_t)kind);
}

/* --- copies ---------------------------------------------------------------------------------- */

static bool same_copy(const struct copy *a, const struct copy *b)
{
	return a->hash == b->hash && a->content.name == b->content.name &&
	       a->content.file == b->content.file &&
	       a->content.first_line == b->content.first_line &&
	       a->first_traceable == b->first_traceable &&
	       a->content.n_lines == b->content.n_lines &&
	       memcmp(a->content.lines, b->content.lines, a->content.n_lines) == 0;
}

/* Keeps WANTED, whose line table still lies in the code object. NULL: no memory. */
static struct copy *keep_copy_locked(const struct copy *wanted)
{
	struct copy **bucket = &registry.copy_buckets[wanted->hash % N_BUCKETS], *copy;
	uint8_t *lines;

	for (copy = *bucket; copy != NULL; copy = copy->next)
		if (same_copy(copy, wanted))
			return copy;
	copy = cmr_arena_take(&registry.arena, sizeof *copy + wanted->content.n_lines);
	if (copy == NULL)
		return NULL;
	*copy = *wanted;
	lines = (uint8_t *)(copy + 1);
	memcpy(lines, wanted->content.lines, wanted->content.n_lines);
	copy->content.lines = lines;
	copy->number = add_entry(&registry.copies, copy);
	if (copy->number == 0)
		return NULL;
	copy->next = *bucket;
	*bucket = copy;
	return copy;
}

static struct copy *copy_code_locked(const PyCodeObject *code)
{
	struct copy wanted = { .first_traceable = cmr_code_int(code, cmr_offsets.first_traceable) };
	PyObject *lines = cmr_code_object(code, cmr_offsets.lines);
	uint64_t words[3];

	wanted.content.name = add_str_locked(cmr_code_object(code, cmr_offsets.name));
	wanted.content.file = add_str_locked(cmr_code_object(code, cmr_offsets.file));
	wanted.content.first_line = cmr_code_int(code, cmr_offsets.first_line);
	if (wanted.content.name == 0 || wanted.content.file == 0)
		return NULL;
	wanted.content.lines = (const uint8_t *)"";
	if (lines != NULL && PyBytes_Check(lines)) {
		wanted.content.lines = (const uint8_t *)PyBytes_AS_STRING(lines);
		wanted.content.n_lines = (uint32_t)PyBytes_GET_SIZE(lines);
	}
	words[0] = (uint64_t)wanted.content.name << 32 | wanted.content.file;
	words[1] = (uint64_t)(uint32_t)wanted.content.first_line;
	words[2] = (uint64_t)(uint32_t)wanted.first_traceable;
	wanted.hash = hash_bytes(hash_bytes(0, words, sizeof words), wanted.content.lines,
				 wanted.content.n_lines);
	return keep_copy_locked(&wanted);
}

static const struct cmr_code *add_code_locked(PyCodeObject *object)
{
	struct slots *slots = atomic_load_explicit(&registry.slots, memory_order_relaxed);
	struct slot *slot;
	struct copy *copy;
	struct cmr_code *code;

	if (slots->used * 4 >= slots->mask * 3) {
		if (!grow_slots_locked(slots))
			return NULL;
		slots = atomic_load_explicit(&registry.slots, memory_order_relaxed);
	}
	slot = find_slot(slots, (uintptr_t)object);
	if (atomic_load_explicit(&slot->key, memory_order_relaxed) == (uintptr_t)object)
		return slot->code; /* another thread was faster */
	copy = copy_code_locked(object);
	code = slot->code != NULL ? slot->code : registry.unused;
	if (copy == NULL ||
	    (code == NULL && (code = cmr_arena_take(&registry.arena, sizeof *code)) == NULL))
		return NULL;
	if (code == registry.unused)
		registry.unused = (struct cmr_code *)code->bytecode;
	if (slot->code == NULL)
		slots->used++;
	code->number = copy->number;
	code->first_traceable = (uint32_t)(copy->first_traceable > 0 ? copy->first_traceable : 0);
	code->bytecode = (uintptr_t)cmr_code_field(object, cmr_offsets.bytecode);
	code->n_units = (uint32_t)Py_SIZE(object);
	slot->code = code;
	/* pairs with the acquire load in find_slot */
	atomic_store_explicit(&slot->key, (uintptr_t)object, memory_order_release);
	registry.n_living++;
	return code;
}

const struct cmr_code *cmr_codes_find(const void *address)
{
	/* pairs with the release store in grow_slots_locked */
	struct slots *slots = atomic_load_explicit(&registry.slots, memory_order_acquire);
	struct slot *slot = find_slot(slots, (uintptr_t)address);
	const struct cmr_code *code;
	PyObject *object;

	if (__builtin_expect(atomic_load_explicit(&slot->key, memory_order_acquire) ==
				     (uintptr_t)address,
			     1))
		return slot->code;
	object = (PyObject *)(uintptr_t)address; /* only read */
	if (Py_TYPE(object) != &PyCode_Type)
		return NULL;
	cmr_lock_take(&registry.lock);
	code = add_code_locked((PyCodeObject *)object);
	cmr_lock_drop(&registry.lock);
	return code;
}

/* Runs for every code object that dies, whether anything is measured or not. */
static void dealloc_code(PyObject *object)
{
	struct slots *slots = atomic_load_explicit(&registry.slots, memory_order_acquire);
	struct slot *slot = find_slot(slots, (uintptr_t)object);
	uintptr_t guard;

	if (atomic_load_explicit(&slot->key, memory_order_acquire) == (uintptr_t)object) {
		guard = cmr_tls.guard;
		cmr_tls.guard = guard | CMR_GUARD_ALL;
		atomic_signal_fence(memory_order_seq_cst);
		cmr_lock_take(&registry.lock);
		slots = atomic_load_explicit(&registry.slots, memory_order_relaxed);
		slot = find_slot(slots, (uintptr_t)object);
		if (atomic_load_explicit(&slot->key, memory_order_relaxed) == (uintptr_t)object) {
			atomic_store_explicit(&slot->key, (uintptr_t)object | 1,
					      memory_order_relaxed);
			registry.n_living--;
			atomic_fetch_add_explicit(&cmr_code_epoch, 1, memory_order_release);
		}
		cmr_lock_drop(&registry.lock);
		atomic_signal_fence(memory_order_seq_cst);
		cmr_tls.guard = guard;
	}
	original_dealloc(object);
}

void cmr_codes_forget(void)
{
	struct slots *slots;

	cmr_lock_take(&registry.lock);
	slots = atomic_load_explicit(&registry.slots, memory_order_relaxed);
	for (size_t i = 0; i <= slots->mask; i++) {
		atomic_store_explicit(&slots->items[i].key, 0, memory_order_relaxed);
		slots->items[i].code = NULL;
	}
	slots->used = 0;
	registry.n_living = 0;
	registry.unused = NULL;
	memset(registry.copy_buckets, 0, sizeof registry.copy_buckets);
	memset(registry.text_buckets, 0, sizeof registry.text_buckets);
	registry.copies.n = registry.texts.n = 0;
	cmr_arena_reset(&registry.arena);
	cmr_lock_drop(&registry.lock);
}

void cmr_codes_after_fork(void)
{
	registry.lock = (struct cmr_lock)CMR_LOCK(CMR_RANK_CODES);
}

enum cmr_status cmr_codes_init(struct cmr_error *err)
{
	struct slots *slots;

	if (atomic_load_explicit(&registry.slots, memory_order_relaxed) != NULL)
		return CMR_OK;
	slots = make_slots(FIRST_SLOTS);
	if (slots == NULL)
		return cmr_fail(err, CMR_NO_MEMORY, 0, "no memory for the registry of code objects");
	atomic_store_explicit(&registry.slots, slots, memory_order_release);
	original_dealloc = PyCode_Type.tp_dealloc;
	PyCode_Type.tp_dealloc = dealloc_code;
	return CMR_OK;
}

/* --- readers --------------------------------------------------------------------------------- */

bool cmr_codes_get(uint32_t number, struct cmr_code_copy *out)
{
	const struct copy *copy;

	cmr_lock_take(&registry.lock);
	copy = get_entry(&registry.copies, number);
	if (copy != NULL)
		*out = copy->content;
	cmr_lock_drop(&registry.lock);
	return copy != NULL;
}

static const struct text *get_text(uint32_t number)
{
	const struct text *text;

	cmr_lock_take(&registry.lock);
	text = get_entry(&registry.texts, number);
	cmr_lock_drop(&registry.lock);
	return text;
}

PyObject *cmr_codes_text(uint32_t number)
{
	const struct text *text = get_text(number);

	if (text == NULL)
		return PyUnicode_FromString("<unknown>");
	return PyUnicode_FromKindAndData((int)text->kind, text->data, (Py_ssize_t)text->length);
}

static Py_UCS4 read_unit(const struct text *text, uint32_t i)
{
	switch (text->kind) {
	case 1:
		return text->data[i];
	case 2:
		return ((const Py_UCS2 *)(const void *)text->data)[i];
	default:
		return ((const Py_UCS4 *)(const void *)text->data)[i];
	}
}

int cmr_codes_compare(uint32_t a, uint32_t b)
{
	const struct text *x, *y;
	Py_UCS4 c, d;

	if (a == b || (x = get_text(a)) == NULL || (y = get_text(b)) == NULL)
		return (a > b) - (a < b);
	for (uint32_t i = 0; i < x->length && i < y->length; i++) {
		c = read_unit(x, i);
		d = read_unit(y, i);
		if (c != d)
			return c < d ? -1 : 1;
	}
	return x->length < y->length ? -1 : x->length > y->length;
}

uint32_t cmr_codes_count(void)
{
	return registry.copies.n;
}

uint32_t cmr_codes_n_texts(void)
{
	return registry.texts.n;
}
