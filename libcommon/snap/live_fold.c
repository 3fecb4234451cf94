/* A snapshot of a running machine's disk is deleted: the next above (its child) is written down into its file by whatever
 * runs the machine, which goes on without the child's file then.
 *
 *	journal, (the machine begins to commit), record gone, (it ends), what else leaned on the child's file is put on the snapshot's, the child's record
 *	names the snapshot's file (or .present does, for what the machine writes to), the child's file gone, end
 *
 * From the commit on the snapshot's own content is no more, so that this is always finished: by the machine, which alone
 * knows how far it came, or when it is off as any commit (fold.c).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/outfile.h"
#include "libcommon/image/copy/chain.h"
#include "libcommon/snap/private.h"

void snap_fold_release(struct snap_fold *f)
{
	free(f->top);
	free(f->base);
	*f = (struct snap_fold){0};
}

/* The one of the machine's chain that leans on @l; NULL: @l is not in it */
static const struct layer *above(const struct tree *t, const struct layer *l)
{
	const struct layer *up = &t->layers[0];

	for (size_t steps = 0; up && steps <= t->n; steps++) {
		const struct layer *next = tree_parent(t, up);

		if (next == l)
			return up;
		up = next;
	}
	return NULL;
}

static int refuse_size(const struct layer *child, const struct layer *l, struct err *err)
{
	if (child->size >= l->size)
		return 0;
	err_set(err, ERR_UNSUPPORTED,
		"is a larger disk than %s, which would grow: that needs the machine to be off",
		child->name ? child->name : "the present state");
	return err_object(err, l->path);
}

/* The images beside @child that lean on @l, or on the child: they are written to */
static int refuse_others(const struct tree *t, const struct layer *l, const struct layer *child,
			 struct err *err)
{
	for (const struct layer *c = NULL; (c = tree_next_child(t, l, c));)
		if (c != child && (refuse_inside(c, err) < 0 || ask_lock(c->path, err) < 0 ||
				   check_space_for(c, err) < 0))
			return -1;
	/* One in the machine's chain is its own affair */
	for (const struct layer *c = NULL; (c = tree_next_child(t, child, c));)
		if (above(t, child) != c &&
		    (refuse_inside(c, err) < 0 || ask_lock(c->path, err) < 0))
			return -1;
	return 0;
}

static int refuse_fold(const struct snap_disk *d, const struct tree *t, const struct layer *l,
		       const struct layer *child, struct err *err)
{
	struct stat st;

	if (refuse_unclear(t, err) < 0 || refuse_foreign(d, t, l, err) < 0 ||
	    refuse_foreign(d, t, child, err) < 0 || refuse_internal(l, err) < 0 ||
	    refuse_internal(child, err) < 0 || refuse_size(child, l, err) < 0 ||
	    refuse_others(t, l, child, err) < 0)
		return -1;
	if (stat(child->path, &st) < 0)
		return err_sys(err, "cannot look at %s", child->path);
	return check_space(l->path, 512 * (uint64_t)st.st_blocks, err);
}

/* Those that do not run take in what they show of @l: then the machine's is the only one */
static int put_others_up(struct snap_disk *d, const struct tree *t, const struct layer *l,
			 const struct layer *child, struct progress *progress, struct err *err)
{
	struct journal j = {.op = OP_MERGE, .inode = l->ino};
	const struct layer *c = tree_next_child(t, l, NULL);

	if (c == child)
		c = tree_next_child(t, l, c);
	if (!c)
		return 0;
	(void)snprintf(j.name, sizeof(j.name), "%s", l->name);
	(void)snprintf(j.file, sizeof(j.file), "%s", last_part(l->path));
	if (journal_write(d, &j, err) < 0)
		return -1;
	for (; c; c = tree_next_child(t, l, c))
		if (c != child && put_up(c, l, progress, err) < 0)
			return err_hint(err, "vmsnap recover puts it right");
	return journal_end(d, err);
}

