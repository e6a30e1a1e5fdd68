/* What a system call's registers say, in words: render/called.py and decode/values.py. */

#include "compiled.h"

enum { MOST_PARAMETERS = 8, MOST_ROWS = 64 };

/* What Called.compiled has for each parameter: see _compile() in called.py. */
enum { REGISTER, NAME, CODE, DECODE, ROWS, NAMES, SLOT, IF_SLOT, IF_VALUES, MATTERS, PARAMETER_SIZE };
enum { CALL_DECODE, SET, DIRECTORY, MODE, INT, SIZE, HEXADECIMAL };
enum { ROW_WORDS = 5 };

/* What an earlier parameter was found to say. */
typedef struct {
    int is_known;
    uint64_t found;
    PyObject *names;
    PyObject *value;
} Said;

static int
is_parameter(PyObject *parameter)
{
    return PyTuple_Check(parameter) && PyTuple_GET_SIZE(parameter) == PARAMETER_SIZE &&
           PyUnicode_Check(PyTuple_GET_ITEM(parameter, NAME)) && PyBytes_Check(PyTuple_GET_ITEM(parameter, ROWS)) &&
           PyTuple_Check(PyTuple_GET_ITEM(parameter, NAMES)) && PyAnySet_Check(PyTuple_GET_ITEM(parameter, IF_VALUES));
}

/* Put the names of a set's bits in *said*, and return the bits without a name; as SetDecoder in decode/values.py. */
static uint64_t
find_names(PyObject *rows, PyObject *names, uint64_t number, Said *said)
{
    const char *row = PyBytes_AS_STRING(rows);
    Py_ssize_t count = PyTuple_GET_SIZE(names);
    uint64_t head[2], words[ROW_WORDS], group = 0, here = 0, rest;

    said->names = names;
    said->found = 0;
    if (count > MOST_ROWS || PyBytes_GET_SIZE(rows) != (Py_ssize_t)sizeof head + count * (Py_ssize_t)sizeof words) {
        return number;
    }
    memcpy(head, row, sizeof head);
    row += sizeof head;
    number &= head[0];
    if (number == UINT32_MAX) {
        return number;
    }
    rest = number & head[1];
    for (Py_ssize_t i = 0; i < count; i++, row += sizeof words) {
        memcpy(words, row, sizeof words);
        if (words[0] != group) {
            rest |= here;
            group = words[0];
            here = number & group;
        }
        if (((words[1] ? number & group : here) & words[2]) == words[3]) {
            here &= ~words[2];
            said->found |= words[4] < MOST_ROWS ? (uint64_t)1 << words[4] : 0;
        }
    }
    return rest | here;
}

/* Whether a parameter says something, by what an earlier one was found to say: 1, 0, or -1 for an error. */
static int
applies(const Said *said, PyObject *values)
{
    if (!said->is_known) {
        return 0;
    }
    if (said->value == NULL) {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(said->names) && i < MOST_ROWS; i++) {
            int is_in = said->found >> i & 1 ? PySet_Contains(values, PyTuple_GET_ITEM(said->names, i)) : 0;
            if (is_in) {
                return is_in;
            }
        }
        return 0;
    }
    if (!PyList_Check(said->value)) {
        return PySet_Contains(values, said->value);
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(said->value); i++) {
        int is_in = PySet_Contains(values, PyList_GET_ITEM(said->value, i));
        if (is_in) {
            return is_in;
        }
    }
    return 0;
}

/* Write a word between quotes; 0: it is not ASCII, or no text. */
static int
put_word(Writer *writer, PyObject *word)
{
    Span span;

    if (!ascii_of(word, &span)) {
        return 0;
    }
    put(writer, "\"", 1);
    put(writer, span.text, span.size);
    put(writer, "\"", 1);
    return 1;
}

static int
put_words(Writer *writer, const Said *said, uint64_t rest)
{
    int is_first = 1;
    char hex[24];

    put(writer, "[", 1);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(said->names) && i < MOST_ROWS; i++) {
        if (said->found >> i & 1) {
            put(writer, ",", !is_first);
            is_first = 0;
            if (!put_word(writer, PyTuple_GET_ITEM(said->names, i))) {
                return 0;
            }
        }
    }
    if (rest) {
        snprintf(hex, sizeof hex, "%s\"0x%llx\"", is_first ? "" : ",", (unsigned long long)rest);
        put_text(writer, hex);
    }
    put(writer, "]", 1);
    return 1;
}

static int
put_value(Writer *writer, PyObject *value)
{
    if (!PyList_Check(value)) {
        return put_word(writer, value);
    }
    put(writer, "[", 1);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(value); i++) {
        put(writer, ",", i > 0);
        if (!put_word(writer, PyList_GET_ITEM(value, i))) {
            return 0;
        }
    }
    put(writer, "]", 1);
    return 1;
}

static void
put_number(Writer *writer, long code, uint64_t number)
{
    char text[32];
    uint32_t low = (uint32_t)number;

    if (code == DIRECTORY && low == 0xffffff9c) {
        put_text(writer, "\"AT_FDCWD\"");
        return;
    }
    if (code == MODE) {
        snprintf(text, sizeof text, "\"0%03o\"", (unsigned)(low & 0xffff));
    } else if (code == SIZE) {
        snprintf(text, sizeof text, "\"%llu\"", (unsigned long long)number);
    } else if (code == HEXADECIMAL) {
        snprintf(text, sizeof text, "\"0x%lx\"", (unsigned long)low);
    } else {
        snprintf(text, sizeof text, "\"%lld\"", low & 0x80000000 ? (long long)low - 0x100000000 : (long long)low);
    }
    put_text(writer, text);
}

