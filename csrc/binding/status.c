#include "status.h"

PyObject *cmr_raise(const struct cmr_error *err)
{
	PyObject *arguments;

	switch (err->status) {
	case CMR_NO_MEMORY:
		PyErr_Format(PyExc_MemoryError, "%s", err->text);
		break;
	case CMR_SYSTEM:
		arguments = Py_BuildValue("(is)", err->sys_errno, err->text);
		if (arguments != NULL)
			PyErr_SetObject(PyExc_OSError, arguments);
		Py_XDECREF(arguments);
		break;
	default:
		PyErr_Format(PyExc_RuntimeError, "%s", err->text);
		break;
	}
	return NULL;
}
