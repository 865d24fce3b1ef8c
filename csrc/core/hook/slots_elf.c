/* Finding and patching the relocation slots of loaded objects.
 *
 *   dl_iterate_phdr ── object ── known and unchanged: nothing
 *                        └── new: DT_RELA, DT_JMPREL ── name in list.h ── slot holds the original,
 *                            or is lazy: one atomic store (inside PT_GNU_RELRO between two mprotect)
 *
 * Everything here is written only inside the callback of dl_iterate_phdr, and so protected by the
 * loader's own lock: with a lock of ours around it, a thread whose callback of dl_iterate_phdr
 * allocates could wait for us while we wait for it. That lock also keeps objects from being unmapped.
 * It does not keep others from being loaded: an object is in the loader's list before it is
 * relocated, and before the loader makes its RELRO pages read-only. A page that is still writable
 * must not be made read-only by us, so it is asked first (cmr_page_is_writable), and an object in
 * that state is left for the next time unless a passage through the loader's outer lock has shown
 * that it is not being loaded any more. */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hook/elf_object.h"
#include "hook/hooks.h"
#include "hook/page.h"
#include "hook/scope.h"
#include "hook/table.h"
#include "os/losses.h"
#include "os/memory.h"

#if defined(__x86_64__)
#define RELOC_JUMP_SLOT R_X86_64_JUMP_SLOT
#define RELOC_GLOB_DAT R_X86_64_GLOB_DAT
#define RELOC_POINTER R_X86_64_64
#elif defined(__aarch64__)
#define RELOC_JUMP_SLOT R_AARCH64_JUMP_SLOT
#define RELOC_GLOB_DAT R_AARCH64_GLOB_DAT
#define RELOC_POINTER R_AARCH64_ABS64
#else
#error "relocation numbers of this processor are not known"
#endif

/* One slot of an object speaks for all: as long as it holds what was seen in it last, the object is as
 * it was. Other tools that patch slots exchange the allocating functions of all objects. */
struct witness {
	uintptr_t slot, value;
	/* In order of preference. */
	enum held {
		UNHELD,   /* there is none */
		SOFT,     /* ours, but the program or the loader may change it, or no memory is at stake */
		OURS,     /* our wrapper: if that goes, calls pass by us */
		REPLACED, /* another tool's function */
	} held;
};

/* An object that was looked at. */
struct known {
	uintptr_t base;
	const void *dynamic;
	uintptr_t print; /* of its tables: another file at the same place differs */
	struct witness witness;
	uint32_t pass;  /* last one that met it */
	bool unsettled; /* still being loaded when it was looked at */
};

static struct {
	struct known *known;
	size_t n_known, capacity;
	unsigned long long adds, subs; /* of the last full pass */
	uint32_t pass;
	size_t n_unsettled;
	size_t slots, failed;
	/* What was said in a pass of a value in a slot of a hook. */
	struct {
		uint32_t pass;
		uintptr_t value;
		bool is_definition;
	} asked[CMR_N_HOOKS];
	_Atomic uintptr_t loader, vdso; /* load addresses; written outside the loader's lock */
	_Atomic uint32_t order; /* hands what is above from one thread's pass to the next */
} state;

/* One call of dl_iterate_phdr. */
struct walk {
	bool probe;      /* only say whether there is something to do */
	bool relocated;  /* no object is being loaded: writable RELRO was never protected */
	bool begun;
	bool stale;      /* out: there is something to do */
	bool unloaded;   /* some known object may have gone */
	size_t cursor;   /* where the next object is expected in state.known */
	unsigned long long adds; /* in and out */
	struct cmr_hook_report report; /* out */
};

/* What happens to one object. */
struct patch {
	const struct cmr_elf *elf;
	bool relocated;
	bool opened;     /* RELRO was made writable by us */
	bool refused;    /* and that failed */
	bool unwritable; /* there is a slot among code or constants (text relocations) */
	bool unsettled;
	size_t n_slots;
	struct witness witness;
	enum cmr_hook_index witness_index;
};

static bool is_in_relro(const struct cmr_elf *elf, uintptr_t slot)
{
	return slot >= elf->relro_start && slot < elf->relro_end;
}

