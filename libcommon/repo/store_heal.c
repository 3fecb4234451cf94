/* Healing a pack by its parity: read what can be read, heal in memory, look at every frame, then put it in the place of
 * the damaged one. The bytes of header and frames are those that were written once, so nothing that names the pack has to
 * change. Never silent: what was done is said by the caller. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/stop.h"
#include "libcommon/repo/parity.h"
#include "libcommon/repo/store_private.h"

enum { PIECE = 1 << 20 };

/* Bad sectors are read as zeros, each by itself, and counted. Any other error says nothing of the pack. */
static int read_piece(struct backend_object *o, uint64_t off, uint8_t *buf, size_t len,
		      uint64_t *unread, struct err *err)
{
	struct err why = ERR_INIT;

	if (!backend_object_read(o, off, buf, len, &why))
		return 0;
	for (size_t at = 0, n; at < len; at += n) {
		n = (size_t)min_u64(PARITY_BLOCK, len - at);
		err_clear(&why);
		if (!backend_object_read(o, off + at, buf + at, n, &why))
			continue;
		if (why.sys != EIO) {
			*err = why;
			return -1;
		}
		memset(buf + at, 0, n);
		++*unread;
	}
	return 0;
}

/* Return: 1, 0 when it cannot be had, -1 */
static int read_whole(struct store *st, const char *name, struct healed_pack *ret, struct err *err)
{
	struct err why = ERR_INIT;
	struct backend_object *o;
	uint64_t size;
	int rc = 1;

	if (backend_open(st->backend, name, &o, &size, &why))
		return 0;
	if (size < PACK_HEADER || size > PARITY_PACK_MAX) {
		backend_object_close(o);
		return 0;
	}
	ret->len = (size_t)size;
	ret->buf = malloc(ret->len);
	if (!ret->buf)
		rc = err_nomem(err);
	for (uint64_t off = 0; off < size && rc > 0; off += PIECE)
		if (stop_check(err) < 0 ||
		    read_piece(o, off, ret->buf + off, (size_t)min_u64(PIECE, size - off),
			       &ret->unread, err))
			rc = -1;
	backend_object_close(o);
	return rc;
}

static int memory_read(void *ctx, uint64_t off, void *buf, size_t len, struct err *err)
{
	struct healed_pack *p = ctx;

	if (!range_inside(off, len, p->len))
		return err_set(err, ERR_CORRUPT, "%zu bytes at %" PRIu64 " are behind the end", len,
			       off);
	memcpy(buf, p->buf + off, len);
	return 0;
}

/* A table that is damaged is made again from the frames, once all that parity covers is right. */
static int new_tail(struct store *st, struct pack_source *src, struct healed_pack *p,
		    const struct parity_report *r, struct pack_contents *pc, struct err *err)
{
	struct pack_source frames = *src;
	uint8_t *tail, *more;
	uint64_t end;
	size_t len;

	frames.size = r->data_end;
	if (pack_scan(st->crypto, &frames, true, pc, &end, err) ||
	    pack_tail(st->crypto, src->id, pc, r->end, &tail, &len, err))
		return -1;
	more = realloc(p->buf, r->end + len);
	if (!more) {
		free(tail);
		return err_nomem(err);
	}
	memcpy(more + r->end, tail, len);
	free(tail);
	p->buf = more;
	p->len = r->end + len;
	src->size = p->len;
	return 0;
}

/* Return: how many frames are bad, or -1 */
static int count_bad(struct store *st, struct pack_source *src, const struct pack_contents *pc,
		     struct err *err)
{
	uint8_t *section = malloc(FRAME_SECTION_MAX), *raw = malloc(FRAME_RAW_MAX);
	struct frame_codec *codec = NULL;
	int bad = 0;

