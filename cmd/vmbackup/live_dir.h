/* The folder of one run of a live backup: QEMU's socket and scratch files, and a lock that says that we live. */
#ifndef VMKIT_CMD_VMBACKUP_LIVE_DIR_H
#define VMKIT_CMD_VMBACKUP_LIVE_DIR_H

#include <stdbool.h>

#include "libcommon/base/err.h"

struct live_dir {
	char path[96]; /* a socket's path has at most 107 bytes */
	int lock;
};

#define LIVE_DIR_NONE ((struct live_dir){.lock = -1})

/** live_dir_make() - below @base (NULL: TMPDIR, else /var/tmp); @uid is QEMU's, -1: ours. What dead runs left in @base is
 *  removed */
int live_dir_make(struct live_dir *ret, const char *base, long uid, struct err *err);

/** live_dir_remove() - with all that is in it */
void live_dir_remove(struct live_dir *d);

/**
 * live_dir_alive() - is @socket, of a job that runs, in a folder of ours?
 * @ret_alive: by whom it was made still lives; *@ret_pid is the process then, 0 when it cannot be told
 */
bool live_dir_is_ours(const char *socket, bool *ret_alive, long *ret_pid);

/** live_dir_clear() - the folder that @socket lies in, whose maker is dead */
void live_dir_clear(const char *socket);

#endif
