/* What the files of the S3 backend share: backend_s3*.c only.
 *
 *	backend_s3.c		objects: create, open, read, list, remove
 *	backend_s3_list.c	listings
 *	backend_s3_remove.c	removal: of versions, and what a lock keeps
 *	backend_s3_lease.c	who uses the repository, and who collects
 *	backend_s3_alive.c	which of this machine's processes have ended
 *	backend_s3_known.c	what is known of objects
 *	backend_s3_writer.c	writers: a local spool file, packs uploaded in the background
 *	backend_s3_local.c	the local folder of one repository
 *	backend_s3_cache.c	in it: index runs and small objects that were read
 *	backend_s3_http.c	signed requests with retries
 *	backend_s3_try.c	one of them
 *	backend_s3_curl.c	libcurl, loaded late
 *	s3_*.c			pure parts: signer, XML, retry policy, configuration
 *
 * Create-if-absent is PUT with "If-None-Match: *". A pack is written into a file of the local folder first: its frames
 * come in any order, its SHA-256 must be known before the request, and a killed run's file is adopted by the next one.
 */
#ifndef VMKIT_REPO_BACKEND_S3_PRIVATE_H
#define VMKIT_REPO_BACKEND_S3_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "libcommon/repo/backend.h"
#include "libcommon/repo/backend_s3_http.h"

enum {
	S3_UPLOADS = 3,		 /* at once */
	S3_QUEUE = 4,		 /* packs that wait or are under way: bounds the spool */
	S3_KNOWN = 1 << 15,	 /* slots for sizes of objects */
	S3_SMALL_MAX = 64 << 20, /* of what is read whole into memory */
	S3_READS = 3,		 /* of an object whose bytes are not those that its maker hashed */
};

struct s3_writer {
	struct backend_writer base;
	struct s3_backend *backend;
	struct s3_writer *next; /* in the queue */
	int fd;			/* of the spool file, locked */
	char name[BACKEND_NAME_MAX];
	char temp[BACKEND_NAME_MAX + 16]; /* in the spool folder */
	uint64_t size;
	bool adopted; /* a dead writer's: it may have uploaded it just before it died */
};

/* What the server last said of an object; @etag: a hash of its ETag, 0: none. */
struct s3_facts {
	uint64_t size, etag;
};

struct s3_known {
	uint64_t hash;
	struct s3_facts facts;
	uint32_t generation; /* 0: free */
};

/* A server takes nothing that was signed more than a quarter of an hour ago; with some for clocks that differ. */
enum { S3_LEASE_NAME = 64, S3_WHO_DIGITS = 16, S3_OLD_REQUEST_S = 20 * 60 };

/* See backend_s3_lease.c; under lease_lock, but for the atomics. */
struct s3_lease {
	char name[S3_LEASE_NAME]; /* of the object that is there now */
	uint64_t number;
	bool held;
	_Atomic int64_t renewed; /* when the last renewal was asked for, by the server's clock */
	atomic_bool lost;
};

/* How a request is sent: what must be asked before each try; @last: once, at the end, whatever happened. */
struct s3_guard {
	int (*may)(void *ctx, int64_t now, struct err *err);
	void *ctx;
	bool last;
};

struct s3_backend {
	struct backend base;
	struct s3_http *http;

	pthread_mutex_t lease_lock; /* this group */
	pthread_cond_t lease_changed;
	struct s3_lease session, collector;
	uint64_t epoch; /* of the session */
	char who[S3_WHO_DIGITS + 1];
	char lease_says[48]; /* in a header of the leases: who, and the grace in seconds */
	uint8_t note[BACKEND_NOTE_MAX]; /* what is in the leases */
	size_t n_note;
	struct err no_session; /* why there is none, for who may only read */
	pthread_t lease_tid;
	bool lease_thread, lease_stop;

	pthread_mutex_t alive_lock; /* this group: see backend_s3_alive.c */
	int alive_dir;		    /* -1: not open yet; -2: there is none */
	int alive_fd;		    /* our file; -1: none */
	unsigned alive_requests;    /* that matter to others, under way */
	int64_t alive_until;	    /* what the file says */
	int64_t alive_sent,
		alive_unsure; /* of what was sent; of that, of tries without an answer */

	atomic_bool probed; /* create-if-absent was tried out */

	pthread_mutex_t local_lock; /* this group */
	int spool;		    /* folder, or -1: not open yet */
	int cache;		    /* likewise; -2: there is none */
	bool cache_grew;
	uint64_t cache_added; /* bytes since it was last swept */