/* Whether SLOT can be stored to, after making it so. */
static bool open_slot(struct patch *patch, uintptr_t slot)
{
	const struct cmr_elf *elf = patch->elf;

	if (!is_in_relro(elf, slot)) {
		bool writable = cmr_elf_contains(elf, slot, PF_W);

		patch->unwritable |= !writable;
		return writable;
	}
	if (patch->opened)
		return true;
	if (patch->refused || patch->unsettled)
		return false;
	if (cmr_page_is_writable(slot)) {
		patch->unsettled = !patch->relocated;
		return patch->relocated;
	}
	if (mprotect((void *)elf->relro_start, elf->relro_end - elf->relro_start,
		     PROT_READ | PROT_WRITE) != 0) {
		patch->refused = true;
		return false;
	}
	return patch->opened = true;
}

static void close_relro(const struct patch *patch)
{
	const struct cmr_elf *elf = patch->elf;

	if (patch->opened)
		(void)mprotect((void *)elf->relro_start, elf->relro_end - elf->relro_start,
			       PROT_READ);
}

/* Whether a slot of KIND that holds VALUE calls the original of HOOK, or will when it is resolved. A
 * slot of an object that defines the name itself, or may bind to a definition among the objects that
 * it needs, is left alone: a block of one allocator must not reach the free of another. */
static bool leads_to_original(const struct cmr_elf *elf, const struct cmr_hook *hook,
			      const ElfW(Sym) *symbol, unsigned kind, uintptr_t value)
{
	if (value == hook->original || (value == hook->canonical && value != 0))
		return true;
	return kind == RELOC_JUMP_SLOT && symbol->st_shndx == SHN_UNDEF &&
	       cmr_elf_contains(elf, value, PF_X) &&
	       !cmr_scope_is_ambiguous(elf, hook->name, hook->original);
}

/* Whether VALUE is what the file has in a slot: nothing, or a place in its own PLT as if it were loaded
 * at 0. */
static bool is_unrelocated(const struct cmr_elf *elf, uintptr_t value)
{
	return value == 0 || (elf->base != 0 && cmr_elf_contains(elf, elf->base + value, 0));
}

/* Whether the slot of RELA, of KIND, gets the address of its symbol and nothing is added. x86-64 adds
 * nothing to calls through a PLT; "ld -z mark-plt" has the place in the PLT there instead of 0. */
static bool is_plain(const ElfW(Rela) *rela, unsigned kind)
{
#ifdef __x86_64__
	if (kind == RELOC_JUMP_SLOT)
		return true;
#endif
	(void)kind;
	return rela->r_addend == 0;
}

/* Whether calls of the function make memory come or go. */
static bool is_of_memory(enum cmr_hook_index index)
{
	return index <= CMR_HOOK_mprotect || index >= CMR_HOOK__Znwm;
}

/* Whether VALUE is what the loader can have bound the name of hook INDEX to. Slots of most objects hold
 * the same value, so that each is asked for once in a pass. */
static bool is_definition(enum cmr_hook_index index, uintptr_t value)
{
	if (state.asked[index].pass != state.pass || state.asked[index].value != value) {
		state.asked[index].pass = state.pass;
		state.asked[index].value = value;
		state.asked[index].is_definition =
			cmr_scope_is_definition(cmr_hook_table[index].name, value);
	}
	return state.asked[index].is_definition;
}

/* Whether VALUE, which is not the original, is another tool's in a slot of KIND. A pointer in the data of
 * a program is the program's own to set. */
static bool is_replaced(const struct cmr_elf *elf, enum cmr_hook_index index, unsigned kind,
			uintptr_t value)
{
	return kind != RELOC_POINTER && is_of_memory(index) && !is_unrelocated(elf, value) &&
	       !cmr_elf_contains(elf, value, 0) && !is_definition(index, value);
}

/* Of equal ones the slot of the function that comes first in list.h: who takes any, takes malloc. */
static void keep_witness(struct patch *patch, enum cmr_hook_index index, struct witness witness)
{
	if (witness.held < patch->witness.held ||
	    (witness.held == patch->witness.held && index >= patch->witness_index))
		return;
	patch->witness = witness;
	patch->witness_index = index;
}

