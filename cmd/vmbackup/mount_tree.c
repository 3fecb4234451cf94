/* The names of a mounted repository: see mount_tree.h. */
#include "cmd/vmbackup/mount_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/clock.h"
#include "libcommon/base/digest.h"

enum { SHORT_ID = 8, ID_DIGITS = 2 * sizeof(((struct repo_id *)0)->bytes) };

/* What was asked for: snapshots by machine and id, and one disk of them or all (NULL). */
struct selection {
	const struct snapshot **snaps;
	size_t n, n_disks;
	char *disk;
};

static int by_vm_and_id(const void *a, const void *b)
{
	const struct snapshot *x = *(const struct snapshot *const *)a;
	const struct snapshot *y = *(const struct snapshot *const *)b;
	int order = strcmp(x->vm, y->vm);

	return order ? order : memcmp(x->id.bytes, y->id.bytes, sizeof(x->id.bytes));
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct mount_node *)a)->name, ((const struct mount_node *)b)->name);
}

static bool is_machine(const struct mount_tree *t, const char *name)
{
	for (size_t i = 0; i < t->n_list; i++)
		if (strcmp(t->list[i].vm, name) == 0)
			return true;
	return false;
}

static const struct snapshot_disk *wanted_disk(const struct selection *sel,
					       const struct snapshot *s, size_t i)
{
	return !sel->disk || strcmp(sel->disk, s->disks[i].name) == 0 ? &s->disks[i] : NULL;
}

static int add_wanted(struct selection *sel, const struct snapshot *s, struct err *err)
{
	size_t before = sel->n_disks;

	for (size_t i = 0; i < s->n_disks; i++)
		sel->n_disks += wanted_disk(sel, s, i) != NULL;
	if (sel->disk && sel->n_disks == before)
		return err_set(err, ERR_NOT_FOUND, "the snapshot has no disk %s", sel->disk);
	sel->snaps[sel->n++] = s;
	return 0;
}

static int choose(struct selection *sel, struct mount_tree *t, struct repo *repo, const char *spec,
		  struct err *err)
{
	struct snapshot *one = NULL;
	bool machine = spec && is_machine(t, spec);
	int rc = 0;

	sel->snaps = calloc(t->n_list ? t->n_list : 1, sizeof(*sel->snaps));
	if (!sel->snaps)
		return err_nomem(err);
	if (spec && !machine && repo_find_disk(repo, spec, &one, &sel->disk, err) < 0)
		return -1;
	for (size_t i = 0; rc == 0 && i < t->n_list; i++) {
		const struct snapshot *s = &t->list[i];

		if (machine ? strcmp(s->vm, spec) == 0
			    : !one || memcmp(&s->id, &one->id, sizeof(s->id)) == 0)
			rc = add_wanted(sel, s, err);
	}
	if (one)
		snapshots_free(one, 1);
	qsort(sel->snaps, sel->n, sizeof(const struct snapshot *), by_vm_and_id);
	return rc < 0 && spec ? err_object(err, spec) : rc;
}

static struct mount_node *add(struct mount_tree *t, uint32_t parent, mode_t mode)
{
	struct mount_node *node = &t->nodes[t->n++];

	node->parent = parent;
	node->mode = mode;
	t->nodes[parent].n++;
	return node;
}

/* As many digits as tell it from its neighbours, which are the nearest to it. */
static size_t digits(const struct selection *sel, size_t i)
{
	char own[ID_DIGITS + 1], other[ID_DIGITS + 1];
	size_t n = SHORT_ID;

	hex_encode(sel->snaps[i]->id.bytes, ID_DIGITS / 2, own);
	for (size_t k = i ? i - 1 : i; k <= i + 1 && k < sel->n; k++) {
		if (k == i || strcmp(sel->snaps[k]->vm, sel->snaps[i]->vm) != 0)
			continue;
		hex_encode(sel->snaps[k]->id.bytes, ID_DIGITS / 2, other);
		while (n < ID_DIGITS && strncmp(own, other, n) == 0)
			n++;
	}
	return n;
}

static int add_machines(struct mount_tree *t, const struct selection *sel, struct err *err)
{
	t->nodes[0].first = t->n;
	for (size_t i = 0; i < sel->n; i++) {
		const struct snapshot *s = sel->snaps[i];

		if (i && strcmp(s->vm, sel->snaps[i - 1]->vm) == 0)
			continue;
		if (!(add(t, 0, S_IFDIR | 0555)->name = strdup(s->vm)))
			return err_nomem(err);
	}
	return 0;
}

