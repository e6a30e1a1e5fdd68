/* Cutting an event: Cutter.cut() in render/cutting.py. */

#include "compiled.h"

enum { SYSCALL = 1300, PATH = 1302, SOCKADDR = 1306, CWD = 1307, EXECVE = 1309, PROCTITLE = 1327 };
enum { NO_RANK = 3, REGISTERS = 7 };

/* a0 to a3, items, ppid and pid; 0: the text is another one. */
static int
cut_registers(Span text, Span *registers)
{
    static const char *const marks[REGISTERS] = {"", " a1=", " a2=", " a3=", " items=", " ppid=", " pid="};

    for (int i = 0; i < REGISTERS; i++) {
        if (!starts_with(text, marks[i])) {
            return 0;
        }
        text = without(text, (Py_ssize_t)strlen(marks[i]));
        Py_ssize_t count = count_digits(text, i < 4 ? 16 : i == 4 ? PY_SSIZE_T_MAX : 9, i < 4);
        if (count == 0) {
            return 0;
        }
        registers[i] = (Span){text.text, count};
        text = without(text, count);
    }
    return text.size == 0;
}

static PyObject *
pack_spans(const Span *spans, Py_ssize_t count)
{
    PyObject *texts = PyTuple_New(count);

    for (Py_ssize_t i = 0; texts != NULL && i < count; i++) {
        PyObject *text = str_of(spans[i].text, spans[i].size);
        if (text == NULL) {
            Py_CLEAR(texts);
            break;
        }
        PyTuple_SET_ITEM(texts, i, text);
    }
    return texts;
}

/* The parts of an event while it is cut; new references, or NULL for what is not there. */
typedef struct {
    PyObject *found, *registers, *directory, *title, *command, *address, *paths, *acted, *called;
    Span spans[REGISTERS];
    long rank;
    int has_call;
} Cut;

/* Put what *memo* has for a record where there must be nothing yet: 1, 0 if that is not so, or nothing is known. */
static int
take_once(PyObject **place, PyObject *memo, PyObject *body)
{
    if (*place != NULL) {
        return 0;
    }
    *place = look_up(memo, body);
    return *place == NULL ? -1 : *place != Py_None;
}

static int
take_path(Cut *cut, PyObject *memo, PyObject *body)
{
    PyObject *path = look_up(memo, body);
    long rank;
    int is_taken = 0;

    if (path != NULL && PyTuple_Check(path) && PyTuple_GET_SIZE(path) == 6) {
        rank = PyLong_AsLong(PyTuple_GET_ITEM(path, 0));
        is_taken = PyList_Append(cut->paths, path) < 0 ? -1 : 1;
        if (is_taken == 1 && rank < cut->rank) {
            cut->rank = rank;
            Py_XSETREF(cut->acted, Py_NewRef(path));
        }
    }
    is_taken = path == NULL ? -1 : is_taken;
    Py_XDECREF(path);
    return is_taken;
}

/* Whether an attribute of the event's head is true: 1, 0, or -1 for an error. */
static int
head_says(const Cut *cut, PyObject *attribute)
{
    PyObject *value = PyObject_GetAttr(PyTuple_GET_ITEM(cut->found, 0), attribute);
    int is_true = value == NULL ? -1 : PyObject_IsTrue(value);

    Py_XDECREF(value);
    return is_true;
}

enum { FRAMES, PATHS, DIRECTORIES, TITLES, COMMANDS, ADDRESSES, ADD_REST, CUT_TOOLS };

/* Take one record: 1, 0 where the event is not of the common shape, -1 for an error. */
static int
take_record(Cut *cut, PyObject *tools, long kind, PyObject *body)
{
    int is_taken;

    if (!PyUnicode_Check(body)) {
        return 0;
    }
    switch (kind) {
    case PATH:
        return take_path(cut, PyTuple_GET_ITEM(tools, PATHS), body);
    case CWD:
        return cut->title != NULL ? 0 : take_once(&cut->directory, PyTuple_GET_ITEM(tools, DIRECTORIES), body);
    case PROCTITLE:
        is_taken = take_once(&cut->title, PyTuple_GET_ITEM(tools, TITLES), body);
        return is_taken == 1 ? PyTuple_Check(cut->title) && PyTuple_GET_SIZE(cut->title) == 3 : is_taken;
    case EXECVE:
        return take_once(&cut->command, PyTuple_GET_ITEM(tools, COMMANDS), body);
    case SOCKADDR:
        is_taken = head_says(cut, names.is_little_endian);
        return is_taken == 1 ? take_once(&cut->address, PyTuple_GET_ITEM(tools, ADDRESSES), body) : is_taken;
    case SYSCALL:
        return cut->has_call ? 0 : (cut->has_call = 1);
    default:
        return 0;
    }
}

