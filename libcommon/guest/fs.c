/* What all file systems have in common: lists, maps of files, reading through them. */
#include "libcommon/guest/fs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/guest/probe.h"

enum {
	ENTRIES_MOST = 4 << 20, /* of one folder */
	RUNS_MOST = 4 << 20,	/* of one file */
};

static const struct fs_ops *const all[] = {&fs_ext, &fs_fat, &fs_xfs};

bool fs_is_read(const char *family)
{
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(family, all[i]->name) == 0)
			return true;
	return false;
}

int fs_open(struct fs **ret, const struct volume *v, struct err *err)
{
	struct fs_info info;

	if (fs_probe(v, &info, err) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (strcmp(info.family, all[i]->name) != 0)
			continue;

		CLEANUP_FREE struct fs *fs = calloc(1, sizeof(*fs));

		if (!fs)
			return err_nomem(err);
		fs->ops = all[i];
		fs->v = *v;
		if (fs->ops->open(fs, err) < 0)
			return -1;
		*ret = steal_ptr(&fs);
		return 0;
	}
	if (strcmp(info.type, "empty") == 0)
		return err_set(err, ERR_NOT_FOUND, "there is nothing on it");
	if (strcmp(info.type, "unknown") == 0)
		return err_set(err, ERR_UNSUPPORTED, "no file system is known that begins so");
	return err_set(err, ERR_UNSUPPORTED, "%s is not read here", info.type);
}

void fs_close(struct fs *fs)
{
	if (!fs)
		return;
	fs->ops->close(fs);
	free(fs);
}

int fs_root(struct fs *fs, struct fs_node *ret, struct err *err)
{
	return fs->ops->root(fs, ret, err);
}

/* ---- folders */

int fs_list_add(struct fs_list *l, const char *name, size_t len, const struct fs_node *node,
		struct err *err)
{
	if (len <= 2 && len > 0 && memcmp(name, "..", len) == 0)
		return 0;
	if (len == 0 || len > FS_NAME_MOST || memchr(name, '/', len) || memchr(name, '\0', len))
		return err_set(err, ERR_CORRUPT,
			       "a folder holds a name that cannot be one (%zu bytes)", len);
	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		struct fs_entry *more;

		if (l->n >= ENTRIES_MOST)
			return err_set(err, ERR_UNSUPPORTED, "a folder of more than %d names",
				       ENTRIES_MOST);
		more = reallocarray(l->entries, room, sizeof(*more));
		if (!more)
			return err_nomem(err);
		l->entries = more;
		l->room = room;
	}

	char *copy = strndup(name, len);

	if (!copy)
		return err_nomem(err);
	l->entries[l->n++] = (struct fs_entry){copy, *node};
	return 0;
}

void fs_list_release(struct fs_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->entries[i].name);
	free(l->entries);
	*l = (struct fs_list){0};
}

static int by_name(const void *a, const void *b)
{
	const struct fs_entry *x = a, *y = b;

	return strcmp(x->name, y->name);
}

int fs_list(struct fs *fs, const struct fs_node *dir, struct fs_list *ret, struct err *err)
{
	*ret = (struct fs_list){0};
	if (dir->type != FS_DIR)
		return err_set(err, ERR_USAGE, "not a folder");
	if (fs->ops->list(fs, dir, ret, err) < 0) {
		fs_list_release(ret);
		return -1;
	}
	if (ret->n)
		qsort(ret->entries, ret->n, sizeof(*ret->entries), by_name);
	return 0;
}

int fs_lookup(struct fs *fs, const struct fs_node *dir, const char *name, struct fs_node *ret,
	      bool *ret_found, struct err *err)
{
	struct fs_list l;

	*ret_found = false;
	if (fs->ops->lookup)
		return fs->ops->lookup(fs, dir, name, ret, ret_found, err);
	if (fs_list(fs, dir, &l, err) < 0)
		return -1;
	for (size_t i = 0; i < l.n && !*ret_found; i++) {
		if ((fs->ops->ignores_case ? strcasecmp : strcmp)(l.entries[i].name, name) != 0)
			continue;
		*ret = l.entries[i].node;
		*ret_found = true;
	}
	fs_list_release(&l);
	return 0;
}

int fs_fill(struct fs *fs, struct fs_node *node, struct err *err)
{
	if (node->filled)
		return 0;
	if (fs->ops->fill(fs, node, err) < 0)
		return -1;
	node->filled = true;
	return 0;
}

/* ---- files */

int fs_map_add(struct fs_map *m, const struct volume *v, uint64_t off, uint64_t place, uint64_t len,
	       struct err *err)
{
	struct fs_run *last = m->n ? &m->runs[m->n - 1] : NULL;
	uint64_t end;

