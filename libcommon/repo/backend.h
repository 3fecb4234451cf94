/* Where the objects of a repository lie: a flat set of named, immutable byte strings.
 *
 * The only atomic primitive is create-if-absent, so that an object store can do it too. Names look like "config",
 * "index/5f..", "packs/5f/5f..": one to three parts of [A-Za-z0-9._-], none starting with a dot. All calls are thread-safe
 * on one backend; one writer or object handle belongs to one thread, but for backend_object_read() and
 * backend_writer_write(), which any threads may call at once.
 */
#ifndef VMKIT_REPO_BACKEND_H
#define VMKIT_REPO_BACKEND_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/base/err.h"

enum { BACKEND_NAME_MAX = 160 };

/** read_is_damage() - of a failed read: bytes that are wrong, or that the disk does not give */
static inline bool read_is_damage(const struct err *err)
{
	return err->code == ERR_CORRUPT || err->sys == EIO;
}

struct backend {
	const struct backend_ops *ops;
};

struct backend_object {
	const struct backend_ops *ops;
};

struct backend_writer {
	const struct backend_ops *ops;
};

enum { BACKEND_NOTE_MAX = 1024 };

/** struct backend_user - another process that has a session */
struct backend_user {
	uint64_t epoch;	     /* of the session */
	uint64_t silent_s;   /* since it was heard of */
	uint64_t grace_s;    /* after so much silence it is dead */
	const uint8_t *note; /* what it left with backend_note(), if anything */
	size_t n_note;
};

struct backend_ops {
	const char *scheme;
	int (*create)(struct backend *b, const char *name, const void *data, size_t len,
		      struct err *err);
	int (*open)(struct backend *b, const char *name, struct backend_object **ret,
		    uint64_t *ret_size, struct err *err);
	int (*read)(struct backend_object *o, uint64_t off, void *buf, size_t len, struct err *err);
	void (*object_close)(struct backend_object *o);
	int (*list)(struct backend *b, const char *folder,
		    int (*fn)(void *ctx, const char *name, struct err *err), void *ctx,
		    struct err *err);
	int (*remove)(struct backend *b, const char *name, struct err *err);
	int (*sync)(struct backend *b, const char *folder, struct err *err);
	int (*writer_new)(struct backend *b, const char *name, struct backend_writer **ret,
			  struct err *err);
	int (*write)(struct backend_writer *w, uint64_t off, const void *buf, size_t len,
		     struct err *err);
	int (*writer_read)(struct backend_writer *w, uint64_t off, void *buf, size_t len,
			   struct err *err);
	int (*commit)(struct backend_writer *w, uint64_t size, struct err *err);
	void (*writer_close)(struct backend_writer *w, bool keep);
	int (*orphans)(struct backend *b,
		       int (*fn)(void *ctx, const char *name, struct backend_writer *w,
				 uint64_t size, struct err *err),
		       void *ctx, struct err *err);
	/* Who uses the repository, for collection; NULL: nobody knows, and nothing is ever collected */
	int (*session)(struct backend *b, uint64_t epoch, struct err *err);
	int (*sessions_before)(struct backend *b, uint64_t epoch, bool *ret_any, struct err *err);
	int (*collector)(struct backend *b, struct err *err);
	/* What others may read of this process, and what of the others; NULL: nothing is known */
	void (*note)(struct backend *b, const void *data, size_t len);
	int (*users)(struct backend *b,
		     int (*fn)(void *ctx, const struct backend_user *u, struct err *err), void *ctx,
		     struct err *err);
	/* How long a session of the dead may seem to live; NULL: not at all */
	uint64_t (*grace_s)(struct backend *b);
	/* NULL: nothing is ever locked */
	int (*locked_until)(struct backend *b, const char *name, int64_t *ret, struct err *err);
	/* Bytes that can still be stored; NULL: without bounds that are known */
	uint64_t (*room)(struct backend *b);
	/* Where it is, the same text for the same place */
	void (*place)(struct backend *b, char *ret, size_t cap);
	/* Pieces of packs that are kept here because they are far away; NULL: nothing is */
	bool (*kept_get)(struct backend *b, const char *name, uint64_t off, void *head,
			 size_t head_len, void *buf, size_t len);
	void (*kept_put)(struct backend *b, const char *name, uint64_t off, const void *head,
			 size_t head_len, const void *buf, size_t len);
	void (*kept_drop)(struct backend *b, const char *name, uint64_t off);
	/* NULL: an object cannot be replaced here */
	int (*replace)(struct backend *b, const char *name, const void *data, size_t len,
		       struct err *err);
	void (*close)(struct backend *b);
};

