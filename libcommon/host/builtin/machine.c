/* The files that describe machines: JSON, one a machine, written as a whole. Unknown keys are errors: a limit that is spelled
 * wrong would be none. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/base/outfile.h"
#include "libcommon/base/size.h"
#include "libcommon/host/builtin/builtin.h"
#include "libcommon/runner/control.h"

enum { FILE_MAX = 1 << 20, MACHINES_MAX = 10000 };
#define SUFFIX "json"

void builtin_release(struct builtin_machine *m)
{
	free(m->name);
	free(m->kernel);
	free(m->initrd);
	free(m->append);
	for (size_t i = 0; i < m->n_disks; i++) {
		free(m->disks[i].file);
		free(m->disks[i].format);
	}
	for (size_t i = 0; i < m->n_nics; i++)
		free(m->nics[i].tap);
	for (size_t i = 0; i < m->n_publish; i++)
		free(m->publish[i]);
	for (size_t i = 0; i < m->n_allow; i++)
		free(m->allow[i]);
	builtin_limits_release(&m->limits);
	*m = (struct builtin_machine){0};
}

char *builtin_path(const char *folder, const char *name, const char *suffix)
{
	char *path;

	return asprintf(&path, "%s/%s.%s", folder, name, suffix) < 0 ? NULL : path;
}

void builtin_order(struct builtin_machine *m)
{
	struct builtin_disk sorted[BUILTIN_DISKS_MAX] = {{0}};
	size_t n = 0;

	for (int read_only = 0; read_only < 2; read_only++)
		for (size_t i = 0; i < m->n_disks; i++)
			if (m->disks[i].read_only == read_only)
				sorted[n++] = m->disks[i];
	memcpy(m->disks, sorted, n * sizeof(sorted[0]));
}

/* ---- reading */

static int bad(struct err *err, const char *key, const char *what)
{
	return err_set(err, ERR_CORRUPT, "\"%s\" is no %s", key, what);
}

static int get_text(const json_t *v, const char *key, char **ret, struct err *err)
{
	if (!json_is_string(v))
		return bad(err, key, "string");
	free(*ret);
	*ret = strdup(json_string_value(v));
	return *ret ? 0 : err_nomem(err);
}

static int get_path(const json_t *v, const char *key, char **ret, struct err *err)
{
	if (get_text(v, key, ret, err) < 0)
		return -1;
	return (*ret)[0] == '/' ? 0 : bad(err, key, "whole path (it has to begin with /)");
}

/* A number of bytes, or "512M" */
int builtin_get_size(const json_t *v, const char *key, uint64_t *ret, struct err *err)
{
	if (json_is_string(v))
		return size_parse(json_string_value(v), ret, err) < 0
			       ? err_prefix(err, "\"%s\"", key)
			       : 0;
	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return bad(err, key, "size");
	*ret = (uint64_t)json_integer_value(v);
	return 0;
}

int builtin_get_uint(const json_t *v, const char *key, unsigned least, unsigned most, unsigned *ret,
		     struct err *err)
{
	json_int_t n = json_integer_value(v);

	if (!json_is_integer(v) || n < least || n > most)
		return err_set(err, ERR_CORRUPT, "\"%s\" is no number from %u to %u", key, least,
			       most);
	*ret = (unsigned)n;
	return 0;
}

static int get_flag(const json_t *v, const char *key, bool *ret, struct err *err)
{
	if (!json_is_boolean(v))
		return bad(err, key, "true or false");
	*ret = json_is_true(v);
	return 0;
}

static int get_disk(const json_t *v, struct builtin_disk *d, struct err *err)
{
	const char *key;
	const json_t *e;
	int rc = 0;

	if (!json_is_object(v))
		return err_set(err, ERR_CORRUPT, "a disk is no object");
	json_object_foreach((json_t *)(uintptr_t)v, key, e)
	{
		if (rc == 0 && strcmp(key, "file") == 0)
			rc = get_path(e, "file", &d->file, err);
		else if (rc == 0 && strcmp(key, "format") == 0)
			rc = get_text(e, "format", &d->format, err);
		else if (rc == 0 && strcmp(key, "read_only") == 0)
			rc = get_flag(e, "read_only", &d->read_only, err);
		else if (rc == 0)
			rc = err_set(err, ERR_CORRUPT, "a disk has no \"%.40s\"", key);
	}
	return rc == 0 && !d->file ? err_set(err, ERR_CORRUPT, "a disk has no \"file\"") : rc;
}