static int paths_of(const struct tree *t, const struct layer *l, const struct layer *child,
		    struct snap_fold *ret, struct err *err)
{
	const struct layer *over = above(t, child);

	*ret = (struct snap_fold){.top = strdup(child->path),
				  .base = strdup(l->path),
				  .relative = over && over->backing[0] != '/' &&
					      child->backing[0] != '/'};
	if (ret->top && ret->base)
		return 0;
	snap_fold_release(ret);
	return err_nomem(err);
}

static int announce_fold(struct snap_disk *d, const struct layer *l, const struct layer *child,
			 struct err *err)
{
	struct journal j = {.op = OP_FOLD, .inode = l->ino};

	(void)snprintf(j.name, sizeof(j.name), "%s", l->name);
	(void)snprintf(j.file, sizeof(j.file), "%s", last_part(l->path));
	(void)snprintf(j.child, sizeof(j.child), "%s", child->name ? child->name : "");
	(void)snprintf(j.fresh, sizeof(j.fresh), "%s", last_part(child->path));
	return journal_write(d, &j, err);
}

static int fold_begin(struct snap_disk *d, const struct tree *t, const char *name,
		      struct progress *progress, struct snap_fold *ret, struct err *err)
{
	const struct layer *l, *child;

	if (tree_find(d, t, name, &l, err) < 0)
		return -1;
	child = above(t, l);
	if (!child)
		return 0;
	if (refuse_fold(d, t, l, child, err) < 0 || paths_of(t, l, child, ret, err) < 0)
		return -1;
	if (put_others_up(d, t, l, child, progress, err) == 0 &&
	    announce_fold(d, l, child, err) == 0)
		return 1;
	snap_fold_release(ret);
	return -1;
}

int snap_fold_begin(struct snap_disk *d, const char *name, struct progress *progress,
		    struct snap_fold *ret, struct err *err)
{
	struct snap_entry *e;
	bool chained;
	struct tree t;
	int rc;

	*ret = (struct snap_fold){0};
	if (snap_find(d, name, &e, err) < 0)
		return -1;
	chained = e->engine == SNAP_EXTERNAL && e->current;
	snap_list_free(e, 1);
	if (!chained)
		return snap_delete(d, name, progress, err);
	if (tree_load(d, &t, err) < 0)
		return -1;
	rc = fold_begin(d, &t, name, progress, ret, err);
	tree_free(&t);
	return rc < 0 ? err_object(err, d->path) : rc;
}

int snap_fold_begun(struct snap_disk *d, struct err *err)
{
	struct journal j;
	int found = journal_read(d, &j, err);

	return found <= 0 ? found : record_remove(d, j.name, err);
}

int snap_fold_cancel(struct snap_disk *d, struct err *err)
{
	return journal_end(d, err);
}

/* ---- afterwards */

/* What lies over the child's file shows the same over the snapshot's, which has taken it in */
static int move_others(struct snap_disk *d, const struct journal *j, struct err *err)
{
	const struct chain_opts opts = {.format = "qcow2", .header = true};
	char name[NAME_MAX + 4];
	struct chain_stats stats;
	const struct layer *child, *c = NULL;
	struct tree t;
	int rc = 0;

	(void)snprintf(name, sizeof(name), "%s%s", strchr(j->file, ':') ? "./" : "", j->file);
	if (tree_load(d, &t, err) < 0)
		return -1;
	/* Without its file: that went, and the journal only is left */
	if (tree_find(d, &t, j->child, &child, NULL) == 0 &&
	    strcmp(last_part(child->path), j->fresh) == 0)
		while (rc == 0 && (c = tree_next_child(&t, child, c)))
			rc = image_rebase(c->path, name, "qcow2", &opts, &stats, err);
	tree_free(&t);
	return rc;
}