static void patch_slot(struct patch *patch, const ElfW(Rela) *rela, enum cmr_hook_index index)
{
	const struct cmr_elf *elf = patch->elf;
	const struct cmr_hook *hook = &cmr_hook_table[index];
	unsigned kind = (unsigned)ELF64_R_TYPE(rela->r_info);
	uintptr_t slot = elf->base + rela->r_offset, value;
	enum held held;
	bool lazy = false;

	if (hook->original == 0 || (slot & (sizeof slot - 1)) != 0 || !is_plain(rela, kind) ||
	    !cmr_elf_contains(elf, slot, 0))
		return;
	value = atomic_load_explicit((_Atomic uintptr_t *)slot, memory_order_relaxed);
	if (value != hook->wrapper) {
		if (is_unrelocated(elf, value))
			patch->unsettled = !patch->relocated;
		if (!leads_to_original(elf, hook, &elf->symbols[ELF64_R_SYM(rela->r_info)], kind,
				       value)) {
			if (is_replaced(elf, index, kind, value))
				keep_witness(patch, index,
					     (struct witness){ slot, value, REPLACED });
			return;
		}
		if (!open_slot(patch, slot))
			return;
		atomic_store_explicit((_Atomic uintptr_t *)slot, hook->wrapper,
				      memory_order_release);
		patch->n_slots++;
		lazy = value != hook->original; /* a call under way may yet store the original */
	}
	held = lazy || kind == RELOC_POINTER || !is_of_memory(index) ? SOFT : OURS;
	keep_witness(patch, index, (struct witness){ slot, hook->wrapper, held });
}

static void patch_table(struct patch *patch, const ElfW(Rela) *table, size_t n)
{
	const struct cmr_elf *elf = patch->elf;

	for (const ElfW(Rela) *rela = table; rela < table + n; rela++) {
		unsigned kind = (unsigned)ELF64_R_TYPE(rela->r_info);
		enum cmr_hook_index index;

		if (kind != RELOC_JUMP_SLOT && kind != RELOC_GLOB_DAT && kind != RELOC_POINTER)
			continue;
		index = cmr_hook_find(elf->strings +
				      elf->symbols[ELF64_R_SYM(rela->r_info)].st_name);
		if (index != CMR_N_HOOKS)
			patch_slot(patch, rela, index);
	}
}

/* Tells two objects apart that were loaded at the same address one after the other. */
static uintptr_t print_of(const struct cmr_elf *elf)
{
	uintptr_t print = (uintptr_t)elf->rela;

	print = print * 31 + elf->n_rela;
	print = print * 31 + (uintptr_t)elf->plt;
	print = print * 31 + elf->n_plt;
	print = print * 31 + (uintptr_t)elf->strings;
	print = print * 31 + (uintptr_t)elf->symbols;
	return print * 31 + elf->relro_end;
}

/* The slot must be mapped. */
static bool has_changed(const struct witness *witness)
{
	return witness->held != UNHELD &&
	       atomic_load_explicit((_Atomic uintptr_t *)witness->slot, memory_order_relaxed) !=
		       witness->value;
}

/* Whether calls of ELF, which is the object of KNOWN, have passed us by since somebody took our wrapper
 * out of its slots. An object that was loaded anew has no wrapper either; the program itself never is. */
static bool was_taken(const struct walk *walk, const struct cmr_elf *elf, const struct known *known)
{
	return known->witness.held == OURS && has_changed(&known->witness) &&
	       (!walk->unloaded || elf->name[0] == 0);
}

static void patch_object(const struct walk *walk, const struct cmr_elf *elf, struct known *known)
{
	struct patch patch = { .elf = elf, .relocated = walk->relocated };
	bool taken, was_replaced;

	if (known->print != print_of(elf))
		known->witness = (struct witness){ .held = UNHELD };
	taken = was_taken(walk, elf, known);
	was_replaced = known->witness.held == REPLACED;

	patch_table(&patch, elf->rela + elf->n_relative, elf->n_rela - elf->n_relative);
	patch_table(&patch, elf->plt, elf->n_plt);
	close_relro(&patch);
	state.slots += patch.n_slots;
	if (patch.refused || patch.unwritable) {
		state.failed++;
		cmr_lose(CMR_LOSS_hooks);
	}
	if (taken || (patch.witness.held == REPLACED && !was_replaced))
		cmr_lose(CMR_LOSS_replaced);
	known->print = print_of(elf);
	known->witness = patch.witness;
	known->unsettled = patch.unsettled;
	state.n_unsettled += patch.unsettled;
}

/* Objects come in the same order each time, new ones at the end. */
static struct known *find_known(struct walk *walk, uintptr_t base, const void *dynamic)
{
	for (size_t n = 0; n < state.n_known; n++) {
		size_t i = (walk->cursor + n) % state.n_known;
		struct known *known = &state.known[i];

		if (known->base == base && known->dynamic == dynamic) {
			walk->cursor = i + 1;
			return known;
		}
	}
	return NULL;
}

