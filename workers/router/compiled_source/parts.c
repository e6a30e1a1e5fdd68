/* Parts of records that are the same in every schema: render/pieces.py, and what render/cutting.py makes of them. */

#include "compiled.h"

enum { MOST_TITLE = 16384 };

PyDoc_STRVAR(make_directory_doc, "make_directory(tools, body): as pieces.make_directory(); tools: that.");

static PyObject *
make_directory(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    Span body;

    if (!has_arguments(args, nargs, 2, 1, 0)) {
        return NULL;
    }
    if (ascii_of(args[1], &body) && starts_with(body, "cwd=") && is_plainly_quoted(without(body, 4))) {
        return PyUnicode_Substring(args[1], 4, body.size);
    }
    return PyObject_CallOneArg(PyTuple_GET_ITEM(args[0], 0), args[1]);
}

static int
from_hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Write a title of plain arguments in quotes, with a blank for each NUL; 0: it is another one. */
static Py_ssize_t
write_title(Span hex, char *quoted)
{
    Py_ssize_t length = hex.size / 2;
    int last = 0;

    if (hex.size % 2 || length < 1) {
        return 0;
    }
    quoted[0] = '"';
    for (Py_ssize_t i = 0; i < length; i++) {
        int high = from_hex(hex.text[2 * i]), low = from_hex(hex.text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return 0;
        }
        last = high << 4 | low;
        if (last == ' ') {
            return 0;
        }
        quoted[1 + i] = last == 0 ? ' ' : (char)last;
    }
    quoted[1 + length] = '"';
    /* The short ones may be a way to write nothing: NULL_VALUES in decode/text.py. */
    return last != 0 && length > 6 && is_plain((Span){quoted + 1, length}) ? length + 2 : 0;
}

PyDoc_STRVAR(make_title_doc, "make_title(tools, body): as pieces.make_title(); tools: that.");

static PyObject *
make_title(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    Span body;
    char quoted[MOST_TITLE + 2];

    if (!has_arguments(args, nargs, 2, 1, 0)) {
        return NULL;
    }
    if (ascii_of(args[1], &body) && starts_with(body, "proctitle=") && body.size <= 2 * MOST_TITLE) {
        Py_ssize_t size = write_title(without(body, 10), quoted);
        PyObject *text = size ? str_of(quoted, size) : NULL;
        if (text != NULL) {
            PyObject *title = PyTuple_Pack(3, text, names.empty, names.empty);
            Py_DECREF(text);
            return title;
        }
        if (PyErr_Occurred()) {
            return NULL;
        }
    }
    return PyObject_CallOneArg(PyTuple_GET_ITEM(args[0], 0), args[1]);
}

/* Put the members of a PATH together. */
static PyObject *
write_path(PyObject *item, Span name, Span inode, PyObject *tail_json)
{
    Span item_text, tail_text;
    Writer writer;

    if (!PyUnicode_Check(item) || !PyUnicode_Check(tail_json)) {
        PyErr_SetString(PyExc_TypeError, "expected the JSON of a number and of a tail");
        return NULL;
    }
    if (!ascii_of(item, &item_text) || !ascii_of(tail_json, &tail_text)) {
        PyObject *name_text = str_of(name.text, name.size), *inode_text = str_of(inode.text, inode.size), *json = NULL;
        if (name_text != NULL && inode_text != NULL) {
            json = PyUnicode_FromFormat(inode.size ? "{%U,\"name\":%U,\"inode\":\"%U\"%U" : "{%U,\"name\":%U%U%U", item,
                                        name_text, inode_text, tail_json);
        }
        Py_XDECREF(name_text);
        Py_XDECREF(inode_text);
        return json;
    }
    begin_writing(&writer);
    put(&writer, "{", 1);
    put(&writer, item_text.text, item_text.size);
    put_text(&writer, ",\"name\":");
    put(&writer, name.text, name.size);
    if (inode.size) {
        put_text(&writer, ",\"inode\":\"");
        put(&writer, inode.text, inode.size);
        put(&writer, "\"", 1);
    }
    put(&writer, tail_text.text, tail_text.size);
    return written(&writer);
}

/* Return a Path of cutting.py. */
static PyObject *
join_path(PyObject *item, PyObject *tail, Span name, Span inode)
{
    PyObject *rank = PyObject_GetAttr(tail, names.rank), *tail_json = PyObject_GetAttr(tail, names.json);
    PyObject *json = rank && tail_json ? write_path(item, name, inode, tail_json) : NULL;
    PyObject *name_text = json ? str_of(name.text, name.size) : NULL;
    PyObject *inode_text = name_text ? str_of(inode.text, inode.size) : NULL;
    PyObject *path = NULL;

    if (inode_text != NULL) {
        path = PyTuple_Pack(6, rank, json, name_text, inode_text, name.text[1] == '/' ? Py_False : Py_True, tail);
    }
    Py_XDECREF(rank);
    Py_XDECREF(tail_json);
    Py_XDECREF(json);
    Py_XDECREF(name_text);
    Py_XDECREF(inode_text);
    return path;
}

PyDoc_STRVAR(make_path_doc, "make_path(tools, body): as Cutter._make_path(); tools: the memos _items and _path_tails, that.");

