/* The volumes of a disk, and which of them a name means. */
#include "libcommon/guest/guest.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/log.h"
#include "libcommon/base/stop.h"
#include "libcommon/guest/appliance.h"
#include "libcommon/guest/lvm.h"
#include "libcommon/image/utf16.h"

/* ---- partitions */

/* A GUID is stored with its first three parts little endian. */
static void guid_text(const uint8_t *p, char ret[40])
{
	static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
	uint8_t id[16];

	for (unsigned i = 0; i < 16; i++)
		id[i] = p[order[i]];
	uuid_text(id, ret);
}

static int name_gpt(const struct partition_table *t, const struct partition *p,
		    struct guest_volume *v, struct err *err)
{
	enum { AT_ENTRY_SIZE = 84, UNIQUE = 16, NAME = 56, NAME_LEN = 72 };
	uint64_t size = get_le32(t->header + AT_ENTRY_SIZE), at = (uint64_t)(p->number - 1) * size;

	guid_text(p->guid, v->type);
	if (size < NAME + NAME_LEN || !range_inside(at, size, t->entries_len))
		return 0;
	guid_text(t->entries + at + UNIQUE, v->partuuid);
	return utf16_to_utf8(t->entries + at + NAME, NAME_LEN, false, &v->name, err);
}

static bool is_container(const struct partition_table *t, const struct partition *p)
{
	return t->scheme == PARTITIONS_MBR &&
	       (p->type == 0x05 || p->type == 0x0f || p->type == 0x85);
}

static int add_volume(struct guest *g, const struct partition_table *t, const struct partition *p,
		      uint32_t signature, struct err *err)
{
	struct guest_volume *v = &g->volumes[g->n_volumes];
	uint64_t size = image_size(g->img);

	if (p->off >= size || g->n_volumes >= GUEST_VOLUMES_MOST)
		return 0;
	v->number = p->number;
	v->v = (struct volume){g->img, p->off, min_u64(p->len, size - p->off)};
	g->n_volumes++; /* from here on guest_close() frees its name */
	if (t->scheme == PARTITIONS_GPT) {
		if (name_gpt(t, p, v, err) < 0)
			return -1;
	} else {
		(void)snprintf(v->type, sizeof(v->type), "0x%02x", p->type);
		(void)snprintf(v->partuuid, sizeof(v->partuuid), "%08" PRIx32 "-%02x", signature,
			       p->number);
	}
	return fs_probe(&v->v, &v->info, err);
}

/* @img is consumed */
static int add_logical(void *ctx, const char *name, struct image *img, struct err *err)
{
	struct guest *g = ctx;
	struct guest_volume *more, *v;

	if (g->n_volumes >= GUEST_VOLUMES_MOST) {
		image_close(img);
		return 0;
	}
	more = reallocarray(g->volumes, g->n_volumes + 1, sizeof(*more));
	if (!more) {
		image_close(img);
		return err_nomem(err);
	}
	g->volumes = more;
	v = &more[g->n_volumes++];
	*v = (struct guest_volume){
		.owned = img, .v = {img, 0, image_size(img)}, .type = "lvm", .name = strdup(name)};
	if (!v->name)
		return err_nomem(err);
	return fs_probe(&v->v, &v->info, err);
}

/* What is damaged there does not hide the rest of the disk */
static int list_logical(struct guest *g, struct err *err)
{
	for (size_t i = 0, n = g->n_volumes; i < n; i++) {
		const struct guest_volume pv = g->volumes[i];
		struct err one = ERR_INIT;

		if (strcmp(pv.info.type, "LVM2_member") != 0 ||
		    lvm_read(&pv.v, pv.info.uuid, add_logical, g, &one) == 0)
			continue;
		if (one.code == ERR_CANCELLED || one.code == ERR_NO_MEMORY) {
			if (err)
				*err = one;
			return -1;
		}
		log_warning("%s: %s", image_name(g->img), one.message);
	}
	return 0;
}

static int list_volumes(struct guest *g, const struct partition_table *t, struct err *err)
{
	uint8_t signature[4];

	g->scheme = t->scheme;
	g->volumes = calloc(t->n + 1, sizeof(*g->volumes));
	if (!g->volumes)
		return err_nomem(err);
	if (t->scheme == PARTITIONS_NONE) {
		struct guest_volume *v = &g->volumes[g->n_volumes++];

		v->v = (struct volume){g->img, 0, image_size(g->img)};
		return fs_probe(&v->v, &v->info, err);
	}
	if (image_read(g->img, signature, 440, sizeof(signature), err) < 0)
		return -1;
	for (size_t i = 0; i < t->n; i++)
		if (!is_container(t, &t->parts[i]) &&
		    add_volume(g, t, &t->parts[i], get_le32(signature), err) < 0)
			return -1;
	return 0;
}

