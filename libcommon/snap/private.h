/* What the files of snap/ share. Nobody outside includes it.
 *
 *	disk.c		lock, names, the list, opening
 *	record.c	records and the journal
 *	change.c	create, revert, delete
 *	recover.c	what a killed change left
 *	set.c		several disks at once
 *	live.c		disks of running machines: create; live_fold.c: delete
 *	external.c	the same with overlays: create and revert
 *	fold.c		deletions and merges of them
 *	tree.c		which file leans on which; below.c: by what names
 *	clone.c		files that share blocks; clone_disk.c: new disks of snapshots
 *	check.c		is all there
 */
#ifndef VMKIT_SNAP_PRIVATE_H
#define VMKIT_SNAP_PRIVATE_H

#include <jansson.h>
#include <limits.h>
#include <sys/stat.h>

#include "libcommon/snap/snap.h"

struct snap_disk {
	char *path; /* of the present state, resolved */
	char *home; /* what it was called when it had no snapshots: the same, but for live.c */
	char *dir;  /* home.snap; may not exist when only read */
	int lock;   /* the folder, locked; -1: there is none */
	bool change;
	const struct snap_known *known; /* borrowed */
	size_t n_known;
};

enum op {
	OP_CREATE,
	OP_REVERT,
	OP_DELETE,
	OP_INTERNAL,
	OP_SWAP,   /* external: the disk becomes an overlay; @name keeps the present */
	OP_MERGE,  /* external: what leans on @name takes in what it holds */
	OP_COMMIT, /* external: @name takes in what @child holds, and becomes it */
	OP_LIVE,   /* external: a machine is told to go on in @fresh */
	OP_FOLD, /* external: a machine writes @child, the file @fresh, down into @name's file and goes on without it */
};

/* A change that was begun. OP_CREATE, OP_DELETE: of the snapshot @name; OP_REVERT: @name keeps the old present. @file
 * lies in the folder of the snapshots; external: in the disk's */
struct journal {
	enum op op;
	char name[SNAP_NAME_MAX + 1];  /* may be empty */
	char file[NAME_MAX + 1];       /* of that snapshot, in the folder; may be empty */
	uint64_t inode;		       /* of the disk's file before; OP_COMMIT: of @name's file */
	char child[SNAP_NAME_MAX + 1]; /* OP_COMMIT, OP_FOLD: a snapshot, or "": the disk */
	char fresh[NAME_MAX + 1];      /* OP_LIVE, OP_FOLD: in the disk's folder */
};

time_t snap_now(void); /* SOURCE_DATE_EPOCH counts */

/** disk_stat() - of the disk's file */
int disk_stat(const struct snap_disk *d, struct stat *ret, struct err *err);

/** in_dir() - "DIR/NAME"; owned, NULL without memory */
char *in_dir(const struct snap_disk *d, const char *name);

/** beside() - NAME in the folder of the disk; owned, NULL without memory */
char *beside(const struct snap_disk *d, const char *name);

/** last_part() - what follows the last slash; borrowed */
const char *last_part(const char *path);

/** dress() - owner and mode of @like for the file @path, durably */
int dress(const char *path, const struct stat *like, struct err *err);

/** mend() - leaks of an image that a killed writer left; ERR_CORRUPT when there is worse */
int mend(const char *path, struct err *err);

/** unlink_file() - durably; Return: 0 also when there is none */
int unlink_file(const char *path, struct err *err);

/** lock_disk() - without looking for a journal */
int lock_disk(struct snap_disk **ret, const char *path, bool change, struct err *err);

int journal_write(struct snap_disk *d, const struct journal *j, struct err *err);
/** journal_read() - Return: 1, 0: there is none, -1 */
int journal_read(struct snap_disk *d, struct journal *ret, struct err *err);
int journal_end(struct snap_disk *d, struct err *err);

/** record_write() - the snapshot exists from now on */
int record_write(struct snap_disk *d, const struct snap_entry *e, struct err *err);
/** record_replace() - of a snapshot that exists: at any moment there is the old or the new one */
int record_replace(struct snap_disk *d, const struct snap_entry *e, struct err *err);
/** record_read() - fields of @ret are owned */
int record_read(struct snap_disk *d, const char *name, struct snap_entry *ret, struct err *err);
/** record_remove() - and the memory that is kept with it; Return: 0 also when there is none */
int record_remove(struct snap_disk *d, const char *name, struct err *err);

