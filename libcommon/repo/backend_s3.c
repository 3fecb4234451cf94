/* Repositories on an S3 API: the same objects as in a folder, by the same names below a prefix of a bucket. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/io.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/repo/backend_s3_private.h"

enum { PIECE = 1 << 20, MD5_TEXT = 25 };

struct s3_object {
	struct backend_object base;
	struct s3_backend *backend;
	uint64_t size;
	char *data; /* whole, or NULL */
	int fd;	    /* of a copy in the cache, or -1: read by ranges */
	char name[BACKEND_NAME_MAX];
};

static int check_name(const char *name, struct err *err)
{
	return backend_name_valid(name) ? 0
					: err_set(err, ERR_USAGE, "'%s' is no object name", name);
}

/* Large, and read by ranges. */
static bool is_large(const char *name)
{
	return s3_is_pack(name) || !strncmp(name, "index/", 6);
}

/* ---- objects */

int s3_digest_file(int fd, uint64_t len, char ret[S3_HEX], struct err *err)
{
	CLEANUP_FREE char *buf = malloc(PIECE);
	struct digest *d = NULL;
	char hex[DIGEST_HEX_MAX];
	int rc = buf ? digest_new(&d, "sha256", err) : err_nomem(err);

	for (uint64_t off = 0; !rc && off < len;) {
		size_t n = (size_t)min_u64(PIECE, len - off);

		rc = io_pread(fd, buf, n, off, err) || digest_update(d, buf, n, err) ? -1 : 0;
		off += n;
	}
	if (!rc)
		rc = digest_final(d, hex, err);
	digest_free(d);
	if (!rc)
		memcpy(ret, hex, S3_HEX);
	return rc;
}

/* S3 asks for a Content-MD5 beside a lock, the SHA-256 notwithstanding. */
static int make_md5(const void *data, int fd, uint64_t len, char ret[MD5_TEXT], struct err *err)
{
	CLEANUP_FREE char *buf = data ? NULL : malloc(PIECE);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned char value[EVP_MAX_MD_SIZE];
	int ok = md && (data || buf) && EVP_DigestInit_ex(md, EVP_md5(), NULL) == 1, rc = 0;

	for (uint64_t off = 0; ok && !rc && off < len;) {
		size_t n = data ? (size_t)len : (size_t)min_u64(PIECE, len - off);

		if (!data)
			rc = io_pread(fd, buf, n, off, err);
		ok = rc || EVP_DigestUpdate(md, data ? data : buf, n) == 1;
		off += n;
	}
	ok = ok && !rc && EVP_DigestFinal_ex(md, value, NULL) == 1;
	EVP_MD_CTX_free(md);
	if (ok)
		(void)EVP_EncodeBlock((unsigned char *)ret, value, 16);
	return ok ? 0 : rc ? -1 : err_set(err, ERR_FAILED, "OpenSSL cannot make an MD5");
}

/* The headers of a lock into @h. Return: how many, -1 */
static int lock_headers(const struct s3_config *c, const char *name, const void *data, int fd,
			uint64_t len, struct s3_header h[3], char md5[MD5_TEXT], char until[32],
			struct err *err)
{
	time_t t = time(NULL) + (time_t)c->lock_days * 86400;
	struct tm tm;

