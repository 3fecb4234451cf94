/* Epochs: which packs are condemned, and who knows it.
 *
 * The collector announces what it will remove in an object epochs/N, N counting up. Each process that opens the repository
 * begins a session for the highest N that it sees, before it looks at anything else, and counts nothing of what the
 * objects name as present. When no session below N lives any more, nobody can come to need what N condemned, but for
 * snapshots that were committed until then: those the collector looks at once more before it removes anything.
 * No clock is asked, and the dead hold no session.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/log.h"
#include "libcommon/repo/names.h"
#include "libcommon/repo/store_private.h"

#define PREFIX "epochs/"
enum { DIGITS = 16, EPOCH_NAME_MAX = 32, EPOCH_OBJECT_MAX = 64 << 20, TRIES = 100 };

static bool number_of(const char *name, uint64_t *ret)
{
	uint8_t be[DIGITS / 2];

	if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 ||
	    hex_decode(name + strlen(PREFIX), be, sizeof(be)) < 0)
		return false;
	*ret = 0;
	for (size_t i = 0; i < sizeof(be); i++)
		*ret = *ret << 8 | be[i];
	return true;
}

static uint64_t highest(char *const *names, size_t n)
{
	uint64_t most = 0, number;

	for (size_t i = 0; i < n; i++)
		if (number_of(names[i], &number) && number > most)
			most = number;
	return most;
}

static int compare_packs(const void *a, const void *b)
{
	return memcmp(a, b, PACK_ID);
}

bool epoch_condemned(const struct store *st, const uint8_t pack[PACK_ID])
{
	return pack_in(st->condemned, st->n_condemned, pack);
}

int epoch_condemn(struct store *st, const uint8_t *packs, size_t n, struct err *err)
{
	uint8_t *p = malloc(n * PACK_ID + 1);

	if (!p)
		return err_nomem(err);
	if (n)
		memcpy(p, packs, n * PACK_ID);
	free(st->condemned);
	st->condemned = p;
	st->n_condemned = n;
	return 0;
}

/* The packs of one object to those that are known. */
static int add_object(struct store *st, const char *name, struct err *err)
{
	CLEANUP_FREE uint8_t *data = NULL;
	struct err why = ERR_INIT;
	uint8_t *p;
	size_t len;

	if (store_object_read(st, name, EPOCH_OBJECT_MAX, &data, &len, &why)) {
		if (why.code == ERR_NOT_FOUND)
			return 0; /* the collector has finished with it */
		*err = why;
		return -1;
	}
	if (len % PACK_ID)
		return err_set(err, ERR_CORRUPT, "%s: %zu bytes are no list of packs", name, len);
	p = realloc(st->condemned, (st->n_condemned * PACK_ID) + len + 1);
	if (!p)
		return err_nomem(err);
	memcpy(p + st->n_condemned * PACK_ID, data, len);
	st->condemned = p;
	st->n_condemned += len / PACK_ID;
	return 0;
}

/* What cannot be read was not heard of: the session is one of an older epoch, which the collector waits for. */
static int load_one(struct store *st, const char *name, struct err *err)
{
	struct err why = ERR_INIT;
	uint64_t number;

	if (!add_object(st, name, &why))
		return 0;
	if (why.code != ERR_CORRUPT || !number_of(name, &number) || !number) {
		*err = why;
		return -1;
	}
	log_warning("%s: %s", name, why.message);
	return backend_session(st->backend, number - 1, err);
}

static int load(struct store *st, char *const *names, size_t n, struct err *err)
{
	st->n_condemned = 0;
	for (size_t i = n; i-- > 0;)
		if (load_one(st, names[i], err))
			return -1;
	if (st->n_condemned)
		qsort(st->condemned, st->n_condemned, PACK_ID, compare_packs);
	return 0;
}

/* Return: 1 when a new epoch began while the session did: again, 0, -1 */
static int begin_once(struct store *st, struct err *err)
{
	char **names;
	size_t n;
	int rc;

	if (store_object_list(st, PREFIX, &names, &n, err))
		return -1;
	st->epoch = highest(names, n);
	names_free(names, n);
	if (backend_session(st->backend, st->epoch, err) ||
	    store_object_list(st, PREFIX, &names, &n, err))
		return -1;
	rc = highest(names, n) != st->epoch ? 1 : load(st, names, n, err);
	names_free(names, n);
	return rc;
}

int epoch_begin(struct store *st, struct err *err)
{
	int rc = 1;

	if (!st->backend->ops->session)
		return 0;
	for (unsigned i = 0; i < TRIES && rc > 0; i++)
		rc = begin_once(st, err);
	return rc > 0 ? err_set(err, ERR_BUSY, "epochs begin faster than they can be read") : rc;
}

int epoch_publish(struct store *st, const uint8_t *packs, size_t n, struct err *err)
{
	char name[EPOCH_NAME_MAX], **names;
	uint64_t next = st->epoch + 1;
	size_t n_names;
	int rc = 0;

	(void)snprintf(name, sizeof(name), PREFIX "%016" PRIx64, next);
	if (store_object_write_tight(st, name, n ? packs : (const uint8_t *)"", n * PACK_ID, err) ||
	    backend_session(st->backend, next, err) || epoch_condemn(st, packs, n, err) ||
	    store_object_list(st, PREFIX, &names, &n_names, err))
		return -1;
	st->epoch = next;
	for (size_t i = 0; i < n_names && !rc; i++) {
		uint64_t number;

		if (number_of(names[i], &number) && number < next)
			rc = backend_remove(st->backend, names[i], err);
	}
	names_free(names, n_names);
	return rc;
}