static int get_disks(const json_t *v, struct builtin_machine *m, struct err *err)
{
	if (!json_is_array(v) || json_array_size(v) > BUILTIN_DISKS_MAX)
		return err_set(err, ERR_CORRUPT, "\"disks\" is no list of at most %d",
			       BUILTIN_DISKS_MAX);
	for (size_t i = 0; i < json_array_size(v); i++)
		if (get_disk(json_array_get(v, i), &m->disks[m->n_disks++], err) < 0)
			return -1;
	return 0;
}

static int get_allow(const json_t *v, struct builtin_machine *m, struct err *err)
{
	if (!json_is_array(v) || json_array_size(v) > BUILTIN_DISKS_MAX)
		return err_set(err, ERR_CORRUPT, "\"allow_backing\" is no list of at most %d",
			       BUILTIN_DISKS_MAX);
	for (size_t i = 0; i < json_array_size(v); i++)
		if (get_path(json_array_get(v, i), "allow_backing", &m->allow[m->n_allow++], err) <
		    0)
			return -1;
	return 0;
}

static int get_mac(const json_t *v, char ret[18], struct err *err)
{
	const char *s = json_string_value(v);

	if (!s || strlen(s) != 17 || strspn(s, "0123456789abcdefABCDEF:") != 17)
		return bad(err, "mac", "address of a network card");
	memcpy(ret, s, 18);
	return 0;
}

static int get_nic(const json_t *v, struct builtin_nic *n, struct err *err)
{
	const char *key;
	const json_t *e;
	int rc = 0;

	if (!json_is_object(v))
		return err_set(err, ERR_CORRUPT, "a network card is no object");
	json_object_foreach((json_t *)(uintptr_t)v, key, e)
	{
		if (rc == 0 && strcmp(key, "tap") == 0)
			rc = get_text(e, key, &n->tap, err);
		else if (rc == 0 && strcmp(key, "mac") == 0)
			rc = get_mac(e, n->mac, err);
		else if (rc == 0)
			rc = err_set(err, ERR_CORRUPT, "a network card has no \"%.40s\"", key);
	}
	return rc;
}

static int get_nics(const json_t *v, struct builtin_machine *m, struct err *err)
{
	if (!json_is_array(v) || json_array_size(v) > BUILTIN_NICS_MAX)
		return err_set(err, ERR_CORRUPT, "\"networks\" is no list of at most %d",
			       BUILTIN_NICS_MAX);
	for (size_t i = 0; i < json_array_size(v); i++)
		if (get_nic(json_array_get(v, i), &m->nics[m->n_nics++], err) < 0)
			return -1;
	return 0;
}

static int get_publish(const json_t *v, struct builtin_machine *m, struct err *err)
{
	if (!json_is_array(v) || json_array_size(v) > BUILTIN_DISKS_MAX)
		return err_set(err, ERR_CORRUPT, "\"publish\" is no list of at most %d",
			       BUILTIN_DISKS_MAX);
	for (size_t i = 0; i < json_array_size(v); i++)
		if (get_text(json_array_get(v, i), "publish", &m->publish[m->n_publish++], err) < 0)
			return -1;
	return 0;
}

static int get_uuid(const json_t *v, struct builtin_machine *m, struct err *err)
{
	const char *s = json_string_value(v);

	if (!s || strlen(s) != 36 || strspn(s, "0123456789abcdef-") != 36)
		return bad(err, "uuid", "UUID in lower case");
	memcpy(m->uuid, s, UUID_TEXT_MAX);
	return 0;
}

static int get_delay(const json_t *v, struct builtin_machine *m, struct err *err)
{
	const char *text = json_string_value(v);

	return text && duration_parse(text, &m->delay_ms, NULL) == 0 &&
			       m->delay_ms <= AUTOSTART_DELAY_MAX_MS
		       ? 0
		       : bad(err, "autostart_delay", "time of at most a day, as \"30s\"");
}