int guest_open(struct guest **ret, struct image *img, struct err *err)
{
	struct guest *g = calloc(1, sizeof(*g));
	struct partition_table t;
	int rc;

	if (!g)
		return err_nomem(err);
	g->img = img;
	if (image_is_stream(img)) {
		free(g);
		err_set(err, ERR_UNSUPPORTED,
			"there is no looking for files in a pipe of raw data");
		return err_object(err, image_name(img));
	}
	if (partition_table_read(img, &t, err) < 0) {
		free(g);
		return -1;
	}
	rc = list_volumes(g, &t, err);
	partition_table_release(&t);
	if (rc == 0)
		rc = list_logical(g, err);
	if (rc < 0) {
		guest_close(g);
		return err_object(err, image_name(img));
	}
	*ret = g;
	return 0;
}

void guest_close(struct guest *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < g->n_systems; i++)
		guest_system_release(&g->systems[i]);
	for (size_t i = 0; i < g->n_volumes; i++)
		fs_close(g->volumes[i].fs);
	appliance_free(g->appliance);
	for (size_t i = 0; i < g->n_volumes; i++) {
		image_close(g->volumes[i].owned);
		free(g->volumes[i].name);
	}
	free(g->volumes);
	free(g);
}

void guest_use_server(struct guest *g, const struct guest_server *server)
{
	g->server = server;
}

static bool needs_appliance(const struct guest *g, int i)
{
	return g->server && appliance_reads(g->volumes[i].info.family);
}

bool guest_can_read(const struct guest *g, int i)
{
	return fs_is_read(g->volumes[i].info.family) || needs_appliance(g, i);
}

static int start_appliance(struct guest *g, struct err *err)
{
	if (!g->appliance && appliance_new(&g->appliance, g->server, err) < 0) {
		g->no_appliance = true;
		return -1;
	}
	return 0;
}

static int open_volume(struct guest *g, int i, struct err *err)
{
	struct guest_volume *v = &g->volumes[i];

	if (!needs_appliance(g, i))
		return fs_open(&v->fs, &v->v, err);
	if (start_appliance(g, err) < 0)
		return err_prefix(err, "%s", v->info.type);
	return appliance_fs_open(&v->fs, g->appliance, g, i, err);
}

int guest_fs(struct guest *g, int i, struct fs **ret, struct err *err)
{
	struct guest_volume *v = &g->volumes[i];

	if (!v->fs && open_volume(g, i, err) < 0)
		return v->number  ? err_prefix(err, "partition %u", v->number)
		       : v->owned ? err_prefix(err, "%s", v->name)
				  : -1;
	*ret = v->fs;
	return 0;
}

/* A system that the appliance found: its own files say more, where they are a Unix's. */
static int found_system(void *ctx, struct guest_system *s, struct err *err)
{
	struct guest *g = ctx;
	size_t before = g->n_systems;

	if (guest_search_one(g, s->root, err) < 0 || g->n_systems > before ||
	    before == GUEST_SYSTEMS_MOST) {
		guest_system_release(s);
		return 0;
	}
	g->systems[g->n_systems++] = *s;
	return 0;
}

static bool has_file(struct guest *g, int i, const char *path)
{
	struct guest_place p;

	if (guest_path(g, i, NULL, path, 0, &p, NULL) < 0)
		return false;
	guest_place_release(&p);
	return true;
}

static void close_volume(struct guest *g, int i)
{
	fs_close(g->volumes[i].fs);
	g->volumes[i].fs = NULL;
}

/* Where distributions put the root in a btrfs: Fedora, Ubuntu and SUSE, Debian */
static int search_subvolumes(struct guest *g, int i, struct err *err)
{
	static const char *const names[] = {"root", "@", "@rootfs"};
	struct fs *unused;

	for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
		char release[40], fstab[40];

		(void)snprintf(release, sizeof(release), "/%s/etc/os-release", names[k]);
		(void)snprintf(fstab, sizeof(fstab), "/%s/etc/fstab", names[k]);
		if (!has_file(g, i, release) && !has_file(g, i, fstab))
			continue;
		if (appliance_use_subvolume(g->appliance, g, i, names[k], err) < 0)
			return -1;
		close_volume(g, i);
		if (guest_fs(g, i, &unused, NULL) == 0)
			return guest_search_one(g, i, err);
		appliance_drop_subvolume(g->appliance); /* a folder of that name */
	}
	return 0;
}

/* Windows says what it is in its registry, which libguestfs reads; it takes as long as the start. */
static int search_windows(struct guest *g, struct err *err)
{
	for (size_t i = 0; i < g->n_volumes; i++)
		if (needs_appliance(g, (int)i))
			close_volume(g, (int)i);
	return appliance_inspect(g->appliance, g, found_system, g, err);
}

