/* The backup repository: what vmbackup, vmctl and vmrun see of it. The format is docs/repository-format.md.
 *
 * A repository knows no image format: it reads and writes struct image. Handles may be shared by threads. Many
 * processes may use one repository at once; nothing but init needs a lock that a user could see.
 */
#ifndef VMKIT_REPO_REPO_H
#define VMKIT_REPO_REPO_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"
#include "libcommon/base/progress.h"
#include "libcommon/image/changes.h"
#include "libcommon/image/image.h"

struct repo;

struct repo_id {
	uint8_t bytes[32];
};

/** struct repo_key_source - where the passphrase comes from: asked only when the repository is encrypted */
struct repo_key_source {
	int (*get)(void *ctx, bool confirm, char **ret_passphrase,
		   struct err *err); /* owned by the caller of get */
	void (*release)(void *ctx, char *passphrase);
	void *ctx;
};

enum { REPO_PARITY_DEFAULT = 4, REPO_PARITY_MAX = 100 };

struct repo_init_opts {
	bool encrypt;
	unsigned compression_level; /* zstd level written into config as the default; 0: 3 */
	unsigned scrypt_log2n;	    /* 0: 15; tests use less */
	unsigned
		parity; /* percent of each pack, 1 to 100: what may be damaged and is healed; 0: none */
	unsigned version; /* of the format, for older readers; 0: the newest */
};

enum { KEY_GENERATED_LEN = 74 };

/** repo_key_generate() - a passphrase of 256 random bits: "vmkit-key-" and 64 hexadecimal digits. A repository that is
 *  opened with one is open at once: scrypt (0.25 s, 32 MiB) is for what people can remember */
int repo_key_generate(char ret[KEY_GENERATED_LEN + 1], struct err *err);

/** repo_init() - a new repository at @url (a folder; "s3:" later); ERR_EXISTS when there is one, or the folder is not empty */
int repo_init(const char *url, const struct repo_init_opts *opts, const struct repo_key_source *key,
	      struct err *err);

/** repo_open() - ERR_NOT_FOUND, ERR_DENIED (wrong passphrase), ERR_UNSUPPORTED (newer format), ERR_CORRUPT */
int repo_open(struct repo **ret, const char *url, const struct repo_key_source *key,
	      struct err *err);
void repo_close(struct repo *repo);

enum { REPO_KEY_ID = 32 };

struct repo_key_info {
	char id[REPO_KEY_ID + 1];
	bool current;	/* the one that opened the repository */
	bool generated; /* by repo_key_generate() */
	bool damaged;
};

/** repo_keys() - the keys of an encrypted repository by id; *@ret is owned (free) */
int repo_keys(const char *url, const struct repo_key_source *key, struct repo_key_info **ret,
	      size_t *ret_n, struct err *err);

/** repo_key_add() - let what @fresh gives open the repository too; with @replace the key that @key gave goes. No data
 *  is rewritten. ERR_DENIED, ERR_USAGE (not encrypted), ERR_FAILED (too many) */
int repo_key_add(const char *url, const struct repo_key_source *key,
		 const struct repo_key_source *fresh, unsigned scrypt_log2n, bool replace,
		 char ret_id[REPO_KEY_ID + 1], struct err *err);

/** repo_key_remove() - @id: at least 4 digits; never the one that @key gave. ERR_NOT_FOUND, ERR_USAGE */
int repo_key_remove(const char *url, const struct repo_key_source *key, const char *id,
		    struct err *err);

struct backup_disk {
	const char *name;    /* "vda"; valid: [A-Za-z0-9][A-Za-z0-9._-]{0,63} */
	struct image *image; /* borrowed, open; a stream is allowed */
	const char *
		source; /* path or URI as given, for the manifest and the unchanged-file test; NULL: none */
	const char *consistency; /* one of snapshot_consistencies; NULL: what the locks tell */
	const struct changes *changes; /* what may differ from the disk in @base; NULL: not known */
	struct repo_id base;	       /* the snapshot, of the same machine */
	const char *changes_from;      /* "checkpoint": who says so, for the manifest */
	const char *
		checkpoint; /* the name under which the source keeps what changes from now on; NULL: none */
};

