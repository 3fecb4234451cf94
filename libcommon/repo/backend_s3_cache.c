/* The local cache of an S3 repository: index runs, manifests and records of damage that were read or written, and frames of
 * pages that were read, with the head of their pack (PACK+NAME@OFFSET).
 *
 *	file	= the object | "VMKITS3C" | le64 size | le64 hash of its ETag | 16 XXH3-128 of the object
 *
 * A file appears under its name when it is whole; names are those of the objects with "+" for "/". Processes share the
 * folder: an open copy stays readable when another process removes it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/io.h"
#include "libcommon/base/libcrypto.h"
#include "libcommon/base/log.h"
#include "libcommon/repo/backend_s3_private.h"

enum { TRAILER = 40, PIECE = 8 << 20, LEAF = BACKEND_NAME_MAX, STALE_S = 86400 };

static const char magic[8] = "VMKITS3C";

/* Return: the folder, or -1 */
static int folder(struct s3_backend *b)
{
	struct err why = ERR_INIT;
	int fd;

	pthread_mutex_lock(&b->local_lock);
	if (b->cache == -1 && !s3_http_config(b->http)->cache_size)
		b->cache = -2;
	if (b->cache == -1 && s3_local(s3_http_config(b->http), "objects", &b->cache, &why)) {
		log_info("no cache: %s", why.message);
		b->cache = -2;
	}
	fd = b->cache;
	pthread_mutex_unlock(&b->local_lock);
	return fd < 0 ? -1 : fd;
}

static void leaf_of(const char *name, char leaf[LEAF])
{
	size_t i = 0;

	for (; i < LEAF - 1 && name[i]; i++)
		leaf[i] = name[i] == '/' ? '+' : name[i];
	leaf[i] = 0;
}

static int hash_file(int fd, uint64_t size, uint8_t ret[16])
{
	CLEANUP_FREE XXH3_state_t *x = NULL;
	CLEANUP_FREE uint8_t *buf = malloc(PIECE);
	XXH128_canonical_t c;

	/* its state has an alignment that malloc() need not give */
	if (!buf || posix_memalign((void **)&x, 64, sizeof(*x)))
		return -1;
	XXH3_128bits_reset(x);
	for (uint64_t off = 0; off < size;) {
		size_t n = (size_t)min_u64(PIECE, size - off);

		if (io_pread(fd, buf, n, off, NULL))
			return -1;
		XXH3_128bits_update(x, buf, n);
		off += n;
	}
	XXH128_canonicalFromHash(&c, XXH3_128bits_digest(x));
	memcpy(ret, c.digest, 16);
	return 0;
}

static bool whole(int fd, const struct s3_facts *want)
{
	uint8_t t[TRAILER], hash[16];
	struct stat st;

	return !fstat(fd, &st) && S_ISREG(st.st_mode) &&
	       (uint64_t)st.st_size == want->size + TRAILER &&
	       !io_pread(fd, t, TRAILER, want->size, NULL) && !memcmp(t, magic, 8) &&
	       get_le64(t + 8) == want->size && get_le64(t + 16) == want->etag &&
	       !hash_file(fd, want->size, hash) && !memcmp(t + 24, hash, 16);
}

