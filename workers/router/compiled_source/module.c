/* The module auditline.workers.router.compiled. */

#include "compiled.h"

struct names names;

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "compiled", "The hottest parts of the router, compiled.", -1, NULL, NULL, NULL, NULL, NULL,
};

static int
make_names(void)
{
    const struct {
        PyObject **place;
        const char *text;
    } texts[] = {
        {&names.find, "find"},
        {&names.rank, "rank"},
        {&names.json, "json"},
        {&names.called, "called"},
        {&names.names_both, "names_both"},
        {&names.compiled, "compiled"},
        {&names.arguments, "arguments"},
        {&names.hides_items, "hides_items"},
        {&names.is_little_endian, "is_little_endian"},
        {&names.types, "types"},
        {&names.bodies, "bodies"},
        {&names.has_eoe, "has_eoe"},
        {&names.events_since_eoe, "events_since_eoe"},
        {&names.note_rule_change, "note_rule_change"},
        {&names.empty, ""},
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        *texts[i].place = PyUnicode_InternFromString(texts[i].text);
        if (*texts[i].place == NULL) {
            return 0;
        }
    }
    names.zero = PyLong_FromLong(0);
    names.no_places = PyDict_New();
    return names.zero != NULL && names.no_places != NULL;
}

PyMODINIT_FUNC
PyInit_compiled(void)
{
    PyObject *module = make_names() ? PyModule_Create(&definition) : NULL;

    if (module != NULL && (PyModule_AddFunctions(module, part_methods) < 0 || PyModule_AddFunctions(module, cut_methods) < 0 ||
                           PyModule_AddFunctions(module, group_methods) < 0 ||
                           PyModule_AddStringConstant(module, "fingerprint", AUDITLINE_FINGERPRINT) < 0)) {
        Py_CLEAR(module);
    }
    return module;
}
