/* Writers of the S3 backend: a locked file in the local spool folder that becomes an object by one PUT. Packs are
 * uploaded in the background, S3_UPLOADS at once; everything else waits for them, so that nothing that names a pack is
 * there before the pack is.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/stop.h"
#include "libcommon/repo/backend_s3_private.h"

static int spool_folder(struct s3_backend *b, struct err *err)
{
	int fd;

	pthread_mutex_lock(&b->local_lock);
	if (b->spool < 0)
		(void)s3_local(s3_http_config(b->http), "spool", &b->spool, err);
	fd = b->spool;
	pthread_mutex_unlock(&b->local_lock);
	return fd;
}

static bool still_named(int dirfd, const char *name, int fd)
{
	struct stat a, b;

	return !fstat(fd, &a) && !fstatat(dirfd, name, &b, AT_SYMLINK_NOFOLLOW) &&
	       a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

static void writer_free(struct s3_writer *w, bool keep)
{
	if (!keep)
		(void)unlinkat(w->backend->spool, w->temp, 0);
	close(w->fd); /* and with it the lock */
	free(w);
}

/* Half an index run is worth nothing to the next run; a pack is. */
static bool is_pack(const struct s3_writer *w)
{
	return !strncmp(w->name, "packs/", 6);
}

/* "packs/5f/5fab" to "0-packs+5f+5fab" */
static int spool_open(int spool, const char *name, unsigned attempt, char *temp, size_t cap,
		      struct err *err)
{
	char *p = temp + snprintf(temp, cap, "%u-", attempt);
	int fd, locked;

	for (const char *s = name; *s; s++)
		*p++ = *s == '/' ? '+' : *s;
	*p = 0;
	fd = openat(spool, temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == EEXIST ? -2 : err_sys(err, "cannot make a file in the spool");
	locked = s3_lock_file(fd, err);
	if (locked > 0 && still_named(spool, temp, fd))
		return fd;
	close(fd);
	return locked < 0 ? -1 : -2; /* an adopter was faster: it removes the empty file */
}

int s3_writer_new(struct backend *base, const char *name, struct backend_writer **ret,
		  struct err *err)
{
	struct s3_backend *b = (struct s3_backend *)base;
	int spool = spool_folder(b, err);
	struct s3_writer *w;