static int search_volumes(struct guest *g, struct err *err)
{
	bool windows = false;

	for (size_t i = 0; i < g->n_volumes; i++) {
		size_t before = g->n_systems;

		if (!needs_appliance(g, (int)i))
			continue;
		if (guest_search_one(g, (int)i, err) < 0 ||
		    (g->n_systems == before && !strcmp(g->volumes[i].info.family, "btrfs") &&
		     search_subvolumes(g, (int)i, err) < 0))
			return -1;
		windows = windows || has_file(g, (int)i, "/Windows/System32/config/SOFTWARE");
	}
	return windows && !g->n_systems ? search_windows(g, err) : stop_check(err);
}

/* What cannot be asked finds nothing, but a signal ends it. */
static int search_with_appliance(struct guest *g, struct err *err)
{
	struct err why = ERR_INIT;
	bool wanted = false;

	for (size_t i = 0; i < g->n_volumes; i++)
		wanted = wanted || needs_appliance(g, (int)i);
	if (!wanted || g->no_appliance)
		return 0;
	if (start_appliance(g, &why) == 0 && search_volumes(g, &why) == 0)
		return 0;
	if (why.code == ERR_CANCELLED || why.code == ERR_NO_MEMORY) {
		if (err)
			*err = why;
		return -1;
	}
	log_info("no system was looked for: %s", why.message);
	return 0;
}

int guest_search(struct guest *g, struct err *err)
{
	if (g->searched)
		return 0;
	for (size_t i = 0; i < g->n_volumes; i++)
		if (fs_is_read(g->volumes[i].info.family) && guest_search_one(g, (int)i, err) < 0)
			return -1;
	if (g->n_systems == 0 && search_with_appliance(g, err) < 0)
		return -1;
	g->searched = true;
	return 0;
}

/* ---- names of places */

static bool is_number(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isdigit((unsigned char)s[i]))
			return false;
	return len > 0 && len < 6;
}

static bool same(const char *a, const char *text, size_t len)
{
	return a && *a && strlen(a) == len && memcmp(a, text, len) == 0;
}

static bool same_id(const char *a, const char *text, size_t len)
{
	return *a && strlen(a) == len && strncasecmp(a, text, len) == 0;
}

static bool matches(const struct guest_volume *v, const char *text, size_t len)
{
	char number[16];

	if (is_number(text, len) && v->owned)
		return false;
	if (is_number(text, len)) {
		(void)snprintf(number, sizeof(number), "%u", v->number);
		return same(number, text, len);
	}
	return same(v->info.label, text, len) || same(v->name, text, len) ||
	       same_id(v->info.uuid, text, len) || same_id(v->partuuid, text, len);
}

static int choose_named(const struct guest *g, const char *text, size_t len, int *ret,
			struct err *err)
{
	int found = -1;

	for (size_t i = 0; i < g->n_volumes; i++) {
		if (!matches(&g->volumes[i], text, len))
			continue;
		if (found >= 0)
			return err_set(err, ERR_USAGE, "'%.*s' names several partitions", (int)len,
				       text);
		found = (int)i;
	}
	if (found < 0)
		return err_set(err, ERR_NOT_FOUND, "there is no partition '%.*s'", (int)len, text);
	*ret = found;
	return 0;
}

/* The first system, else the only file system */
static int choose_default(struct guest *g, int *ret, const struct guest_system **ret_system,
			  struct err *err)
{
	struct fs *unused;
	int only = -1;

	*ret_system = NULL;
	if (guest_search(g, err) < 0)
		return -1;
	if (g->n_systems) {
		*ret_system = &g->systems[0];
		*ret = g->systems[0].root;
		return 0;
	}
	for (size_t i = 0; i < g->n_volumes; i++) {
		if (!guest_can_read(g, (int)i))
			continue;
		if (only >= 0) {
			err_set(err, ERR_NOT_FOUND,
				"no system was found, and there are several file systems");
			return err_hint(err, "name one of them, as %u:/; vmimg inspect lists them",
					g->volumes[only].number);
		}
		only = (int)i;
	}
	*ret = only;
	if (only >= 0)
		return 0;
	if (g->n_volumes == 1 && !g->volumes[0].number && !g->volumes[0].owned)
		return guest_fs(g, 0, &unused, err); /* says why not */
	return err_set(err, ERR_NOT_FOUND, "no file system was found that is read here");
}

int guest_find(struct guest *g, const char *spec, unsigned flags, struct guest_place *ret,
	       struct err *err)
{
	const struct guest_system *system = NULL;
	const char *path = spec, *colon;
	int volume = -1, rc;

	if (*spec == '/') {
		rc = choose_default(g, &volume, &system, err);
	} else {
		colon = strstr(spec, ":/");
		if (!colon && *spec && spec[strlen(spec) - 1] == ':')
			colon = spec + strlen(spec) - 1;
		if (!colon || colon == spec) {
			err_set(err, ERR_USAGE, "not of the form /PATH or PARTITION:/PATH");
			return err_object(err, spec);
		}
		path = colon + 1;
		rc = choose_named(g, spec, (size_t)(colon - spec), &volume, err);
	}
	if (rc < 0 || guest_path(g, volume, system, path, flags, ret, err) < 0)
		return err_object(err, spec);
	return 0;
}
