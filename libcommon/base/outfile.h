/* Files that appear under their name only when they are whole.
 *
 * Calling sequence:
 *	struct outfile *of;
 *	outfile_open(&of, path, OUTFILE_FORCE, err)	a nameless file in the folder of path
 *	outfile_fd(of)					write to it
 *	outfile_commit(of, err)				fsync, close, name it, fsync the folder; frees
 *	outfile_discard(of)				nothing is left; frees; NULL is fine
 *
 * The file is made with O_TMPFILE where the file system has it, so even SIGKILL leaves nothing behind;
 * elsewhere under a temporary name ".NAME.vmkit-XXXXXX" that a fatal second signal removes
 * (outfile_remove_all_from_signal()).
 */
#ifndef VMKIT_BASE_OUTFILE_H
#define VMKIT_BASE_OUTFILE_H

#include <stdbool.h>
#include <stddef.h>

struct err;
struct outfile;

enum outfile_flags {
	OUTFILE_FORCE =
		1, /* an existing file is replaced at commit; else ERR_EXISTS at open and commit */
	OUTFILE_NO_SYNC = 2, /* no fsync: for results that are cheap to make again */
	OUTFILE_NAMED = 4,   /* never O_TMPFILE: tests of the fallback */
	OUTFILE_PRIVATE = 8, /* mode 0600 instead of 0666 less umask */
};

/**
 * outfile_open() - begin a file
 * @path: copied; a symbolic link is followed, so that its target is replaced, not the link
 * Return: 0, or -1: ERR_EXISTS without OUTFILE_FORCE, ERR_DENIED, ERR_NO_SPACE, ...; the object is named
 */
int outfile_open(struct outfile **ret_of, const char *path, unsigned flags, struct err *err);

/**
 * outfile_open_at() - the same below a folder that is open
 * @dir: borrowed, stays open until the file is committed or discarded
 * @name: without a "/"; copied. A symbolic link of that name is never followed: it is replaced itself, as all but a folder
 * Errors name no object: the caller knows where the folder lies.
 */
int outfile_open_at(struct outfile **ret_of, int dir, const char *name, unsigned flags,
		    struct err *err);

/**
 * outfile_open_kept() - a file under a name of its own, "PATH.part", that stays when it is discarded or the process killed
 * What a former process left there is opened as it is: its size tells. It is locked (flock) until it is committed
 * or discarded. OUTFILE_NAMED and OUTFILE_PRIVATE have no meaning.
 * Return: as outfile_open(), and ERR_BUSY while another process holds it
 */
int outfile_open_kept(struct outfile **ret_of, const char *path, unsigned flags, struct err *err);

/** outfile_part() - the name of a kept file; borrowed; NULL for others */
const char *outfile_part(const struct outfile *of);

/** outfile_temporary_name() - ".NAME.vmkit-RANDOM" beside @path; owned by the caller, NULL: no memory */
char *outfile_temporary_name(const char *path);

/** outfile_fd() - borrowed, open for reading and writing */
int outfile_fd(const struct outfile *of);

/** outfile_path() - the final name; borrowed */
const char *outfile_path(const struct outfile *of);

/** outfile_commit() - consumed, also on failure: then nothing appeared under the final name, or, with OUTFILE_FORCE when
 *  only the folder could not be synced, the whole file */
int outfile_commit(struct outfile *of, struct err *err);

/** outfile_discard() - consumed */
void outfile_discard(struct outfile *of);

/** outfile_write() - a whole small file at once: open, write, commit */
int outfile_write(const char *path, const void *data, size_t len, unsigned flags, struct err *err);

/** outfile_remove_all_from_signal() - unlink every named temporary file; async-signal-safe */
void outfile_remove_all_from_signal(void);

#endif