static int get_key(const char *key, const json_t *v, struct builtin_machine *m, struct err *err)
{
	if (strcmp(key, "uuid") == 0)
		return get_uuid(v, m, err);
	if (strcmp(key, "cpus") == 0)
		return builtin_get_uint(v, key, 1, BUILTIN_CPUS_MAX, &m->cpus, err);
	if (strcmp(key, "memory") == 0)
		return builtin_get_size(v, key, &m->memory, err);
	if (strcmp(key, "kernel") == 0)
		return get_path(v, key, &m->kernel, err);
	if (strcmp(key, "initrd") == 0)
		return get_path(v, key, &m->initrd, err);
	if (strcmp(key, "append") == 0)
		return get_text(v, key, &m->append, err);
	if (strcmp(key, "disks") == 0)
		return get_disks(v, m, err);
	if (strcmp(key, "networks") == 0)
		return get_nics(v, m, err);
	if (strcmp(key, "publish") == 0)
		return get_publish(v, m, err);
	if (strcmp(key, "allow_backing") == 0)
		return get_allow(v, m, err);
	if (strcmp(key, "autostart") == 0)
		return get_flag(v, key, &m->autostart, err);
	if (strcmp(key, "autostart_order") == 0)
		return builtin_get_uint(v, key, 1, AUTOSTART_ORDER_MAX, &m->order, err);
	if (strcmp(key, "autostart_delay") == 0)
		return get_delay(v, m, err);
	if (strcmp(key, "limits") == 0)
		return builtin_limits_read(v, &m->limits, err);
	return err_set(err, ERR_CORRUPT, "a machine has no \"%.40s\"", key);
}

/* One that was written by hand may have no UUID: the same name always gets the same one. */
static void derive_uuid(struct builtin_machine *m)
{
	uint64_t hash[2] = {0xcbf29ce484222325, 0x9e3779b97f4a7c15}; /* FNV-1a, twice */

	for (int k = 0; k < 2; k++)
		for (const char *s = m->name; *s; s++)
			hash[k] = (hash[k] ^ (unsigned char)*s) * 0x100000001b3;
	(void)snprintf(m->uuid, UUID_TEXT_MAX, "%08x-%04x-8%03x-8%03x-%012llx",
		       (unsigned)(hash[0] >> 32), (unsigned)(hash[0] >> 16) & 0xffff,
		       (unsigned)hash[0] & 0xfff, (unsigned)(hash[1] >> 48) & 0xfff,
		       (unsigned long long)(hash[1] & 0xffffffffffff));
}

static int parse(const char *text, struct builtin_machine *m, struct err *err)
{
	json_error_t why;
	json_t *doc = json_loads(text, JSON_REJECT_DUPLICATES, &why);
	const char *key;
	json_t *v;
	int rc = 0;

	if (!json_is_object(doc)) {
		err_set(err, ERR_CORRUPT, "line %d: %.200s", doc ? 1 : why.line,
			doc ? "no JSON object" : why.text);
		json_decref(doc);
		return -1;
	}
	json_object_foreach(doc, key, v)
	{
		if (rc == 0)
			rc = get_key(key, v, m, err);
	}
	json_decref(doc);
	if (rc == 0 && !m->uuid[0])
		derive_uuid(m);
	builtin_order(m);
	if (rc == 0 && m->memory < 1 << 20)
		rc = err_set(err, ERR_CORRUPT, "\"memory\" is missing or less than 1M");
	return rc;
}

int builtin_load(const struct builtin_host *b, const char *name, struct builtin_machine *ret,
		 struct err *err)
{
	CLEANUP_FREE char *path = NULL, *text = NULL;
	struct builtin_machine m = {.cpus = 1};
	size_t len;

	if (control_check_name(name, NULL) < 0)
		return err_set(err, ERR_NOT_FOUND, "there is no such machine");
	path = builtin_path(b->machines, name, SUFFIX);
	if (!path || !(m.name = strdup(name)))
		return err_nomem(err);
	if (io_read_file(path, FILE_MAX, &text, &len, err) < 0) {
		free(m.name);
		if (err && err->code == ERR_NOT_FOUND)
			return err_set(err, ERR_NOT_FOUND, "there is no such machine");
		return err_object(err, path);
	}
	if (strlen(text) != len || parse(text, &m, err) < 0) {
		if (strlen(text) != len)
			err_set(err, ERR_CORRUPT, "there is a NUL in it");
		builtin_release(&m);
		return err_object(err, path);
	}
	*ret = m;
	return 0;
}

/* ---- writing */

static void set(json_t *o, const char *key, json_t *v)
{
	if (json_object_set_new(o, key, v) < 0) /* no memory, or a path that is not UTF-8 */
		(void)json_object_set_new(o, "", json_null());
}

static void set_text(json_t *o, const char *key, const char *text)
{
	if (text)
		set(o, key, json_string(text));
}