/* The snapshots of sel->snaps[from] and on that are of the machine @m; "latest" sorts behind all ids. */
static int add_snapshots(struct mount_tree *t, uint32_t m, const struct selection *sel,
			 size_t *from, struct err *err)
{
	const struct mount_node *newest = NULL;
	struct mount_node *link;
	size_t i = *from;

	t->nodes[m].first = t->n;
	for (; i < sel->n && strcmp(sel->snaps[i]->vm, t->nodes[m].name) == 0; i++) {
		const struct snapshot *s = sel->snaps[i];
		struct mount_node *node = add(t, m, S_IFDIR | 0555);
		char hex[ID_DIGITS + 1];

		hex_encode(s->id.bytes, sizeof(s->id.bytes), hex);
		node->name = strndup(hex, digits(sel, i));
		if (!node->name)
			return err_nomem(err);
		node->snap = s;
		if (clock_parse_utc(s->time, &node->mtime) < 0)
			node->mtime = 0;
		if (!newest || s->seq > newest->snap->seq)
			newest = node;
	}
	*from = i;
	link = add(t, m, S_IFLNK | 0777);
	link->name = strdup("latest");
	if (!link->name)
		return err_nomem(err);
	link->target = newest->name;
	link->size = strlen(newest->name);
	link->mtime = newest->mtime;
	t->nodes[m].mtime = newest->mtime;
	if (newest->mtime > t->nodes[0].mtime)
		t->nodes[0].mtime = newest->mtime;
	return 0;
}

static int add_disks(struct mount_tree *t, uint32_t at, const struct selection *sel,
		     struct err *err)
{
	const struct snapshot *s = t->nodes[at].snap;

	t->nodes[at].first = t->n;
	for (size_t i = 0; i < s->n_disks; i++) {
		const struct snapshot_disk *disk = wanted_disk(sel, s, i);
		struct mount_node *node;

		if (!disk)
			continue;
		node = add(t, at, S_IFREG | 0444);
		if (asprintf(&node->name, "%s.raw", disk->name) < 0) {
			node->name = NULL;
			return err_nomem(err);
		}
		node->size = disk->size;
		node->data_bytes = disk->data_bytes;
		node->mtime = t->nodes[at].mtime;
		node->snap = s;
		node->disk = disk;
	}
	qsort(&t->nodes[t->nodes[at].first], t->nodes[at].n, sizeof(*t->nodes), by_name);
	return 0;
}

/* Level by level, so that the entries of a folder lie side by side. */
static int add_all(struct mount_tree *t, const struct selection *sel, struct err *err)
{
	uint32_t end;
	size_t from = 0;

	/* root, machines and their links, snapshots, disks */
	if (1 + 3 * sel->n + sel->n_disks > UINT32_MAX)
		return err_set(err, ERR_UNSUPPORTED, "too many snapshots for one mount");
	t->nodes = calloc(1 + 3 * sel->n + sel->n_disks, sizeof(*t->nodes));
	if (!t->nodes)
		return err_nomem(err);
	t->nodes[0].mode = S_IFDIR | 0555;
	t->n = 1;
	if (add_machines(t, sel, err) < 0)
		return -1;
	end = t->n;
	for (uint32_t m = 1; m < end; m++)
		if (add_snapshots(t, m, sel, &from, err) < 0)
			return -1;
	for (uint32_t i = end, last = t->n; i < last; i++)
		if (S_ISDIR(t->nodes[i].mode) && add_disks(t, i, sel, err) < 0)
			return -1;
	return 0;
}

int mount_tree_make(struct mount_tree *ret, struct repo *repo, const char *spec, struct err *err)
{
	struct selection sel = {0};
	int rc;

	*ret = (struct mount_tree){0};
	if (repo_list(repo, NULL, &ret->list, &ret->n_list, NULL, err) < 0)
		return -1;
	rc = choose(&sel, ret, repo, spec, err);
	if (rc == 0)
		rc = add_all(ret, &sel, err);
	free(sel.disk);
	free(sel.snaps);
	if (rc < 0)
		mount_tree_free(ret);
	return rc;
}

void mount_tree_free(struct mount_tree *t)
{
	for (uint32_t i = 0; i < t->n; i++)
		free(t->nodes[i].name);
	free(t->nodes);
	snapshots_free(t->list, t->n_list);
	*t = (struct mount_tree){0};
}

const struct mount_node *mount_tree_find(const struct mount_tree *t, const struct mount_node *dir,
					 const char *name)
{
	uint32_t low = dir->first, high = dir->first + dir->n;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		int order = strcmp(name, t->nodes[mid].name);

		if (order == 0)
			return &t->nodes[mid];
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}
