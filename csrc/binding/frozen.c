#include <patchlevel.h>

#if PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030D0000
#define Py_BUILD_CORE_MODULE 1
#endif
#include "compat.h"

#include "frozen.h"

#if PY_VERSION_HEX >= 0x030C0000 && PY_VERSION_HEX < 0x030D0000

CMR_QUIET_BEGIN
#include <internal/pycore_gc.h>
#include <internal/pycore_interp.h>
CMR_QUIET_END

bool cmr_frozen_any(void)
{
	PyGC_Head *head = &PyInterpreterState_Get()->gc.permanent_generation.head, *item;

	/* The lowest bits of a link to the next object are free for the collector's marks. */
	for (item = (PyGC_Head *)(head->_gc_next & ~(uintptr_t)3); item != head;
	     item = (PyGC_Head *)(item->_gc_next & ~(uintptr_t)3))
		if (!_Py_IsImmortal((PyObject *)(item + 1)))
			return true;
	return false;
}

#else

static PyObject *get_freeze_count; /* gc.get_freeze_count, looked up once */

bool cmr_frozen_any(void)
{
	PyObject *module, *count;
	bool any = true;

	if (get_freeze_count == NULL) {
		module = PyImport_ImportModule("gc");
		if (module != NULL)
			get_freeze_count = PyObject_GetAttrString(module, "get_freeze_count");
		Py_XDECREF(module);
	}
	count = get_freeze_count != NULL ? PyObject_CallNoArgs(get_freeze_count) : NULL;
	if (count != NULL)
		any = PyLong_AsLong(count) != 0;
	Py_XDECREF(count);
	PyErr_Clear(); /* in doubt nothing is touched */
	return any;
}

#endif