	pthread_mutex_t queue_lock; /* the rest of this group */
	pthread_cond_t queue_changed;
	struct s3_writer *waiting; /* oldest first */
	struct s3_writer *active[S3_UPLOADS];
	unsigned outstanding; /* waiting and active */
	pthread_t threads[S3_UPLOADS];
	unsigned n_threads;
	bool closing;
	struct err failed; /* the first upload that did */

	pthread_mutex_t known_lock; /* known, generation */
	struct s3_known *known;	    /* S3_KNOWN, by hash; NULL: none yet */
	uint32_t generation[2]; /* of packs and of the rest: a new listing makes older sizes void */
};

/* backend_s3.c */
/** s3_put() - create-if-absent of memory or, with @data NULL, of a file; ERR_EXISTS. What others must not see from a process
 *  that they took for dead is guarded by its lease */
int s3_put(struct s3_backend *b, const char *name, const void *data, int fd, uint64_t len,
	   struct s3_facts *ret, struct err *err);
/** s3_get_range() - exactly @len bytes; @ret_sha256 (may be NULL): of the whole object, as its maker said, or "" */
int s3_get_range(struct s3_backend *b, const char *name, uint64_t off, void *buf, size_t len,
		 char *ret_sha256, struct err *err);
/** s3_digest_file() - SHA-256 of its first @len bytes */
int s3_digest_file(int fd, uint64_t len, char ret[S3_HEX], struct err *err);
/** s3_exists() - Return: 1, 0 or -1 */
int s3_exists(struct s3_backend *b, const char *name, struct err *err);

/* backend_s3_list.c */
typedef int s3_list_fn(void *ctx, const struct s3_list_entry *e, struct err *err);
/** s3_list_folder() - what the server lists below a folder ("": everything), names without the prefix */
int s3_list_folder(struct s3_backend *b, const char *folder, s3_list_fn *fn, void *ctx,
		   struct err *err);
int s3_list(struct backend *b, const char *folder,
	    int (*fn)(void *ctx, const char *name, struct err *err), void *ctx, struct err *err);

/* backend_s3_remove.c */
/** s3_is_data() - what a lock is for. Index runs are caches of the packs and are merged; records come and go */
bool s3_is_data(const char *name);
/** s3_remove_now() - without waiting for uploads; @g may be NULL. ERR_DENIED: locked, or no right to */
int s3_remove_now(struct s3_backend *b, const char *name, const struct s3_guard *g,
		  struct err *err);
int s3_remove(struct backend *b, const char *name, struct err *err);
int s3_locked_until(struct backend *b, const char *name, int64_t *ret, struct err *err);

/* backend_s3_lease.c */
int s3_session(struct backend *b, uint64_t epoch, struct err *err);
int s3_sessions_before(struct backend *b, uint64_t epoch, bool *ret_any, struct err *err);
int s3_collector(struct backend *b, struct err *err);
void s3_note(struct backend *b, const void *data, size_t len);
int s3_users(struct backend *b, int (*fn)(void *ctx, const struct backend_user *u, struct err *err),
	     void *ctx, struct err *err);
/** s3_lease_guard() - for what only a living session or collector may send; ERR_DENIED without one */
int s3_lease_guard(struct s3_backend *b, bool collector, struct s3_guard *ret, struct err *err);
/** s3_guarded_do() - s3_http_do() with a guard, which may be NULL or empty */
int s3_guarded_do(struct s3_backend *b, const struct s3_guard *g, const struct s3_request *q,
		  struct s3_response *ret, struct err *err);
/** s3_leases_end() - give them back */
void s3_leases_end(struct s3_backend *b);

/* backend_s3_alive.c */
/** s3_alive_begin() - for the session of .who, before its lease is made; what fails here leaves it to time */
void s3_alive_begin(struct s3_backend *b);
/** s3_alive_begins_request() - one that matters to others, of any number of tries: s3_alive_ends_request() */
void s3_alive_begins_request(struct s3_backend *b);
/** s3_alive_sends() - a try of it, signed at @signed_at, is about to be sent; -1: it must not be, for now */
int s3_alive_sends(struct s3_backend *b, int64_t signed_at, struct err *err);
/** s3_alive_ends_request() - @sure: nothing of it can arrive any more */
void s3_alive_ends_request(struct s3_backend *b, bool sure);
/** s3_alive_is_unsure() - may something of this process still arrive? */
bool s3_alive_is_unsure(struct s3_backend *b);
/** s3_alive_ended() - true: the session @who was of this machine, its process is dead, and nothing of it can arrive; false:
 *  that is not known */
