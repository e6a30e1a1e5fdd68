/* Grouping records into events: Grouper.feed() in grouping.py. */

#include "compiled.h"

enum { EOE = 1320, CONFIG_CHANGE = 1305 };
enum { OPEN, EXPECTATIONS, FIND, BEGIN, FINISH, TOOLS };

/* The event of the last record, while nothing else was called that may have ended it: new references, or NULL. */
typedef struct {
    PyObject *header, *event, *types, *bodies;
} Latest;

static void
forget(Latest *latest)
{
    Py_CLEAR(latest->header);
    Py_CLEAR(latest->event);
    Py_CLEAR(latest->types);
    Py_CLEAR(latest->bodies);
}

/* Remember an event; its header and itself are new references, which are taken over. */
static int
remember(Latest *latest, PyObject *header, PyObject *event)
{
    forget(latest);
    latest->header = header;
    latest->event = event;
    latest->types = PyObject_GetAttr(event, names.types);
    latest->bodies = latest->types == NULL ? NULL : PyObject_GetAttr(event, names.bodies);
    if (latest->bodies == NULL) {
        return 0;
    }
    if (!PyList_Check(latest->types) || !PyList_Check(latest->bodies)) {
        PyErr_SetString(PyExc_TypeError, "expected lists of types and bodies");
        return 0;
    }
    return 1;
}

/* How long the header of a record is: `audit(SECONDS.MILLIS:SERIAL` with `): ` behind it; 0: it is of another form. */
static Py_ssize_t
measure_header(Span record, Span *parts)
{
    static const struct {
        const char *before;
        Py_ssize_t least, most;
    } forms[] = {{"audit(", 1, 15}, {".", 3, 3}, {":", 1, 10}};
    Span rest = record;

    for (int i = 0; i < 3; i++) {
        if (!starts_with(rest, forms[i].before)) {
            return 0;
        }
        rest = without(rest, (Py_ssize_t)strlen(forms[i].before));
        parts[i] = (Span){rest.text, count_digits(rest, forms[i].most, 0)};
        if (parts[i].size < forms[i].least) {
            return 0;
        }
        rest = without(rest, parts[i].size);
    }
    return starts_with(rest, "): ") ? record.size - rest.size : 0;
}

/* Let Grouper.begin() begin an event, from a header that was read here. */
static PyObject *
begin(PyObject *const *tools, PyObject *kind, PyObject *payload, PyObject *header, const Span *parts, PyObject *batch)
{
    long long number = 0;
    PyObject *seconds = str_of(parts[0].text, parts[0].size), *milliseconds = str_of(parts[1].text, parts[1].size);
    PyObject *serial, *event = NULL;

    for (Py_ssize_t i = 0; i < parts[2].size; i++) {
        number = number * 10 + (parts[2].text[i] - '0');
    }
    serial = PyLong_FromLongLong(number);
    if (seconds != NULL && milliseconds != NULL && serial != NULL) {
        PyObject *arguments[] = {kind, payload, header, Py_None, seconds, milliseconds, serial, batch};
        event = PyObject_Vectorcall(tools[BEGIN], arguments, 8, NULL);
    }
    Py_XDECREF(seconds);
    Py_XDECREF(milliseconds);
    Py_XDECREF(serial);
    return event;
}

/* Find the event of a record, or begin it, and remember it; nothing is remembered of one that was taken whole.
   Return its body, a new reference, or NULL: then there is an error, or nothing to append. */
static PyObject *
find_event(Latest *latest, PyObject *const *tools, PyObject *kind, PyObject *payload, PyObject *batch)
{
    Span record, parts[3];
    Py_ssize_t size = ascii_of(payload, &record) ? measure_header(record, parts) : 0;
    PyObject *header, *event, *found, *body = NULL;

    forget(latest);
    if (size) {
        header = str_of(record.text, size);
        event = header == NULL ? NULL : Py_XNewRef(PyDict_GetItemWithError(tools[OPEN], header));
        if (event == NULL && !PyErr_Occurred()) {
            event = begin(tools, kind, payload, header, parts, batch);
        }
        if (event == NULL || event == Py_None) {
            Py_XDECREF(header);
            Py_XDECREF(event);
            return NULL;
        }
        return remember(latest, header, event) ? PyUnicode_Substring(payload, size + 3, record.size) : NULL;
    }
    PyObject *arguments[] = {kind, payload, batch};
    found = PyObject_Vectorcall(tools[FIND], arguments, 3, NULL);
    if (found != NULL && found != Py_None) {
        if (!PyTuple_Check(found) || PyTuple_GET_SIZE(found) != 3) {
            PyErr_SetString(PyExc_TypeError, "expected event, header and body");
        } else if (remember(latest, Py_NewRef(PyTuple_GET_ITEM(found, 1)), Py_NewRef(PyTuple_GET_ITEM(found, 0)))) {
            body = Py_NewRef(PyTuple_GET_ITEM(found, 2));
        }
    }
    Py_XDECREF(found);
    return body;
}

