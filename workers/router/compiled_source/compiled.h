/* What the functions of auditline.workers.router.compiled have in common.

   They are the parts of grouping.py, render/cutting.py, render/pieces.py and render/called.py on which the profile says
   that most time goes (docs/performance.md). Each has a twin in Python, which decides what is right: what is here answers only
   for text of the plainest form, and leaves all else to the twin. tests/router/test_compiled.py compares the two. They are
   built where there is a compiler and Python.h, and left out where not (pyproject.toml).

   Nothing here keeps anything between two calls. A pointer into a text is used only while a reference to its str is
   held; sizes are checked before every access. */

#ifndef AUDITLINE_COMPILED_H
#define AUDITLINE_COMPILED_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem() */
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Names of attributes, the text of none, and the dict of none. */
struct names {
    PyObject *find, *rank, *json, *called, *names_both, *compiled, *arguments, *hides_items, *is_little_endian;
    PyObject *types, *bodies, *has_eoe, *events_since_eoe, *note_rule_change, *zero, *empty, *no_places;
};

extern struct names names;

/* Some of an ASCII text. */
typedef struct {
    const char *text;
    Py_ssize_t size;
} Span;

static inline int
ascii_of(PyObject *object, Span *span)
{
    if (!PyUnicode_Check(object) || !PyUnicode_IS_COMPACT_ASCII(object)) {
        return 0;
    }
    span->text = (const char *)PyUnicode_1BYTE_DATA(object);
    span->size = PyUnicode_GET_LENGTH(object);
    return 1;
}

static inline PyObject *
str_of(const char *text, Py_ssize_t size)
{
    return PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, text, size);
}

/* Cut *whole* at the first *mark*; 0: there is none. */
static inline int
partition(Span whole, const char *mark, Span *before, Span *behind)
{
    Py_ssize_t length = (Py_ssize_t)strlen(mark);
    const char *found = whole.size < length ? NULL : memmem(whole.text, (size_t)whole.size, mark, (size_t)length);

    if (found == NULL) {
        return 0;
    }
    before->text = whole.text;
    before->size = found - whole.text;
    behind->text = found + length;
    behind->size = whole.size - before->size - length;
    return 1;
}

static inline int
starts_with(Span span, const char *mark)
{
    size_t length = strlen(mark);

    return (size_t)span.size >= length && memcmp(span.text, mark, length) == 0;
}

/* Drop the first *length* bytes, which must be there. */
static inline Span
without(Span span, Py_ssize_t length)
{
    return (Span){span.text + length, span.size - length};
}

/* The same as the regular expressions [0-9]{1,most} and [0-9a-f]{1,most}: how many bytes of that kind come first. */
static inline Py_ssize_t
count_digits(Span span, Py_ssize_t most, int is_hex)
{
    Py_ssize_t count = 0;

    while (count < span.size && count < most) {
        char c = span.text[count];
        if (!((c >= '0' && c <= '9') || (is_hex && c >= 'a' && c <= 'f'))) {
            break;
        }
        count++;
    }
    return count;
}

/* Whether text can stand in JSON as it is, and holds no `=` and no quote. */
static inline int
is_plain(Span span)
{
    for (Py_ssize_t i = 0; i < span.size; i++) {
        unsigned char c = (unsigned char)span.text[i];
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\' || c == '=') {
            return 0;
        }
    }
    return 1;
}

static inline int
is_plainly_quoted(Span span)
{
    return span.size > 2 && span.text[0] == '"' && span.text[span.size - 1] == '"' &&
           is_plain((Span){span.text + 1, span.size - 2});
}

/* Return a new reference to what *memo* remembers of *key*, or what it makes of it. */
static inline PyObject *
look_up(PyObject *memo, PyObject *key)
{
    PyObject *known = PyDict_GetItemWithError(memo, key);

    if (known != NULL) {
        return Py_NewRef(known);
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    return PyObject_CallMethodOneArg(memo, names.find, key);
}

static inline PyObject *
look_up_span(PyObject *memo, Span span)
{
    PyObject *key = str_of(span.text, span.size);
    PyObject *found = key == NULL ? NULL : look_up(memo, key);

    Py_XDECREF(key);
    return found;
}

/* Whether a function has as many arguments as it wants, the first a tuple of *tools*, of which the first *dicts* are. */
static inline int
has_arguments(PyObject *const *args, Py_ssize_t nargs, Py_ssize_t wanted, Py_ssize_t tools, Py_ssize_t dicts)
{
    int is_right = nargs == wanted && PyTuple_Check(args[0]) && PyTuple_GET_SIZE(args[0]) == tools;

    for (Py_ssize_t i = 0; is_right && i < dicts; i++) {
        is_right = PyDict_Check(PyTuple_GET_ITEM(args[0], i));
    }
    if (!is_right) {
        PyErr_SetString(PyExc_TypeError, "expected a tuple of tools, dicts first, and what to work on");
    }
    return is_right;
}

/* A text that grows; `is_bad` where there was no memory. */
typedef struct {
    char *text;
    Py_ssize_t size, room;
    int is_bad;
    char first[512];
} Writer;

static inline void
begin_writing(Writer *writer)
{
    writer->text = writer->first;
    writer->size = 0;
    writer->room = sizeof writer->first;
    writer->is_bad = 0;
}

static inline void
put(Writer *writer, const char *text, Py_ssize_t size)
{
    if (writer->is_bad || size > PY_SSIZE_T_MAX / 4 - writer->size) {
        writer->is_bad = 1;
        return;
    }
    if (size > writer->room - writer->size) {
        Py_ssize_t room = 2 * (writer->size + size);
        char *larger = writer->text == writer->first ? PyMem_Malloc((size_t)room)
                                                     : PyMem_Realloc(writer->text, (size_t)room);
        if (larger == NULL) {
            writer->is_bad = 1;
            return;
        }
        if (writer->text == writer->first) {
            memcpy(larger, writer->first, (size_t)writer->size);
        }
        writer->text = larger;
        writer->room = room;
    }
    memcpy(writer->text + writer->size, text, (size_t)size);
    writer->size += size;
}

static inline void
put_text(Writer *writer, const char *text)
{
    put(writer, text, (Py_ssize_t)strlen(text));
}

static inline void
end_writing(Writer *writer)
{
    if (writer->text != writer->first) {
        PyMem_Free(writer->text);
    }
}

static inline PyObject *
written(Writer *writer)
{
    PyObject *text = writer->is_bad ? PyErr_NoMemory() : str_of(writer->text, writer->size);

    end_writing(writer);
    return text;
}

/* In arguments.c: return what Called.arguments() does, a member with a comma before it, or nothing. */
PyObject *make_arguments(PyObject *called, PyObject *texts, const Span *registers);

extern PyMethodDef part_methods[], cut_methods[], group_methods[];

#endif
