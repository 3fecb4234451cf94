/* Records of snapshots and the journal of a change: small JSON files, written whole. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/clock.h"
#include "libcommon/base/io.h"
#include "libcommon/base/outfile.h"
#include "libcommon/snap/private.h"

enum { FILE_MAX = 1 << 20 };

static const char *const op_names[] = {"create", "revert", "delete", "internal", "swap",
				       "merge",	 "commit", "live",   "fold"};

static int json_put(struct snap_disk *d, const char *name, json_t *value, bool replace,
		    struct err *err)
{
	CLEANUP_FREE char *path = in_dir(d, name);
	CLEANUP_FREE char *text = value ? json_dumps(value, JSON_INDENT(1)) : NULL;

	json_decref(value);
	if (!path || !text)
		return err_nomem(err);
	/* Replacing needs a temporary name, which a kill would leave: what is there else is of a killed change */
	if (!replace && unlink(path) < 0 && errno != ENOENT)
		return err_sys(err, "cannot replace %s", path);
	return outfile_write(path, text, strlen(text), replace ? OUTFILE_FORCE : 0, err);
}

int json_write(struct snap_disk *d, const char *name, json_t *value, struct err *err)
{
	return json_put(d, name, value, false, err);
}

int json_read(struct snap_disk *d, const char *name, json_t **ret, struct err *err)
{
	CLEANUP_FREE char *path = in_dir(d, name);
	CLEANUP_FREE char *text = NULL;
	json_error_t why;
	size_t len;

	if (!path)
		return err_nomem(err);
	if (io_read_file(path, FILE_MAX, &text, &len, err) < 0)
		return err_object(err, path);
	*ret = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (*ret)
		return 0;
	err_set(err, ERR_CORRUPT, "is no record of vmsnap: %s", why.text);
	return err_object(err, path);
}

int remove_file(struct snap_disk *d, const char *name, struct err *err)
{
	CLEANUP_FREE char *path = in_dir(d, name);

	return path ? unlink_file(path, err) : err_nomem(err);
}

int unlink_file(const char *path, struct err *err)
{
	if (unlink(path) < 0 && errno != ENOENT) {
		err_sys(err, "cannot remove");
		return err_object(err, path);
	}
	return io_fsync_parent(path, err);
}

int journal_write(struct snap_disk *d, const struct journal *j, struct err *err)
{
	return json_write(d, ".journal.json",
			  json_pack("{s:i, s:s, s:s, s:s, s:I, s:s, s:s}", "version", 1,
				    "operation", op_names[j->op], "name", j->name, "file", j->file,
				    "inode", (json_int_t)j->inode, "child", j->child, "fresh",
				    j->fresh),
			  err);
}

/* A name of a file in the folder, or none */
static bool plain(const char *name)
{
	return !strchr(name, '/') && name[0] != '.';
}

/* The same in the disk's folder, where a disk may be hidden */
static bool plain_beside(const char *name)
{
	return !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool journal_fits(const struct journal *j)
{
	bool external = j->op == OP_SWAP || j->op == OP_MERGE || j->op == OP_COMMIT ||
			j->op == OP_LIVE || j->op == OP_FOLD;

	return plain(j->name) && plain(j->child) && plain_beside(j->fresh) &&
	       (j->op == OP_LIVE || j->op == OP_FOLD) == (*j->fresh != '\0') &&
	       (external ? plain_beside(j->file) && !*j->name == !*j->file : plain(j->file));
}

int journal_read(struct snap_disk *d, struct journal *ret, struct err *err)
{
	const char *op, *name, *file, *child = "", *fresh = "";
	CLEANUP_FREE char *path = in_dir(d, ".journal.json");
	json_t *o;
	json_int_t inode;
	int version, found = 0, rc = 1;

	if (!path)
		return err_nomem(err);
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return 0;
	if (json_read(d, ".journal.json", &o, err) < 0)
		return -1;
	*ret = (struct journal){0};
	if (json_unpack(o, "{s:i, s:s, s:s, s:s, s:I, s?s, s?s}", "version", &version, "operation",
			&op, "name", &name, "file", &file, "inode", &inode, "child", &child,
			"fresh", &fresh) == 0 &&
	    version == 1 && strlen(name) < sizeof(ret->name) && strlen(file) < sizeof(ret->file) &&
	    strlen(child) < sizeof(ret->child) && strlen(fresh) < sizeof(ret->fresh)) {
		(void)snprintf(ret->name, sizeof(ret->name), "%s", name);
		(void)snprintf(ret->file, sizeof(ret->file), "%s", file);
		(void)snprintf(ret->child, sizeof(ret->child), "%s", child);
		(void)snprintf(ret->fresh, sizeof(ret->fresh), "%s", fresh);
		ret->inode = (uint64_t)inode;
		for (size_t i = 0; i < sizeof(op_names) / sizeof(op_names[0]); i++)
			if (strcmp(op, op_names[i]) == 0) {
				ret->op = (enum op)i;
				found = journal_fits(ret);
			}
	}
	if (!found) {
		rc = err_set(err, ERR_CORRUPT, "is no journal of this vmsnap");
		err_object(err, path);
	}
	json_decref(o);
	return rc;
}

int journal_end(struct snap_disk *d, struct err *err)
{
	return remove_file(d, ".journal.json", err);
}

#define RESTART_FILE ".restart.json"

int snap_restart_set(struct snap_disk *d, bool on, struct err *err)
{
	return on ? json_write(d, RESTART_FILE, json_pack("{s:i}", "version", 1), err)
		  : remove_file(d, RESTART_FILE, err);
}

bool snap_restart_is_set(const char *path)
{
	struct snap_disk *d;
	bool set = false;

	if (lock_disk(&d, path, false, NULL) < 0)
		return false;
	if (d->lock >= 0) {
		CLEANUP_FREE char *file = in_dir(d, RESTART_FILE);

		set = file && access(file, F_OK) == 0;
	}
	snap_close(d);
	return set;
}

static int record_name(const char *name, char ret[SNAP_NAME_MAX + 8])
{
	return snprintf(ret, SNAP_NAME_MAX + 8, "%.*s.json", SNAP_NAME_MAX, name);
}

static int put_record(struct snap_disk *d, const struct snap_entry *e, bool replace,
		      struct err *err)
{
	char name[SNAP_NAME_MAX + 8], when[32];
	const char *base = strrchr(e->file, '/');
	struct tm tm;

	(void)record_name(e->name, name);
	if (!gmtime_r(&e->created, &tm) ||
	    strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		return err_set(err, ERR_FAILED, "the clock is beyond all dates");
	return json_put(d, name,
			json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:b, s:I}", "version", 1, "name",
				  e->name, "engine", snap_engine_name(e->engine), "file",
				  base ? base + 1 : e->file, "created", when, "parent", e->parent,
				  "automatic", (int)e->automatic, "virtual_size",
				  (json_int_t)e->virtual_size),
			replace, err);
}