int s3_cache_open(struct s3_backend *b, const char *name, const struct s3_facts *want)
{
	int dir = folder(b), fd;
	char leaf[LEAF];

	if (dir < 0 || !want->etag)
		return -1;
	leaf_of(name, leaf);
	fd = openat(dir, leaf, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (!whole(fd, want)) {
		close(fd);
		(void)unlinkat(dir, leaf, 0);
		return -1;
	}
	/* the time of the last use decides what goes first */
	(void)utimensat(dir, leaf, NULL, AT_SYMLINK_NOFOLLOW);
	return fd;
}

static int temp_file(int dir, char temp[LEAF])
{
	unsigned char random[8];

	if (RAND_bytes(random, sizeof(random)) != 1)
		return -1;
	memcpy(temp, "tmp-", 4);
	hex_encode(random, sizeof(random), temp + 4);
	return openat(dir, temp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

/* ---- bounds */

struct aged {
	struct timespec used;
	uint64_t size;
	char leaf[LEAF];
};

static int older(const void *a, const void *b)
{
	const struct timespec *x = &((const struct aged *)a)->used,
			      *y = &((const struct aged *)b)->used;

	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? -1 : 1;
	return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

/* One file of the folder: half a download of a dead process goes, the rest is noted. Return: 0 or -1: no memory */
static int note(int dir, const char *leaf, struct aged **list, size_t *n, size_t *cap)
{
	struct aged *p, a;
	struct stat st;

	if (leaf[0] == '.' || strlen(leaf) >= LEAF ||
	    fstatat(dir, leaf, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
		return 0;
	if (!strncmp(leaf, "tmp-", 4)) {
		if (st.st_mtim.tv_sec < time(NULL) - STALE_S)
			(void)unlinkat(dir, leaf, 0);
		return 0;
	}
	if (*n == *cap) {
		*cap = *cap ? 2 * *cap : 64;
		p = realloc(*list, *cap * sizeof(*p));
		if (!p)
			return -1;
		*list = p;
	}
	a = (struct aged){.used = st.st_mtim, .size = (uint64_t)st.st_size};
	memcpy(a.leaf, leaf, strlen(leaf) + 1);
	(*list)[(*n)++] = a;
	return 0;
}

static void sweep(int dir, uint64_t limit)
{
	CLEANUP_FREE struct aged *list = NULL;
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *e;
	size_t n = 0, cap = 0;
	uint64_t total = 0;

	if (!d) {
		if (copy >= 0)
			close(copy);
		return;
	}
	while ((e = readdir(d)) && !note(dir, e->d_name, &list, &n, &cap))
		;
	closedir(d);
	for (size_t i = 0; i < n; i++)
		total += list[i].size;
	if (total <= limit)
		return;
	qsort(list, n, sizeof(*list), older);
	for (size_t i = 0; i < n && total > limit; i++) {
		(void)unlinkat(dir, list[i].leaf, 0);
		total -= list[i].size;
	}
}

/* ---- files */

/* The trailer, and the name. Return: 0, or -1 with the file still under its temporary name */
static int finish(struct s3_backend *b, int from, const char *temp, int fd, const char *name,
		  const struct s3_facts *facts)
{
	uint64_t limit = s3_http_config(b->http)->cache_size;
	int dir = folder(b);
	uint8_t t[TRAILER];
	char leaf[LEAF];

	memcpy(t, magic, 8);
	put_le64(t + 8, facts->size);
	put_le64(t + 16, facts->etag);
	leaf_of(name, leaf);
	if (dir < 0 || hash_file(fd, facts->size, t + 24) ||
	    io_pwrite(fd, t, TRAILER, facts->size, NULL) || renameat(from, temp, dir, leaf))
		return -1;
	pthread_mutex_lock(&b->local_lock);
	b->cache_grew = true;
	b->cache_added += facts->size + TRAILER;
	/* Not only at the end: what is read in one go may be more than all that may be kept. */
	if (b->cache_added > limit / 4) {
		sweep(dir, limit - limit / 4);
		b->cache_added = 0;
	}
	pthread_mutex_unlock(&b->local_lock);
	return 0;
}

/* Return: 1 when @fd holds the object as its maker hashed it, 0 when it does not, -1 when the server failed */
static int download(struct s3_backend *b, const char *name, uint64_t size, int fd, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(PIECE);
	char sha[S3_HEX] = "", ours[S3_HEX];

	if (!buf)
		return 0;
	for (uint64_t off = 0; off < size; off += PIECE) {
		size_t n = (size_t)min_u64(PIECE, size - off);

		if (s3_get_range(b, name, off, buf, n, sha, err))
			return -1;
		if (io_pwrite(fd, buf, n, off, NULL))
			return 0;
	}
	return !sha[0] || (!s3_digest_file(fd, size, ours, NULL) && !strcmp(sha, ours));
}

int s3_cache_fetch(struct s3_backend *b, const char *name, const struct s3_facts *want, int *ret_fd,
		   struct err *err)
{
	int dir = folder(b), fd = s3_cache_open(b, name, want), rc = 0;
	char temp[LEAF];

	*ret_fd = fd;
	if (fd >= 0 || dir < 0 || !want->etag || want->size > s3_http_config(b->http)->cache_size)
		return 0;
	fd = temp_file(dir, temp);
	if (fd < 0)
		return 0;
	for (unsigned n = 0; n < S3_READS && !rc; n++)
		rc = download(b, name, want->size, fd, err);
	if (rc > 0 && !finish(b, dir, temp, fd, name, want)) {
		*ret_fd = fd;
		return 0;
	}
	close(fd);
	(void)unlinkat(dir, temp, 0);
	return rc < 0 ? -1 : 0;
}

void s3_cache_put(struct s3_backend *b, const char *name, const void *data,
		  const struct s3_facts *facts)
{
	int dir = folder(b), fd;
	char temp[LEAF];

	if (dir < 0 || !facts->etag)
		return;
	fd = temp_file(dir, temp);
	if (fd < 0)
		return;
	if (io_pwrite(fd, data, (size_t)facts->size, 0, NULL) ||
	    finish(b, dir, temp, fd, name, facts))
		(void)unlinkat(dir, temp, 0);
	close(fd);
}

void s3_cache_adopt(struct s3_backend *b, const char *name, int fd, const char *temp,
		    const struct s3_facts *facts)
{
	if (facts->etag && facts->size <= s3_http_config(b->http)->cache_size && folder(b) >= 0)
		(void)finish(b, b->spool, temp, fd, name, facts);
}

void s3_cache_drop(struct s3_backend *b, const char *name)
{
	int dir = folder(b);
	char leaf[LEAF];

	leaf_of(name, leaf);
	if (dir >= 0)
		(void)unlinkat(dir, leaf, 0);
}

/* ---- frames: sealed, so that they prove themselves; their packs never change */

static const uint64_t kept_etag = 1;

static void kept_name(const char *pack, uint64_t off, char ret[BACKEND_NAME_MAX])
{
	(void)snprintf(ret, BACKEND_NAME_MAX, "%.100s@%llx", pack, (unsigned long long)off);
}

bool s3_kept_get(struct backend *base, const char *pack, uint64_t off, void *head, size_t head_len,
		 void *buf, size_t len)
{
	struct s3_backend *b = (struct s3_backend *)base;
	const struct s3_facts want = {.size = head_len + len, .etag = kept_etag};
	char name[BACKEND_NAME_MAX];
	CLEANUP_CLOSE int fd = -1;

	kept_name(pack, off, name);
	fd = s3_cache_open(b, name, &want);
	return fd >= 0 && !io_pread(fd, head, head_len, 0, NULL) &&
	       !io_pread(fd, buf, len, head_len, NULL);
}

void s3_kept_put(struct backend *base, const char *pack, uint64_t off, const void *head,
		 size_t head_len, const void *buf, size_t len)
{
	struct s3_backend *b = (struct s3_backend *)base;
	const struct s3_facts facts = {.size = head_len + len, .etag = kept_etag};
	CLEANUP_FREE uint8_t *both = malloc(head_len + len);
	char name[BACKEND_NAME_MAX];

	if (!both)
		return;
	memcpy(both, head, head_len);
	memcpy(both + head_len, buf, len);
	kept_name(pack, off, name);
	s3_cache_put(b, name, both, &facts);
}

void s3_kept_drop(struct backend *base, const char *pack, uint64_t off)
{
	char name[BACKEND_NAME_MAX];

	kept_name(pack, off, name);
	s3_cache_drop((struct s3_backend *)base, name);
}

void s3_cache_end(struct s3_backend *b)
{
	if (b->cache >= 0 && b->cache_grew)
		sweep(b->cache, s3_http_config(b->http)->cache_size);
	if (b->cache >= 0)
		close(b->cache);
}
