/* Whether a file system's word on holes can be taken: data that are told to be a hole would be lost in every copy. */
#ifndef VMKIT_BASE_HOLES_H
#define VMKIT_BASE_HOLES_H

#include <stdbool.h>

/**
 * holes_told() - does lseek() with SEEK_DATA and SEEK_HOLE on @fd find all data, those just written too?
 *
 * No on ZFS before 2.1.14 and 2.2.2 (openzfs issue 15526: for a moment a changed block is told to be a hole; Debian 12 has
 * 2.1.11), whether seen itself or behind an overlay, and where VMKIT_HOLES is set in the environment, to whatever. All of the file then
 * has to be read: zeros cost time, not content.
 */
bool holes_told(int fd);

/** holes_zfs_version() - @version as /sys/module/zfs/version has it: true when it has the fix of that issue */
bool holes_zfs_version(const char *version);

#endif