static struct known *add_known(uintptr_t base, const void *dynamic)
{
	size_t bytes = state.capacity * sizeof *state.known;

	if (state.n_known == state.capacity) {
		size_t capacity = state.capacity == 0 ? 512 : 2 * state.capacity;
		struct known *grown = state.capacity == 0
			? cmr_memory_map(capacity * sizeof *grown)
			: cmr_memory_grow(state.known, bytes, capacity * sizeof *grown);

		if (grown == NULL)
			return NULL;
		state.known = grown;
		state.capacity = capacity;
	}
	state.known[state.n_known] = (struct known){ .base = base, .dynamic = dynamic };
	return &state.known[state.n_known++];
}

/* Whether KNOWN, which has the address of ELF, is the object that was looked at. */
static bool is_same(const struct known *known, const struct cmr_elf *elf)
{
	return known->print == print_of(elf) && !has_changed(&known->witness);
}

/* ThreadSanitizer calls libc, and libc its allocator, in threads that it has not set up yet, and maps
 * memory while it reports. Code that is itself built with it cannot run there, so that such a build of
 * the hooks leaves both alone. */
#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN 1
#endif
#endif
#ifdef WITH_TSAN
extern void __tsan_init(void);

static bool is_of_tsan(const struct cmr_elf *elf)
{
	return cmr_elf_contains(elf, (uintptr_t)sysconf, 0) ||
	       cmr_elf_contains(elf, (uintptr_t)__tsan_init, 0);
}
#else
static bool is_of_tsan(const struct cmr_elf *elf)
{
	(void)elf;
	return false;
}
#endif

/* ld.so calls its own functions and must not meet ours half-way through a relocation; the vdso is
 * the kernel's; this object is how the originals are reached. */
static bool is_exempt(const struct cmr_elf *elf)
{
	return (elf->base == state.loader && state.loader != 0) ||
	       (elf->base == state.vdso && state.vdso != 0) ||
	       cmr_elf_contains(elf, (uintptr_t)&state, 0) ||
	       is_of_tsan(elf);
}

