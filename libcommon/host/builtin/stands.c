/* Where the disks of a machine stand that is held: written down, and compared. See hold.c. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/outfile.h"
#include "libcommon/host/builtin/builtin.h"
#include "libcommon/image/image.h"
#include "libcommon/runner/position.h"
#include "libcommon/runner/state.h"

enum { HELD_MAX = 1 << 20 };

int builtin_write_positions(const struct builtin_host *b, const struct builtin_machine *m,
			    struct err *err)
{
	CLEANUP_FREE char *path = builtin_path(b->state, m->name, "held");
	CLEANUP_FREE char *text = NULL;
	json_t *list = json_array();
	int rc = path && list ? 0 : err_nomem(err);

	for (size_t i = 0; rc == 0 && i < m->n_disks; i++) {
		json_t *one = NULL;

		rc = position_of(m->disks[i].file, m->disks[i].format,
				 (const char *const *)m->allow, m->n_allow, &one, err);
		if (rc == 0 && json_array_append_new(list, one) < 0)
			rc = err_nomem(err);
	}
	if (rc == 0)
		text = json_dumps(list, JSON_COMPACT);
	json_decref(list);
	if (rc == 0 && !text)
		rc = err_nomem(err);
	return rc < 0 ? -1
		      : outfile_write(path, text, strlen(text), OUTFILE_FORCE | OUTFILE_PRIVATE,
				      err);
}

/* Do the @top layers of @img hold nothing? */
static int are_empty(struct image *img, size_t top, bool *ret, struct err *err)
{
	uint64_t size = image_size(img);
	struct extent e;

	*ret = true;
	for (uint64_t off = 0; *ret && off < size; off += e.len) {
		if (image_extent(img, off, size - off, &e, err) < 0)
			return -1;
		*ret = e.depth >= top || e.kind == EXTENT_UNALLOCATED;
	}
	return 0;
}

/* Files that are as they were, below new ones that hold nothing, which a snapshot puts there */
static int is_below(struct image *img, const json_t *now, const json_t *then, bool *ret,
		    struct err *err)
{
	size_t n = json_array_size(now), was = json_array_size(then);

	*ret = was && n > was;
	for (size_t i = 0; *ret && i < was; i++)
		*ret = json_equal(json_array_get(now, n - was + i), json_array_get(then, i));
	return *ret ? are_empty(img, n - was, ret, err) : 0;
}

static int stands(const struct builtin_machine *m, size_t i, const json_t *then, bool *ret,
		  struct err *err)
{
	const struct image_open_opts opts = {.format = m->disks[i].format,
					     .allow_dirs = (const char *const *)m->allow,
					     .n_allow_dirs = m->n_allow};
	struct image *img;
	json_t *now;
	int rc;

	if (image_open(&img, m->disks[i].file, &opts, err) < 0)
		return -1;
	rc = position_get(img, &now, err);
	if (rc == 0) {
		*ret = json_equal(now, then);
		if (!*ret)
			rc = is_below(img, now, then, ret, err);
		json_decref(now);
	}
	image_close(img);
	return rc;
}

/* What NAME.held says; NULL: it is empty, or none. Owned */
static json_t *read_held(const struct builtin_host *b, const char *name)
{
	CLEANUP_FREE char *path = builtin_held_file(b, name), *text = NULL;
	size_t len;

	return path && io_read_file(path, HELD_MAX, &text, &len, NULL) == 0
		       ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL)
		       : NULL;
}

static int differs(const char *file, struct err *err)
{
	err_set(err, ERR_DIFFERS,
		"has changed since its machine was saved for a snapshot, and nothing says that its "
		"bytes are those of then");
	err_object(err, file);
	return err_hint(err, "if nobody else wrote to it: vmsnap -c builtin recover --unchanged; "
			     "vmctl start --fresh boots without that memory");
}

int builtin_stands(const struct builtin_host *b, const struct builtin_machine *m, struct err *err)
{
	CLEANUP_FREE char *save = builtin_path(b->state, m->name, "save");
	json_t *held = read_held(b, m->name);
	struct state *s = NULL;
	int rc = save ? 0 : err_nomem(err);

	if (rc == 0)
		rc = state_open(&s, save, err);
	if (rc == 0 && s->n_disks != m->n_disks) {
		rc = err_set(err, ERR_DIFFERS, "had %zu disks when it was saved, and has %zu now",
			     s->n_disks, m->n_disks);
		err_object(err, m->name);
	}
	for (size_t i = 0; rc == 0 && i < m->n_disks; i++) {
		bool same = false;

		rc = stands(m, i,
			    held ? json_array_get(held, i)
				 : json_object_get(state_disk(s, i), "files"),
			    &same, err);
		if (rc == 0 && !same)
			rc = differs(m->disks[i].file, err);
	}
	if (s)
		state_close(s);
	json_decref(held);
	return rc;
}