	if (spool < 0)
		return -1;
	if (!backend_name_valid(name))
		return err_set(err, ERR_USAGE, "'%s' is no object name", name);
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_nomem(err);
	w->base.ops = base->ops;
	w->backend = b;
	snprintf(w->name, sizeof(w->name), "%s", name);
	w->fd = -2;
	for (unsigned attempt = 0; w->fd == -2 && attempt < 100; attempt++)
		w->fd = spool_open(spool, name, attempt, w->temp, sizeof(w->temp), err);
	if (w->fd == -2)
		err_set(err, ERR_BUSY, "no free temporary name for %s", name);
	if (w->fd < 0) {
		free(w);
		return -1;
	}
	*ret = &w->base;
	return 0;
}

int s3_write(struct backend_writer *w, uint64_t off, const void *buf, size_t len, struct err *err)
{
	if (io_pwrite(((struct s3_writer *)w)->fd, buf, len, off, err))
		return err_prefix(err, "spool of uploads");
	return 0;
}

int s3_writer_read(struct backend_writer *w, uint64_t off, void *buf, size_t len, struct err *err)
{
	return io_pread(((struct s3_writer *)w)->fd, buf, len, off, err);
}

/* Consumes @w. */
static int upload(struct s3_writer *w, struct err *err)
{
	struct s3_facts facts = {0};
	int rc = s3_put(w->backend, w->name, NULL, w->fd, w->size, &facts, err);

	/* Its dead writer's upload was whole after all; frames lie at the same places in both. */
	if (rc && w->adopted && err->code == ERR_EXISTS) {
		err_clear(err);
		rc = 0;
	}
	if (rc)
		err_object(err, w->name);
	else if (!is_pack(w))
		s3_cache_adopt(w->backend, w->name, w->fd, w->temp, &facts);
	writer_free(w, rc != 0 && is_pack(w));
	return rc;
}

static void *upload_thread(void *ctx)
{
	struct s3_backend *b = ctx;
	unsigned slot = 0;

	pthread_mutex_lock(&b->queue_lock);
	while (b->active[slot])
		slot++;
	for (;;) {
		struct s3_writer *w = b->waiting;
		struct err err = ERR_INIT;

		b->active[slot] = NULL;
		if (!w && b->closing)
			break;
		if (!w) {
			pthread_cond_wait(&b->queue_changed, &b->queue_lock);
			continue;
		}
		b->waiting = w->next;
		b->active[slot] = w;
		if (b->failed.code) {
			writer_free(w, true);
		} else {
			pthread_mutex_unlock(&b->queue_lock);
			(void)upload(w, &err);
			pthread_mutex_lock(&b->queue_lock);
			if (err.code && !b->failed.code)
				b->failed = err;
		}
		b->outstanding--;
		b->active[slot] = NULL;
		pthread_cond_broadcast(&b->queue_changed);
	}
	pthread_mutex_unlock(&b->queue_lock);
	return NULL;
}

/* Consumes @w. */
static int enqueue(struct s3_backend *b, struct s3_writer *w, struct err *err)
{
	struct s3_writer **last = &b->waiting;
	int rc = 0;

	pthread_mutex_lock(&b->queue_lock);
	while (b->outstanding >= S3_QUEUE && !b->failed.code)
		pthread_cond_wait(&b->queue_changed, &b->queue_lock);
	if (b->n_threads < S3_UPLOADS && b->outstanding >= b->n_threads &&
	    !pthread_create(&b->threads[b->n_threads], NULL, upload_thread, b))
		b->n_threads++;
	if (b->failed.code && err)
		*err = b->failed;
	if (b->failed.code)
		rc = -1;
	else if (!b->n_threads)
		rc = err_set(err, ERR_FAILED, "cannot start a thread for uploads");
	if (rc) {
		pthread_mutex_unlock(&b->queue_lock);
		writer_free(w, true);
		return -1;
	}
	while (*last)
		last = &(*last)->next;
	*last = w;
	b->outstanding++;
	pthread_cond_broadcast(&b->queue_changed);
	pthread_mutex_unlock(&b->queue_lock);
	return 0;
}

int s3_flush(struct s3_backend *b, struct err *err)
{
	int rc = 0;

	pthread_mutex_lock(&b->queue_lock);
	while (b->outstanding)
		pthread_cond_wait(&b->queue_changed, &b->queue_lock);
	if (b->failed.code) {
		if (err)
			*err = b->failed;
		rc = -1;
	}
	pthread_mutex_unlock(&b->queue_lock);
	return rc;
}

bool s3_queued(struct s3_backend *b, const char *name)
{
	bool found = false;

	pthread_mutex_lock(&b->queue_lock);
	for (struct s3_writer *w = b->waiting; w && !found; w = w->next)
		found = !strcmp(w->name, name);
	for (unsigned i = 0; i < S3_UPLOADS && !found; i++)
		found = b->active[i] && !strcmp(b->active[i]->name, name);
	pthread_mutex_unlock(&b->queue_lock);
	return found;
}

void s3_uploads_end(struct s3_backend *b)
{
	if (stop_requested())
		s3_http_abort(b->http);
	pthread_mutex_lock(&b->queue_lock);
	b->closing = true;
	pthread_cond_broadcast(&b->queue_changed);
	pthread_mutex_unlock(&b->queue_lock);
	for (unsigned i = 0; i < b->n_threads; i++)
		pthread_join(b->threads[i], NULL);
}

int s3_commit(struct backend_writer *base, uint64_t size, struct err *err)
{
	struct s3_writer *w = (struct s3_writer *)base;
	struct err why = ERR_INIT;
	struct stat st;

	w->size = size;
	if (fstat(w->fd, &st) || (st.st_size != (off_t)size && ftruncate(w->fd, (off_t)size))) {
		err_sys(err, "cannot cut a file of the spool");
		writer_free(w, true);
		return -1;
	}
	if (is_pack(w))
		return enqueue(w->backend, w, err);
	if (s3_flush(w->backend, err)) {
		writer_free(w, false);
		return -1;
	}
	if (!upload(w, &why))
		return 0;
	if (err)
		*err = why;
	return -1;
}

void s3_writer_close(struct backend_writer *w, bool keep)
{
	writer_free((struct s3_writer *)w, keep);
}

/* "0-packs+5f+5fab" to "packs/5f/5fab" */
static bool final_name(const char *leaf, char name[BACKEND_NAME_MAX])
{
	const char *p = strchr(leaf, '-');

	if (!p || strlen(p + 1) >= BACKEND_NAME_MAX)
		return false;
	memcpy(name, p + 1, strlen(p + 1) + 1);
	for (char *s = name; *s; s++)
		if (*s == '+')
			*s = '/';
	return backend_name_valid(name);
}

static int orphan(struct s3_backend *b, const char *leaf,
		  int (*fn)(void *ctx, const char *name, struct backend_writer *w, uint64_t size,
			    struct err *err),
		  void *ctx, struct err *err)
{
	CLEANUP_CLOSE int fd = openat(b->spool, leaf, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct s3_writer *w;
	struct stat st;
	int locked;

	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
		return 0; /* gone, or not ours */
	locked = s3_lock_file(fd, err);
	if (locked <= 0)
		return locked;
	if (!still_named(b->spool, leaf, fd) || fstat(fd, &st))
		return 0;
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_nomem(err);
	w->base.ops = b->base.ops;
	w->backend = b;
	w->adopted = true;
	if (!final_name(leaf, w->name) ||
	    (size_t)snprintf(w->temp, sizeof(w->temp), "%s", leaf) >= sizeof(w->temp)) {
		free(w);
		return 0;
	}
	w->fd = steal_fd(&fd);
	/* Whole on the server: the writer died between the answer and the end of its file. */
	switch (s3_exists(b, w->name, err)) {
	case 0:
		return fn(ctx, w->name, &w->base, (uint64_t)st.st_size, err);
	case 1:
		writer_free(w, false);
		return 0;
	default:
		writer_free(w, true);
		return -1;
	}
}

int s3_orphans(struct backend *base,
	       int (*fn)(void *ctx, const char *name, struct backend_writer *w, uint64_t size,
			 struct err *err),
	       void *ctx, struct err *err)
{
	struct s3_backend *b = (struct s3_backend *)base;
	int spool = spool_folder(b, err), copy;
	const struct dirent *e;
	DIR *dir;
	int rc = 0;

	if (spool < 0)
		return -1;
	copy = openat(spool, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir) {
		err_sys(err, "cannot list the spool");
		if (copy >= 0)
			close(copy);
		return -1;
	}
	while (!rc && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			rc = orphan(b, e->d_name, fn, ctx, err);
	closedir(dir);
	return rc;
}