	if (!len)
		return 0;
	if (!u64_add(off, len, &end) || (last && off < last->off + last->len))
		return err_set(err, ERR_CORRUPT,
			       "the map of a file says twice what lies at offset %" PRIu64, off);
	if (!range_inside(place, len, v->len))
		return err_set(err, ERR_CORRUPT,
			       "a file has its bytes at offset %" PRIu64
			       " of the file system, beyond its end at %" PRIu64,
			       place, v->len);
	if (last && last->off + last->len == off && last->place + last->len == place) {
		last->len += len;
		return 0;
	}
	if (m->n == m->room) {
		size_t room = m->room ? 2 * m->room : 16;
		struct fs_run *more;

		if (m->n >= RUNS_MOST)
			return err_set(err, ERR_UNSUPPORTED, "a file in more than %d pieces",
				       RUNS_MOST);
		more = reallocarray(m->runs, room, sizeof(*more));
		if (!more)
			return err_nomem(err);
		m->runs = more;
		m->room = room;
	}
	m->runs[m->n++] = (struct fs_run){off, len, place};
	return 0;
}

int fs_map(struct fs *fs, struct fs_node *node, struct fs_map *ret, struct err *err)
{
	*ret = (struct fs_map){0};
	if (fs_fill(fs, node, err) < 0)
		return -1;
	ret->size = node->size;
	if (fs->ops->map(fs, node, ret, err) == 0)
		return 0;
	fs_map_release(ret);
	return -1;
}

void fs_map_release(struct fs_map *m)
{
	free(m->runs);
	free(m->bytes);
	*m = (struct fs_map){0};
}

/* The first run that ends behind @off, or NULL */
static const struct fs_run *run_at(const struct fs_map *m, uint64_t off)
{
	size_t low = 0, high = m->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (m->runs[mid].off + m->runs[mid].len > off)
			high = mid;
		else
			low = mid + 1;
	}
	return low < m->n ? &m->runs[low] : NULL;
}

void fs_data(const struct fs_map *m, uint64_t off, uint64_t *ret_off, uint64_t *ret_len)
{
	bool whole = m->bytes || m->remote;
	const struct fs_run *r = whole ? NULL : run_at(m, off);

	*ret_off = whole ? off : r ? max_u64(off, r->off) : m->size;
	*ret_len = 0;
	if (*ret_off < m->size)
		*ret_len = min_u64(m->size, r ? r->off + r->len : m->size) - *ret_off;
}

int fs_read(struct fs *fs, const struct fs_map *m, void *buf, uint64_t off, size_t len,
	    struct err *err)
{
	uint8_t *out = buf;

	if (!range_inside(off, len, m->size))
		return err_set(err, ERR_USAGE, "beyond the end of a file");
	if (m->bytes) {
		memcpy(out, m->bytes + off, len);
		return 0;
	}
	if (m->remote)
		return fs->ops->read(fs, &m->node, buf, off, len, err);
	while (len) {
		const struct fs_run *r = run_at(m, off);
		bool hole = !r || r->off > off;
		uint64_t n = min_u64(len, hole ? (r ? r->off - off : len) : r->off + r->len - off);

		if (hole)
			memset(out, 0, (size_t)n);
		else if (volume_read(&fs->v, out, r->place + (off - r->off), (size_t)n, err) < 0)
			return -1;
		out += n;
		off += n;
		len -= (size_t)n;
	}
	return 0;
}

int fs_load(struct fs *fs, struct fs_node *node, size_t most, char **ret, size_t *ret_len,
	    struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	struct fs_map m;
	int rc;

	if (fs_map(fs, node, &m, err) < 0)
		return -1;
	if (m.size > most) {
		err_set(err, ERR_UNSUPPORTED, "a file of %" PRIu64 " bytes, at most %zu are read",
			m.size, most);
		fs_map_release(&m);
		return -1;
	}
	*ret_len = (size_t)m.size;
	text = malloc(*ret_len + 1);
	rc = text ? fs_read(fs, &m, text, 0, *ret_len, err) : err_nomem(err);
	fs_map_release(&m);
	if (rc < 0)
		return -1;
	text[*ret_len] = '\0';
	*ret = steal_ptr(&text);
	return 0;
}

int fs_readlink(struct fs *fs, struct fs_node *node, char **ret, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	size_t len;

	if (fs_load(fs, node, FS_LINK_MOST, &text, &len, err) < 0)
		return -1;
	if (len == 0 || strlen(text) != len)
		return err_set(err, ERR_CORRUPT, "a symbolic link holds no path");
	*ret = steal_ptr(&text);
	return 0;
}
