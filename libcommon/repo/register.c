/* "repo:PATH#VM@WHEN:DISK": a disk of a backup wherever an image can be named. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/repo/disk_image.h"

#define SCHEME "repo:"

/* Set once at start by repo_register(), before there are threads; only read afterwards. */
static const struct repo_key_source *key_source;

static int open_spec(struct image **ret, struct repo *repo, const char *spec, const char *name,
		     struct err *err)
{
	CLEANUP_FREE char *disk = NULL;
	const struct snapshot_disk *d;
	struct snapshot *snap;
	int rc;

	if (repo_find_disk(repo, spec, &snap, &disk, err) < 0)
		return -1;
	rc = snapshot_find_disk(snap, disk, &d, err);
	if (rc == 0) {
		struct tree tree = {d->root, d->tree_levels, d->size};

		rc = disk_image_new(ret, repo, repo, &tree, name, err);
	}
	snapshots_free(snap, 1);
	return rc;
}

static int open_repo_name(struct image **ret, const char *name, const struct image_open_opts *opts,
			  struct err *err)
{
	const char *rest =
		strncmp(name, SCHEME, strlen(SCHEME)) == 0 ? name + strlen(SCHEME) : name;
	const char *hash = strrchr(rest, '#');
	struct repo *repo;

	if (!hash || hash == rest || !hash[1]) {
		err_set(err, ERR_USAGE, "not of the form repo:REPOSITORY#NAME@WHEN[:DISK]");
		return err_object(err, name);
	}
	if (opts && (opts->flags & IMAGE_RDWR)) {
		err_set(err, ERR_USAGE, "a backup cannot be written to");
		return err_object(err, name);
	}
	if (opts && ((opts->format && strcmp(opts->format, "repo") != 0) || opts->snapshot)) {
		err_set(err, ERR_USAGE,
			"a backup has neither another format nor internal snapshots");
		return err_object(err, name);
	}

	CLEANUP_FREE char *path = strndup(rest, (size_t)(hash - rest));

	if (!path)
		return err_nomem(err);
	if (repo_open(&repo, path, key_source, err) < 0)
		return err_object(err, path);
	if (open_spec(ret, repo, hash + 1, name, err) < 0) {
		repo_close(repo);
		return -1;
	}
	return 0;
}

void repo_register(const struct repo_key_source *key)
{
	key_source = key;
	image_register_opener(SCHEME, open_repo_name);
}
