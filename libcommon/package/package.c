/* Packages: opening them and the disks inside. See package.h. */
#include "libcommon/package/package.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/log.h"
#include "libcommon/package/package_private.h"
#include "libcommon/package/range.h"
#include "libcommon/package/xml.h"

#define SCHEME "ova:"

static bool has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	return n > m && strcasecmp(name + n - m, suffix) == 0;
}

bool package_named(const char *name, const char *format)
{
	if (strncmp(name, SCHEME, strlen(SCHEME)) == 0)
		return !strchr(name, '#') && package_named(name + strlen(SCHEME), "ova");
	if (format)
		return strcmp(format, "ova") == 0 || strcmp(format, "ovf") == 0;
	return has_suffix(name, ".ova") || has_suffix(name, ".ovf");
}

const char *package_path(const char *name)
{
	return strncmp(name, SCHEME, strlen(SCHEME)) == 0 ? name + strlen(SCHEME) : name;
}

static int open_input(struct package *p, const char *name, unsigned flags, struct err *err)
{
	struct stat st;

	if (strcmp(name, "-") != 0)
		return bfile_open(&p->file, name,
				  flags & (IMAGE_SHARED | IMAGE_NO_LOCK) ? 0 : BFILE_LOCK_SHARED,
				  err);

	CLEANUP_CLOSE int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, "cannot use standard input");
	if (isatty(fd))
		return err_set(err, ERR_USAGE, "will not read a package from a terminal");
	if (S_ISREG(st.st_mode))
		return bfile_of_fd(&p->file, steal_fd(&fd), "standard input", false, err);
	return spool_pipe(fd, "standard input", &p->file, err);
}

/* XML begins with "<", maybe behind a byte order mark; a tar archive with a name. */
static int looks_like_tar(struct package *p, struct err *err)
{
	uint8_t head[512];
	size_t at = 0;

	if (bfile_pread_padded(p->file, head, sizeof(head), 0, err) < 0)
		return -1;
	if (memcmp(head + 257, "ustar", 5) == 0) {
		p->ova = true;
		return 0;
	}
	while (at < 16 && (head[at] >= 0x80 || strchr(" \t\r\n", head[at])))
		at++;
	p->ova = head[at] != '<';
	return 0;
}

size_t package_member(const struct package *p, const char *name)
{
	for (size_t i = 0; i < p->n_members; i++)
		if (strcmp(p->members[i].name, name) == 0)
			return i;
	return SIZE_MAX;
}

static int find_descriptor(struct package *p, struct err *err)
{
	for (size_t i = 0; i < p->n_members; i++)
		if (has_suffix(p->members[i].name, ".ovf")) {
			p->ovf_name = strdup(p->members[i].name);
			return p->ovf_name ? 0 : err_nomem(err);
		}
	return err_set(err, ERR_CORRUPT, "the archive holds no .ovf descriptor");
}

static int open_folder(struct package *p, const char *name, struct err *err)
{
	const char *slash = strrchr(name, '/');
	CLEANUP_FREE char *dir = slash ? strndup(name, (size_t)(slash - name) + 1) : strdup(".");

	p->ovf_name = strdup(slash ? slash + 1 : name);
	if (!dir || !p->ovf_name)
		return err_nomem(err);
	if (strcmp(name, "-") == 0)
		return err_set(err, ERR_UNSUPPORTED,
			       "a descriptor from standard input has no folder to find disks in");
	p->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return p->dir < 0 ? err_sys(err, "cannot open the folder") : 0;
}

static int read_descriptor(struct package *p, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	size_t len;

	if (package_text(p, p->ovf_name, XML_BYTES_MAX, &text, &len, err) < 0)
		return -1;
	return ovf_parse(&p->ovf, text, len, err);
}

int package_open(struct package **ret, const char *name, unsigned flags, struct err *err)
{
	struct package *p = calloc(1, sizeof(*p));
	int rc = -1;

	if (!p)
		return err_nomem(err);
	p->dir = -1;
	p->name = strdup(name);
	if (!p->name) {
		err_nomem(err);
	} else if (open_input(p, name, flags, err) == 0 && looks_like_tar(p, err) == 0) {
		if (p->ova)
			rc = ova_index(p->file, &p->members, &p->n_members, err) < 0
				     ? -1
				     : find_descriptor(p, err);
		else
			rc = open_folder(p, name, err);
		if (rc == 0)
			rc = read_descriptor(p, err);
	}
	if (rc < 0) {
		err_object(err, name);
		package_close(p);
		return -1;
	}
	*ret = p;
	return 0;
}

void package_close(struct package *p)
{
	if (!p)
		return;
	ovf_release(&p->ovf);
	ova_index_free(p->members, p->n_members);
	bfile_close(p->file);
	if (p->dir >= 0)
		(void)close(p->dir);
	free(p->ovf_name);
	free(p->name);
	free(p);
}

const struct ovf *package_ovf(const struct package *p)
{
	return &p->ovf;
}

bool package_is_ova(const struct package *p)
{
	return p->ova;
}

static int not_the_disk(const struct package *p, const char *name, struct err *err)
{
	char names[200] = "";
	size_t used = 0;

	if (p->ovf.n_disks == 0)
		return err_set(err, ERR_NOT_FOUND, "the package holds no disks");
	for (size_t i = 0; i < p->ovf.n_disks && used + 1 < sizeof(names); i++) {
		int n = snprintf(names + used, sizeof(names) - used, "%s%.60s", used ? ", " : "",
				 p->ovf.disks[i].id);

		used += n > 0 ? (size_t)n : 0;
	}
	if (name)
		err_set(err, ERR_NOT_FOUND, "the package has no disk %s", name);
	else
		err_set(err, ERR_USAGE, "the package has %zu disks", p->ovf.n_disks);
	return err_hint(err, "its disks: %.180s; name one as ova:FILE#DISK", names);
}

