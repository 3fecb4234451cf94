/* NBD exports: "nbd://HOST[:PORT]/EXPORT" and "nbd+unix:///EXPORT?socket=PATH", read and written through libnbd.
 *
 * libnbd brings GnuTLS, libxml2 and ICU with it: it is loaded when the first such name is opened (nbd_lib.c). Names
 * come from the caller alone; a header that names one is refused by trust.c.
 */
#ifndef VMKIT_IMAGE_PROTOCOL_NBD_H
#define VMKIT_IMAGE_PROTOCOL_NBD_H

#include "libcommon/image/changes.h"
#include "libcommon/image/protocol.h"

/** nbd_register() - image_open() takes such names from now on; at start only */
void nbd_register(void);

/** nbd_is_uri() - does @name begin with one of the two schemes? */
bool nbd_is_uri(const char *name);

/**
 * nbd_file_open() - the export as a file of fixed size
 * @uri: one that nbd_is_uri() accepts
 * @writable: ERR_DENIED when the export is for reading only
 *
 * Connections beyond the first are made when threads want them and the server says that it keeps them coherent. A
 * server that is silent for VMKIT_NBD_TIMEOUT seconds (60) is given up: ERR_CONNECTION.
 * Return: 0 with an owned bfile, or -1: ERR_USAGE, ERR_CONNECTION, ERR_NOT_FOUND (no such export), ERR_DENIED,
 * ERR_UNSUPPORTED (no libnbd)
 */
int nbd_file_open(struct bfile **ret, const char *uri, bool writable, struct err *err);

/**
 * nbd_changes() - what a dirty bitmap of the server marks
 * @bitmap: "qemu:dirty-bitmap:NAME" of the export
 *
 * Return: 0 with *@ret owned (changes_free()), or -1: as nbd_file_open(), and ERR_NOT_FOUND when there is no such bitmap.
 */
int nbd_changes(struct changes **ret, const char *uri, const char *bitmap, struct err *err);

#endif
