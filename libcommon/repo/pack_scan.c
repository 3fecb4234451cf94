/* Reading a pack forward without its table: what a killed writer left, and what is left of a damaged pack. */
#include "libcommon/repo/pack.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"

/* A hostile pack can hold a frame's magic everywhere, and each false one costs a look at its table. */
enum { FALSE_STARTS_MAX = 20000, WINDOW = 1 << 20 };

struct scan {
	struct crypto *crypto;
	struct pack_source *src;
	struct frame_codec *codec;
	uint8_t *buf, *raw, *window;
	struct frame_blob *blobs;
	bool deep;
};

/* Is there a good frame at @off? Return: 1 with it added to @ret, 0, or -1 */
static int frame_at(struct scan *s, uint64_t off, struct pack_contents *ret, uint64_t *ret_next,
		    struct err *err)
{
	uint64_t left = s->src->size - off;
	struct frame_header h;
	struct err why = ERR_INIT;
	uint32_t raw_len;
	size_t n;

	if (left < FRAME_HEADER)
		return 0;
	if (s->src->read(s->src->ctx, off, s->buf, FRAME_HEADER, err))
		return -1;
	if (frame_header_decode(s->buf, &h, &why) || frame_section_len(&h) > left)
		return 0;
	if (s->src->read(s->src->ctx, off, s->buf, frame_section_len(&h), err))
		return -1;
	if (frame_open_table(s->crypto, &s->src->key, s->src->id, s->buf, &h, s->blobs, &n,
			     &raw_len, &why))
		return why.code == ERR_NO_MEMORY ? err_nomem(err) : 0;
	if (s->deep) {
		struct pack_contents one = {0};
		int rc;

		if (pack_contents_add(&one, off, &h, s->blobs, n, err))
			return -1;
		rc = pack_check_frame(s->crypto, s->src, s->codec, &one, one.frames, s->buf, s->raw,
				      NULL, NULL, &why);
		pack_contents_free(&one);
		if (rc)
			return why.code == ERR_NO_MEMORY ? err_nomem(err) : 0;
	}
	if (ret->n_frames >= PACK_FRAMES_MAX || ret->n_blobs + n > PACK_BLOBS_MAX)
		return err_set(err, ERR_CORRUPT, "has more than %d frames", PACK_FRAMES_MAX);
	if (pack_contents_add(ret, off, &h, s->blobs, n, err))
		return -1;
	*ret_next = off + frame_section_len(&h);
	return 1;
}

/* The next place at or behind @off with a frame's magic; the size when there is none */
static int next_magic(struct scan *s, uint64_t off, uint64_t *ret, struct err *err)
{
	while (off + FRAME_HEADER <= s->src->size) {
		size_t len = (size_t)min_u64(WINDOW, s->src->size - off);
		const uint8_t *hit;

		if (s->src->read(s->src->ctx, off, s->window, len, err))
			return -1;
		hit = memmem(s->window, len, "VMFR", 4);
		if (hit) {
			*ret = off + (uint64_t)(hit - s->window);
			return 0;
		}
		off += len - 3;
	}
	*ret = s->src->size;
	return 0;
}

static int scan_loop(struct scan *s, struct pack_contents *ret, uint64_t *ret_end, struct err *err)
{
	unsigned false_starts = 0;
	uint64_t off = PACK_HEADER;

	*ret_end = off;
	while (off < s->src->size && false_starts < FALSE_STARTS_MAX) {
		uint64_t next;
		int rc = frame_at(s, off, ret, &next, err);

		if (rc < 0)
			return -1;
		if (rc) {
			*ret_end = off = next;
			continue;
		}
		false_starts++;
		if (next_magic(s, off + 1, &off, err))
			return -1;
	}
	return 0;
}

int pack_scan(struct crypto *c, struct pack_source *src, bool deep, struct pack_contents *ret,
	      uint64_t *ret_end, struct err *err)
{
	CLEANUP_FREE uint8_t *buf = malloc(FRAME_SECTION_MAX), *raw = malloc(FRAME_RAW_MAX),
			     *window = malloc(WINDOW);
	CLEANUP_FREE struct frame_blob *blobs = malloc(FRAME_BLOBS_MAX * sizeof(*blobs));
	struct scan s = {.crypto = c,
			 .src = src,
			 .deep = deep,
			 .buf = buf,
			 .raw = raw,
			 .window = window,
			 .blobs = blobs};
	int rc;

	if (!buf || !raw || !window || !blobs)
		return err_nomem(err);
	if (src->size > UINT32_MAX)
		return err_set(err, ERR_CORRUPT, "is larger than any pack");
	if (frame_codec_new(&s.codec, 0, err))
		return -1;
	rc = scan_loop(&s, ret, ret_end, err);
	frame_codec_free(s.codec);
	if (rc)
		pack_contents_free(ret);
	return rc;
}
