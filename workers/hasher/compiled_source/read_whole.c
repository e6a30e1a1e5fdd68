/* Reads a small file whole, with what belongs to it: all calls of snapshot.look_at() for a file that is as nearly every
   one is. It decides nothing: whatever is not as usual is left to the plain way, which says what is right.
   tests/hasher/test_small_file.py compares the two. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_PATH, O_NOATIME, statx() */
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { SYS_CACHESTAT = 451 }; /* the same on all architectures: asm-generic/unistd.h */

/* struct cachestat_range and struct cachestat of linux/mman.h, since Linux 6.5. */
struct range {
    uint64_t offset, length;
};
struct cached {
    uint64_t pages, dirty, writeback, evicted, recently_evicted;
};

/* Open what the directory has by this name, if it is a regular file of at most *most* bytes; -1: it is not.

   As beneath.open_regular() does it: nothing else is ever opened, whatever is swapped in meanwhile. */
static int
open_small(int directory, const char *name, int own_descriptors, off_t most, struct stat *status)
{
    const int how = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    char number[16];
    int fd = -1, place = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

    if (place < 0) {
        return -1;
    }
    if (fstat(place, status) == 0 && S_ISREG(status->st_mode) && status->st_size <= most) {
        snprintf(number, sizeof number, "%d", place);
        fd = openat(own_descriptors, number, how | O_NOATIME);
        if (fd < 0 && (errno == EPERM || errno == EACCES)) {
            fd = openat(own_descriptors, number, how);
        }
    }
    close(place);
    return fd;
}

/* Read all of an open file; 0: it is not of that size. The page cache is left as it was found. */
static int
read_all(int fd, off_t size, char *buffer)
{
    struct range range = {0, (uint64_t)size};
    struct cached cached;
    int was_cold = 0;
    ssize_t count;

    if (size > 0) {
        /* Waits until no write goes on that had begun, see snapshot.py: whatever it says. */
        lseek(fd, size - 1, SEEK_HOLE);
        was_cold = syscall(SYS_CACHESTAT, fd, &range, &cached, 0) == 0 && cached.pages == 0;
    }
    count = pread(fd, buffer, (size_t)size + 1, 0);
    if (was_cold) {
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    }
    return count == size;
}

/* Whether there are extended attributes, or nobody knows. */
static int
may_have_xattrs(int fd)
{
    ssize_t length = flistxattr(fd, NULL, 0);

    return length > 0 || (length < 0 && errno != ENOTSUP && errno != ENOSYS);
}

/* Whether an open file's times and size are still these; *attributes*: which of statx's are set. */
static int
is_unchanged(int fd, const struct stat *status, uint64_t *attributes)
{
    struct statx now;

    if (statx(fd, "", AT_EMPTY_PATH, STATX_CTIME | STATX_MTIME | STATX_SIZE, &now) != 0) {
        return 0;
    }
    *attributes = now.stx_attributes & now.stx_attributes_mask;
    return now.stx_size == (uint64_t)status->st_size && now.stx_ctime.tv_sec == status->st_ctim.tv_sec &&
           now.stx_ctime.tv_nsec == status->st_ctim.tv_nsec && now.stx_mtime.tv_sec == status->st_mtim.tv_sec &&
           now.stx_mtime.tv_nsec == status->st_mtim.tv_nsec;
}

/* A time in nanoseconds; 0: it is too far away for 64 bits, *error* is set then. */
static long long
nanoseconds(struct timespec time, int *is_too_far)
{
    long long total = 0;

    if (__builtin_mul_overflow((long long)time.tv_sec, 1000000000LL, &total) ||
        __builtin_add_overflow(total, (long long)time.tv_nsec, &total)) {
        *is_too_far = 1;
    }
    return total;
}

static PyObject *
make_tuple(const struct stat *status, PyObject *xattrs, uint64_t attributes)
{
    int is_too_far = 0;
    long long changed = nanoseconds(status->st_ctim, &is_too_far), modified = nanoseconds(status->st_mtim, &is_too_far),
              accessed = nanoseconds(status->st_atim, &is_too_far);

    if (is_too_far) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("IIILKKKLLLKOK", (unsigned int)status->st_mode, (unsigned int)status->st_uid,
                         (unsigned int)status->st_gid, (long long)status->st_size, (unsigned long long)status->st_ino,
                         (unsigned long long)status->st_dev, (unsigned long long)status->st_nlink, modified, changed, accessed,
                         (unsigned long long)status->st_rdev, xattrs, (unsigned long long)attributes);
}

/* Ask *read* for the extended attributes of an open file; NULL: it could not tell, and no error is set if that was one
   of the system. */
static PyObject *
call_for_xattrs(PyObject *read, int fd)
{
    PyObject *number = PyLong_FromLong(fd), *xattrs = NULL;

    if (number != NULL) {
        xattrs = PyObject_CallOneArg(read, number);
        Py_DECREF(number);
    }
    if (xattrs == NULL && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear();
    }
    return xattrs;
}

static PyObject *
look_at(int directory, const char *name, int own_descriptors, const Py_buffer *buffer, off_t most, PyObject *read_xattrs)
{
    struct stat status;
    uint64_t attributes = 0;
    PyObject *xattrs = NULL, *whole = NULL;
    int fd, is_read = 0, asks = 0, is_same;

    Py_BEGIN_ALLOW_THREADS
    fd = open_small(directory, name, own_descriptors, most, &status);
    is_read = fd >= 0 && read_all(fd, status.st_size, buffer->buf);
    asks = is_read && may_have_xattrs(fd);
    Py_END_ALLOW_THREADS
    if (is_read) {
        xattrs = asks ? call_for_xattrs(read_xattrs, fd) : PyBytes_FromStringAndSize(NULL, 0);
    }
    Py_BEGIN_ALLOW_THREADS
    is_same = xattrs != NULL && is_unchanged(fd, &status, &attributes);
    if (fd >= 0) {
        close(fd);
    }
    Py_END_ALLOW_THREADS
    if (is_same) {
        whole = make_tuple(&status, xattrs, attributes);
    }
    Py_XDECREF(xattrs);
    if (whole == NULL && !PyErr_Occurred()) {
        Py_RETURN_NONE;
    }
    return whole;
}

PyDoc_STRVAR(read_whole_doc, "read_whole(directory_fd, name, own_descriptors_fd, most_bytes, buffer, read_xattrs): see compiling.py.");

static PyObject *
read_whole(PyObject *Py_UNUSED(module), PyObject *args)
{
    int directory, own_descriptors;
    const char *name;
    long long most;
    Py_buffer buffer;
    PyObject *read_xattrs, *whole;

    if (!PyArg_ParseTuple(args, "iyiLw*O", &directory, &name, &own_descriptors, &most, &buffer, &read_xattrs)) {
        return NULL;
    }
    /* One byte more than there should be is asked for: it tells that the file has grown. */
    whole = look_at(directory, name, own_descriptors, &buffer, most < buffer.len ? (off_t)most : (off_t)buffer.len - 1,
                    read_xattrs);
    PyBuffer_Release(&buffer);
    return whole;
}

static PyMethodDef methods[] = {
    {"read_whole", read_whole, METH_VARARGS, read_whole_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "compiled", "Small files, read whole.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit_compiled(void)
{
    PyObject *module = PyModule_Create(&definition);

    if (module != NULL && PyModule_AddStringConstant(module, "fingerprint", AUDITLINE_FINGERPRINT) < 0) {
        Py_CLEAR(module);
    }
    return module;
}
