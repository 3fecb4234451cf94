/* What the files of the store share: store*.c and open.c only.
 *
 * Locks, in the order in which they may be taken:
 *	maintain	one merge, adoption or rescan at a time in this process
 *	runs_lock	runs, extra (readers: lookups)
 *	heal_lock	one pack is healed at a time
 *	bad_lock	bad set and its queue
 *	cache_lock	frame cache, pack keys, idle loaders
 */
#ifndef VMKIT_REPO_STORE_PRIVATE_H
#define VMKIT_REPO_STORE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "libcommon/repo/index.h"
#include "libcommon/repo/keys.h"
#include "libcommon/repo/store.h"

enum {
	CACHE_BYTES = 16 << 20,
	SMALL_CACHE_BYTES = 3 << 20,
	PACK_KEYS = 64,
	STORE_PLACES = 24,
	RUN_FLUSH_ENTRIES = 1 << 17, /* entries of sealed packs that wait for an index run: 9 MiB */
	BAD_NAME_MAX = 48,
};

/** struct bad_blob - this copy of this blob is damaged */
struct bad_blob {
	struct repo_id id;
	uint8_t pack[PACK_ID];
};

struct cached_frame;
struct loader;

struct store {
	struct crypto *crypto;
	struct backend *backend;
	struct repo_config config;

	/* Of store_epoch.c: set when the store is opened; later by the collector alone, while no thread of its looks */
	uint64_t epoch;
	uint8_t *condemned; /* sorted pack ids: what is in them does not count as present */
	size_t n_condemned;
	bool collecting; /* runs are not merged: condemned packs must stay in the index until the sweep */

	pthread_mutex_t maintain;
	pthread_rwlock_t runs_lock;
	struct run **runs;
	size_t n_runs;
	char (*unopened)
		[INDEX_NAME_MAX]; /* runs that are there, and damaged or not given by the disk */
	size_t n_unopened;
	struct index_entry *extra; /* sorted: blobs of packs that no run names */
	size_t n_extra;
	bool rescanned;

	pthread_mutex_t bad_lock;
	struct bad_blob *bad; /* open addressing */
	uint8_t *bad_used;
	size_t n_bad, cap_bad;
	struct bad_blob *bad_queue; /* not written yet */
	size_t n_queue, cap_queue;

	pthread_mutex_t
		heal_lock; /* one pack is healed at a time; before bad_lock and cache_lock */
	bool no_heal;	   /* damage is to be reported and not repaired; set before threads start */
	_Atomic uint64_t n_healed; /* packs */
	uint8_t hopeless[PACK_ID]; /* of the last pack that its parity could not heal */

	pthread_mutex_t cache_lock;
	pthread_cond_t cache_ready;
	struct cached_frame *frames; /* newest first */
	size_t cached_bytes;
	bool small_cache; /* set before threads read, as the next */
	bool no_kept; /* what is kept here of a repository that is far away says nothing of it */
	struct loader *loaders;
	struct {
		uint8_t id[PACK_ID];
		struct seal_key key;
		uint8_t header[PACK_HEADER];
		bool used;
	} keys[PACK_KEYS];
	unsigned next_key;
};

/** store_open() - takes @backend and @crypto over, also on failure */
int store_open(struct store **ret, struct backend *backend, struct crypto *crypto,
	       const struct repo_config *cfg, struct err *err);
void store_close(struct store *st);

/** store_locate() - copies of a blob: those not known to be damaged first. Return: how many; *@ret_good of them good */
size_t store_locate(struct store *st, const struct repo_id *id, struct blob_place ret[STORE_PLACES],
		    size_t *ret_good);

/* store_epoch.c */
/** epoch_begin() - begin the session of this process and read which packs are condemned */
int epoch_begin(struct store *st, struct err *err);
bool epoch_condemned(const struct store *st, const uint8_t pack[PACK_ID]);
/** epoch_publish() - the next epoch: these packs (sorted) are condemned, those of older ones no longer; this session knows
 *  it. Durable on 0. epoch_condemn() is for this process alone */
int epoch_publish(struct store *st, const uint8_t *packs, size_t n, struct err *err);
int epoch_condemn(struct store *st, const uint8_t *packs, size_t n, struct err *err);