/** backend_open_url() - by the table of backend.c: "s3://bucket/prefix", "dir:path", else a folder; ERR_NOT_FOUND when the
 *  folder is not there (an object store is first asked when an object is) */
int backend_open_url(struct backend **ret, const char *url, struct err *err);

/** backend_init_url() - a place for a new repository: ERR_EXISTS when there is one, or anything else */
int backend_init_url(const char *url, struct err *err);

/* The backends; @name is what follows the scheme and its colon. */
int backend_dir_open(struct backend **ret, const char *name, struct err *err);
int backend_dir_init(const char *name, struct err *err);
int backend_s3_open(struct backend **ret, const char *name, struct err *err);
int backend_s3_init(const char *name, struct err *err);

/** backend_name_valid() - true for a name as above; used on every name, whoever made it */
bool backend_name_valid(const char *name);

/** backend_create() - a whole object, durable on 0; ERR_EXISTS */
static inline int backend_create(struct backend *b, const char *name, const void *data, size_t len,
				 struct err *err)
{
	return b->ops->create(b, name, data, len, err);
}

/** backend_open() - for ranged reads; ERR_NOT_FOUND; ERR_CORRUPT when it is no plain file */
static inline int backend_open(struct backend *b, const char *name, struct backend_object **ret,
			       uint64_t *ret_size, struct err *err)
{
	return b->ops->open(b, name, ret, ret_size, err);
}

/** backend_object_read() - exactly @len bytes; ERR_CORRUPT beyond the end; any thread */
static inline int backend_object_read(struct backend_object *o, uint64_t off, void *buf, size_t len,
				      struct err *err)
{
	return o->ops->read(o, off, buf, len, err);
}

static inline void backend_object_close(struct backend_object *o)
{
	if (o)
		o->ops->object_close(o);
}

/** backend_list() - call @fn with the full name of each object below @folder ("packs" looks one level deeper), in no
 *  order; a folder that is not there has no objects */
static inline int backend_list(struct backend *b, const char *folder,
			       int (*fn)(void *ctx, const char *name, struct err *err), void *ctx,
			       struct err *err)
{
	return b->ops->list(b, folder, fn, ctx, err);
}

/** backend_remove() - no error when it is gone already */
static inline int backend_remove(struct backend *b, const char *name, struct err *err)
{
	return b->ops->remove(b, name, err);
}

/** backend_sync() - make what was removed from @folder (one level: "index") stay removed; NULL op: it does already */
static inline int backend_sync(struct backend *b, const char *folder, struct err *err)
{
	return b->ops->sync ? b->ops->sync(b, folder, err) : 0;
}

/** backend_writer_new() - begin an object under a temporary name; others see that its writer lives */
static inline int backend_writer_new(struct backend *b, const char *name,
				     struct backend_writer **ret, struct err *err)
{
	return b->ops->writer_new(b, name, ret, err);
}

/** backend_writer_write() - at any offset, any thread; the bytes are on their way to the disk at once */
static inline int backend_writer_write(struct backend_writer *w, uint64_t off, const void *buf,
				       size_t len, struct err *err)
{
	return w->ops->write(w, off, buf, len, err);
}

/** backend_writer_read() - back what was written, for adoption */
static inline int backend_writer_read(struct backend_writer *w, uint64_t off, void *buf, size_t len,
				      struct err *err)
{
	return w->ops->writer_read(w, off, buf, len, err);
}

/** backend_writer_commit() - cut to @size, fsync, give it its name, fsync the folder; consumed in any case. After a
 *  failure a temporary pack stays, for adoption. Packs may be on their way still when it returns: creating or
 *  committing any other object waits for all of them, and fails when one of them did */
static inline int backend_writer_commit(struct backend_writer *w, uint64_t size, struct err *err)
{
	return w->ops->commit(w, size, err);
}

/** backend_writer_close() - consumed; @keep leaves the temporary object for adoption, else it is removed */
static inline void backend_writer_close(struct backend_writer *w, bool keep)
{
	if (w)
		w->ops->writer_close(w, keep);
}

/** backend_orphans() - temporary objects whose writers are dead, each locked against other adopters and handed to @fn
 *  with the name it was to have; @fn consumes the writer */
