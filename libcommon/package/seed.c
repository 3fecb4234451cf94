/* NoCloud seeds: see seed.h. */
#include "libcommon/package/seed.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/outfile.h"
#include "libcommon/package/libs.h"

/* JSON strings are YAML too, and quoting them is jansson's. */
static void quoted(FILE *f, const char *text)
{
	json_t *v = json_string(text);

	if (v)
		(void)json_dumpf(v, f, JSON_ENCODE_ANY);
	json_decref(v);
}

static char *finish_text(FILE *f, char **text)
{
	bool failed = ferror(f) != 0;

	if (fclose(f) != 0 || failed) {
		free(*text);
		return NULL;
	}
	return *text;
}

char *seed_user_data(const struct seed *s)
{
	char *text = NULL;
	size_t len;
	FILE *f;

	if (s->user_data)
		return strdup(s->user_data);
	f = open_memstream(&text, &len);
	if (!f)
		return NULL;
	(void)fputs("#cloud-config\n", f);
	if (s->user) {
		(void)fputs("users:\n  - name: ", f);
		quoted(f, s->user);
		(void)fputs("\n    sudo: \"ALL=(ALL) NOPASSWD:ALL\"\n    shell: /bin/bash\n", f);
		if (s->n_ssh_keys)
			(void)fputs("    ssh_authorized_keys:\n", f);
	} else if (s->n_ssh_keys) {
		(void)fputs("ssh_authorized_keys:\n", f);
	}
	for (size_t i = 0; i < s->n_ssh_keys; i++) {
		(void)fputs(s->user ? "      - " : "  - ", f);
		quoted(f, s->ssh_keys[i]);
		(void)fputc('\n', f);
	}
	return finish_text(f, &text);
}

char *seed_meta_data(const struct seed *s)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	(void)fputs("instance-id: ", f);
	quoted(f, s->instance_id ? s->instance_id : "vmkit");
	if (s->hostname) {
		(void)fputs("\nlocal-hostname: ", f);
		quoted(f, s->hostname);
	}
	(void)fputc('\n', f);
	return finish_text(f, &text);
}

static int failed(const struct archive_lib *lib, struct archive *a, struct err *err)
{
	const char *why = lib->archive_error_string(a);

	return err_set(err, ERR_FAILED, "the seed cannot be written: %s", why ? why : "no reason");
}

static int add(const struct archive_lib *lib, struct archive *a, const char *name, const char *text,
	       struct err *err)
{
	struct archive_entry *e = lib->archive_entry_new();
	size_t len = strlen(text);
	int rc = 0;

	if (!e)
		return err_nomem(err);
	lib->archive_entry_set_pathname(e, name);
	lib->archive_entry_set_filetype(e, AE_IFREG);
	lib->archive_entry_set_perm(e, 0444);
	lib->archive_entry_set_size(e, (la_int64_t)len);
	if (lib->archive_write_header(a, e) != ARCHIVE_OK ||
	    lib->archive_write_data(a, text, len) != (la_ssize_t)len)
		rc = failed(lib, a, err);
	lib->archive_entry_free(e);
	return rc;
}

static int write_image(const struct archive_lib *lib, int fd, const struct seed *s, struct err *err)
{
	CLEANUP_FREE char *user = seed_user_data(s), *meta = seed_meta_data(s);
	struct archive *a = lib->archive_write_new();
	int rc = -1;

	if (!a || !user || !meta) {
		err_nomem(err);
	} else if (lib->archive_write_set_format_iso9660(a) != ARCHIVE_OK ||
		   lib->archive_write_set_options(a, "iso9660:volume-id=cidata") != ARCHIVE_OK ||
		   lib->archive_write_open_fd(a, fd) != ARCHIVE_OK) {
		failed(lib, a, err);
	} else {
		rc = add(lib, a, "user-data", user, err);
		if (rc == 0)
			rc = add(lib, a, "meta-data", meta, err);
		if (rc == 0 && s->network_config)
			rc = add(lib, a, "network-config", s->network_config, err);
		if (rc == 0 && lib->archive_write_close(a) != ARCHIVE_OK)
			rc = failed(lib, a, err);
	}
	if (a)
		(void)lib->archive_write_free(a);
	return rc;
}

/* JSON and YAML are UTF-8; what is not would silently be left out. */
static int check_text(const char *what, const char *text, struct err *err)
{
	json_t *v = text ? json_string(text) : NULL;

	if (text && !v)
		return err_set(err, ERR_USAGE, "the %s is not UTF-8", what);
	json_decref(v);
	return 0;
}

int seed_write(const char *path, const struct seed *s, bool force, struct err *err)
{
	const struct archive_lib *lib = archive_lib(err);
	struct outfile *of;

	if (check_text("user", s->user, err) < 0 || check_text("host name", s->hostname, err) < 0)
		return -1;
	for (size_t i = 0; i < s->n_ssh_keys; i++)
		if (check_text("public key", s->ssh_keys[i], err) < 0)
			return -1;
	if (!lib || outfile_open(&of, path, force ? OUTFILE_FORCE : 0, err) < 0)
		return -1;
	if (write_image(lib, outfile_fd(of), s, err) < 0) {
		outfile_discard(of);
		return err_object(err, path);
	}
	return outfile_commit(of, err);
}
