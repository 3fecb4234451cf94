/* The object store inside the repository: blobs by id, in frames, in packs, found through index runs.
 *
 * For libcommon/repo/ only. Below this line nobody knows snapshots, pages or disks; above it nobody knows packs.
 *
 *	backend.h/backend_*.c	create-if-absent objects by name, ranged reads, listing
 *	crypto.c keys.c		ids, pack keys, AEAD, passphrases
 *	frame.c			blobs to frames and back (zstd, AEAD, check by decompressing again)
 *	pack.c			pack files: write (temporary name, fsync, rename), table, scan forward, adopt
 *	index.c			sorted immutable runs through mmap, filter, merge of small runs, rebuild from packs
 *	store.c			this interface
 */
#ifndef VMKIT_REPO_STORE_H
#define VMKIT_REPO_STORE_H

#include "libcommon/repo/repo.h"

enum blob_type { BLOB_CHUNK = 1, BLOB_PAGE = 2, BLOB_DELTA = 3 };
enum { BLOB_MAX = 1 << 20, FRAME_TARGET = 1 << 20 };

struct store;
struct store_writer;

struct store *repo_store(struct repo *repo); /* borrowed */

/** store_id() - the keyed id of a blob: HMAC-SHA-256 (SHA-256 without encryption) over type and bytes; any thread */
int store_id(struct store *st, enum blob_type type, const void *data, size_t len,
	     struct repo_id *ret, struct err *err);

/**
 * store_mark() - a keyed universal hash (GMAC, one nonce) of a chunk, about five times as fast as its id; any thread
 *
 * Two different chunks that were chosen without the key and without sight of marks have the same one with a probability
 * of at most 2^-114 (their length in 16-byte blocks / 2^128). Marks stand inside pages only, which are encrypted. They
 * compare a chunk with what the same disk had at the same place; they never name one.
 */
int store_mark(struct store *st, const void *data, size_t len, uint8_t ret[16], struct err *err);

/** store_chunker_secret() - bytes that key the boundary hash; fixed for the repository; borrowed */
const uint8_t *store_chunker_secret(struct store *st, size_t *ret_len);

/** store_takes_deltas() - is the repository of a version whose readers know deltas (page.h)? */
bool store_takes_deltas(const struct store *st);

/** store_compression_level() - the repository's default */
unsigned store_compression_level(struct store *st);

/** store_uuid() - the repository's id, 16 bytes */
const uint8_t *store_uuid(const struct store *st);

/** store_has() - present and not known to be damaged; any thread; no I/O but page faults of the index */
bool store_has(struct store *st, const struct repo_id *id);

/** store_has_copy() - as store_has(), but what a collection has condemned counts: it can be read still */
bool store_has_copy(struct store *st, const struct repo_id *id);

/** store_is_sound() - nothing was ever found damaged, missing or condemned here: what older snapshots hold is there. Looks
 *  for packs that are gone */
int store_is_sound(struct store *st, bool *ret, struct err *err);

/** store_get() - decompressed, decrypted, hashed again: ERR_NOT_FOUND, ERR_CORRUPT (remembered as bad); any thread.
 *  Frames are kept in a bounded cache, one reader loads, others wait. @len is the blob's exact length */
int store_get(struct store *st, enum blob_type type, const struct repo_id *id, void *buf,
	      size_t len, struct err *err);

/** store_get_range() - part of a blob, from the frame cache: for random reads of a restored disk */
int store_get_range(struct store *st, enum blob_type type, const struct repo_id *id,
		    size_t blob_len, size_t off, void *buf, size_t len, struct err *err);

/** store_blob_len() - length of a blob from the index; ERR_NOT_FOUND */
int store_blob_len(struct store *st, const struct repo_id *id, size_t *ret_len, struct err *err);

struct store_writer_opts {
	int level;	  /* zstd */
	unsigned workers; /* store_put() is called with worker in [0, workers) */
};

/** store_writer_new() - begin to add; adopts whole packs and frames that killed runs left */
int store_writer_new(struct store_writer **ret, struct store *st,
		     const struct store_writer_opts *opts, struct err *err);

/**
 * store_put() - add a blob unless it is there
 * @worker: each worker fills frames of its own, so blobs of one worker lie together; one thread a worker
 * @ret_new: true when it was not there. It becomes durable with store_writer_finish().
 */
int store_put(struct store_writer *w, unsigned worker, enum blob_type type,
	      const struct repo_id *id, const void *data, size_t len, bool *ret_new,
	      struct err *err);

/** store_writer_finish() - seal frames, packs, index run; all durable on 0; consumed on success and failure */
int store_writer_finish(struct store_writer *w, uint64_t *ret_stored_bytes, struct err *err);

/** store_writer_discard() - consumed; what whole packs hold stays for adoption */
void store_writer_discard(struct store_writer *w);

/** store_object_write/read() - small sealed objects (manifests): authenticated, encrypted, create-only.
 *  @name: "snapshots/..." ERR_EXISTS; read: ERR_NOT_FOUND, ERR_CORRUPT; *@ret is owned */
int store_object_write(struct store *st, const char *name, const void *data, size_t len,
		       struct err *err);
int store_object_read(struct store *st, const char *name, size_t max, uint8_t **ret,
		      size_t *ret_len, struct err *err);
/** store_object_write_tight() - store_object_write() of a small object without which nothing can be freed: a full disk is
 *  no reason to fail, while there is an index to give up */
int store_object_write_tight(struct store *st, const char *name, const void *data, size_t len,
			     struct err *err);
/** store_object_list() - names below a prefix, sorted; owned array of owned strings */
int store_object_list(struct store *st, const char *prefix, char ***ret, size_t *ret_n,
		      struct err *err);

/** store_object_remove() - no error when it is gone; it stays gone after store_object_sync() of its folder ("index") */
int store_object_remove(struct store *st, const char *name, struct err *err);
/** store_object_locked_until() - as backend_locked_until() */
int store_object_locked_until(struct store *st, const char *name, int64_t *ret, struct err *err);
int store_object_sync(struct store *st, const char *folder, struct err *err);

struct store_verify {
	unsigned share, shares, share_parts; /* as struct verify_opts */
	bool quick;
	unsigned threads;
	struct progress *progress;
	/* a blob that is damaged or missing; any thread, serialized by the store */
	void (*bad)(void *ctx, const struct repo_id *id, enum blob_type type, const char *why);
	void (*fault)(void *ctx, const char *sentence); /* a pack or index run */
	bool heal; /* packs by their parity, before they are judged */
	void (*healed)(void *ctx, const char *sentence); /* a pack; serialized as the others */
	void *ctx;
};
/** store_verify() - all packs and index runs; adds packs, frames, chunks, pages, bytes_read to @ret (not
 *  faults: each is told to @fault) */
int store_verify(struct store *st, const struct store_verify *v, struct verify_result *ret,
		 struct err *err);

/** store_set_healing() - may reading heal what it finds damaged (it may, at first)? Before threads read */
void store_set_healing(struct store *st, bool heal);
/** store_set_local() - may pages come from a copy that is kept on this machine (they may, at first)? Before threads read */
void store_set_local(struct store *st, bool local);
/** store_set_small_cache() - for one thread that reads frame after frame. While no thread reads */
void store_set_small_cache(struct store *st, bool small);
/** store_healed() - packs healed by this handle */
uint64_t store_healed(struct store *st);

/** store_mark_bad() - no longer counts as present, in this process and later ones */
int store_mark_bad(struct store *st, const struct repo_id *id, struct err *err);

#endif
