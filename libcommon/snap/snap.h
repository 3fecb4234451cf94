/* Snapshots of a disk file, by three engines:
 *
 *	reflink		a clone of the whole file that shares its blocks, on file systems that can (XFS, btrfs):
 *			DISK.snap/NAME.SUFFIX, and a record DISK.snap/NAME.json; the record makes it exist
 *	internal	qcow2's own snapshots, in the file
 *	external	a qcow2 disk's file becomes STEM.NAME.SUFFIX beside it, with a record DISK.snap/NAME.json, and the disk
 *			an overlay of it: a plain backing chain, whose header names are the truth about who leans on whom
 *
 * A disk has snapshots of one engine at a time. Every change writes DISK.snap/.journal.json first and removes it
 * last; while a journal of a killed process is there, nothing but snap_recover() works. Processes exclude each other
 * by a lock on the folder DISK.snap, which ends with the process.
 *
 * One thread. A disk that another process may write to is refused (ERR_BUSY).
 */
#ifndef VMKIT_SNAP_SNAP_H
#define VMKIT_SNAP_SNAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "libcommon/base/err.h"
#include "libcommon/base/progress.h"
#include "libcommon/image/image.h"

enum { SNAP_NAME_MAX = 128 };

enum snap_engine { SNAP_AUTO, SNAP_REFLINK, SNAP_INTERNAL, SNAP_EXTERNAL };

struct snap_disk;

/** struct snap_entry - a snapshot */
struct snap_entry {
	char *name;
	char *parent; /* what the disk was made from then: a name, or "" */
	char *file;   /* path of a file of its own; NULL: in the disk's file */
	char *memory; /* path of the machine's memory at that moment; NULL: there is none */
	enum snap_engine engine;
	time_t created;
	bool automatic; /* made by a revert */
	uint64_t virtual_size;
	uint64_t vm_state_size; /* of @memory; internal: of what QEMU saved with it */
	unsigned depth;		/* external: files below its own that it needs */
	bool current;		/* external: the present state leans on it */
};

const char *snap_engine_name(enum snap_engine e);

/** snap_name_check() - letters, digits and ._+:- ; not a dot or a dash first, not digits alone; ERR_USAGE */
int snap_name_check(const char *name, struct err *err);

/**
 * snap_open() - take the lock of @path's snapshots
 * @change: for changes: alone; else beside other readers
 * Return: 0, or -1: ERR_NOT_FOUND, ERR_BUSY (another vmsnap), ERR_FAILED when a killed change waits for snap_recover(),
 * ERR_UNSUPPORTED for names that are no files ("qemu:///...")
 */
int snap_open(struct snap_disk **ret, const char *path, bool change, struct err *err);
void snap_close(struct snap_disk *d); /* NULL is fine */
/** snap_path() - the disk's file, all links resolved; borrowed */
const char *snap_path(const struct snap_disk *d);

/** struct snap_known - an image that is used: its owner is named when a file that it leans on cannot go */
struct snap_known {
	char *path, *owner;
};

/** snap_know() - images anywhere, beside those in the disk's folder, whose backing files stay; borrowed until snap_close() */
void snap_know(struct snap_disk *d, const struct snap_known *known, size_t n);

/** snap_list() - oldest first; *@ret is owned: snap_list_free() */
int snap_list(struct snap_disk *d, struct snap_entry **ret, size_t *ret_n, struct err *err);
void snap_list_free(struct snap_entry *list, size_t n);

/** snap_find() - ERR_NOT_FOUND; *@ret is owned: snap_list_free(ret, 1) */
int snap_find(struct snap_disk *d, const char *name, struct snap_entry **ret, struct err *err);

/** snap_image() - the disk as @name shows it; NULL: the present; owned: image_close() */
int snap_image(struct snap_disk *d, const char *name, struct image **ret, struct err *err);

/** snap_create() - @ret_engine: what SNAP_AUTO became; may be NULL */
int snap_create(struct snap_disk *d, const char *name, enum snap_engine engine,
		enum snap_engine *ret_engine, struct err *err);

/** snap_revert() - @name's state becomes the present; @ret_kept: name of the automatic snapshot that has the old
 *  present, empty with @discard */
int snap_revert(struct snap_disk *d, const char *name, bool discard,
		char ret_kept[SNAP_NAME_MAX + 1], struct err *err);

/** snap_restart_set() - its machine is stopped for a change, and is to run afterwards; durable. @on false: no more */
int snap_restart_set(struct snap_disk *d, bool on, struct err *err);

/** snap_restart_is_set() - of the disk @path; false for one that cannot be looked at */
bool snap_restart_is_set(const char *path);

/**
 * snap_delete() - the disk and all other snapshots show what they showed
 *
 * External: what leans on it takes in what it holds, or it takes in what the only one that does holds, whichever is
 * less. ERR_BUSY when an image that is no snapshot has it as its backing file; ERR_NO_SPACE before anything is written.
 * Cancelled while its own file was written to, it goes on with snap_recover().
 */
int snap_delete(struct snap_disk *d, const char *name, struct progress *progress, struct err *err);

