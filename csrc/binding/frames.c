/* Which frame header, and what is the same for all of them. */
#include <patchlevel.h>
#if PY_VERSION_HEX >= 0x03100000 || defined CMR_UNKNOWN_CPYTHON
/* None: see the end. */
#elif PY_VERSION_HEX < 0x030C0000
#include "frames_311.h"
#elif PY_VERSION_HEX < 0x030D0000
#include "frames_312.h"
#elif PY_VERSION_HEX < 0x030E0000
#include "frames_313.h"
#elif PY_VERSION_HEX < 0x030F0000
#include "frames_314.h"
#else
#include "frames_315.h"
#endif

#include <pthread.h>
#include <string.h>

#include "frames.h"
#include "offsets.h"

#if CMR_FRAMES_KNOWN

/* Where the interpreter keeps each thread's own state, or NULL: not known, ask it. */
static const Py_tss_t *state_key;

/* PyGILState_GetThisThreadState is the only accessor that never names another thread's state. Up
 * to CPython 3.13 that is pthread_getspecific at the end of three calls through tables of the
 * linker, for every block that gets a location. The key may be made anew (in the child of a
 * fork), so it is read where the interpreter has it; that it lies there is not taken on trust. */
static void find_state_key(void)
{
#if PY_VERSION_HEX < 0x030E0000
#if PY_VERSION_HEX < 0x030C0000
	const Py_tss_t *key = &_PyRuntime.gilstate.autoTSSkey;
#else
	const Py_tss_t *key = &_PyRuntime.autoTSSkey;
#endif
	const PyThreadState *state = PyGILState_GetThisThreadState();

	if (state != NULL && key->_is_initialized == 1 && pthread_getspecific(key->_key) == state)
		state_key = key;
#endif
}

struct cmr_frame_layout cmr_frames_layout(void)
{
	find_state_key();
	return (struct cmr_frame_layout){
		.previous = (uint32_t)offsetof(_PyInterpreterFrame, previous),
		.code = (uint32_t)CMR_FRAME_CODE,
		.instruction = (uint32_t)CMR_FRAME_INSTRUCTION,
		.owner = (uint32_t)offsetof(_PyInterpreterFrame, owner),
		.tlbc = (uint32_t)CMR_FRAME_TLBC,
		.code_mask = CMR_FRAME_CODE_MASK,
		.skip_owner = CMR_FRAME_SKIP_OWNER,
		.function_owner = FRAME_OWNED_BY_THREAD,
	};
}

static inline const void *top_of(const PyThreadState *state)
{
	const char *holder = (const char *)state;

#if PY_VERSION_HEX < 0x030D0000
	holder = *(const char *const *)(holder + cmr_offsets.cframe);
	if (holder == NULL)
		return NULL;
#endif
	return *(const void *const *)(holder + cmr_offsets.current_frame);
}

const void *cmr_frames_top(void)
{
	const Py_tss_t *key = state_key;
	PyThreadState *state;

	/* Finalization frees the states of threads that still run C code. */
	if (cmr_is_finalizing())
		return NULL;
	if (key == NULL)
		state = PyGILState_GetThisThreadState();
	else
		state = key->_is_initialized != 0 ? pthread_getspecific(key->_key) : NULL;
	return state != NULL ? top_of(state) : NULL;
}

const void *cmr_frames_of_object(PyFrameObject *frame)
{
	return frame->f_frame;
}

#if CMR_FREE_THREADED && PY_VERSION_HEX >= 0x030E0000
/* The array of copies may be replaced, and the old one freed, by a thread that adds a copy while
 * this one runs detached. Entry 0 is in the code object itself and needs no array. Otherwise the
 * array is read again after the entry: unchanged, the entry was its own. */
static uintptr_t bytecode_base(const void *frame, const void *code)
{
	const _PyInterpreterFrame *f = frame;
	PyCodeObject *co = (PyCodeObject *)(uintptr_t)code; /* only read */
	_PyCodeArray *const *where = &co->co_tlbc;
	const _PyCodeArray *array;
	uintptr_t base;

	if (f->tlbc_index == 0)
		return (uintptr_t)cmr_code_field(code, cmr_offsets.bytecode);
	array = __atomic_load_n(where, __ATOMIC_ACQUIRE);
	if (array == NULL || f->tlbc_index < 0 || f->tlbc_index >= array->size)
		return 0;
	base = (uintptr_t)__atomic_load_n(&array->entries[f->tlbc_index], __ATOMIC_ACQUIRE);
	if (__atomic_load_n(where, __ATOMIC_ACQUIRE) != array || base == 0)
		return 0;
	if ((uintptr_t)f->instr_ptr < base ||
	    (uintptr_t)f->instr_ptr >= base + (uintptr_t)Py_SIZE(co) * sizeof(_Py_CODEUNIT))
		return 0;
	return base;
}
uintptr_t (*const cmr_frames_bytecode_base)(const void *, const void *) = bytecode_base;
#else
uintptr_t (*const cmr_frames_bytecode_base)(const void *, const void *) = NULL;
#endif

#if CMR_HAVE_DEBUG_OFFSETS
const char *cmr_frames_published_mismatch(const struct cmr_frame_layout *layout)
{
	const _Py_DebugOffsets *told = &_PyRuntime.debug_offsets;

	if (memcmp(told->cookie, "xdebugpy", 8) != 0)
		return "the interpreter publishes no offsets";
	if ((told->version >> 16) != (PY_VERSION_HEX >> 16))
		return "the interpreter is of another version than this extension";
	if (told->free_threaded != CMR_FREE_THREADED)
		return "the interpreter is of another kind of build than this extension";
	if (told->interpreter_frame.previous != layout->previous ||
	    told->interpreter_frame.executable != layout->code ||
	    told->interpreter_frame.instr_ptr != layout->instruction ||
	    told->interpreter_frame.owner != layout->owner)
		return "frames have another layout than this extension was compiled for";
#if PY_VERSION_HEX >= 0x030E0000
	if (told->interpreter_frame.tlbc_index != layout->tlbc)
		return "frames have another layout than this extension was compiled for";
#endif
	if (told->thread_state.current_frame != cmr_offsets.current_frame)
		return "thread states have another layout than this extension was compiled for";
	if (told->code_object.co_code_adaptive != cmr_offsets.bytecode ||
	    told->code_object.filename != cmr_offsets.file ||
	    told->code_object.name != cmr_offsets.name ||
	    told->code_object.linetable != cmr_offsets.lines ||
	    told->code_object.firstlineno != cmr_offsets.first_line)
		return "code objects have another layout than this extension was compiled for";
	return NULL;
}
#else
const char *cmr_frames_published_mismatch(const struct cmr_frame_layout *layout)
{
	(void)layout;
	return NULL;
}
#endif

#else /* !CMR_FRAMES_KNOWN */

struct cmr_frame_layout cmr_frames_layout(void)
{
	return (struct cmr_frame_layout){ .skip_owner = 0 };
}

const void *cmr_frames_top(void)
{
	return NULL;
}

const void *cmr_frames_of_object(PyFrameObject *frame)
{
	(void)frame;
	return NULL;
}

uintptr_t (*const cmr_frames_bytecode_base)(const void *, const void *) = NULL;

const char *cmr_frames_published_mismatch(const struct cmr_frame_layout *layout)
{
	(void)layout;
	return "frames of this CPython are not known yet";
}

#endif