int record_write(struct snap_disk *d, const struct snap_entry *e, struct err *err)
{
	return put_record(d, e, false, err);
}

int record_replace(struct snap_disk *d, const struct snap_entry *e, struct err *err)
{
	return put_record(d, e, true, err);
}

static int engine_of(const char *name, enum snap_engine *ret)
{
	*ret = strcmp(name, "external") == 0 ? SNAP_EXTERNAL : SNAP_REFLINK;
	return strcmp(name, snap_engine_name(*ret)) == 0 ? 0 : -1;
}

/* A name that neither a record nor a reflink can have */
char *snap_memory_path(const struct snap_disk *d, const char *name)
{
	CLEANUP_FREE char *file = NULL;

	if (asprintf(&file, ".%s.memory", name) < 0) {
		file = NULL; /* undefined then */
		return NULL;
	}
	return in_dir(d, file);
}

void find_memory(const struct snap_disk *d, struct snap_entry *e)
{
	char *path = snap_memory_path(d, e->name);
	struct stat st;

	if (!path || stat(path, &st) < 0 || !S_ISREG(st.st_mode)) {
		free(path);
		return;
	}
	e->memory = path;
	e->vm_state_size = (uint64_t)st.st_size;
}

int record_read(struct snap_disk *d, const char *name, struct snap_entry *ret, struct err *err)
{
	char record[SNAP_NAME_MAX + 8];
	const char *own, *file, *created, *parent, *engine;
	json_t *o;
	json_int_t size;
	int version, automatic, rc = 0;

	*ret = (struct snap_entry){.engine = SNAP_REFLINK};
	(void)record_name(name, record);
	if (json_read(d, record, &o, err) < 0)
		return -1;
	if (json_unpack(o, "{s:i, s:s, s:s, s:s, s:s, s:s, s:b, s:I}", "version", &version, "name",
			&own, "engine", &engine, "file", &file, "created", &created, "parent",
			&parent, "automatic", &automatic, "virtual_size", &size) < 0 ||
	    version != 1 || strcmp(own, name) != 0 || engine_of(engine, &ret->engine) < 0 ||
	    !(ret->engine == SNAP_EXTERNAL ? plain_beside(file) : plain(file)) || !*file ||
	    size < 0 || clock_parse_utc(created, &ret->created) < 0) {
		rc = err_set(err, ERR_CORRUPT, "is no record of this vmsnap");
		err_object(err, record);
	} else {
		ret->automatic = automatic;
		ret->virtual_size = (uint64_t)size;
		ret->name = strdup(name);
		ret->parent = strdup(parent);
		ret->file = ret->engine == SNAP_EXTERNAL ? beside(d, file) : in_dir(d, file);
		if (!ret->name || !ret->parent || !ret->file)
			rc = err_nomem(err);
		else
			find_memory(d, ret);
	}
	json_decref(o);
	return rc;
}

int remove_memory(struct snap_disk *d, const char *name, struct err *err)
{
	CLEANUP_FREE char *path = snap_memory_path(d, name);

	if (!path)
		return err_nomem(err);
	return access(path, F_OK) < 0 && errno == ENOENT ? 0 : unlink_file(path, err);
}

int record_remove(struct snap_disk *d, const char *name, struct err *err)
{
	char record[SNAP_NAME_MAX + 8];

	(void)record_name(name, record);
	return remove_memory(d, name, err) < 0 ? -1 : remove_file(d, record, err);
}

void head_write(struct snap_disk *d, const char *name)
{
	CLEANUP_FREE char *path = in_dir(d, ".head");
	struct err ignored = ERR_INIT;

	if (path)
		(void)outfile_write(path, name, strlen(name), OUTFILE_FORCE | OUTFILE_NO_SYNC,
				    &ignored);
}

void head_read(struct snap_disk *d, char ret[SNAP_NAME_MAX + 1])
{
	CLEANUP_FREE char *path = in_dir(d, ".head");
	CLEANUP_FREE char *text = NULL;
	struct err ignored = ERR_INIT;
	size_t len;

	ret[0] = '\0';
	if (path && io_read_file(path, SNAP_NAME_MAX, &text, &len, &ignored) == 0 &&
	    snap_name_check(text, &ignored) == 0)
		(void)snprintf(ret, SNAP_NAME_MAX + 1, "%s", text);
}
