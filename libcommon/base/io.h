/* Whole reads and writes on descriptors: no short counts, EINTR retried, errors as sentences. */
#ifndef VMKIT_BASE_IO_H
#define VMKIT_BASE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;

/**
 * io_pread() - read exactly @len bytes at @off
 *
 * Return: 0; -1 with ERR_CORRUPT ("ends at ...") when the file ends before, or the errno's code.
 */
int io_pread(int fd, void *buf, size_t len, uint64_t off, struct err *err);

/** io_pread_upto() - as io_pread(), but a file's end is no error; Return: bytes read, or -1 */
ssize_t io_pread_upto(int fd, void *buf, size_t len, uint64_t off, struct err *err);

/** io_pwrite() - write exactly @len bytes at @off; Return: 0 or -1 (ERR_NO_SPACE, ...) */
int io_pwrite(int fd, const void *buf, size_t len, uint64_t off, struct err *err);

/** io_read_upto() - from a pipe or file at its position until @len or the end; a stop signal ends the wait
 *  for a pipe that gives nothing (ERR_CANCELLED); Return: bytes or -1 */
ssize_t io_read_upto(int fd, void *buf, size_t len, struct err *err);

/** io_write() - all of @len bytes at the position; Return: 0 or -1 (ERR_PIPE when nobody reads,
 *  ERR_CANCELLED when a stop signal comes while a full pipe keeps us waiting) */
int io_write(int fd, const void *buf, size_t len, struct err *err);

/** io_fsync() - fsync; the first failure is final: what was dirty may be lost, never retry it */
int io_fsync(int fd, struct err *err);

/** io_close() - close with its error reported, not retried; for files we wrote */
int io_close(int fd, struct err *err);

/** io_fsync_parent() - fsync the folder that holds @path, so that a rename in it lasts */
int io_fsync_parent(const char *path, struct err *err);

/** io_nameless() - a file without a name in TMPDIR (/var/tmp: /tmp is often memory, and this may be a whole disk), open for
 *  reading and writing; the caller closes *@ret_fd */
int io_nameless(int *ret_fd, struct err *err);

/** io_read_file() - a whole small file, at most @max bytes (ERR_CORRUPT above); *@ret_data is owned
 *  by the caller (free) and has a NUL behind it */
int io_read_file(const char *path, size_t max, char **ret_data, size_t *ret_len, struct err *err);

#endif