struct backup_opts {
	const char *vm; /* machine name, same charset as disks */
	const struct backup_disk *disks;
	size_t n_disks;
	const char *const *tags;
	size_t n_tags;
	const char *host;	 /* NULL: this host's name */
	const char *description; /* for people, at most 4096 bytes of UTF-8; NULL: none */
	const char *machine;   /* libvirt XML or another text, at most 1 MiB of UTF-8; NULL: none */
	int compression_level; /* 0: the repository's */
	unsigned threads;
	bool no_parent;	  /* scan everything, trust no change source */
	bool no_full;	  /* ERR_BASE_GONE for a disk that would have to be scanned */
	bool keep_clones; /* leave a reflink clone beside each image, for the next backup */
	bool dry_run;
	struct progress *progress;
	uint64_t rate_limit;
	double freeze_ms; /* how long a guest's file systems stood still for it; 0: they did not */
	int (*confirm)(void *ctx,
		       struct err *err); /* when all is read: -1 and there is no snapshot; NULL */
	void *confirm_ctx;
};

struct backup_stats {
	struct repo_id snapshot;
	char name[256]; /* "vm@ID" */
	uint64_t virtual_bytes, data_bytes, read_bytes,
		new_bytes /* chunk bytes not there before */,
		stored_bytes /* of them in packs, compressed */;
	uint64_t chunks, new_chunks;
	double seconds;
};

/** repo_backup_check() - names, tags and texts, before anything is opened: ERR_USAGE. disks[].image is not looked at */
int repo_backup_check(const struct backup_opts *opts, struct err *err);

/** repo_backup() - one snapshot of all disks; durable when it returns 0. Killed at any point, nothing but unreferenced
 *  packs is left, which the next run adopts */
int repo_backup(struct repo *repo, const struct backup_opts *opts, struct backup_stats *ret,
		struct err *err);

/** struct snapshot_file - a file that a disk was read from, as it was then: the unchanged-file test */
struct snapshot_file {
	char *path; /* for people; the test uses the numbers */
	uint64_t dev, ino, size;
	int64_t mtime_ns, ctime_ns;
};

struct snapshot_disk {
	char *name, *source, *format, *change_source; /* see detect.h */
	char *checkpoint; /* name under which the source keeps the changes since; NULL: none */
	char *source_kind; /* "file", "block device", "stream", "nbd", "repository"; NULL: older than that */
	char *consistency; /* one of snapshot_consistencies; NULL: older than that */
	uint64_t size, data_bytes, new_bytes, stored_bytes;
	struct repo_id root; /* of the page tree */
	unsigned tree_levels;
	struct snapshot_file clone;  /* a reflink clone kept of the image; path NULL: none */
	struct snapshot_file *files; /* every layer of the chain; none: not to be trusted later */
	size_t n_files;
};

struct snapshot {
	struct repo_id id;
	uint64_t seq;		/* repository sequence: order that no clock decides */
	char *vm, *host, *time; /* RFC 3339, UTC: when the backup began */
	char *tool;		/* "vmkit 0.1.0" */
	char *description;	/* NULL: none */
	char *machine;		/* NULL: none */
	char **tags;
	size_t n_tags;
	struct snapshot_disk *disks;
	size_t n_disks;
	double seconds;
	double freeze_ms; /* 0: no guest was frozen */
	bool has_parent;
	struct repo_id parent;
};

/**
 * snapshot_consistencies - what a disk's content is a state of, NULL-terminated, the best first: "quiesced" (one moment of a
 * running machine with its file systems frozen), "offline" (locked: nobody wrote while it was read), "crash" (one
 * moment of a running machine), "unknown" (nothing could tell), "none" (somebody may have written meanwhile)
 */