static inline int backend_orphans(struct backend *b,
				  int (*fn)(void *ctx, const char *name, struct backend_writer *w,
					    uint64_t size, struct err *err),
				  void *ctx, struct err *err)
{
	return b->ops->orphans(b, fn, ctx, err);
}

/**
 * backend_session() - let others see that this process uses the repository and knows its epochs up to @epoch
 *
 * It lasts until backend_close() or the death of the process, whatever its kind; another call replaces it, and there is no
 * moment without one in between.
 */
static inline int backend_session(struct backend *b, uint64_t epoch, struct err *err)
{
	return b->ops->session ? b->ops->session(b, epoch, err) : 0;
}

/** backend_sessions_before() - does another session live that was begun for an epoch below @epoch? */
static inline int backend_sessions_before(struct backend *b, uint64_t epoch, bool *ret_any,
					  struct err *err)
{
	return b->ops->sessions_before(b, epoch, ret_any, err);
}

/** backend_note() - up to BACKEND_NOTE_MAX bytes that go with the session from the next backend_session() on */
static inline void backend_note(struct backend *b, const void *data, size_t len)
{
	if (b->ops->note)
		b->ops->note(b, data, len);
}

/** backend_users() - each other session that may live; none where the kernel alone knows */
static inline int backend_users(struct backend *b,
				int (*fn)(void *ctx, const struct backend_user *u, struct err *err),
				void *ctx, struct err *err)
{
	return b->ops->users ? b->ops->users(b, fn, ctx, err) : 0;
}

/** backend_collector() - be the only collector until backend_close() or death; ERR_BUSY */
static inline int backend_collector(struct backend *b, struct err *err)
{
	return b->ops->collector(b, err);
}

/** backend_replace() - a whole object in the place of a damaged one, at once: who has it open goes on with the old bytes,
 *  and a death in between leaves the old one. For healing alone, with the bytes that the object had when it was made */
static inline int backend_replace(struct backend *b, const char *name, const void *data, size_t len,
				  struct err *err)
{
	return b->ops->replace ? b->ops->replace(b, name, data, len, err)
			       : err_set(err, ERR_UNSUPPORTED,
					 "objects of such a repository cannot be replaced");
}

/** backend_grace_s() - seconds after which the session of a process that was killed no longer counts */
static inline uint64_t backend_grace_s(struct backend *b)
{
	return b->ops->grace_s ? b->ops->grace_s(b) : 0;
}

/** backend_locked_until() - *@ret: when (seconds since 1970) a lock that forbids to remove the object ends; 0: there is none;
 *  INT64_MAX: it does not end by itself */
static inline int backend_locked_until(struct backend *b, const char *name, int64_t *ret,
				       struct err *err)
{
	*ret = 0;
	return b->ops->locked_until ? b->ops->locked_until(b, name, ret, err) : 0;
}

/**
 * backend_kept_get() - a piece of the pack @name at @off, and the pack's first bytes (@head), as backend_kept_put() was given
 * them, by whichever process. Return: false when they are not kept. Nothing vouches for them but what is in them: whoever
 * finds them wrong says backend_kept_drop(). Any thread
 */
static inline bool backend_kept_get(struct backend *b, const char *name, uint64_t off, void *head,
				    size_t head_len, void *buf, size_t len)
{
	return b->ops->kept_get && b->ops->kept_get(b, name, off, head, head_len, buf, len);
}

/** backend_keeps() - is there any use in backend_kept_put()? */
static inline bool backend_keeps(const struct backend *b)
{
	return b->ops->kept_put;
}

static inline void backend_kept_put(struct backend *b, const char *name, uint64_t off,
				    const void *head, size_t head_len, const void *buf, size_t len)
{
	if (b->ops->kept_put)
		b->ops->kept_put(b, name, off, head, head_len, buf, len);
}

static inline void backend_kept_drop(struct backend *b, const char *name, uint64_t off)
{
	if (b->ops->kept_drop)
		b->ops->kept_drop(b, name, off);
}

/** backend_room() - bytes that can still be stored, as far as the file system tells; UINT64_MAX: it does not */
static inline uint64_t backend_room(struct backend *b)
{
	return b->ops->room ? b->ops->room(b) : UINT64_MAX;
}

/** backend_place() - where the repository lies, one text for one place however it was named */
static inline void backend_place(struct backend *b, char *ret, size_t cap)
{
	b->ops->place(b, ret, cap);
}

static inline void backend_close(struct backend *b)
{
	if (b)
		b->ops->close(b);
}

#endif
