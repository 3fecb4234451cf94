/* Where a disk stands: see position.h. */
#include "libcommon/runner/position.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "libcommon/image/format.h"
#include "libcommon/runner/state.h"

/* The clock of file times moves in steps, of up to 10 ms */
enum { STEP_NS = 20000000 };

struct files {
	const struct bfile *file[STATE_FILES_MAX];
	size_t n;
	bool many; /* more than that */
};

static void add(struct files *f, const struct bfile *file)
{
	struct stat st;

	if (!file || file->fd < 0 || fstat(file->fd, &st) < 0 || !S_ISREG(st.st_mode))
		return;
	for (size_t i = 0; i < f->n; i++)
		if (f->file[i] == file)
			return;
	if (f->n == STATE_FILES_MAX)
		f->many = true;
	else
		f->file[f->n++] = file;
}

static bool names_data_file(struct image *layer)
{
	json_t *info;
	bool named;

	if (image_info(layer, &info, NULL) < 0)
		return true; /* the extents tell */
	named = json_object_get(json_object_get(info, "format_specific"), "data_file") ||
		json_object_get(info, "data_file");
	json_decref(info);
	return named;
}

/* Formats that keep data in files beside the one with their header: whoever answers for a range names it */
static bool has_more_files(struct image *img)
{
	bool more = false;

	for (struct image *l = img; l && !more; l = image_backing(l)) {
		const char *format = image_format_name(l);

		more = strcmp(format, "vmdk") == 0 ||
		       (strcmp(format, "qcow2") == 0 && names_data_file(l));
	}
	return more;
}

static int add_from_extents(struct files *f, struct image *img, struct err *err)
{
	struct extent e;

	for (uint64_t off = 0; off < image_size(img); off += e.len) {
		if (image_extent(img, off, image_size(img) - off, &e, err) < 0)
			return -1;
		add(f, e.file);
	}
	return 0;
}

static int find_files(struct files *f, struct image *img, struct err *err)
{
	for (struct image *l = img; l; l = image_backing(l))
		add(f, l->file);
	if (has_more_files(img) && add_from_extents(f, img, err) < 0)
		return -1;
	if (!f->many)
		return 0;
	err_set(err, ERR_UNSUPPORTED, "the disk has more than %d files", STATE_FILES_MAX);
	return err_object(err, image_name(img));
}

int position_get(struct image *img, json_t **ret, struct err *err)
{
	struct files f = {.n = 0};
	json_t *list;

	if (find_files(&f, img, err) < 0)
		return -1;
	list = json_array();
	for (size_t i = 0; i < f.n; i++) {
		struct stat st;

		if (fstat(f.file[i]->fd, &st) < 0)
			continue;
		(void)json_array_append_new(
			list,
			json_pack("{s:I, s:I}", "size", (json_int_t)st.st_size, "mtime_ns",
				  (json_int_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec));
	}
	if (json_array_size(list) != f.n) {
		json_decref(list);
		return err_nomem(err);
	}
	*ret = list;
	return 0;
}

int position_of(const char *name, const char *format, const char *const *allow, size_t n_allow,
		json_t **ret, struct err *err)
{
	const struct image_open_opts opts = {
		.format = format, .allow_dirs = allow, .n_allow_dirs = n_allow};
	struct image *img;
	int rc;

	if (image_open(&img, name, &opts, err) < 0)
		return -1;
	rc = position_get(img, ret, err);
	if (rc == 0)
		position_settle(*ret);
	image_close(img);
	return rc;
}

int position_check(struct image *img, const json_t *then, struct err *err)
{
	json_t *now;
	bool same;

	if (position_get(img, &now, err) < 0)
		return -1;
	same = json_equal(now, then);
	json_decref(now);
	if (same)
		return 0;
	err_set(err, ERR_DIFFERS, "the disk has changed since the machine was saved");
	err_object(err, image_name(img));
	return err_hint(err,
			"its memory fits no other bytes of this disk than those of that moment");
}

static int64_t newest(const json_t *position)
{
	int64_t t = 0;

	for (size_t i = 0; i < json_array_size(position); i++) {
		int64_t one = json_integer_value(
			json_object_get(json_array_get(position, i), "mtime_ns"));

		t = one > t ? one : t;
	}
	return t;
}

void position_settle(const json_t *position)
{
	const struct timespec moment = {.tv_nsec = STEP_NS};
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	if ((int64_t)now.tv_sec * 1000000000 + now.tv_nsec - newest(position) < STEP_NS)
		(void)nanosleep(&moment, NULL);
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

int position_stands(const char *name, const char *format, const char *const *allow, size_t n_allow,
		    const json_t *then, bool *ret, struct err *err)
{
	const struct image_open_opts opts = {
		.format = format, .allow_dirs = allow, .n_allow_dirs = n_allow};
	struct image *img;
	json_t *now;
	int rc;

	if (image_open(&img, name, &opts, err) < 0)
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
