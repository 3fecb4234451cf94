/* Locks on image files that QEMU understands and that understand QEMU's.
 *
 * QEMU (block/file-posix.c) takes shared OFD locks on single bytes: 100 + n when it uses permission n, 200 + n when
 * it does not let others use it; before, it asks whether anyone holds the opposite byte. n: 0 consistent read,
 * 1 write, 3 resize. The bytes need not exist. A lock ends with the descriptor (the open file, not the process), so
 * nothing is left by a kill.
 */
#ifndef VMKIT_IMAGE_LOCK_H
#define VMKIT_IMAGE_LOCK_H

#include <stdbool.h>

struct err;

/**
 * lock_take() - a lock on the open file behind @fd, until it is closed
 * @write: true: the only writer, no careful reader beside it; false: reading, nobody may write or resize
 *
 * A file system without locks is taken as unlocked. Return: 0, or -1 with ERR_BUSY naming the process, if it
 * can be seen.
 */
int lock_take(int fd, bool write, struct err *err);

#endif