/* Take the SYSCALL's text. */
static int
take_call(Cut *cut, PyObject *tools, PyObject *body)
{
    Span text, head, rest, registers, tail, key_spans[2];
    PyObject *key;

    if (!ascii_of(body, &text) || !partition(text, " a0=", &head, &rest) ||
        !partition(rest, " auid=", &registers, &tail) || !cut_registers(registers, cut->spans)) {
        return 0;
    }
    key_spans[0] = head;
    key_spans[1] = tail;
    key = pack_spans(key_spans, 2);
    cut->found = key == NULL ? NULL : look_up(PyTuple_GET_ITEM(tools, FRAMES), key);
    Py_XDECREF(key);
    if (cut->found == NULL) {
        return -1;
    }
    return PyTuple_Check(cut->found) && PyTuple_GET_SIZE(cut->found) == 2;
}

/* Whether there are as many PATH records as the SYSCALL says. */
static int
has_all_paths(const Cut *cut)
{
    Span items = cut->spans[4];
    Py_ssize_t count = PyList_GET_SIZE(cut->paths);
    char text[24];
    int hides;

    snprintf(text, sizeof text, "%zd", count);
    if (items.size == (Py_ssize_t)strlen(text) && memcmp(items.text, text, (size_t)items.size) == 0) {
        return 1;
    }
    hides = head_says(cut, names.hides_items);
    return hides == 1 ? count < 2 : hides;
}

/* Whether the event says more than its call's arguments: whole paths, a title's exact form, or a command. */
static int
has_rest(const Cut *cut)
{
    PyObject *names_both;
    int is_relative, is_true;

    if (cut->command != NULL || (cut->title != NULL && PyObject_IsTrue(PyTuple_GET_ITEM(cut->title, 1)))) {
        return 1;
    }
    if (cut->acted == NULL) {
        return 0;
    }
    is_relative = PyObject_IsTrue(PyTuple_GET_ITEM(cut->acted, 4));
    if (is_relative) {
        return is_relative;
    }
    names_both = PyObject_GetAttr(cut->called, names.names_both);
    is_true = names_both == NULL ? -1 : PyObject_IsTrue(names_both);
    Py_XDECREF(names_both);
    return is_true;
}

static PyObject *
or_empty(PyObject *text)
{
    return text == NULL ? names.empty : text;
}

static PyObject *
or_none(PyObject *object)
{
    return object == NULL ? Py_None : object;
}

/* Return `places` and the members of `decoded`, as add_rest() in cutting.py does. */
static PyObject *
add_rest(const Cut *cut, PyObject *tools, PyObject *arguments)
{
    PyObject *title = cut->title == NULL ? names.empty : PyTuple_GET_ITEM(cut->title, 1);
    PyObject *parts[] = {cut->called, cut->registers, or_empty(cut->directory), cut->paths, or_none(cut->acted),
                         or_none(cut->command), arguments, title};
    PyObject *pair = PyObject_Vectorcall(PyTuple_GET_ITEM(tools, ADD_REST), parts, 8, NULL);

    if (pair != NULL && (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 ||
                         !PyUnicode_Check(PyTuple_GET_ITEM(pair, 1)))) {
        PyErr_SetString(PyExc_TypeError, "expected places and members");
        Py_CLEAR(pair);
    }
    return pair;
}

/* Return the object `auditline`. */
static PyObject *
write_ours(PyObject *decoded, PyObject *undecodable)
{
    Span text;
    Writer writer;
    PyObject *members, *ours;

    if (!PyUnicode_Check(decoded) || !PyUnicode_Check(undecodable)) {
        PyErr_SetString(PyExc_TypeError, "expected the JSON of members");
        return NULL;
    }
    if (ascii_of(decoded, &text) && PyUnicode_GET_LENGTH(undecodable) == 0) {
        begin_writing(&writer);
        put_text(&writer, "{\"complete\":true");
        if (text.size) {
            put_text(&writer, ",\"decoded\":{");
            put(&writer, text.text + 1, text.size - 1);
            put(&writer, "}", 1);
        }
        put(&writer, "}", 1);
        return written(&writer);
    }
    if (PyUnicode_GET_LENGTH(decoded) == 0) {
        return PyUnicode_FromFormat("{\"complete\":true%U}", undecodable);
    }
    members = PyUnicode_Substring(decoded, 1, PyUnicode_GET_LENGTH(decoded));
    ours = members == NULL ? NULL : PyUnicode_FromFormat("{\"complete\":true,\"decoded\":{%U}%U}", members, undecodable);
    Py_XDECREF(members);
    return ours;
}