static uint64_t
number_of(Span hex)
{
    uint64_t number = 0;

    for (Py_ssize_t i = 0; i < hex.size; i++) {
        char c = hex.text[i];
        number = number << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return number;
}

static void
put_name(Writer *writer, Span name)
{
    put_text(writer, ",\"");
    put(writer, name.text, name.size);
    put_text(writer, "\":");
}

/* Write one parameter as a member, if it says something: 1, 0 for one that cannot be written here, -1 for an error. */
static int
put_parameter(Writer *writer, PyObject *parameter, uint64_t number, Said *said)
{
    long code = PyLong_AsLong(PyTuple_GET_ITEM(parameter, CODE));
    int matters = PyTuple_GET_ITEM(parameter, MATTERS) == Py_True, is_written;
    PyObject *text, *value;
    Said here = {0};
    Span name;

    if (!ascii_of(PyTuple_GET_ITEM(parameter, NAME), &name)) {
        return 0;
    }
    if (code == SET) {
        uint64_t rest = find_names(PyTuple_GET_ITEM(parameter, ROWS), PyTuple_GET_ITEM(parameter, NAMES), number, &here);
        if (!here.found && !rest) {
            return 1;
        }
        if (matters) {
            *said = here;
            said->is_known = 1;
        }
        put_name(writer, name);
        return put_words(writer, &here, rest);
    }
    if (code > SET && !matters) {
        put_name(writer, name);
        put_number(writer, code, number);
        return 1;
    }
    text = PyLong_FromUnsignedLongLong(number);
    value = text == NULL ? NULL : PyObject_CallOneArg(PyTuple_GET_ITEM(parameter, DECODE), text);
    Py_XDECREF(text);
    if (value == NULL) {
        return -1;
    }
    if (PyObject_Size(value) < 1) {
        Py_DECREF(value);
        return PyErr_Occurred() ? -1 : 1;
    }
    put_name(writer, name);
    is_written = put_value(writer, value);
    if (matters && is_written) {
        said->is_known = 1;
        said->value = value;
    } else {
        Py_DECREF(value);
    }
    return is_written;
}

/* Write the members of `arguments`: 1, 0 where that cannot be done here, -1 for an error. */
static int
put_parameters(Writer *writer, PyObject *parameters, const Span *registers)
{
    Said said[MOST_PARAMETERS] = {{0}};
    int is_right = PyTuple_Check(parameters) && PyTuple_GET_SIZE(parameters) <= MOST_PARAMETERS;
    Py_ssize_t count = is_right ? PyTuple_GET_SIZE(parameters) : 0;

    for (Py_ssize_t i = 0; is_right == 1 && i < count; i++) {
        PyObject *parameter = PyTuple_GET_ITEM(parameters, i);
        long place, slot, if_slot;
        int is_said = 1;
        if (!is_parameter(parameter)) {
            is_right = 0;
            break;
        }
        place = PyLong_AsLong(PyTuple_GET_ITEM(parameter, REGISTER));
        slot = PyLong_AsLong(PyTuple_GET_ITEM(parameter, SLOT));
        if_slot = PyLong_AsLong(PyTuple_GET_ITEM(parameter, IF_SLOT));
        if (place < 0 || place > 3 || slot < 0 || slot >= MOST_PARAMETERS || if_slot < -1 || if_slot >= MOST_PARAMETERS) {
            is_right = 0;
            break;
        }
        if (if_slot >= 0) {
            is_said = applies(&said[if_slot], PyTuple_GET_ITEM(parameter, IF_VALUES));
        }
        if (is_said < 0) {
            is_right = -1;
        } else if (is_said && !said[slot].is_known) {
            is_right = put_parameter(writer, parameter, number_of(registers[place]), &said[slot]);
        }
    }
    for (Py_ssize_t i = 0; i < MOST_PARAMETERS; i++) {
        Py_XDECREF(said[i].value);
    }
    return is_right;
}

PyObject *
make_arguments(PyObject *called, PyObject *texts, const Span *registers)
{
    PyObject *parameters = PyObject_GetAttr(called, names.compiled);
    int is_written = 0;
    Writer writer;

    if (parameters == NULL) {
        return NULL;
    }
    if (parameters != Py_None) {
        begin_writing(&writer);
        put_text(&writer, ",\"arguments\":{");
        Py_ssize_t before = writer.size;
        is_written = put_parameters(&writer, parameters, registers);
        if (is_written == 1) {
            Py_DECREF(parameters);
            if (writer.size == before) {
                end_writing(&writer);
                return Py_NewRef(names.empty);
            }
            put(&writer, "}", 1);
            if (!writer.is_bad) {
                /* The first member has a comma before it. */
                memmove(writer.text + before, writer.text + before + 1, (size_t)(writer.size - before - 1));
                writer.size--;
            }
            return written(&writer);
        }
        end_writing(&writer);
    }
    Py_DECREF(parameters);
    return is_written < 0 ? NULL : PyObject_CallMethodOneArg(called, names.arguments, texts);
}
