/* Whose a session is: a note that its owner leaves, for people. It is sealed, so that nobody else reads or invents it, and
 * always of one length. Nothing rests on it: a note that cannot be read is no note.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/repo/store_private.h"

#define NOTE_NAME "leases/note" /* the objects' own names change with each renewal */

enum { NOTE_PLAIN = 512 };

static int note_text(char ret[NOTE_PLAIN], struct err *err)
{
	char host[256] = "", began[32];
	time_t now = time(NULL);
	struct tm tm;
	json_t *note;
	size_t n;

	(void)gethostname(host, sizeof(host) - 1);
	gmtime_r(&now, &tm);
	(void)strftime(began, sizeof(began), "%Y-%m-%dT%H:%M:%SZ", &tm);
	memset(ret, ' ', NOTE_PLAIN);
	note = json_pack("{s:s, s:s, s:I}", "began", began, "host", host, "pid",
			 (json_int_t)getpid());
	/* Only a host name that is no text cannot be packed. */
	n = note ? json_dumpb(note, ret, NOTE_PLAIN, JSON_COMPACT) : 0;
	json_decref(note);
	return n && n <= NOTE_PLAIN ? 0 : err_set(err, ERR_FAILED, "the host's name is no text");
}

void store_leave_note(struct store *st)
{
	CLEANUP_FREE uint8_t *sealed = NULL;
	char plain[NOTE_PLAIN];
	struct err why = ERR_INIT;
	size_t len;

	if (!st->backend->ops->note)
		return;
	if (note_text(plain, &why) || sealed_encode(st->crypto, SEALED_OBJECT, NOTE_NAME, plain,
						    sizeof(plain), &sealed, &len, &why))
		log_info("others cannot see whose session this is: %s", why.message);
	else
		backend_note(st->backend, sealed, len);
}

struct holders {
	struct store *st;
	uint64_t below;
	struct repo_holder *items;
	size_t n;
};

static char *member(const json_t *note, const char *key)
{
	const char *text = json_string_value(json_object_get(note, key));

	return text ? strdup(text) : NULL;
}

static void read_note(struct store *st, const struct backend_user *u, struct repo_holder *h)
{
	CLEANUP_FREE uint8_t *plain = NULL;
	struct err why = ERR_INIT;
	json_t *note;
	size_t len;

	if (!u->note || sealed_decode(st->crypto, SEALED_OBJECT, NOTE_NAME, u->note, u->n_note,
				      &plain, &len, &why))
		return;
	note = json_loadb((const char *)plain, len, 0, NULL);
	h->host = member(note, "host");
	h->began = member(note, "began");
	h->pid = json_integer_value(json_object_get(note, "pid"));
	json_decref(note);
}

static int add_holder(void *ctx, const struct backend_user *u, struct err *err)
{
	struct holders *h = ctx;
	struct repo_holder *more;

	if (u->epoch >= h->below)
		return 0;
	more = reallocarray(h->items, h->n + 1, sizeof(*more));
	if (!more)
		return err_nomem(err);
	h->items = more;
	more[h->n] = (struct repo_holder){.silent_s = u->silent_s, .grace_s = u->grace_s};
	read_note(h->st, u, &more[h->n++]);
	return 0;
}

int repo_get_holders(struct repo *repo, bool all, struct repo_holder **ret, size_t *ret_n,
		     struct err *err)
{
	struct store *st = repo_store(repo);
	struct holders h = {.st = st, .below = all ? UINT64_MAX : st->epoch};

	if (backend_users(st->backend, add_holder, &h, err)) {
		repo_holders_free(h.items, h.n);
		return -1;
	}
	*ret = h.items;
	*ret_n = h.n;
	return 0;
}

void repo_holders_free(struct repo_holder *h, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(h[i].host);
		free(h[i].began);
	}
	free(h);
}