extern const char *const snapshot_consistencies[];

/** snapshot_consistency() - the least of its disks'; static; NULL: older than that */
const char *snapshot_consistency(const struct snapshot *s);

/** repo_list() - all snapshots in order of seq; @vm NULL: of all machines. Damaged manifests are counted in
 *  *@ret_damaged and reported by log_warning(). Owned: snapshots_free() */
int repo_list(struct repo *repo, const char *vm, struct snapshot **ret, size_t *ret_n,
	      size_t *ret_damaged, struct err *err);
void snapshots_free(struct snapshot *snaps, size_t n);
json_t *snapshot_json(const struct snapshot *s); /* owned */

/**
 * repo_find() - "NAME@WHEN": WHEN is latest (default), an id prefix of at least 4 digits, a date or time (newest
 * not after it); an id prefix alone is fine. ERR_NOT_FOUND; ERR_USAGE when ambiguous, with the candidates in the hint.
 * *@ret is owned: snapshots_free(ret, 1)
 */
int repo_find(struct repo *repo, const char *spec, struct snapshot **ret, struct err *err);

/** repo_find_disk() - "NAME@WHEN[:DISK]"; as repo_find(), with *@ret_disk an owned string or NULL */
int repo_find_disk(struct repo *repo, const char *spec, struct snapshot **ret, char **ret_disk,
		   struct err *err);

/** repo_name_valid() - machine and disk names: [A-Za-z0-9][A-Za-z0-9._-]{0,63} */
bool repo_name_valid(const char *name);

/** snapshot_short_id() - the first 8 digits; @ret has room for 9 */
const char *snapshot_short_id(const struct repo_id *id, char ret[9]);

/** repo_open_disk() - a disk of a snapshot as a read-only image; @repo must outlive it; @disk NULL: the only one,
 *  ERR_USAGE when there are several */
int repo_open_disk(struct repo *repo, const struct snapshot *snap, const char *disk,
		   struct image **ret, struct err *err);

/**
 * repo_diff() - call @fn for each range of 4 KiB blocks in which two disks of @repo differ, in ascending order
 *
 * Page trees are walked first and only where they differ, then the bytes of chunks that differ are compared. The
 * shorter disk is taken as followed by zeros; the last block of the longer one may be cut.
 */
int repo_diff(struct repo *repo, const struct snapshot *a, const struct snapshot_disk *disk_a,
	      const struct snapshot *b, const struct snapshot_disk *disk_b,
	      struct progress *progress,
	      int (*fn)(void *ctx, uint64_t off, uint64_t len, struct err *err), void *ctx,
	      struct err *err);

struct repair_opts {
	struct repo *from; /* has the same snapshots; NULL: only parity heals */
	unsigned threads;
	struct progress *progress;
	void (*healed)(void *ctx, const char *sentence); /* a pack, by its parity */
	void (*report)(void *ctx, const char *sentence); /* a fault that is left */
	void *ctx;
};

struct repair_result {
	uint64_t healed;		    /* packs */
	uint64_t fetched_bytes;		    /* in chunks that were stored again */
	uint64_t faults, damaged_snapshots; /* that are left */
};

/** repo_repair() - Return: 0, whatever is left; -1 when it could not go on */
int repo_repair(struct repo *repo, const struct repair_opts *opts, struct repair_result *ret,
		struct err *err);

enum copy_status { COPY_DONE, COPY_PRESENT, COPY_FAILED };

/** struct copied - what became of one snapshot */
struct copied {
	const struct snapshot *snapshot; /* as it is in the source */
	enum copy_status status;	 /* of a dry run: COPY_DONE for what would be copied */
	const struct err *why;		 /* COPY_FAILED: it is damaged */
	uint64_t read_bytes, new_bytes, stored_bytes;
};

