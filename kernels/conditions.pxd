"""What must not have changed for a call to be like the last one, in plain C: pointers to what is compared, which somebody else holds."""

from cpython.dict cimport PyDict_GetItemWithError
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.mem cimport PyMem_Free
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE

from fastnn.kernels.pullback cimport current
from fastnn.kernels.room cimport make_room


cdef struct Item:
    PyObject* holder  # a dict
    PyObject* key
    PyObject* value
    bint by_equality


cdef struct Members:
    PyObject* known   # a list
    PyObject* items   # a tuple


cdef struct Variable:
    PyObject* variable
    PyObject* value


cdef struct Conditions:
    Py_ssize_t item_count, list_count, variable_count
    Item* items
    Members* lists
    Variable* variables


cdef inline int list_conditions(Conditions* c, tuple watched, tuple options, tuple lists, tuple variables) except -1:
    """Items of dicts that have to stay the same or equal, members of lists, values of context variables."""
    cdef Py_ssize_t i
    c.item_count, c.list_count, c.variable_count = len(watched) + len(options), len(lists), len(variables)
    c.items = <Item*> make_room(c.item_count, sizeof(Item))
    c.lists = <Members*> make_room(c.list_count, sizeof(Members))
    c.variables = <Variable*> make_room(c.variable_count, sizeof(Variable))
    for i, (holder, key, value) in enumerate((*watched, *options)):
        c.items[i] = Item(<PyObject*> holder, <PyObject*> key, <PyObject*> value, i >= len(watched))
    for i, (known, items) in enumerate(lists):
        c.lists[i] = Members(<PyObject*> known, <PyObject*> items)
    for i, (variable, value) in enumerate(variables):
        c.variables[i] = Variable(<PyObject*> variable, <PyObject*> value)
    return 0


cdef inline void free_conditions(Conditions* c) noexcept:
    PyMem_Free(c.items)
    PyMem_Free(c.lists)
    PyMem_Free(c.variables)


cdef inline bint is_equal(PyObject* value, object known) except -1:
    return value != NULL and type(<object> value) is type(known) and <object> value == known


cdef inline bint has_items(list known, tuple items) noexcept:
    cdef Py_ssize_t i
    if PyList_GET_SIZE(known) != PyTuple_GET_SIZE(items):
        return False
    for i in range(PyTuple_GET_SIZE(items)):
        if PyList_GET_ITEM(known, i) != PyTuple_GET_ITEM(items, i):
            return False
    return True


cdef inline bint hold(const Conditions* c) except -1:
    """Whether nothing has changed."""
    cdef Py_ssize_t i
    cdef PyObject* value
    for i in range(c.item_count):
        value = PyDict_GetItemWithError(<object> c.items[i].holder, <object> c.items[i].key)
        if value != c.items[i].value and not (c.items[i].by_equality and is_equal(value, <object> c.items[i].value)):
            return False
    for i in range(c.list_count):
        if not has_items(<list> c.lists[i].known, <tuple> c.lists[i].items):
            return False
    for i in range(c.variable_count):
        if current(<object> c.variables[i].variable) != c.variables[i].value:
            return False
    return True