/* store_runs.c */
int store_refresh(struct store *st, struct err *err);
int store_add_run(struct store *st, const char *name, struct err *err);
int store_merge(struct store *st, struct err *err);
/** runs_any_wrong() - do the bytes of one of them count as wrong? */
bool runs_any_wrong(struct run *const *runs, size_t n);
/** store_drop_packs() - no run names these packs (sorted) any more; durable on 0 */
int store_drop_packs(struct store *st, const uint8_t *packs, size_t n, struct err *err);
/** store_make_room() - free some space with none: the smallest index run goes, and what it says is kept in memory. The next
 *  writer indexes its packs again. ERR_NO_SPACE: there is none */
int store_make_room(struct store *st, struct err *err);
bool store_knows_pack(struct store *st, const uint8_t pack[PACK_ID]);

/* store_bad.c */
int bad_load(struct store *st, struct err *err);
bool bad_has(struct store *st, const struct repo_id *id, const uint8_t pack[PACK_ID]);
int bad_add(struct store *st, const struct repo_id *id, const uint8_t pack[PACK_ID],
	    struct err *err);
/** bad_add_pack() - a pack that is gone: none of its copies counts */
int bad_add_pack(struct store *st, const uint8_t pack[PACK_ID], struct err *err);
/** bad_flush() - make what was added last; a repository that cannot be written to keeps it in memory */
void bad_flush(struct store *st);
/** bad_drop_packs() - remove the records that speak of nothing but these packs (sorted), which are gone */
int bad_drop_packs(struct store *st, const uint8_t *packs, size_t n, struct err *err);
/** bad_has_pack() - does any copy in it count as damaged? */
bool bad_has_pack(struct store *st, const uint8_t pack[PACK_ID]);
/** bad_forget_pack() - all of the pack is right again: no copy in it counts as damaged any more */
int bad_forget_pack(struct store *st, const uint8_t pack[PACK_ID], struct err *err);
void bad_free(struct store *st);

/* store_heal.c */
/** struct healed_pack - what store_heal() did */
struct healed_pack {
	uint8_t *buf; /* the pack, healed; owned: free() */
	size_t len;
	struct seal_key key;
	uint64_t unread;    /* blocks that the disk did not give: EIO */
	bool written;	    /* back into the repository */
	bool whole;	    /* every frame of it is right now */
	char sentence[900]; /* what was damaged, and what became of it; empty: nothing was */
};

/**
 * store_heal() - heal a pack by its parity and put it in the place of the damaged one
 *
 * With heal_lock held. Return: 1 when something was healed: @ret holds the pack, also when it could not be written back (it
 * is said, too); 0: nothing was damaged, or nothing could be done; -1
 */
int store_heal(struct store *st, const uint8_t pack[PACK_ID], struct healed_pack *ret,
	       struct err *err);

/* store_read.c */
void cache_free(struct store *st);

/* store_adopt.c */
/** store_adopt() - finish what dead writers left and index packs that no run names; for writers */
int store_adopt(struct store *st, struct err *err);
/** store_adopt_tight() - the same for who is about to free space: on a full disk, half packs that no snapshot can need are
 *  removed, and what cannot be indexed is known to this process alone */
int store_adopt_tight(struct store *st, struct err *err);
/** store_find_gone() - packs that a run names and that are not there: what they held does not count as present */
int store_find_gone(struct store *st, struct err *err);
/** store_leave_note() - before the session begins: whose it is; holders.c */
void store_leave_note(struct store *st);

/** store_rescan() - for readers: packs that no run names, into memory; once. Return: 1 when it looked, 0, -1 */
int store_rescan(struct store *st, struct err *err);
/** store_rescan_again() - the same, whether it was done or not */
int store_rescan_again(struct store *st, struct err *err);

/** struct entry_list - growing array of entries and packs for the next run */
struct entry_list {
	struct index_entry *entries;
	size_t n, cap;
	uint8_t *packs;
	size_t n_packs, cap_packs;
};

/** entry_list_add() - a pack and all that is in it (NULL: nothing) */
int entry_list_add(struct entry_list *l, const uint8_t pack[PACK_ID],
		   const struct pack_contents *pc, struct err *err);
void entry_list_free(struct entry_list *l);

#endif
