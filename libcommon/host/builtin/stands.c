/* Where the disks of a machine stand that is held: written down, and compared. See hold.c. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/outfile.h"
#include "libcommon/host/builtin/builtin.h"
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

		rc = position_stands(m->disks[i].file, m->disks[i].format,
				     (const char *const *)m->allow, m->n_allow,
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