	if (!c->lock_mode || !s3_is_data(name))
		return 0;
	if (make_md5(data, fd, len, md5, err))
		return -1;
	if (!gmtime_r(&t, &tm) || !strftime(until, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
		return err_set(err, ERR_USAGE, "%u days are too many", c->lock_days);
	h[0] = (struct s3_header){"content-md5", md5};
	h[1] = (struct s3_header){"x-amz-object-lock-mode", c->lock_mode};
	h[2] = (struct s3_header){"x-amz-object-lock-retain-until-date", until};
	return 3;
}

/* A manifest of one whom others took for dead may name what they removed meanwhile; and there is one collector. */
static int guard_of(struct s3_backend *b, const char *name, struct s3_guard *ret, struct err *err)
{
	if (!strncmp(name, "snapshots/", 10))
		return s3_lease_guard(b, false, ret, err);
	if (!strncmp(name, "epochs/", 7))
		return s3_lease_guard(b, true, ret, err);
	/* Known since the session could not be begun; no need to upload anything first. */
	if (b->no_session.code == ERR_UNSUPPORTED && strncmp(name, "leases/", 7) != 0) {
		*err = b->no_session;
		return -1;
	}
	return 0;
}

static int probe(struct s3_backend *b, struct err *err);

int s3_put(struct s3_backend *b, const char *name, const void *data, int fd, uint64_t len,
	   struct s3_facts *ret, struct err *err)
{
	char sha256[S3_HEX], nonce[33];
	unsigned char random[16];
	char md5[MD5_TEXT], until[32];
	struct s3_header lock[3];
	struct s3_guard guard = {0};
	struct s3_request q = {.method = "PUT",
			       .name = name,
			       .data = data,
			       .fd = fd,
			       .len = len,
			       .sha256 = sha256,
			       .nonce = nonce};
	struct s3_response r;
	bool versioned;
	int rc;

	if (RAND_bytes(random, sizeof(random)) != 1)
		return err_set(err, ERR_FAILED, "OpenSSL has no random bytes");
	hex_encode(random, sizeof(random), nonce);
	if (data ? s3_sha256(data, (size_t)len, sha256, err) : s3_digest_file(fd, len, sha256, err))
		return -1;
	if (guard_of(b, name, &guard, err))
		return -1;
	rc = lock_headers(s3_http_config(b->http), name, data, fd, len, lock, md5, until, err);
	if (rc < 0)
		return -1;
	q.extra = lock;
	q.n_extra = (size_t)rc;
	if (!strncmp(name, "leases/", 7))
		lock[q.n_extra++] = (struct s3_header){"x-amz-meta-vmkit-lease", b->lease_says};
	rc = s3_guarded_do(b, &guard, &q, &r, err);
	if (!rc && ret)
		*ret = (struct s3_facts){.size = len, .etag = s3_hash_etag(r.etag)};
	versioned = !rc && r.versioned;
	s3_response_free(&r);
	if (rc && err && err->code == ERR_EXISTS)
		return err_set(err, ERR_EXISTS, "exists already");
	/* Versions may have been switched on since init, and with them the precondition off. */
	return versioned && !atomic_load(&b->probed) ? probe(b, err) : rc;
}

static int head(struct s3_backend *b, const char *name, struct s3_facts *ret, struct err *err)
{
	const struct s3_request q = {.method = "HEAD", .name = name};
	struct s3_response r;
	int rc = s3_http_do(b->http, &q, &r, err);
	const struct s3_facts facts = {.size = r.length, .etag = s3_hash_etag(r.etag)};

	s3_response_free(&r);
	if (rc && err && err->code == ERR_NOT_FOUND)
		return err_set(err, ERR_NOT_FOUND, "is not there");
	if (!rc && facts.size == UINT64_MAX)
		return err_set(err, ERR_UNSUPPORTED, "the server does not say its size");
	if (!rc) {
		s3_know(b, name, &facts);
		*ret = facts;
	}
	return rc;
}

int s3_exists(struct s3_backend *b, const char *name, struct err *err)
{
	struct err why = ERR_INIT;
	struct s3_facts facts;

	if (!head(b, name, &facts, &why))
		return 1;
	if (why.code == ERR_NOT_FOUND)
		return 0;
	if (err)
		*err = why;
	return -1;
}

/* Manifests and records of damage are kept: a listing has said which they are, so a copy is known to be right. */
static bool is_kept(const char *name)
{
	return !strncmp(name, "snapshots/", 10) || !strncmp(name, "bad/", 4);
}

static int s3_create(struct backend *base, const char *name, const void *data, size_t len,
		     struct err *err)
{
	struct s3_backend *b = (struct s3_backend *)base;
	struct s3_facts facts;

	if (check_name(name, err) || s3_flush(b, err))
		return -1;
	/* No bytes are no NULL: that would be a file. */
	if (s3_put(b, name, data ? data : "", -1, len, &facts, err))
		return err_object(err, name);
	if (is_kept(name) && len)
		s3_cache_put(b, name, data, &facts);
	return 0;
}

/* Is the body what its maker hashed? Without a hash nobody knows: true. */
static bool is_right(const struct s3_response *r)
{
	char sha[S3_HEX];

	return !r->sha256[0] || (!s3_sha256(r->body ? r->body : "", r->body_len, sha, NULL) &&
				 !strcmp(sha, r->sha256));
}

static int get_whole(struct s3_object *o, struct err *err)
{
	const struct s3_request q = {.method = "GET", .name = o->name, .max = S3_SMALL_MAX};
	struct s3_response r;
	struct s3_facts facts;
	bool right;
	int rc;

	if (is_kept(o->name) && s3_known(o->backend, o->name, &facts)) {
		o->fd = s3_cache_open(o->backend, o->name, &facts);
		o->size = facts.size;
		if (o->fd >= 0)
			return 0;
	}
	/* Bits that changed on the way are asked for again; what stays wrong is shown as it is: its seal will say so. */
	for (unsigned n = 1;; n++) {
		rc = s3_http_do(o->backend->http, &q, &r, err);
		right = rc || is_right(&r);
		if (right || n == S3_READS)
			break;
		s3_response_free(&r);
	}
	if (rc && err && err->code == ERR_NOT_FOUND && !err->hint[0])
		err_set(err, ERR_NOT_FOUND, "is not there");
	if (!rc) {
		o->size = facts.size = r.body_len;
		facts.etag = s3_hash_etag(r.etag);
		o->data = r.body ? steal_ptr(&r.body) : calloc(1, 1);
		rc = o->data ? 0 : err_nomem(err);
	}
	if (!rc && right && is_kept(o->name))
		s3_cache_put(o->backend, o->name, o->data, &facts);
	s3_response_free(&r);
	return rc;
}

static int open_large(struct s3_object *o, struct err *err)
{
	struct s3_facts facts;

	if (!s3_known(o->backend, o->name, &facts) && head(o->backend, o->name, &facts, err))
		return -1;
	o->size = facts.size;
	return s3_is_pack(o->name) ? 0 : s3_cache_fetch(o->backend, o->name, &facts, &o->fd, err);
}

static int s3_open(struct backend *base, const char *name, struct backend_object **ret,
		   uint64_t *ret_size, struct err *err)
{
	struct s3_backend *b = (struct s3_backend *)base;
	struct s3_object *o;

	if (check_name(name, err) || (s3_queued(b, name) && s3_flush(b, err)))
		return -1;
	o = calloc(1, sizeof(*o));
	if (!o)
		return err_nomem(err);
	o->base.ops = base->ops;
	o->backend = b;
	o->fd = -1;
	snprintf(o->name, sizeof(o->name), "%s", name);
	if (is_large(name) ? open_large(o, err) : get_whole(o, err)) {
		free(o);
		return err_object(err, name);
	}
	*ret = &o->base;
	*ret_size = o->size;
	return 0;
}

int s3_get_range(struct s3_backend *b, const char *name, uint64_t off, void *buf, size_t len,
		 char *ret_sha256, struct err *err)
{
	char range[64];
	const struct s3_header extra = {"range", range};
	const struct s3_request q = {.method = "GET",
				     .name = name,
				     .extra = &extra,
				     .n_extra = 1,
				     .into = buf,
				     .into_len = len};
	struct s3_response r;
	int rc;

	snprintf(range, sizeof(range), "bytes=%llu-%llu", (unsigned long long)off,
		 (unsigned long long)(off + len - 1));
	rc = s3_http_do(b->http, &q, &r, err);
	if (!rc && r.status != 206 && (off || r.length != len))
		rc = err_set(err, ERR_UNSUPPORTED,
			     "the server answers %ld instead of a range of the object", r.status);
	else if (rc && r.status == 416)
		rc = err_set(err, ERR_CORRUPT, "ends before byte %llu",
			     (unsigned long long)(off + len));
	if (!rc && ret_sha256)
		memcpy(ret_sha256, r.sha256, S3_HEX);
	s3_response_free(&r);
	return rc;
}

static int s3_read(struct backend_object *base, uint64_t off, void *buf, size_t len,
		   struct err *err)
{
	struct s3_object *o = (struct s3_object *)base;

	if (!range_inside(off, len, o->size)) {
		err_set(err, ERR_CORRUPT, "ends at %llu, before byte %llu",
			(unsigned long long)o->size, (unsigned long long)off + len);
		return err_object(err, o->name);
	}
	if (!len)
		return 0;
	if (o->data) {
		memcpy(buf, o->data + off, len);
		return 0;
	}
	if (o->fd >= 0 ? io_pread(o->fd, buf, len, off, err)
		       : s3_get_range(o->backend, o->name, off, buf, len, NULL, err))
		return err_object(err, o->name);
	return 0;
}

static void s3_object_close(struct backend_object *base)
{
	struct s3_object *o = (struct s3_object *)base;

	if (o->fd >= 0)
		close(o->fd);
	free(o->data);
	free(o);
}

/* Everything rests on create-if-absent: a server that ignores the precondition would let two writers replace each
 * other's objects, and nobody would ever know. */
static int probe(struct s3_backend *b, struct err *err)
{
	unsigned char random[16];
	char name[64] = "tmp/probe-";
	struct err why = ERR_INIT;
	int rc;

	atomic_store(&b->probed, true);
	if (RAND_bytes(random, sizeof(random)) != 1)
		return err_set(err, ERR_FAILED, "OpenSSL has no random bytes");
	hex_encode(random, sizeof(random), name + strlen(name));
	if (s3_put(b, name, "probe", -1, 5, NULL, err))
		return -1;
	rc = s3_put(b, name, "probe", -1, 5, NULL, &why);
	/* Without waiting for uploads: one of them may be what asks. */
	if (s3_remove_now(b, name, NULL, err))
		return -1;
	if (!rc)
		return err_set(err, ERR_UNSUPPORTED,
			       "the server replaces objects although 'If-None-Match: *' forbids "
			       "it (Ceph 16 does so in buckets that keep versions)");
	if (why.code == ERR_EXISTS)
		return 0;
	if (err)
		*err = why;
	return -1;
}

/* With no precondition. Healers put the same frames at the same places, so it does not matter which of them is last. */
static int s3_replace(struct backend *base, const char *name, const void *data, size_t len,
		      struct err *err)
{
	struct s3_backend *b = (struct s3_backend *)base;
	char sha256[S3_HEX], md5[MD5_TEXT], until[32];
	struct s3_header extra[4];
	struct s3_guard guard;
	struct s3_request q = {.method = "PUT",
			       .name = name,
			       .data = data,
			       .len = len,
			       .sha256 = sha256,
			       .extra = extra};
	struct s3_response r;
	int n, rc;

	if (check_name(name, err) || s3_flush(b, err) || s3_sha256(data, len, sha256, err) ||
	    s3_lease_guard(b, false, &guard, err))
		return -1;
	n = lock_headers(s3_http_config(b->http), name, data, -1, len, extra, md5, until, err);
	if (n < 0)
		return -1;
	extra[n] = (struct s3_header){"x-amz-meta-vmkit-sha256", sha256};
	q.n_extra = (size_t)n + 1;
	rc = s3_guarded_do(b, &guard, &q, &r, err);
	s3_response_free(&r);
	s3_forget_folder(b, name);
	return rc ? err_object(err, name) : 0;
}

static uint64_t s3_grace(struct backend *b)
{
	return s3_http_config(((struct s3_backend *)b)->http)->grace_s;
}

static void s3_place(struct backend *base, char *ret, size_t cap)
{
	const struct s3_config *c = s3_http_config(((struct s3_backend *)base)->http);

	snprintf(ret, cap, "%s/%s/%s", c->base, c->bucket, c->prefix);
}

static void s3_close(struct backend *base)
{
	struct s3_backend *b = (struct s3_backend *)base;

	s3_uploads_end(b);
	s3_http_abort(b->http);
	s3_leases_end(b);
	s3_cache_end(b);
	if (b->spool >= 0)
		close(b->spool);
	s3_http_free(b->http);
	free(b->known);
	pthread_mutex_destroy(&b->lease_lock);
	pthread_cond_destroy(&b->lease_changed);
	pthread_mutex_destroy(&b->alive_lock);
	pthread_mutex_destroy(&b->local_lock);
	pthread_mutex_destroy(&b->queue_lock);
	pthread_cond_destroy(&b->queue_changed);
	pthread_mutex_destroy(&b->known_lock);
	free(b);
}

static const struct backend_ops s3_ops = {
	.scheme = "s3",
	.create = s3_create,
	.open = s3_open,
	.read = s3_read,
	.object_close = s3_object_close,
	.list = s3_list,
	.remove = s3_remove,
	.writer_new = s3_writer_new,
	.write = s3_write,
	.writer_read = s3_writer_read,
	.commit = s3_commit,
	.writer_close = s3_writer_close,
	.orphans = s3_orphans,
	.session = s3_session,
	.sessions_before = s3_sessions_before,
	.collector = s3_collector,
	.note = s3_note,
	.users = s3_users,
	.grace_s = s3_grace,
	.locked_until = s3_locked_until,
	.replace = s3_replace,
	.kept_get = s3_kept_get,
	.kept_put = s3_kept_put,
	.kept_drop = s3_kept_drop,
	.place = s3_place,
	.close = s3_close,
};

int backend_s3_open(struct backend **ret, const char *name, struct err *err)
{
	CLEANUP_FREE struct s3_config *config = calloc(1, sizeof(*config));
	struct s3_backend *b = calloc(1, sizeof(*b));
	pthread_condattr_t monotonic;
	int rc = config && b ? s3_config_load(config, name, repo_s3_opts(), err) : err_nomem(err);

	if (!rc) {
		rc = s3_http_new(&b->http, config, err);
		s3_config_wipe(config);
	}
	if (rc) {
		free(b);
		return -1;
	}
	b->base.ops = &s3_ops;
	b->spool = b->cache = b->alive_dir = b->alive_fd = -1;
	pthread_mutex_init(&b->alive_lock, NULL);
	pthread_mutex_init(&b->lease_lock, NULL);
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&b->lease_changed, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&b->local_lock, NULL);
	pthread_mutex_init(&b->queue_lock, NULL);
	pthread_cond_init(&b->queue_changed, NULL);
	pthread_mutex_init(&b->known_lock, NULL);
	*ret = &b->base;
	return 0;
}

/* What a killed init left (keys, but no config) does not count: the next init goes on from there. */
static int check_empty(void *ctx, const struct s3_list_entry *e, struct err *err)
{
	const char *name = e->key;

	(void)ctx;
	if (!strcmp(name, "config"))
		return err_set(err, ERR_EXISTS, "a repository exists already");
	if (!strncmp(name, "keys/", 5) || !strncmp(name, "tmp/", 4))
		return 0;
	return err_set(err, ERR_EXISTS, "there are other objects below the prefix");
}

int backend_s3_init(const char *name, struct err *err)
{
	struct backend *base;
	struct s3_backend *b;
	int rc;

	if (backend_s3_open(&base, name, err))
		return -1;
	b = (struct s3_backend *)base;
	rc = s3_list_folder(b, "", check_empty, NULL, err) || probe(b, err) ? -1 : 0;
	backend_close(base);
	return rc;
}
