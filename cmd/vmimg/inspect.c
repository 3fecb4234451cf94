/* vmimg inspect: partitions, file systems and the installed system of a disk. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/vmimg/inside.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"

static const struct opt options[] = {INSIDE_OPTIONS, OPT_END};

static const char *const examples[] = {
	"vmimg inspect disk.qcow2", "vmimg inspect --json disk.vmdk | jq -r .systems[0].hostname",
	NULL};

/* ---- JSON */

static void set_text(json_t *o, const char *key, const char *text)
{
	if (o && text && *text)
		(void)json_object_set_new(o, key, cli_json_string(text));
}

static json_t *fs_json(const struct fs_info *i)
{
	json_t *o = json_pack("{s:s}", "type", i->type);

	set_text(o, "label", i->label);
	set_text(o, "uuid", i->uuid);
	if (o && i->size)
		(void)json_object_set_new(o, "size", json_integer((json_int_t)i->size));
	if (o && i->has_used)
		(void)json_object_set_new(o, "used", json_integer((json_int_t)i->used));
	if (o && i->has_clean)
		(void)json_object_set_new(o, "clean", json_boolean(i->clean));
	return o;
}

static json_t *volumes_json(const struct guest *g)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < g->n_volumes; i++) {
		const struct guest_volume *v = &g->volumes[i];
		json_t *o = json_pack("{s:i, s:I, s:I}", "number", (int)v->number, "offset",
				      (json_int_t)v->v.off, "length", (json_int_t)v->v.len);

		set_text(o, "type", v->type);
		set_text(o, "name", v->name);
		set_text(o, "uuid", v->partuuid);
		if (o)
			(void)json_object_set_new(o, "filesystem", fs_json(&v->info));
		(void)json_array_append_new(list, o);
	}
	return list;
}

/* Where something lies: a partition's number, and the name of a logical volume */
static void set_volume(json_t *o, const struct guest_volume *v)
{
	(void)json_object_set_new(o, "partition", json_integer(v->number));
	if (v->owned)
		set_text(o, "volume", v->name);
}

static json_t *mounts_json(const struct guest *g, const struct guest_system *s)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < s->n_mounts; i++) {
		const struct guest_mount *m = &s->mounts[i];
		json_t *o = json_object();

		set_text(o, "source", m->source);
		set_text(o, "directory", m->dir);
		set_text(o, "type", m->type);
		if (o && m->volume >= 0)
			set_volume(o, &g->volumes[m->volume]);
		(void)json_array_append_new(list, o);
	}
	return list;
}

static json_t *systems_json(const struct guest *g)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < g->n_systems; i++) {
		const struct guest_system *s = &g->systems[i];
		json_t *kernels = json_array(), *o = json_object();

		if (o)
			set_volume(o, &g->volumes[s->root]);
		set_text(o, "id", s->id);
		set_text(o, "name", s->name);
		set_text(o, "version", s->version);
		set_text(o, "hostname", s->hostname);
		set_text(o, "machine_id", s->machine_id);
		set_text(o, "architecture", s->arch);
		for (size_t k = 0; kernels && k < s->n_kernels; k++)
			(void)json_array_append_new(kernels, cli_json_string(s->kernels[k]));
		if (o && kernels) {
			(void)json_object_set_new(o, "kernels", kernels);
			(void)json_object_set_new(o, "mounts", mounts_json(g, s));
		}
		(void)json_array_append_new(list, o);
	}
	return list;
}

/* ---- for people */

static void line(const char *key, const char *value)
{
	CLEANUP_FREE char *text = value && *value ? cli_printable(value) : NULL;

	if (text)
		(void)printf("%-12s  %s\n", key, text);
}

static const char *volume_name(const struct guest_volume *v, char buf[16])
{
	if (v->owned)
		return v->name;
	(void)snprintf(buf, 16, "%u", v->number);
	return v->number ? buf : "-";
}

static void print_system(const struct guest *g, const struct guest_system *s)
{
	char number[16];

	(void)putchar('\n');
	line("system", s->name ? s->name : s->id ? s->id : "unknown");
	line("hostname", s->hostname);
	line("architecture", s->arch);
	line("partition", volume_name(&g->volumes[s->root], number));
	for (size_t i = 0; i < s->n_kernels; i++)
		line(i ? "" : "kernels", s->kernels[i]);
	for (size_t i = 0; i < s->n_mounts; i++) {
		const struct guest_mount *m = &s->mounts[i];
		char text[600];

		if (*m->dir != '/')
			continue;
		if (m->volume >= 0)
			(void)snprintf(text, sizeof(text), "%s (partition %s)", m->dir,
				       volume_name(&g->volumes[m->volume], number));
		else
			(void)snprintf(text, sizeof(text), "%s (%s)", m->dir, m->source);
		line(i ? "" : "mounts", text);
	}
}

static int print(const struct guest *g, struct err *err)
{
	static const char *const headers[] = {"PARTITION", "SIZE", "FILE SYSTEM", "USED",
					      "LABEL",	   "UUID", NULL};
	struct table *t = table_new(headers, "lrlrll");

	if (!t)
		return err_nomem(err);
	(void)printf("%-12s  %s\n", "table", partition_scheme_name(g->scheme));
	for (size_t i = 0; i < g->n_volumes; i++) {
		const struct guest_volume *v = &g->volumes[i];
		char number[16], size[SIZE_TEXT_MAX], used[SIZE_TEXT_MAX];

		const char *cells[] = {volume_name(v, number),
				       size_format(v->v.len, size),
				       v->info.type,
				       v->info.has_used ? size_format(v->info.used, used) : "-",
				       *v->info.label	      ? v->info.label
				       : v->name && !v->owned ? v->name
							      : "",
				       v->info.uuid};

		table_row(t, cells);
	}
	table_print(t, stdout);
	table_free(t);
	for (size_t i = 0; i < g->n_systems; i++)
		print_system(g, &g->systems[i]);
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct image *img;
	struct guest *g;
	int rc;

	(void)argc;
	if (inside_open(argv[0], &img, &g, err) < 0)
		return -1;
	rc = guest_search(g, err);
	if (rc == 0 && cli->json)
		rc = cli_print_json(cli,
				    json_pack("{s:o, s:s, s:I, s:s, s:o, s:o}", "image",
					      cli_json_string(argv[0]), "format",
					      image_format_name(img), "virtual_size",
					      (json_int_t)image_size(img), "partition_table",
					      partition_scheme_name(g->scheme), "partitions",
					      volumes_json(g), "systems", systems_json(g)),
				    err);
	else if (rc == 0)
		rc = print(g, err);
	inside_close(img, g);
	return rc;
}

const struct verb verb_inspect = {
	.name = "inspect",
	.usage = "[OPTIONS] IMAGE",
	.summary = "show partitions, file systems and the installed system of a disk",
	.details =
		"Kinds of file systems, labels and UUIDs come from superblocks, of many kinds. A "
		"system (os-release,\n"
		"hostname, kernels, fstab) is found on ext2, ext3, ext4, XFS and FAT; when there "
		"is "
		"none, libguestfs,\n"
		"where it is installed, looks at btrfs and NTFS, Windows among them, which takes "
		"its appliance some\n"
		"20 seconds (--no-appliance). Nothing is written, no root is needed.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 2 usage, 4 no such image, 6 in use (see -U), 8 damaged",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
