/* Manifests: one small sealed object a snapshot, "snapshots/<seq, 16 digits>", the commit of a backup.
 *
 * The text inside is JSON with sorted keys and no blanks. The sequence number is the name, and creating the name is
 * atomic: it orders snapshots without a clock; it is never used again, by objects numbers/SEQ. A reader believes nothing: lengths, names, counts, ids and the height
 * of each tree are checked. docs/repository-format.md, "Manifests".
 */
#ifndef VMKIT_REPO_MANIFEST_H
#define VMKIT_REPO_MANIFEST_H

#include "libcommon/repo/id_set.h"
#include "libcommon/repo/repo.h"
#include "libcommon/repo/store.h"

enum {
	MANIFEST_VERSION = 1,
	MANIFEST_MAX = 4 << 20,
	MANIFEST_DISKS_MAX = 256,
	MANIFEST_TAGS_MAX = 256,
	MANIFEST_FILES_MAX = 256,
	MANIFEST_TEXT_MAX = 4096,
	MANIFEST_MACHINE_MAX = 1 << 20,
};

/** manifest_encode() - *@ret is owned (free), NUL-terminated */
int manifest_encode(const struct snapshot *s, char **ret, size_t *ret_len, struct err *err);

/** manifest_decode() - into @ret, owned: manifest_clear(); ERR_CORRUPT, ERR_UNSUPPORTED for a newer version */
int manifest_decode(const void *data, size_t len, struct snapshot *ret, struct err *err);
void manifest_clear(struct snapshot *s);

/** manifest_read() - the snapshot of an object's name; checks that the name is its sequence number */
int manifest_read(struct store *st, const char *name, struct snapshot *ret, struct err *err);

/** manifest_commit() - give @s the next sequence number and write it; durable on 0 */
int manifest_commit(struct store *st, struct snapshot *s, struct err *err);

/** manifest_remove() - remove the manifests of these numbers, which are not used again; durable on 0. What is gone
 *  already is no error. *@ret_removed is set on failure too */
int manifest_remove(struct store *st, const uint64_t *seqs, size_t n, size_t *ret_removed,
		    struct err *err);

/** struct manifest_ids - the snapshots that were seen: zero-initialized; id_set_clear(&m.ids) */
struct manifest_ids {
	struct id_set ids;
	uint64_t checked; /* up to this number */
};

/** manifest_commit_once() - the same, unless a snapshot of that id is there: *@ret_present then, and nothing is written.
 *  However many try at once, one of them commits. @known saves reading the manifests it has seen */
int manifest_commit_once(struct store *st, struct snapshot *s, struct manifest_ids *known,
			 bool *ret_present, struct err *err);

/** manifest_copy() - a deep copy; *@ret: manifest_clear() */
int manifest_copy(const struct snapshot *s, struct snapshot *ret, struct err *err);

/** manifest_time() - "2026-11-23T10:00:00Z" to seconds since 1970; Return: 0 or -1, no error object */
int manifest_time(const char *text, int64_t *ret);

#endif