/* Return Parts of cutting.py. */
static PyObject *
join_parts(Cut *cut, PyObject *tools)
{
    PyObject *arguments = make_arguments(cut->called, cut->registers, cut->spans), *pair = NULL, *ours, *parts = NULL;
    PyObject *places, *decoded, *head = PyTuple_GET_ITEM(cut->found, 0);
    int more = arguments == NULL ? -1 : has_rest(cut);

    if (more == 1) {
        pair = add_rest(cut, tools, arguments);
        more = pair == NULL ? -1 : 1;
    }
    if (more < 0) {
        Py_XDECREF(arguments);
        return NULL;
    }
    places = pair ? PyTuple_GET_ITEM(pair, 0) : names.no_places;
    decoded = pair ? PyTuple_GET_ITEM(pair, 1) : arguments;
    ours = write_ours(decoded, cut->title == NULL ? names.empty : PyTuple_GET_ITEM(cut->title, 2));
    if (ours != NULL) {
        parts = PyTuple_Pack(11, head, PyTuple_GET_ITEM(cut->found, 1), cut->registers, or_empty(cut->directory),
                             cut->title == NULL ? names.empty : PyTuple_GET_ITEM(cut->title, 0), or_none(cut->command),
                             or_none(cut->address), cut->paths, or_none(cut->acted), places, ours);
    }
    Py_XDECREF(ours);
    Py_XDECREF(pair);
    Py_DECREF(arguments);
    return parts;
}

static int
cut_records(Cut *cut, PyObject *tools, PyObject *call, PyObject *kinds, PyObject *bodies)
{
    int is_taken = take_call(cut, tools, call);

    /* What is called meanwhile may not change the lists, but nothing here depends on that. */
    for (Py_ssize_t i = 0; is_taken == 1 && i < PyList_GET_SIZE(kinds) && i < PyList_GET_SIZE(bodies); i++) {
        PyObject *body = Py_NewRef(PyList_GET_ITEM(bodies, i));
        long kind = PyLong_AsLong(PyList_GET_ITEM(kinds, i));
        is_taken = kind == -1 && PyErr_Occurred() ? -1 : take_record(cut, tools, kind, body);
        Py_DECREF(body);
    }
    return is_taken == 1 ? has_all_paths(cut) : is_taken;
}

PyDoc_STRVAR(cut_doc,
             "cut(tools, kinds, bodies): the parts of an event, as Cutter.cut(), or None; NotImplemented: ask that. tools:\n"
             "the memos _frames, _paths, _directories, _titles, _commands and _addresses, add_rest().");

static PyObject *
cut(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    Cut cut = {.rank = NO_RANK};
    PyObject *parts = NULL, *call;
    int is_cut;

    if (!has_arguments(args, nargs, 3, CUT_TOOLS, ADD_REST)) {
        return NULL;
    }
    if (!PyList_Check(args[1]) || !PyList_Check(args[2]) || PyList_GET_SIZE(args[1]) != PyList_GET_SIZE(args[2]) ||
        PyList_GET_SIZE(args[1]) == 0) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    /* Held, because the spans are in it. */
    call = Py_NewRef(PyList_GET_ITEM(args[2], 0));
    cut.paths = PyList_New(0);
    is_cut = cut.paths == NULL ? -1 : cut_records(&cut, args[0], call, args[1], args[2]);
    if (is_cut == 1) {
        cut.registers = pack_spans(cut.spans, REGISTERS);
        cut.called = PyObject_GetAttr(PyTuple_GET_ITEM(cut.found, 0), names.called);
        parts = cut.registers && cut.called ? join_parts(&cut, args[0]) : NULL;
    } else if (is_cut == 0) {
        parts = Py_NewRef(Py_NotImplemented);
    }
    Py_DECREF(call);
    Py_XDECREF(cut.found);
    Py_XDECREF(cut.registers);
    Py_XDECREF(cut.directory);
    Py_XDECREF(cut.title);
    Py_XDECREF(cut.command);
    Py_XDECREF(cut.address);
    Py_XDECREF(cut.paths);
    Py_XDECREF(cut.acted);
    Py_XDECREF(cut.called);
    return parts;
}

PyMethodDef cut_methods[] = {
    {"cut", (PyCFunction)(void (*)(void))cut, METH_FASTCALL, cut_doc},
    {NULL, NULL, 0, NULL},
};