static PyObject *
make_path(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    Span body, item_text, name, inode = {"", 0}, tail_text, rest;
    PyObject *item, *tail, *path;

    if (!has_arguments(args, nargs, 2, 3, 2)) {
        return NULL;
    }
    if (!ascii_of(args[1], &body) || !partition(body, " ", &item_text, &rest) ||
        !partition(rest, " ", &name, &tail_text) || !starts_with(name, "name=")) {
        return PyObject_CallOneArg(PyTuple_GET_ITEM(args[0], 2), args[1]);
    }
    name = without(name, 5);
    if (starts_with(tail_text, "inode=")) {
        rest = without(tail_text, 6);
        if (!partition(rest, " ", &inode, &tail_text) || inode.size == 0 ||
            count_digits(inode, inode.size, 0) < inode.size) {
            return PyObject_CallOneArg(PyTuple_GET_ITEM(args[0], 2), args[1]);
        }
    }
    if (!is_plainly_quoted(name)) {
        return PyObject_CallOneArg(PyTuple_GET_ITEM(args[0], 2), args[1]);
    }
    item = look_up_span(PyTuple_GET_ITEM(args[0], 0), item_text);
    tail = item == NULL ? NULL : look_up_span(PyTuple_GET_ITEM(args[0], 1), tail_text);
    if (tail == NULL) {
        Py_XDECREF(item);
        return NULL;
    }
    path = item == Py_None || tail == Py_None ? Py_NewRef(Py_None) : join_path(item, tail, name, inode);
    Py_DECREF(item);
    Py_DECREF(tail);
    return path;
}

PyDoc_STRVAR(make_tail_doc, "make_tail(tools, text): as Cutter._make_tail(); tools: the memos _ids, _terminals and _programs, that.");

static PyObject *
make_tail(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    Span text, spans[3], rest;
    PyObject *parts[3] = {NULL, NULL, NULL}, *tail = NULL;

    if (!has_arguments(args, nargs, 2, 4, 3)) {
        return NULL;
    }
    if (!ascii_of(args[1], &text) || memchr(text.text, '\x1d', (size_t)text.size) != NULL ||
        !partition(text, " tty=", &spans[0], &rest) || !partition(rest, " comm=", &spans[1], &spans[2])) {
        return PyObject_CallOneArg(PyTuple_GET_ITEM(args[0], 3), args[1]);
    }
    for (int i = 0; i < 3; i++) {
        parts[i] = look_up_span(PyTuple_GET_ITEM(args[0], i), spans[i]);
        if (parts[i] == NULL) {
            goto end;
        }
    }
    if (parts[0] == Py_None || parts[1] == Py_None || parts[2] == Py_None) {
        tail = Py_NewRef(Py_None);
    } else {
        tail = PyTuple_Pack(3, parts[0], parts[1], parts[2]);
    }
end:
    for (int i = 0; i < 3; i++) {
        Py_XDECREF(parts[i]);
    }
    return tail;
}

PyDoc_STRVAR(make_frame_doc, "make_frame(tools, texts): as Cutter._make_frame(); tools: the memos _calls and _tails, schema.make_frame.");

static PyObject *
make_frame(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *call, *tail, *frame, *made = NULL;

    if (!has_arguments(args, nargs, 2, 3, 2)) {
        return NULL;
    }
    if (!PyTuple_Check(args[1]) || PyTuple_GET_SIZE(args[1]) != 2) {
        PyErr_SetString(PyExc_TypeError, "expected a head and a tail");
        return NULL;
    }
    call = look_up(PyTuple_GET_ITEM(args[0], 0), PyTuple_GET_ITEM(args[1], 0));
    tail = call == NULL ? NULL : look_up(PyTuple_GET_ITEM(args[0], 1), PyTuple_GET_ITEM(args[1], 1));
    if (tail == NULL) {
        Py_XDECREF(call);
        return NULL;
    }
    if (call == Py_None || tail == Py_None) {
        made = Py_NewRef(Py_None);
    } else if (!PyTuple_Check(call) || PyTuple_GET_SIZE(call) != 2 || !PyTuple_Check(tail) || PyTuple_GET_SIZE(tail) != 3) {
        PyErr_SetString(PyExc_TypeError, "expected a pair and a triple");
    } else {
        PyObject *parts[] = {PyTuple_GET_ITEM(call, 1), PyTuple_GET_ITEM(tail, 0), PyTuple_GET_ITEM(tail, 1),
                             PyTuple_GET_ITEM(tail, 2)};
        frame = PyObject_Vectorcall(PyTuple_GET_ITEM(args[0], 2), parts, 4, NULL);
        if (frame != NULL) {
            made = PyTuple_Pack(2, PyTuple_GET_ITEM(call, 0), frame);
            Py_DECREF(frame);
        }
    }
    Py_DECREF(call);
    Py_DECREF(tail);
    return made;
}

PyMethodDef part_methods[] = {
    {"make_directory", (PyCFunction)(void (*)(void))make_directory, METH_FASTCALL, make_directory_doc},
    {"make_frame", (PyCFunction)(void (*)(void))make_frame, METH_FASTCALL, make_frame_doc},
    {"make_path", (PyCFunction)(void (*)(void))make_path, METH_FASTCALL, make_path_doc},
    {"make_tail", (PyCFunction)(void (*)(void))make_tail, METH_FASTCALL, make_tail_doc},
    {"make_title", (PyCFunction)(void (*)(void))make_title, METH_FASTCALL, make_title_doc},
    {NULL, NULL, 0, NULL},
};