static int rename_record(struct snap_disk *d, const char *name, const char *path, struct err *err)
{
	struct snap_entry e;
	int rc = -1;

	if (record_read(d, name, &e, err) < 0)
		return -1;
	free(e.file);
	e.file = strdup(path);
	rc = e.file ? record_replace(d, &e, err) : err_nomem(err);
	entry_release(&e);
	return rc;
}

static int now_present(struct snap_disk *d, const struct journal *j, const char *path,
		       struct err *err)
{
	CLEANUP_FREE char *pointer = in_dir(d, PRESENT_FILE);
	char *copy = strdup(path);

	if (!pointer || !copy) {
		free(copy);
		return err_nomem(err);
	}
	free(d->path);
	d->path = copy;
	return outfile_write(pointer, j->file, strlen(j->file), OUTFILE_FORCE, err);
}

int snap_fold_end(struct snap_disk *d, struct err *err)
{
	CLEANUP_FREE char *base = NULL, *top = NULL;
	struct journal j;
	int found = journal_read(d, &j, err);

	if (found <= 0)
		return found;
	base = beside(d, j.file);
	top = beside(d, j.fresh);
	if (!base || !top)
		return err_nomem(err);
	if (record_remove(d, j.name, err) < 0)
		return -1;
	if (*j.child ? move_others(d, &j, err) < 0 || rename_record(d, j.child, base, err) < 0
		     : now_present(d, &j, base, err) < 0)
		return -1;
	return unlink_file(top, err) < 0 ? -1 : journal_end(d, err);
}

/* The child alone leaned on the snapshot's file, so that another one's header says that all is written down */
static int has_moved(struct snap_disk *d, const char *base, const char *top, struct err *err)
{
	struct layer below = {0};
	const struct layer *c = NULL;
	struct stat st, child;
	bool moved = false;
	struct tree t;

	if (stat(base, &st) < 0) {
		err_sys(err, "cannot look at it");
		return err_object(err, base);
	}
	if (stat(top, &child) < 0 && errno == ENOENT)
		return 1;
	below.dev = st.st_dev;
	below.ino = st.st_ino;
	if (tree_load(d, &t, err) < 0)
		return -1;
	while ((c = tree_next_child(&t, &below, c)))
		moved = moved || strcmp(last_part(c->path), last_part(top)) != 0;
	tree_free(&t);
	return moved;
}

int snap_fold_offline(struct snap_disk *d, bool at_base, struct progress *progress, struct err *err)
{
	CLEANUP_FREE char *base = NULL, *top = NULL;
	struct journal j;
	int found = journal_read(d, &j, err), moved;

	if (found <= 0)
		return found;
	base = beside(d, j.file);
	top = beside(d, j.fresh);
	if (!base || !top)
		return err_nomem(err);
	moved = *j.child ? has_moved(d, base, top, err) : at_base;
	if (moved)
		return moved < 0 ? -1 : snap_fold_end(d, err);
	return fold_offline(base, top, progress, err) < 0 ? -1 : journal_end(d, err);
}

int snap_fold_pending(const char *path, struct snap_disk **ret, struct snap_fold *ret_fold,
		      struct err *err)
{
	struct snap_disk *d;
	struct journal j;
	int found;

	*ret = NULL;
	*ret_fold = (struct snap_fold){0};
	if (lock_disk(&d, path, true, err) < 0)
		return -1;
	found = journal_read(d, &j, err);
	if (found > 0 && j.op == OP_FOLD && record_remove(d, j.name, err) < 0) {
		found = -1;
	} else if (found > 0 && j.op == OP_FOLD) {
		ret_fold->top = beside(d, j.fresh);
		ret_fold->base = beside(d, j.file);
		if (ret_fold->top && ret_fold->base) {
			*ret = d;
			return 0;
		}
		snap_fold_release(ret_fold);
		found = err_nomem(err);
	}
	snap_close(d);
	return found < 0 ? -1 : 0;
}
