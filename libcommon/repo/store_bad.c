/* What was found damaged: copies of blobs that no longer count as present, in this process and later ones.
 *
 * A record names a blob and the pack of the damaged copy, so that the same blob stored again, in another pack, counts.
 * Records are create-only objects bad/NAME: (32 id | 16 pack)..., id 0 for all blobs of a pack that is gone.
 */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/log.h"
#include "libcommon/repo/names.h"
#include "libcommon/repo/store_private.h"

static const struct repo_id whole_pack; /* zeros: stands for all blobs of a pack */

enum { BAD_RECORD = 48, BAD_OBJECT_MAX = 64 << 20 };

static size_t slot(const struct store *st, const struct repo_id *id, const uint8_t pack[PACK_ID])
{
	size_t i = (size_t)(get_le64(id->bytes) ^ get_le64(pack)) & (st->cap_bad - 1);

	while (st->bad_used[i] &&
	       (memcmp(&st->bad[i].id, id, sizeof(*id)) || memcmp(st->bad[i].pack, pack, PACK_ID)))
		i = (i + 1) & (st->cap_bad - 1);
	return i;
}

static int grow_set(struct store *st, struct err *err)
{
	size_t cap = st->cap_bad ? 2 * st->cap_bad : 256, old = st->cap_bad;
	struct bad_blob *bad = malloc(cap * sizeof(*bad)), *old_bad = st->bad;
	uint8_t *used = calloc(cap, 1), *old_used = st->bad_used;

	if (!bad || !used) {
		free(bad);
		free(used);
		return err_nomem(err);
	}
	st->bad = bad;
	st->bad_used = used;
	st->cap_bad = cap;
	for (size_t i = 0; i < old; i++)
		if (old_used[i]) {
			size_t to = slot(st, &old_bad[i].id, old_bad[i].pack);

			bad[to] = old_bad[i];
			used[to] = 1;
		}
	free(old_bad);
	free(old_used);
	return 0;
}

/* With bad_lock held. Return: 1 when it is new, 0, -1 */
static int insert(struct store *st, const struct repo_id *id, const uint8_t pack[PACK_ID],
		  struct err *err)
{
	size_t i;

	if (st->n_bad * 2 >= st->cap_bad && grow_set(st, err))
		return -1;
	i = slot(st, id, pack);
	if (st->bad_used[i])
		return 0;
	st->bad_used[i] = 1;
	st->bad[i].id = *id;
	memcpy(st->bad[i].pack, pack, PACK_ID);
	st->n_bad++;
	return 1;
}

bool bad_has(struct store *st, const struct repo_id *id, const uint8_t pack[PACK_ID])
{
	bool has;

	pthread_mutex_lock(&st->bad_lock);
	has = st->n_bad &&
	      (st->bad_used[slot(st, id, pack)] || st->bad_used[slot(st, &whole_pack, pack)]);
	pthread_mutex_unlock(&st->bad_lock);
	return has;
}

bool bad_has_pack(struct store *st, const uint8_t pack[PACK_ID])
{
	bool has = false;

	pthread_mutex_lock(&st->bad_lock);
	for (size_t i = 0; i < st->cap_bad && st->n_bad && !has; i++)
		has = st->bad_used[i] && !memcmp(st->bad[i].pack, pack, PACK_ID);
	pthread_mutex_unlock(&st->bad_lock);
	return has;
}

int bad_add(struct store *st, const struct repo_id *id, const uint8_t pack[PACK_ID],
	    struct err *err)
{
	int rc;

	pthread_mutex_lock(&st->bad_lock);
	rc = insert(st, id, pack, err);
	if (rc > 0 && st->n_queue == st->cap_queue) {
		size_t cap = st->cap_queue ? 2 * st->cap_queue : 64;
		struct bad_blob *p = realloc(st->bad_queue, cap * sizeof(*p));

		if (p) {
			st->bad_queue = p;
			st->cap_queue = cap;
		} else {
			rc = err_nomem(err);
		}
	}
	if (rc > 0) {
		st->bad_queue[st->n_queue].id = *id;
		memcpy(st->bad_queue[st->n_queue++].pack, pack, PACK_ID);
	}
	pthread_mutex_unlock(&st->bad_lock);
	return rc < 0 ? -1 : 0;
}

int bad_add_pack(struct store *st, const uint8_t pack[PACK_ID], struct err *err)
{
	return bad_add(st, &whole_pack, pack, err);
}

void bad_flush(struct store *st)
{
	uint8_t *data = NULL, random[16];
	char name[BAD_NAME_MAX] = "bad/";
	struct err err = ERR_INIT;
	size_t n;

	pthread_mutex_lock(&st->bad_lock);
	n = st->n_queue;
	if (n && n <= BAD_OBJECT_MAX / BAD_RECORD)
		data = malloc(n * BAD_RECORD);
	for (size_t i = 0; data && i < n; i++) {
		memcpy(data + i * BAD_RECORD, st->bad_queue[i].id.bytes, 32);
		memcpy(data + i * BAD_RECORD + 32, st->bad_queue[i].pack, PACK_ID);
	}
	st->n_queue = 0;
	pthread_mutex_unlock(&st->bad_lock);
	if (!data)
		return;
	if (!crypto_random(random, sizeof(random), &err)) {
		hex_encode(random, sizeof(random), name + 4);
		if (store_object_write(st, name, data, n * BAD_RECORD, &err))
			log_info("damage is not recorded in the repository: %s", err.message);
	}
	free(data);
}

