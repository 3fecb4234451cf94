/* What the files of snap/ share. Nobody outside includes it.
 *
 *	disk.c		lock, names, the list, opening
 *	record.c	records and the journal
 *	change.c	create, revert, delete, recover
 *	clone.c		files that share blocks
 */
#ifndef VMKIT_SNAP_PRIVATE_H
#define VMKIT_SNAP_PRIVATE_H

#include <sys/stat.h>

#include "libcommon/snap/snap.h"

struct snap_disk {
	char *path; /* resolved */
	char *dir;  /* path.snap; may not exist when only read */
	int lock;   /* the folder, locked; -1: there is none */
	bool change;
};

enum op { OP_CREATE, OP_REVERT, OP_DELETE, OP_INTERNAL };

/* A change that was begun. OP_CREATE, OP_DELETE: of the snapshot @name; OP_REVERT: @name keeps the old present */
struct journal {
	enum op op;
	char name[SNAP_NAME_MAX + 1];  /* may be empty */
	char file[SNAP_NAME_MAX + 32]; /* of that snapshot, in the folder; may be empty */
	uint64_t inode;		       /* of the disk's file before */
};

/** in_dir() - "DIR/NAME"; owned, NULL without memory */
char *in_dir(const struct snap_disk *d, const char *name);

/** lock_disk() - without looking for a journal */
int lock_disk(struct snap_disk **ret, const char *path, bool change, struct err *err);

int journal_write(struct snap_disk *d, const struct journal *j, struct err *err);
/** journal_read() - Return: 1, 0: there is none, -1 */
int journal_read(struct snap_disk *d, struct journal *ret, struct err *err);
int journal_end(struct snap_disk *d, struct err *err);

/** record_write() - the snapshot exists from now on */
int record_write(struct snap_disk *d, const struct snap_entry *e, struct err *err);
/** record_read() - fields of @ret are owned */
int record_read(struct snap_disk *d, const char *name, struct snap_entry *ret, struct err *err);
/** record_remove() - Return: 0 also when there is none */
int record_remove(struct snap_disk *d, const char *name, struct err *err);

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

#endif