	if (!section || !raw || frame_codec_new(&codec, 0, err))
		bad = err_nomem(err);
	for (size_t i = 0; i < pc->n_frames && bad >= 0; i++) {
		struct err why = ERR_INIT;

		if (stop_check(err) < 0) {
			bad = -1;
		} else if (pack_check_frame(st->crypto, src, codec, pc, &pc->frames[i], section,
					    raw, NULL, NULL, &why)) {
			bad = why.code == ERR_NO_MEMORY ? err_nomem(err) : bad + 1;
		}
	}
	frame_codec_free(codec);
	free(section);
	free(raw);
	return bad;
}

static void say(struct healed_pack *p, const char *name, const struct parity_report *r, bool tail,
		int bad_frames, const struct err *why)
{
	char blocks[260] = "", rest[100] = "";

	if (r->bad)
		(void)snprintf(blocks, sizeof(blocks), " bytes %s", r->ranges);
	if (r->left || bad_frames)
		(void)snprintf(rest, sizeof(rest),
			       "; %" PRIu64 " blocks and %d frames are beyond it", r->left,
			       bad_frames);
	(void)snprintf(p->sentence, sizeof(p->sentence),
		       "%s: damage was healed by parity:%s%s%s%s%s%.200s", name, blocks,
		       r->bad && tail ? "," : "", tail ? " the table" : "", rest,
		       why->code ? "; not written back: " : "", why->code ? why->message : "");
}

/* Header, table and frames of what is in memory. Return: 1 with it written back, 0 when it is no better, -1 */
static int judge(struct store *st, const char *name, const uint8_t pack[PACK_ID],
		 struct healed_pack *p, const struct parity_report *r, struct err *err)
{
	struct pack_source src = {.read = memory_read, .ctx = p, .size = p->len};
	struct pack_contents pc = {0};
	struct err why = ERR_INIT;
	bool tail;
	int bad;

	memcpy(src.id, pack, PACK_ID);
	if (pack_read_header(st->crypto, &src, &why))
		return why.code == ERR_NO_MEMORY ? err_nomem(err) : 0;
	p->key = src.key;
	tail = pack_read_table(st->crypto, &src, &pc, NULL, &why) < 0;
	if (tail && why.code == ERR_NO_MEMORY)
		return err_nomem(err);
	if (!r->bad && !tail)
		return 0;
	err_clear(&why);
	if (tail && (r->left || new_tail(st, &src, p, r, &pc, &why))) {
		pack_contents_free(&pc);
		if (why.code == ERR_NO_MEMORY)
			return err_nomem(err);
		tail = false;
		bad = 1; /* how many frames there were is not known */
	} else {
		bad = count_bad(st, &src, &pc, err);
		pack_contents_free(&pc);
	}
	if (bad < 0 || (r->left == r->bad && !tail))
		return bad < 0 ? -1 : 0;
	p->whole = !bad && !r->left;
	err_clear(&why);
	/* What could not be read just now may be whole: zeros must not take its place. */
	if (p->unread && !p->whole)
		err_set(&why, ERR_FAILED, "%" PRIu64 " blocks cannot be read", p->unread);
	else
		p->written = !backend_replace(st->backend, name, p->buf, p->len, &why);
	if (p->written && p->whole)
		(void)bad_forget_pack(st, pack, &why);
	say(p, name, r, tail, bad, &why);
	return 1;
}

int store_heal(struct store *st, const uint8_t pack[PACK_ID], struct healed_pack *ret,
	       struct err *err)
{
	struct parity_report report;
	char name[PACK_NAME_MAX];
	int rc;

	memset(ret, 0, sizeof(*ret));
	pack_name(pack, name);
	rc = read_whole(st, name, ret, err);
	if (rc > 0)
		rc = parity_heal(&ret->buf, &ret->len, pack, &report, err) < 0 ? -1 : report.found;
	if (rc > 0)
		rc = judge(st, name, pack, ret, &report, err);
	if (rc <= 0) {
		free(ret->buf);
		ret->buf = NULL;
	}
	if (rc > 0 && ret->written)
		st->n_healed++;
	if (!rc)
		memcpy(st->hopeless, pack, PACK_ID);
	return rc;
}