static void look_at(struct walk *walk, const struct dl_phdr_info *info)
{
	struct known unremembered, *known;
	struct cmr_elf elf;
	const void *dynamic = NULL;

	for (size_t i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			dynamic = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
	known = find_known(walk, info->dlpi_addr, dynamic);
	if (known != NULL && !known->unsettled && !walk->unloaded && !has_changed(&known->witness)) {
		known->pass = state.pass;
		return;
	}
	cmr_elf_view(&elf, info);
	if (dynamic == NULL || is_exempt(&elf))
		return;
	if (known == NULL)
		known = add_known(info->dlpi_addr, dynamic);
	if (known == NULL) {
		cmr_lose(CMR_LOSS_hooks); /* patched, but soon looked at again */
		known = &unremembered;
		memset(known, 0, sizeof *known);
	}
	known->pass = state.pass;
	state.n_unsettled -= known->unsettled;
	if (!cmr_elf_read(&elf, info)) {
		known->unsettled = false;
		if (known->print != 1) {
			state.failed++;
			cmr_lose(CMR_LOSS_hooks);
		}
		known->print = 1;
		known->witness.held = UNHELD;
	} else if (known->unsettled || !is_same(known, &elf)) {
		patch_object(walk, &elf, known);
	}
}

static void forget_unloaded(void)
{
	size_t kept = 0;

	for (size_t i = 0; i < state.n_known; i++) {
		if (state.known[i].pass == state.pass)
			state.known[kept++] = state.known[i];
		else
			state.n_unsettled -= state.known[i].unsettled;
	}
	state.n_known = kept;
}

/* Whether slots are no longer as they were left, and how many objects another tool has. A few nanoseconds
 * for each object; all of them must still be there, except for those that the last pass has not met. */
static bool have_slots_changed(void)
{
	size_t n_replaced = 0;
	bool changed = false;

	for (size_t i = 0; i < state.n_known; i++) {
		const struct known *known = &state.known[i];

		if (known->pass != state.pass)
			continue;
		changed |= has_changed(&known->witness);
		n_replaced += known->witness.held == REPLACED;
	}
	atomic_store_explicit(&cmr_loss_replaced_now, n_replaced, memory_order_relaxed);
	return changed;
}

/* First object of a walk: is there anything to do? */
static bool begin_walk(struct walk *walk, const struct dl_phdr_info *info)
{
	bool stale = state.pass == 0 || info->dlpi_adds != state.adds ||
		     info->dlpi_subs != state.subs || state.n_unsettled != 0 ||
		     have_slots_changed();

	walk->begun = true;
	walk->stale = stale;
	if (walk->probe || !stale) {
		walk->adds = info->dlpi_adds;
		return false;
	}
	if (walk->adds != info->dlpi_adds) /* somebody is loading more right now */
		walk->relocated = false;
	forget_unloaded();
	walk->unloaded = info->dlpi_subs != state.subs;
	state.adds = info->dlpi_adds;
	state.subs = info->dlpi_subs;
	state.pass++;
	return true;
}

/* The loader's lock orders the passes of different threads; acquiring and releasing `order` says so to
 * who does not know that lock (ThreadSanitizer). */
static int visit(struct dl_phdr_info *info, size_t size, void *data)
{
	struct walk *walk = data;
	bool over = false;

	(void)size;
	(void)atomic_fetch_add_explicit(&state.order, 1, memory_order_acquire);
	if (!walk->begun)
		over = !begin_walk(walk, info);
	if (!over)
		look_at(walk, info);
	walk->report = (struct cmr_hook_report){ state.n_known, state.slots, state.failed };
	(void)atomic_fetch_add_explicit(&state.order, 1, memory_order_release);
	return over;
}

static void find_exempt(void)
{
	const struct r_debug *debug = dlsym(RTLD_DEFAULT, "_r_debug");

	state.vdso = (uintptr_t)getauxval(AT_SYSINFO_EHDR);
	state.loader = (uintptr_t)getauxval(AT_BASE);
	if (state.loader == 0 && debug != NULL) /* ld.so was started as the program */
		state.loader = debug->r_ldbase;
}

enum cmr_status cmr_hooks_refresh(struct cmr_hook_report *out, struct cmr_error *err)
{
	uintptr_t guard = cmr_guard_raise(CMR_GUARD_ALL);
	enum cmr_status status = CMR_OK;
	struct walk walk = { .probe = true };
	int saved = errno;

	if (!cmr_originals_resolve())
		status = cmr_fail(err, CMR_STATE, 0, "this process has no malloc that can be hooked");
	for (int tries = 0; tries < 3 && status == CMR_OK; tries++) {
		walk = (struct walk){ .probe = true };
		dl_iterate_phdr(visit, &walk);
		if (!walk.stale)
			break;
		/* Takes and drops the lock under which objects are loaded: what the probe has seen
		 * in the list is complete afterwards. */
		find_exempt();
		walk = (struct walk){ .relocated = true, .adds = walk.adds };
		dl_iterate_phdr(visit, &walk);
	}
	if (out != NULL)
		*out = walk.report;
	cmr_guard_restore(guard & ~CMR_GUARD_RESCAN);
	errno = saved;
	return status;
}

_Atomic unsigned cmr_hooks_looking, cmr_hooks_forking;

/* Leaves LEFT of the marks' bits. */
static void catch_up(uintptr_t left)
{
	struct walk walk = { .relocated = false };
	int saved = errno;
	uintptr_t guard;

	if (cmr_gate_planes() == 0) /* closed: the next start refreshes. Or inside the tracker. */
		return;
	atomic_fetch_add(&cmr_hooks_looking, 1);
	if (atomic_load(&cmr_hooks_forking) == 0) { /* else at a later event */
		guard = cmr_guard_raise(CMR_GUARD_ALL);
		dl_iterate_phdr(visit, &walk);
		cmr_guard_restore((guard & ~CMR_GUARD_RESCAN) | left);
	}
	atomic_fetch_sub(&cmr_hooks_looking, 1);
	errno = saved;
}

static int look_no_further(struct dl_phdr_info *info, size_t size, void *data)
{
	(void)info;
	(void)size;
	(void)data;
	return 1;
}

void cmr_hooks_await_loader(void)
{
	dl_iterate_phdr(look_no_further, NULL);
}

void cmr_hooks_catch_up(void)
{
	catch_up(0);
}

void cmr_hooks_catch_up_once(void)
{
	uintptr_t guard = atomic_load_explicit(&cmr_tls.guard, memory_order_relaxed);

	catch_up((guard & CMR_GUARD_RESCAN) - CMR_GUARD_RESCAN_ONE);
}