bool s3_alive_ended(struct s3_backend *b, const char *who);
/** s3_alive_end() - @leases_gone: nobody will ask */
void s3_alive_end(struct s3_backend *b, bool leases_gone);

/* backend_s3_known.c */
/** s3_is_pack() - is it the name of a pack, or of their folder? */
bool s3_is_pack(const char *name);
/** s3_hash_etag() - for struct s3_facts, with or without its quotes */
uint64_t s3_hash_etag(const char *etag);
void s3_know(struct s3_backend *b, const char *name, const struct s3_facts *facts);
/** s3_known() - what a listing since the last change, or a HEAD, said of an object */
bool s3_known(struct s3_backend *b, const char *name, struct s3_facts *ret);
/** s3_forget_folder() - of packs, or of all the rest: nothing is known any more */
void s3_forget_folder(struct s3_backend *b, const char *folder);

/* backend_s3_writer.c */
int s3_writer_new(struct backend *b, const char *name, struct backend_writer **ret,
		  struct err *err);
int s3_write(struct backend_writer *w, uint64_t off, const void *buf, size_t len, struct err *err);
int s3_writer_read(struct backend_writer *w, uint64_t off, void *buf, size_t len, struct err *err);
int s3_commit(struct backend_writer *w, uint64_t size, struct err *err);
void s3_writer_close(struct backend_writer *w, bool keep);
int s3_orphans(struct backend *b,
	       int (*fn)(void *ctx, const char *name, struct backend_writer *w, uint64_t size,
			 struct err *err),
	       void *ctx, struct err *err);
/** s3_flush() - wait for all uploads; -1 when one has failed, now or earlier */
int s3_flush(struct s3_backend *b, struct err *err);
/** s3_queued() - is a pack of that name on its way? */
bool s3_queued(struct s3_backend *b, const char *name);
/** s3_uploads_end() - wait for (after a signal: give up) what is on its way, end the threads */
void s3_uploads_end(struct s3_backend *b);

/* backend_s3_cache.c: copies of objects, each with its facts and a checksum. A copy counts only when the facts are those
 * that the server just gave. All of it is a help: what fails here leaves the server. */
/** s3_cache_open() - Return: a descriptor whose first @want->size bytes are the object, or -1 */
int s3_cache_open(struct s3_backend *b, const char *name, const struct s3_facts *want);
/** s3_cache_fetch() - the same, from the server when it is not there; *@ret_fd -1: local trouble. Return: 0, or -1 when the
 *  server failed */
int s3_cache_fetch(struct s3_backend *b, const char *name, const struct s3_facts *want, int *ret_fd,
		   struct err *err);
/** s3_cache_put() - a small object that was read */
void s3_cache_put(struct s3_backend *b, const char *name, const void *data,
		  const struct s3_facts *facts);
/** s3_cache_adopt() - the spool's file @temp (open as @fd) is what the server has now: it moves into the cache */
void s3_cache_adopt(struct s3_backend *b, const char *name, int fd, const char *temp,
		    const struct s3_facts *facts);
/* Pieces of packs: see backend_kept_get(). */
bool s3_kept_get(struct backend *b, const char *pack, uint64_t off, void *head, size_t head_len,
		 void *buf, size_t len);
void s3_kept_put(struct backend *b, const char *pack, uint64_t off, const void *head,
		 size_t head_len, const void *buf, size_t len);
void s3_kept_drop(struct backend *b, const char *pack, uint64_t off);
void s3_cache_drop(struct s3_backend *b, const char *name);
/** s3_cache_end() - remove the oldest until the rest fits, when something was added */
void s3_cache_end(struct s3_backend *b);

/* backend_s3_local.c */
/** s3_local() - a folder below the repository's own in the cache folder, made when it is not there, mode 0700:
 *  VMKIT_CACHE_DIR, else XDG_CACHE_HOME/vmkit, else ~/.cache/vmkit; below it s3/ and a digest of endpoint, bucket and
 *  prefix. @err names it */
int s3_local(const struct s3_config *c, const char *folder, int *ret_fd, struct err *err);
/** s3_lock_file() - whole, for writing. Return: 1 when the lock was had, 0 when another holds it, -1 */
int s3_lock_file(int fd, struct err *err);

#endif