static int load_one(struct store *st, const char *name, struct err *err)
{
	struct err why = ERR_INIT;
	uint8_t *data;
	size_t len;
	int rc = 0;

	if (store_object_read(st, name, BAD_OBJECT_MAX, &data, &len, &why)) {
		log_warning("%s: %s", name, why.message);
		return 0;
	}
	pthread_mutex_lock(&st->bad_lock);
	for (size_t off = 0; off + BAD_RECORD <= len && rc >= 0; off += BAD_RECORD) {
		struct repo_id id;

		memcpy(id.bytes, data + off, sizeof(id.bytes));
		rc = insert(st, &id, data + off + 32, err);
	}
	pthread_mutex_unlock(&st->bad_lock);
	free(data);
	return rc < 0 ? -1 : 0;
}

int bad_load(struct store *st, struct err *err)
{
	char **names;
	size_t n;
	int rc = 0;

	if (store_object_list(st, "bad/", &names, &n, err))
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (!rc)
			rc = load_one(st, names[i], err);
		free(names[i]);
	}
	free(names);
	return rc;
}

/* Is all of the record about the packs? */
static bool only_about(struct store *st, const char *name, const uint8_t *packs, size_t n)
{
	struct err why = ERR_INIT;
	uint8_t *data;
	size_t len, off;

	if (store_object_read(st, name, BAD_OBJECT_MAX, &data, &len, &why))
		return false;
	for (off = 0; off + BAD_RECORD <= len; off += BAD_RECORD)
		if (!pack_in(packs, n, data + off + 32))
			break;
	free(data);
	return off + BAD_RECORD > len;
}

int bad_drop_packs(struct store *st, const uint8_t *packs, size_t n, struct err *err)
{
	char **names;
	size_t n_names;
	int rc = 0;

	if (store_object_list(st, "bad/", &names, &n_names, err))
		return -1;
	for (size_t i = 0; i < n_names && !rc; i++)
		if (only_about(st, names[i], packs, n))
			rc = backend_remove(st->backend, names[i], err);
	names_free(names, n_names);
	return rc;
}

/* In memory; Return: were there any? */
static bool forget(struct store *st, const uint8_t pack[PACK_ID])
{
	struct bad_blob *old = st->bad, *bad = malloc((st->cap_bad + 1) * sizeof(*bad));
	uint8_t *old_used = st->bad_used, *used = calloc(st->cap_bad + 1, 1);
	size_t n = 0, left = 0;

	for (size_t i = 0; bad && used && i < st->n_queue; i++)
		if (memcmp(st->bad_queue[i].pack, pack, PACK_ID))
			st->bad_queue[left++] = st->bad_queue[i];
	if (!bad || !used) { /* without memory they stay: what is read is right all the same */
		free(bad);
		free(used);
		return true;
	}
	st->n_queue = left;
	st->bad = bad;
	st->bad_used = used;
	for (size_t i = 0; i < st->cap_bad; i++) {
		size_t to;

		if (!old_used[i] || !memcmp(old[i].pack, pack, PACK_ID))
			continue;
		to = slot(st, &old[i].id, old[i].pack);
		bad[to] = old[i];
		used[to] = 1;
		n++;
	}
	left = st->n_bad - n;
	st->n_bad = n;
	free(old);
	free(old_used);
	return left > 0;
}

/* A record without the pack takes the place of one that speaks of it. */
static int forget_in(struct store *st, const char *name, const uint8_t pack[PACK_ID],
		     struct err *err)
{
	struct err why = ERR_INIT;
	char again[BAD_NAME_MAX] = "bad/";
	uint8_t *data, random[16];
	size_t len, left = 0;
	int rc = 0;

	if (store_object_read(st, name, BAD_OBJECT_MAX, &data, &len, &why))
		return 0;
	for (size_t off = 0; off + BAD_RECORD <= len; off += BAD_RECORD)
		if (memcmp(data + off + 32, pack, PACK_ID)) {
			memmove(data + left, data + off, BAD_RECORD);
			left += BAD_RECORD;
		}
	if (left && left < len) {
		rc = crypto_random(random, sizeof(random), err);
		hex_encode(random, sizeof(random), again + 4);
		if (!rc)
			rc = store_object_write(st, again, data, left, err);
	}
	if (!rc && left < len)
		rc = backend_remove(st->backend, name, err);
	free(data);
	return rc;
}

int bad_forget_pack(struct store *st, const uint8_t pack[PACK_ID], struct err *err)
{
	char **names;
	size_t n;
	bool any;
	int rc = 0;

	pthread_mutex_lock(&st->bad_lock);
	any = forget(st, pack);
	pthread_mutex_unlock(&st->bad_lock);
	if (!any)
		return 0;
	if (store_object_list(st, "bad/", &names, &n, err))
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (!rc)
			rc = forget_in(st, names[i], pack, err);
		free(names[i]);
	}
	free(names);
	return rc;
}

void bad_free(struct store *st)
{
	free(st->bad);
	free(st->bad_used);
	free(st->bad_queue);
}