/** find_memory() - sets that of @e, if there is one */
void find_memory(const struct snap_disk *d, struct snap_entry *e);

/** remove_lost_memory() - that of snapshots that are not: a kill came before they were, or after */
int remove_lost_memory(struct snap_disk *d, struct err *err);

/** remove_memory() - of the snapshot @name; Return: 0 also when there is none */
int remove_memory(struct snap_disk *d, const char *name, struct err *err);

/** remove_file() - NAME of the folder, durably; Return: 0 also when there is none */
int remove_file(struct snap_disk *d, const char *name, struct err *err);

/* The snapshot that the disk was made from last; only for the tree, so it may be wrong after a kill */
void head_write(struct snap_disk *d, const char *name);
void head_read(struct snap_disk *d, char ret[SNAP_NAME_MAX + 1]);

/**
 * clone_file() - @to becomes a file with @from's content that shares its blocks, with @like's owner and mode
 * ERR_UNSUPPORTED when the file system cannot
 */
int clone_file(int from, const char *to, const struct stat *like, struct err *err);

/* ---- change.c */

#define NEW_FILE ".new" /* a clone that will be the disk */

/** engine_in_use() - what engine the snapshots have: SNAP_AUTO when there is none; ERR_EXISTS when @new_name is one */
int engine_in_use(struct snap_disk *d, const char *new_name, enum snap_engine *ret,
		  struct err *err);
/** auto_name() - a name for an automatic snapshot that is free on all @disks */
int auto_name(struct snap_disk *const *disks, size_t n, char ret[SNAP_NAME_MAX + 1],
	      struct err *err);
/** revert_keeping() - @keep: name for the present state; "": it is given up */
int revert_keeping(struct snap_disk *d, const char *name, const char *keep, struct err *err);
int undo_revert(struct snap_disk *d, const struct journal *j, struct err *err);
int delete_files(struct snap_disk *d, const struct journal *j, struct err *err);

/* ---- recover.c */

/** recover_disk() - by the journal of @d, which is locked; @ret is set when there is one */
int recover_disk(struct snap_disk *d, struct progress *progress, enum snap_recovered *ret,
		 struct err *err);

/* ---- live.c */

#define PRESENT_FILE                                                                               \
	".present" /* name of the file that has the present state, in the disk's folder */

/** live_find() - @d->path, home and dir of the disk that the caller calls @path */
int live_find(struct snap_disk *d, const char *path, struct err *err);

/* ---- set.c */

/** set_pending() - Return: 1 when a change of several disks was interrupted, 0 */
int set_pending(const struct snap_disk *d);
/** set_recover() - undo it, on all its disks; nothing is locked */
int set_recover(const char *path, struct progress *progress, enum snap_recovered *ret,
		struct err *err);

/** json_write(), json_read() - a small file of the folder, whole and durable; *@ret is owned */
int json_write(struct snap_disk *d, const char *name, json_t *value, struct err *err);
int json_read(struct snap_disk *d, const char *name, json_t **ret, struct err *err);

/* ---- external.c */

/** external_swap() - the present state becomes snapshot @keep ("": it is given up), and the disk an overlay of snapshot @base;
 *  create: @keep and @base are the same */
int external_swap(struct snap_disk *d, const char *keep, bool automatic, const char *base,
		  struct err *err);
int external_recover(struct snap_disk *d, const struct journal *j, struct progress *progress,
		     enum snap_recovered *ret, struct err *err);
/** external_new_file() - name of the overlay while it is made, in the disk's folder; owned */
char *external_new_file(const struct snap_disk *d);

/** look_beside() - a file of the disk's folder; *@ret_path is owned. Return: 1, 0: there is none, -1 */
int look_beside(const struct snap_disk *d, const char *name, char **ret_path, struct stat *st,
		struct err *err);

/* ---- fold.c */

int external_delete(struct snap_disk *d, const char *name, struct progress *progress,
		    struct err *err);
