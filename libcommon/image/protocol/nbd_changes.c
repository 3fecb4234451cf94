/* A dirty bitmap of an NBD export: see nbd.h. QEMU documents its contexts in docs/interop/nbd.txt. */
#include <inttypes.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/protocol/nbd_private.h"

enum { PIECE = 1 << 30, DIRTY = 1 };

struct answer {
	const char *bitmap;
	struct changes *changes;
	uint64_t pos, end;
	struct err *err;
	int rc;
};

static int take(void *data, const char *context, uint64_t off, uint32_t *entries, size_t n,
		int *error)
{
	struct answer *a = data;

	(void)error;
	if (strcmp(context, a->bitmap) != 0 || off != a->pos)
		return 0;
	for (size_t i = 0; i + 1 < n && a->rc == 0 && a->pos < a->end; i += 2) {
		uint64_t len = min_u64(entries[i], a->end - a->pos);

		if (entries[i + 1] & DIRTY)
			a->rc = changes_add(a->changes, a->pos, len, a->err);
		a->pos += len;
	}
	return 0;
}

static int ask(struct nbd_pool *p, struct nbd_conn *c, struct answer *a, struct err *err)
{
	uint64_t before = a->pos;
	struct nbd_batch b = {0};

	if (p->lib->aio_block_status(c->h, min_u64(PIECE, a->end - a->pos), a->pos,
				     (nbd_extent_callback){.callback = take, .user_data = a},
				     NBD_DONE(&b), 0) < 0)
		return nbd_refused(p, c, err);
	b.in_flight++;
	if (nbd_wait(p, c, &b, 0, err) < 0)
		return -1;
	if (b.error)
		return nbd_failure(b.error, "asking for the dirty bitmap", err);
	if (a->rc == 0 && a->pos == before)
		return err_set(err, ERR_FAILED,
			       "the server says nothing of the bitmap at offset %" PRIu64, before);
	return a->rc;
}

static int read_all(struct nbd_pool *p, struct answer *a, struct err *err)
{
	struct nbd_conn *c;
	int rc = 0;

	if (nbd_pool_take(p, &c, err) < 0)
		return -1;
	if (p->lib->can_meta_context(c->h, a->bitmap) != 1)
		rc = err_set(err, ERR_NOT_FOUND, "the server has no %s", a->bitmap);
	while (rc == 0 && a->pos < a->end)
		rc = ask(p, c, a, err);
	nbd_pool_put(p, c);
	return rc;
}

int nbd_changes(struct changes **ret, const char *uri, const char *bitmap, struct err *err)
{
	struct answer a = {.bitmap = bitmap, .err = err};
	struct nbd_pool pool;
	int rc;

	if (nbd_pool_init(&pool, uri, bitmap, err) < 0)
		return err_object(err, uri);
	a.end = pool.size;
	rc = changes_new(&a.changes, err);
	if (rc == 0)
		rc = read_all(&pool, &a, err);
	nbd_pool_free(&pool);
	if (rc < 0) {
		changes_free(a.changes);
		return err_object(err, uri);
	}
	*ret = a.changes;
	return 0;
}
