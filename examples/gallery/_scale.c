/* Shrinks grey pictures by averaging squares of pixels. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>

/* shrink(pixels, width, height, factor) -> bytes: one byte per pixel, in and out. */
static PyObject *shrink(PyObject *module, PyObject *args)
{
    const unsigned char *pixels;
    Py_ssize_t n_pixels, width, height, factor;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#nnn", &pixels, &n_pixels, &width, &height, &factor))
        return NULL;
    if (width < factor || height < factor || factor < 1) {
        PyErr_SetString(PyExc_ValueError, "the picture is smaller than one square");
        return NULL;
    }

    Py_ssize_t columns = width / factor, rows = height / factor;
    unsigned long *sums = malloc((size_t)(columns * rows) * sizeof *sums);
    if (sums == NULL)
        return PyErr_NoMemory();

    if (n_pixels < width * height) {
        /* The bug that a test finds: `sums` is not freed here. */
        PyErr_SetString(PyExc_ValueError, "the picture is cut off");
        return NULL;
    }

    PyObject *small = PyBytes_FromStringAndSize(NULL, columns * rows);
    if (small != NULL) {
        unsigned char *out = (unsigned char *)PyBytes_AS_STRING(small);
        for (Py_ssize_t i = 0; i < columns * rows; i++)
            sums[i] = 0;
        for (Py_ssize_t y = 0; y < rows * factor; y++)
            for (Py_ssize_t x = 0; x < columns * factor; x++)
                sums[y / factor * columns + x / factor] += pixels[y * width + x];
        for (Py_ssize_t i = 0; i < columns * rows; i++)
            out[i] = (unsigned char)(sums[i] / (unsigned long)(factor * factor));
    }
    free(sums);
    return small;
}

static PyMethodDef methods[] = {
    {"shrink", shrink, METH_VARARGS, "shrink(pixels, width, height, factor) -> bytes"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_scale", .m_size = 0, .m_methods = methods,
};

PyMODINIT_FUNC PyInit__scale(void)
{
    return PyModule_Create(&definition);
}