/** snap_forget() - a snapshot whose file is gone for good: its record alone; ERR_USAGE when the file is there */
int snap_forget(struct snap_disk *d, const char *name, struct err *err);

/** snap_between() - external: @from and all between it and @to, in the order in which they are best deleted; @from NULL: from
 *  the oldest, @to NULL: to the present state; owned: each, and the list. ERR_NOT_FOUND when @to does not lean on @from */
int snap_between(struct snap_disk *d, const char *from, const char *to, char ***ret, size_t *ret_n,
		 struct err *err);

/** snap_clone() - a new image @target of what @name shows. External: an overlay, in the disk's folder only; reflink: shares
 *  blocks; else, and with @full, all of it is copied. ERR_EXISTS */
int snap_clone(struct snap_disk *d, const char *name, const char *target, bool full,
	       struct progress *progress, bool *ret_linked, struct err *err);

/** snap_check() - is all there that the snapshots need; @report gets one sentence a fault; @ret_n: snapshots looked at.
 *  Needs no snap_open(); reads only */
int snap_check(const char *path, void (*report)(void *ctx, const char *sentence), void *ctx,
	       unsigned *ret_faults, unsigned *ret_n, struct err *err);

/**
 * snap_set_open() - as snap_open() for changes, of several disks
 * *@ret is owned: snap_set_close(). ERR_USAGE when two are the same
 */
int snap_set_open(struct snap_disk ***ret, char *const *paths, size_t n, struct err *err);
void snap_set_close(struct snap_disk **disks, size_t n);

/** snap_set_create() - a snapshot @name of each, of one moment as long as nobody writes meanwhile; all or none: a killed
 *  one is undone by snap_recover() of any of the disks */
int snap_set_create(struct snap_disk **disks, size_t n, const char *name, enum snap_engine engine,
		    struct err *err);

/** snap_set_revert() - all or none, as well; @ret_kept: as for snap_revert(), one name for all */
int snap_set_revert(struct snap_disk **disks, size_t n, const char *name, bool discard,
		    char ret_kept[SNAP_NAME_MAX + 1], struct err *err);

/* ---- disks of running machines (live.c, live_fold.c): the machine is told to go on in a new overlay, whatever tells it so. The disk's
 * path is another one then: it has changed in the machine's definition, and snap_open() finds it by either */

/** snap_live_begin() - before: @name is free, the disk a qcow2 file without snapshots of other engines, the rest announced
 *  *@ret_fresh: path for the overlay, where nothing is yet; owned (free) */
int snap_live_begin(struct snap_disk *d, const char *name, char **ret_fresh, struct err *err);

/** snap_memory_path() - where the machine's memory is kept with @name; owned, NULL without memory. What is there belongs
 *  to the snapshot, and goes with it */
char *snap_memory_path(const struct snap_disk *d, const char *name);

/** snap_live_end() - after: @done: the machine writes to the overlay; else it is removed */
int snap_live_end(struct snap_disk *d, bool done, struct err *err);

/** snap_live_pending() - the overlay that a killed process announced for the disk @path; owned; NULL: there is none.
 *  *@ret is locked then, for snap_live_end() */
int snap_live_pending(const char *path, struct snap_disk **ret, char **ret_fresh, struct err *err);

/** struct snap_fold - what a running machine has to do for a deletion: write what @top holds into @base, and go on without
 *  @top */
struct snap_fold {
	char *top, *base; /* paths */
	bool relative;	  /* headers name their backing files without a folder */
};

void snap_fold_release(struct snap_fold *f);

/**
 * snap_fold_begin() - snapshot @name of a disk that a machine writes to is to be deleted
 * Return: 1: announced, and *@ret says what the machine has to do: snap_fold_release(); 0: it is deleted, the machine has
 * nothing to do with it; -1
 */
int snap_fold_begin(struct snap_disk *d, const char *name, struct progress *progress,
		    struct snap_fold *ret, struct err *err);

/** snap_fold_begun() - the machine does it: from now on the snapshot is no more, and it has to be ended */
int snap_fold_begun(struct snap_disk *d, struct err *err);

/** snap_fold_cancel() - the machine did not begin: all is as before */
int snap_fold_cancel(struct snap_disk *d, struct err *err);

/** snap_fold_end() - the machine goes on without @top */
int snap_fold_end(struct snap_disk *d, struct err *err);

/** snap_fold_offline() - the machine is off: what it did not do is done here; @at_base: it would go on in @base */
int snap_fold_offline(struct snap_disk *d, bool at_base, struct progress *progress,
		      struct err *err);

/** snap_fold_pending() - what a killed process announced; NULL in *@ret: nothing. *@ret is locked then, for one of the
 *  former two */
int snap_fold_pending(const char *path, struct snap_disk **ret, struct snap_fold *ret_fold,
		      struct err *err);

enum snap_recovered { SNAP_NOTHING, SNAP_FINISHED, SNAP_UNDONE };

/** snap_recover() - finish or undo what a killed process began; needs no snap_open() */
int snap_recover(const char *path, struct progress *progress, enum snap_recovered *ret,
		 struct err *err);

#endif