static json_t *disks_json(const struct builtin_machine *m)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->n_disks; i++) {
		json_t *d = json_object();

		set_text(d, "file", m->disks[i].file);
		set_text(d, "format", m->disks[i].format);
		if (m->disks[i].read_only)
			set(d, "read_only", json_true());
		(void)json_array_append_new(list, d);
	}
	return list;
}

static void set_nics(json_t *o, const struct builtin_machine *m)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->n_nics; i++) {
		json_t *n = json_object();

		set_text(n, "tap", m->nics[i].tap);
		if (m->nics[i].mac[0])
			set_text(n, "mac", m->nics[i].mac);
		(void)json_array_append_new(list, n);
	}
	if (m->n_nics)
		set(o, "networks", json_incref(list));
	json_decref(list);
}

static void set_texts(json_t *o, const char *key, char *const *texts, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(list, json_string(texts[i]));
	if (n)
		set(o, key, json_incref(list));
	json_decref(list);
}

static json_t *to_json(const struct builtin_machine *m)
{
	json_t *o = json_object(), *limits = builtin_limits_json(&m->limits);

	set_text(o, "uuid", m->uuid);
	set(o, "cpus", json_integer(m->cpus));
	set(o, "memory", json_integer((json_int_t)m->memory));
	set_text(o, "kernel", m->kernel);
	set_text(o, "initrd", m->initrd);
	set_text(o, "append", m->append);
	set(o, "disks", disks_json(m));
	set_nics(o, m);
	set_texts(o, "publish", m->publish, m->n_publish);
	set_texts(o, "allow_backing", m->allow, m->n_allow);
	set(o, "autostart", json_boolean(m->autostart));
	if (m->order)
		set(o, "autostart_order", json_integer(m->order));
	if (m->delay_ms)
		set(o, "autostart_delay", json_sprintf("%.15gs", (double)m->delay_ms / 1000));
	if (json_object_size(limits))
		set(o, "limits", json_incref(limits));
	json_decref(limits);
	return o;
}

static int make_folder(char *path, struct err *err)
{
	for (char *s = path + 1;; s++) {
		char c = *s;

		if (c && c != '/')
			continue;
		*s = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST) {
			err_sys(err, "cannot create the folder");
			return err_object(err, path);
		}
		*s = c;
		if (!c)
			return 0;
	}
}

int builtin_save(const struct builtin_host *b, const struct builtin_machine *m, struct err *err)
{
	CLEANUP_FREE char *path = NULL, *text = NULL, *folder = NULL, *line = NULL;
	json_t *doc;

	if (control_check_name(m->name, err) < 0)
		return -1;
	folder = strdup(b->machines);
	path = builtin_path(b->machines, m->name, SUFFIX);
	if (!path || !folder)
		return err_nomem(err);
	if (make_folder(folder, err) < 0)
		return -1;
	doc = to_json(m);
	if (json_object_get(doc, "")) {
		json_decref(doc);
		return err_set(err, ERR_UNSUPPORTED, "a path or text of it is not UTF-8");
	}
	text = json_dumps(doc, JSON_INDENT(2));
	json_decref(doc);
	if (!text || asprintf(&line, "%s\n", text) < 0) {
		line = NULL;
		return err_nomem(err);
	}
	return outfile_write(path, line, strlen(line), OUTFILE_FORCE, err);
}

/* ---- all of them */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void builtin_names_free(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

int builtin_names(const struct builtin_host *b, char ***ret, size_t *ret_n, struct err *err)
{
	DIR *dir = opendir(b->machines);
	const struct dirent *e;
	char **names;
	size_t n = 0;

	if (!dir && errno != ENOENT) {
		err_sys(err, "cannot read the folder");
		return err_object(err, b->machines);
	}
	names = calloc(MACHINES_MAX, sizeof(*names));
	while (names && dir && n < MACHINES_MAX && (e = readdir(dir))) {
		size_t len = strlen(e->d_name), tail = strlen("." SUFFIX);

		if (len <= tail || strcmp(e->d_name + len - tail, "." SUFFIX) != 0)
			continue;
		names[n] = strndup(e->d_name, len - tail);
		if (names[n] && control_check_name(names[n], NULL) == 0)
			n++;
		else
			free(names[n]);
	}
	if (dir)
		(void)closedir(dir);
	if (!names)
		return err_nomem(err);
	qsort(names, n, sizeof(*names), by_text);
	*ret = names;
	*ret_n = n;
	return 0;
}