struct repo_copy_opts {
	const char *const *specs; /* as repo_find(); none: all of @vm */
	size_t n_specs;
	const char *vm; /* NULL: of all machines */
	int level;	/* zstd; 0: the other repository's */
	unsigned threads;
	bool dry_run;
	uint64_t rate_limit;
	struct progress *progress;
	void (*report)(void *ctx, const struct copied *c);
	void *ctx;
};

struct repo_copy_result {
	uint64_t copied, present, failed; /* failed: manifests that cannot be read, too */
	uint64_t read_bytes, new_bytes, stored_bytes;
};

/**
 * repo_copy() - snapshots into another repository, with its keys and its bounds of chunks
 *
 * Id, machine, times, tags and files stay. What is there already, from a copy or from another machine's backup, is not
 * stored again; a snapshot whose id is there is left alone. Return: 0, with damaged snapshots counted in @ret; -1 for
 * all other failures: what was copied until then is there.
 */
int repo_copy(struct repo *from, struct repo *to, const struct repo_copy_opts *opts,
	      struct repo_copy_result *ret, struct err *err);

struct differential_opts {
	unsigned threads;    /* 0: all */
	uint64_t rate_limit; /* bytes of the target a second; 0: none */
	struct progress *progress;
};

/**
 * repo_restore_differential() - make @target, which is open for writing, hold the disk: only what differs is fetched and
 * written, in place
 * @disk: NULL: the only one; *@ret_written: bytes that were, on failure too
 * Return: 0, all durable; -1: ERR_NO_SPACE when the target is smaller than the disk, ERR_CORRUPT, ... What lies behind
 * the disk's end is left alone.
 */
int repo_restore_differential(struct repo *repo, const struct snapshot *snap, const char *disk,
			      struct image *target, const struct differential_opts *opts,
			      uint64_t *ret_written, struct err *err);

/** repo_register() - make image_open() understand "repo:URL@..." names: "repo:PATH#VM@WHEN:DISK" */
void repo_register(const struct repo_key_source *key);

/** repo_expect() - is there an authentic snapshot of the number @seq or a higher one? ERR_CORRUPT when not: an older state
 *  of the repository was put back, or its newest snapshots were taken away */
int repo_expect(struct repo *repo, uint64_t seq, struct err *err);

/** repo_forget() - remove the snapshots of @list for which @remove is true: their manifests alone, durable on 0. What
 *  they hold stays until repo_prune(). *@ret_removed is set on failure too */
int repo_forget(struct repo *repo, const struct snapshot *list, const bool *remove, size_t n,
		size_t *ret_removed, struct err *err);

/** repo_locked_until() - *@ret: when (seconds since 1970) a lock that forbids to remove the snapshot ends; 0: there is none;
 *  INT64_MAX: it does not end by itself */
int repo_locked_until(struct repo *repo, const struct snapshot *s, int64_t *ret, struct err *err);

/** repo_forget_unreadable() - remove the snapshots whose manifests are damaged. *@ret_left: those that cannot be read
 *  for another reason (a newer version), which stay */
int repo_forget_unreadable(struct repo *repo, size_t *ret_left, struct err *err);

struct prune_opts {
	const uint64_t *without; /* a dry run: as if the snapshots of these numbers were gone */
	size_t n_without;
	unsigned max_unused; /* percent of a pack that may be unused */
	uint64_t
		wait_ms; /* for processes that may still need what goes; 0: the next prune removes it */
	unsigned threads; /* 0: all processors */
	bool dry_run;
	struct progress *progress;
};

struct prune_result {
	uint64_t snapshots, blobs;	 /* that are needed */
	uint64_t packs, pack_bytes;	 /* before */
	uint64_t removed, removed_bytes; /* packs; for a dry run an estimate */
	uint64_t rewritten;		 /* those of them whose blobs in need were stored anew */
	uint64_t new_bytes;		 /* what these take now */
	uint64_t
		pending; /* packs that are condemned and still there: the next prune removes them */
	uint64_t locked, locked_bytes; /* packs that would go, and that a lock keeps */
	int64_t locked_until; /* the last of them, seconds since 1970; INT64_MAX: for good */
};

