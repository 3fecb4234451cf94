/* A file server that speaks the kernel's FUSE protocol (linux/fuse.h) and shares one folder. What it is asked by is hostile.
 *
 * Only what lies below the folder is ever opened: every name is one component without a slash, is looked up below its
 * folder by openat2() (no links followed, no ".."), and what was found is held by a descriptor or found again by the same
 * way and compared. What is mounted below the folder is an empty folder here. Only regular files and folders are opened, so
 * that no device of the host is; device nodes are not made. Links are text: the guest follows them, in its own tree.
 *
 * Owners: all is done as the user whom this process runs as; that user's files are root's in the guest, other owners are
 * shown as they are. Owners cannot be changed, nor set-user-ID bits set.
 *
 * Threads: share_serve() may be called from many threads; requests are served one at a time.
 */
#ifndef VMKIT_RUNNER_SHARE_H
#define VMKIT_RUNNER_SHARE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "libcommon/base/err.h"

enum {
	SHARE_IO_MAX = 1 << 20, /* bytes of one read or write */
	SHARE_BAD = -1,		/* share_serve(): not even an error can be answered */
	SHARE_FDS_MIN = 64,
};

struct share;
struct state_in;
struct state_out;

/**
 * share_open() - serve the folder @path
 * @fds: how many descriptors may be used at a time, at least SHARE_FDS_MIN: files that are open in the guest, and what of
 *	 those that the guest only knows is kept at hand
 *
 * Return: 0 with *@ret owned (share_close()), or -1: ERR_NOT_FOUND, ERR_DENIED, ERR_USAGE (no folder, or one that the kernel
 * makes up), ERR_UNSUPPORTED (no openat2() or no /proc here)
 */
int share_open(struct share **ret, const char *path, bool read_only, unsigned fds, struct err *err);
/** share_folder() - the folder's descriptor, borrowed */
int share_folder(const struct share *fs, bool *ret_read_only);
void share_close(struct share *fs);

/* ---- of a machine that is saved (share_saved.c) */

/** share_can_save() - ERR_UNSUPPORTED: the guest has a file open that could not be found again */
int share_can_save(struct share *fs, struct err *err);
/** share_save() - all that the guest knows and has open; nothing is served */
void share_save(struct share *fs, struct state_out *o);
/** share_load() - the same, hostile, into a share of the same folder. What is not there any more is stale for the guest */
void share_load(struct share *fs, struct state_in *in);
/** share_inode() - by which the folder is known again */
uint64_t share_inode(const struct share *fs);

/**
 * share_serve() - one request
 * @in: request, @in_len bytes in all; @in and @out may lie in guest memory and are changed
 * @out: for the answer, @out_len bytes in all
 *
 * Return: bytes of the answer, 0 when there is none, or SHARE_BAD
 */
int64_t share_serve(struct share *fs, struct iovec *in, unsigned n_in, uint64_t in_len,
		    struct iovec *out, unsigned n_out, uint64_t out_len);

#endif