/* Return the body of a record whose header is that of the record before it; NULL: it is not. */
static PyObject *
body_of_latest(const Latest *latest, PyObject *payload, int *is_latest)
{
    Span record, header;

    *is_latest = latest->header != NULL && ascii_of(latest->header, &header) && ascii_of(payload, &record) &&
                 record.size >= header.size + 3 && memcmp(record.text, header.text, (size_t)header.size) == 0 &&
                 memcmp(record.text + header.size, "): ", 3) == 0;
    return *is_latest ? PyUnicode_Substring(payload, header.size + 3, record.size) : NULL;
}

/* End an event whose EOE has come. */
static int
end_event(Latest *latest, PyObject *const *tools, PyObject *batch)
{
    PyObject *arguments[] = {latest->event, batch}, *none = NULL;

    if (PyDict_DelItem(tools[OPEN], latest->header) == 0 && PyObject_SetAttr(latest->event, names.has_eoe, Py_True) == 0 &&
        PyObject_SetAttr(tools[EXPECTATIONS], names.events_since_eoe, names.zero) == 0) {
        none = PyObject_Vectorcall(tools[FINISH], arguments, 2, NULL);
    }
    forget(latest);
    Py_XDECREF(none);
    return none != NULL;
}

/* Append a record to its event. */
static int
append(const Latest *latest, PyObject *const *tools, PyObject *kind, long number, PyObject *body)
{
    if (PyList_Append(latest->types, kind) < 0 || PyList_Append(latest->bodies, body) < 0) {
        return 0;
    }
    if (number == CONFIG_CHANGE) {
        PyObject *none = PyObject_CallMethodOneArg(tools[EXPECTATIONS], names.note_rule_change, body);
        Py_XDECREF(none);
        return none != NULL;
    }
    return 1;
}

static int
take_record(Latest *latest, PyObject *const *tools, PyObject *kind, PyObject *payload, PyObject *batch)
{
    int is_latest, is_taken;
    long number = PyLong_AsLong(kind);
    PyObject *body;

    if (number == -1 && PyErr_Occurred()) {
        return 0;
    }
    body = body_of_latest(latest, payload, &is_latest);
    if (!is_latest) {
        body = find_event(latest, tools, kind, payload, batch);
    }
    if (body == NULL) {
        return !PyErr_Occurred();
    }
    is_taken = number == EOE ? end_event(latest, tools, batch) : append(latest, tools, kind, number, body);
    Py_DECREF(body);
    return is_taken;
}

PyDoc_STRVAR(feed_doc,
             "feed(tools, kinds, payloads, batch): as the loop of Grouper.feed(), for lists of the same length; tools: open,\n"
             "expectations, find_or_begin(), begin(), finish().");

static PyObject *
feed(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    Latest latest = {NULL, NULL, NULL, NULL};
    PyObject *const *tools;
    int is_taken = 1;

    if (!has_arguments(args, nargs, 4, TOOLS, 1)) {
        return NULL;
    }
    if (!PyList_Check(args[1]) || !PyList_Check(args[2]) || PyList_GET_SIZE(args[1]) != PyList_GET_SIZE(args[2])) {
        PyErr_SetString(PyExc_ValueError, "expected as many types as texts");
        return NULL;
    }
    tools = &PyTuple_GET_ITEM(args[0], 0);
    for (Py_ssize_t i = 0; is_taken && i < PyList_GET_SIZE(args[1]) && i < PyList_GET_SIZE(args[2]); i++) {
        PyObject *kind = Py_NewRef(PyList_GET_ITEM(args[1], i)), *payload = Py_NewRef(PyList_GET_ITEM(args[2], i));
        is_taken = take_record(&latest, tools, kind, payload, args[3]);
        Py_DECREF(kind);
        Py_DECREF(payload);
    }
    forget(&latest);
    return is_taken ? Py_NewRef(Py_None) : NULL;
}

PyMethodDef group_methods[] = {
    {"feed", (PyCFunction)(void (*)(void))feed, METH_FASTCALL, feed_doc},
    {NULL, NULL, 0, NULL},
};
