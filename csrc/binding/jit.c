/* The compiler maps memory for its code with mmap, by itself: there is no allocator to hook. The call is
 * told by its place: the interpreter's own object calls mmap for nothing else that is not stock already
 * (arenas and frame stacks), as long as the module mmap, which maps for the program, is not a part of it. */
#include "jit.h"

#include <link.h>
#include <string.h>

#include "hook/hooks.h"

/* Is the compiler on, and the module mmap an object of its own? Negative: an exception is set. */
static int is_wanted(void)
{
	static const char source[] = "import sys\n"
				     "wanted = (hasattr(sys, '_jit') and sys._jit.is_enabled()\n"
				     "    and 'mmap' not in sys.builtin_module_names)\n";
	PyObject *names = PyDict_New(), *result = NULL, *wanted;
	int is = -1;

	if (names != NULL &&
	    PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins()) == 0)
		result = PyRun_String(source, Py_file_input, names, names);
	if (result != NULL && (wanted = PyDict_GetItemString(names, "wanted")) != NULL)
		is = PyObject_IsTrue(wanted);
	Py_XDECREF(result);
	Py_XDECREF(names);
	return is;
}

/* Names to the core the segment of the object INFO that holds the address at DATA. */
static int name_segment(struct dl_phdr_info *info, size_t size, void *data)
{
	uintptr_t inside = *(const uintptr_t *)data, start;

	(void)size;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

		start = (uintptr_t)info->dlpi_addr + segment->p_vaddr;
		if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X) != 0 &&
		    inside - start < segment->p_memsz) {
			cmr_hooks_stock_code(start, start + segment->p_memsz);
			return 1;
		}
	}
	return 0;
}

bool cmr_jit_init(void)
{
	int wanted = PY_VERSION_HEX < 0x030E0000 || CMR_FREE_THREADED ? 0 : is_wanted();
	uintptr_t inside;
	void (*function)(void *) = PyMem_RawFree;

	memcpy(&inside, &function, sizeof inside);
	if (wanted > 0)
		(void)dl_iterate_phdr(name_segment, &inside);
	return wanted >= 0;
}