/**
 * repo_prune() - remove what no snapshot needs, and rewrite packs of which too much is unneeded
 *
 * Safe beside any other use of the repository, and against a kill at any point. ERR_BUSY: another one works;
 * or others did longer than @wait_ms; ERR_CORRUPT: a snapshot cannot be read whole, so that what it needs is not known
 * and nothing is removed; ERR_UNSUPPORTED: not in a repository of this kind
 */
int repo_can_prune(struct repo *repo, struct err *err); /* ERR_UNSUPPORTED */
int repo_prune(struct repo *repo, const struct prune_opts *opts, struct prune_result *ret,
	       struct err *err);

struct verify_opts {
	const char *spec; /* NULL: everything */
	/* only some packs, by their names: of @shares parts (0: all) the one of number @share (from 1) and those that follow
	 * it, the first after the last, @share_parts in all */
	unsigned share, shares, share_parts;
	bool quick; /* objects, structure and pack checksums; else every frame is decompressed, every chunk hashed */
	bool heal; /* packs by their parity */
	unsigned threads;
	struct progress *progress;
	void (*healed)(void *ctx, const char *sentence); /* a pack that was healed */
	void (*report)(
		void *ctx,
		const char *sentence); /* one fault: which snapshots, disks and byte ranges */
	void *ctx;
};

struct verify_result {
	uint64_t snapshots, packs, frames, chunks, pages, bytes_read;
	uint64_t faults; /* objects damaged or missing */
	uint64_t damaged_snapshots;
	uint64_t healed;    /* packs */
	uint64_t all_packs; /* that are there; .packs were looked at */
};

/** repo_verify() - Return: 0 with faults counted in @ret; -1 when it could not look. What is found bad is remembered, so
 *  that the next backup of the same data stores it again */
int repo_verify(struct repo *repo, const struct verify_opts *opts, struct verify_result *ret,
		struct err *err);

/** repo_uuid() - 32 hex digits */
void repo_uuid(struct repo *repo, char ret[33]);

/** repo_same_place() - are both handles of one repository, whatever it was called? A mirror of it lies elsewhere */
bool repo_same_place(struct repo *a, struct repo *b);

struct repo_usage {
	uint8_t uuid[16];
	bool encrypted;
	unsigned compression_level;
	uint64_t packs, pack_bytes, index_runs, index_bytes;
	uint64_t stored_bytes;			 /* of all objects */
	uint64_t blobs, chunk_bytes, page_bytes; /* plain; what is stored twice counts twice */
};

/** repo_get_usage() - reads the whole index */
int repo_get_usage(struct repo *repo, struct repo_usage *ret, struct err *err);

struct repo_users {
	bool others; /* other processes have the repository open */
	bool prune;  /* one of them is a prune at work */
	uint64_t condemned_packs;
	uint64_t
		grace_s; /* for so long who was killed on another machine may still be among them */
};

/** struct repo_holder - a process that has an S3 repository open, or was killed, on another machine, so lately that this is
 *  not known yet */
struct repo_holder {
	char *host, *began; /* as it says; NULL: it does not */
	int64_t pid;	    /* there; 0: it does not say */
	uint64_t silent_s;  /* so long ago it was last heard of */
	uint64_t grace_s;   /* so long it may be silent until it counts as dead */
};

/** repo_get_holders() - those that hold up a collection: whose session began before what is condemned was; or @all. In a
 *  folder there are none: the kernel knows who lives. *@ret: repo_holders_free() */
int repo_get_holders(struct repo *repo, bool all, struct repo_holder **ret, size_t *ret_n,
		     struct err *err);
void repo_holders_free(struct repo_holder *h, size_t n);

/** repo_get_users() - and finish what dead writers left, as every backup does; ERR_UNSUPPORTED where nobody knows */
int repo_get_users(struct repo *repo, struct repo_users *ret, struct err *err);

#endif
