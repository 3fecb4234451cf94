/* Going on with an interrupted image_copy(): a record beside the target that is not yet whole.
 *
 *	TARGET.part		what the target will be, so far
 *	TARGET.part.record	header, then one entry for each unit whose bytes lie in TARGET.part, on the disk:
 *
 *	header = "vmkit resume 1\n" NUL, key (32 bytes: SHA-256 of what must be the same), flags (le64), sum (le64)
 *	entry  = length of the payload (le32), le32 0, payload, padding to 8, sum (le64)
 *	payload = begin, end, size of TARGET.part (le64 each), number of bulk units (le64), and of each
 *		  offset, length, saved length (le64 each), saved bytes, padding to 8
 *
 * A sum is XXH64 of all bytes before it of its header or entry, seeded by the key and the entry's number. Entries stand
 * in the order of units without a gap; the first one that does not fit its sum is the end of the record.
 *
 * The key covers the program's version, every file of the source and of the backing file (device, inode, size, times of
 * change and of modification, as they were before a byte was read), format, size, options, and which file
 * TARGET.part is. So a record whose key fits describes the same copying; any other is thrown away, and all begins anew.
 *
 * A unit is planned again, not copied: place() repeats what it did, from what save() kept. See bulk.h.
 */
#ifndef VMKIT_COPY_RESUME_H
#define VMKIT_COPY_RESUME_H

#include "libcommon/image/copy/parts.h"

struct resume;

/**
 * resume_open() - the file of @t, and what was done of it
 * Sets t->of; t->can_clone as the first process found it. @src and t->base are open.
 * Return: 0; -1: ERR_UNSUPPORTED when the source is nothing that can be known again, ERR_BUSY, ERR_EXISTS, ...
 */
int resume_open(struct resume **ret, struct target *t, struct image *src, unsigned outfile_flags,
		struct err *err);

/** resume_done() - is the unit with this number stored? */
bool resume_done(const struct resume *r, uint64_t no);

/** resume_load() - bulk units of @u, for place() alone; any thread. ERR_CORRUPT: not what the record is of */
int resume_load(struct resume *r, struct unit *u, struct bulk *b, struct err *err);

/** resume_placed() - @u is planned, encoded and placed; units in order, one thread at a time */
int resume_placed(struct resume *r, const struct unit *u, const struct bulk *b, struct err *err);

/** resume_stored() - the bytes of @u are in the file; any thread. Writes to the record what is safe, now and then */
int resume_stored(struct resume *r, uint64_t no, struct err *err);

/**
 * resume_unfit() - does the record not fit after all? Then what it describes is forgotten, and all has to begin anew
 * @units: that were planned; UINT64_MAX: not all were. Besides, resume_load() may have met a unit of another plan
 */
bool resume_unfit(struct resume *r, uint64_t units);

/** resume_bytes() - of the source that need not be copied again */
uint64_t resume_bytes(const struct resume *r);

/** resume_forget() - what is in the file counts for nothing: resume_close() removes it */
void resume_forget(struct resume *r);

/**
 * resume_close() - t->of is committed or discarded already; NULL is fine
 * @whole: the target has its name; else what is stored is recorded, and kept if that is anything
 */
void resume_close(struct resume *r, bool whole);

/** identity_add() - to @d: what the files of @img and of its chain were when they were opened
 *  Return: 0, or -1 (ERR_UNSUPPORTED) when one is no regular file, or may change without a trace */
int identity_add(struct digest *d, struct image *img, struct err *err);

#endif