int package_find_disk(const struct package *p, const char *name, size_t *ret_index, struct err *err)
{
	const struct ovf *o = &p->ovf;
	uint64_t number;

	if (!name && o->n_disks == 1) {
		*ret_index = 0;
		return 0;
	}
	for (size_t i = 0; name && i < o->n_disks; i++) {
		size_t file = o->disks[i].file;

		if (strcmp(o->disks[i].id, name) == 0 ||
		    (file != OVF_NO_FILE && strcmp(o->files[file].href, name) == 0)) {
			*ret_index = i;
			return 0;
		}
	}
	if (name && xml_number(name, &number) && number >= 1 && number <= o->n_disks) {
		*ret_index = (size_t)number - 1;
		return 0;
	}
	return not_the_disk(p, name, err);
}

/* The driver for a disk, by the URI that the descriptor has for it; NULL: probed. */
static const char *format_of(const struct ovf_disk *d)
{
	static const struct {
		const char *word, *format;
	} words[] = {{"vmdk", "vmdk"}, {"qcow2", "qcow2"}, {"vhdx", "vhdx"}, {"vhd", "vhd"}};

	for (size_t i = 0; d->format && i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasestr(d->format, words[i].word))
			return words[i].format;
	return NULL;
}

/* A disk that is described only: as large as it says, and empty. */
static int empty_disk(const struct ovf_disk *d, struct bfile **ret, struct err *err)
{
	CLEANUP_CLOSE int fd = -1;

	if (!d->capacity)
		return err_set(err, ERR_CORRUPT, "disk %s has neither a file nor a capacity",
			       d->id);
	if (io_nameless(&fd, err) < 0)
		return -1;
	if (ftruncate(fd, (off_t)d->capacity) < 0)
		return err_sys(err, "an empty disk of %" PRIu64 " bytes", d->capacity);
	return bfile_of_fd(ret, steal_fd(&fd), d->id, false, err);
}

static int disk_bytes(struct package *p, const struct ovf_disk *d, struct bfile **ret,
		      struct err *err)
{
	const struct ovf_file *f = &p->ovf.files[d->file];
	struct bfile *stored;
	uint64_t limit;

	if (package_file(p, f, &stored, NULL, err) < 0)
		return -1;
	if (f->has_size && f->size != bfile_size(stored))
		log_warning("%s: %s has %" PRIu64 " bytes, the descriptor says %" PRIu64, p->name,
			    f->href, bfile_size(stored), f->size);
	if (!f->gzip) {
		*ret = stored;
		return 0;
	}
	/* A stored disk can be a little larger than what a guest sees of it; not much. */
	limit = d->capacity ? d->capacity + d->capacity / 8 : 1ULL << 40;

	int rc = ova_gunzip(stored, limit + (64 << 20), ret, err);

	bfile_close(stored);
	return rc;
}

int package_open_disk(struct package *p, size_t index, const struct image_open_opts *opts,
		      struct image **ret, struct err *err)
{
	const struct ovf_disk *d = &p->ovf.disks[index];
	struct image_open_opts how = opts ? *opts : (struct image_open_opts){0};
	CLEANUP_FREE char *shown = NULL;
	struct bfile *file;

	if (d->parent)
		return err_set(err, ERR_UNSUPPORTED, "disk %s holds differences to disk %s", d->id,
			       d->parent);
	if (asprintf(&shown, SCHEME "%s#%s", p->name, d->id) < 0)
		return err_nomem(err);
	if (!how.format || package_named("", how.format))
		how.format = d->file == OVF_NO_FILE ? "raw" : format_of(d);
	if ((d->file == OVF_NO_FILE ? empty_disk(d, &file, err) : disk_bytes(p, d, &file, err)) < 0)
		return -1;
	free(file->name);
	file->name = steal_ptr(&shown);
	return image_open_bfile(ret, file, &how, err);
}

/* "ova:PATH#DISK", "ova:PATH", or a plain PATH. */
static int open_name(struct image **ret, const char *name, const struct image_open_opts *opts,
		     struct err *err)
{
	const char *rest = package_path(name);
	const char *hash = rest != name ? strrchr(rest, '#') : NULL;
	CLEANUP_FREE char *path = hash ? strndup(rest, (size_t)(hash - rest)) : strdup(rest);
	struct package *p;
	size_t index;
	int rc;

	if (!path)
		return err_nomem(err);
	if (opts && (opts->flags & IMAGE_RDWR)) {
		err_set(err, ERR_UNSUPPORTED, "a disk in a package cannot be written to");
		return err_object(err, name);
	}
	if (package_open(&p, path, opts ? opts->flags : 0, err) < 0)
		return -1;
	rc = package_find_disk(p, hash && hash[1] ? hash + 1 : NULL, &index, err);
	if (rc == 0)
		rc = package_open_disk(p, index, opts, ret, err);
	package_close(p);
	return rc < 0 ? err_object(err, name) : 0;
}

void package_register(void)
{
	image_register_opener(SCHEME, open_name);
	image_register_opener(".ova", open_name);
	image_register_opener(".ovf", open_name);
}