/** fold_offline() - the file @path takes in what @child, which leans on it, holds, and takes its name */
int fold_offline(const char *path, const char *child, struct progress *progress, struct err *err);
/** check_space() - ERR_NO_SPACE when @bytes of data do not fit where @path lies */
int check_space(const char *path, uint64_t bytes, struct err *err);
/** ask_lock() - ERR_BUSY when somebody reads or writes the image */
int ask_lock(const char *path, struct err *err);
int recover_merge(struct snap_disk *d, const struct journal *j, enum snap_recovered *ret,
		  struct err *err);
int recover_commit(struct snap_disk *d, const struct journal *j, struct progress *progress,
		   enum snap_recovered *ret, struct err *err);

/* ---- tree.c */

/* The backing file */
struct below {
	dev_t dev;
	ino_t ino;    /* 0: there is none, or it is missing */
	bool unclear; /* its name is not understood: it may be any */
};

/** below_path() - where a plain name leads; owned; NULL for others, or without memory */
char *below_path(const char *path, const char *name);

/** below_find() - of the image @path, whose header calls it @name */
void below_find(const char *path, const char *name, struct below *ret);

struct layer {
	const char *name; /* borrowed from the list; NULL: the present state */
	char *path;
	char *backing, *backing_format; /* as the header has them; NULL: none */
	char format[32];
	uint64_t size;
	dev_t dev;
	ino_t ino;
	struct below below;
	bool missing;	   /* the file is not there, or is no image */
	unsigned internal; /* snapshots inside */
	char *bitmap;	   /* a persistent one that is in force; NULL: there is none */
};

void entry_release(struct snap_entry *e);
/** list_entries() - as snap_list(), without what tree_annotate() adds */
int list_entries(struct snap_disk *d, struct snap_entry **ret, size_t *ret_n, struct err *err);

/* The disk's file first, then those of its external snapshots */
struct tree {
	struct snap_entry *list;
	size_t n_list;
	struct layer *layers;
	size_t n;
};

int tree_load(struct snap_disk *d, struct tree *ret, struct err *err);
void tree_free(struct tree *t);
/** tree_find() - NULL: the present state; ERR_NOT_FOUND */
int tree_find(const struct snap_disk *d, const struct tree *t, const char *name,
	      const struct layer **ret, struct err *err);
/** tree_parent() - the snapshot that @l leans on; NULL: none of ours */
const struct layer *tree_parent(const struct tree *t, const struct layer *l);
/** layer_read() - the header of the image @path; layer_release() */
int layer_read(struct layer *ret, const char *path, struct err *err);
void layer_release(struct layer *l);
bool leans_on(const struct layer *l, const struct layer *below);
/** tree_next_child() - one that leans on @l, after @after (NULL: the first) */
const struct layer *tree_next_child(const struct tree *t, const struct layer *l,
				    const struct layer *after);
/** tree_unclear() - a layer of which is not known what it leans on, and so nothing may be removed; NULL: there is none */
const struct layer *tree_unclear(const struct tree *t);
/** refuse_unclear() - ERR_CORRUPT, ERR_BUSY when there is one */
int refuse_unclear(const struct tree *t, struct err *err);
/** refuse_inside() - ERR_UNSUPPORTED when @l holds what does not survive that it is written to, or goes: internal snapshots,
 *  bitmaps */
int refuse_inside(const struct layer *l, struct err *err);
int refuse_internal(const struct layer *l, struct err *err); /* the former alone */
/** bitmap_in() - of what image_info() says: name of a persistent bitmap that is in force; borrowed; NULL */
const char *bitmap_in(const json_t *info);
int refuse_bitmap(const char *bitmap, const char *path, struct err *err);
/** put_up() - @child takes in what it shows of @l, and is put on what is below that; check_space_for() before */
int put_up(const struct layer *child, const struct layer *l, struct progress *progress,
	   struct err *err);
int check_space_for(const struct layer *child, struct err *err);
/** tree_annotate() - parent, depth, current of external entries of @list */
int tree_annotate(struct snap_disk *d, struct snap_entry *list, size_t n, struct err *err);
/** refuse_foreign() - ERR_BUSY when an image in the disk's folder, or one that is known, leans on @l and is not in @t */
int refuse_foreign(const struct snap_disk *d, const struct tree *t, const struct layer *l,
		   struct err *err);

#endif
