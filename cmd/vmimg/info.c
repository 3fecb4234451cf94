/* vmimg info: what an image is, from its headers alone. */
#include <stdlib.h>
#include <string.h>

#include "cmd/vmimg/packages.h"
#include "cmd/vmimg/vmimg.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/base/size.h"
#include "libcommon/image/image.h"
#include "libcommon/package/package.h"

static const char *format;
static bool chain, shared;
static struct opt_list allow;

static const struct opt options[] = {
	{'f', "format", OPT_STRING, &format, "FORMAT", "format of the image; probed without it",
	 .complete = COMPLETE_FORMAT},
	{.name = "chain",
	 .type = OPT_FLAG,
	 .value = &chain,
	 .help = "show the backing files too, top first"},
	{'U', "force-share", OPT_FLAG, &shared,
	 .help = "read it even while another process writes to it"},
	{.name = "allow-backing",
	 .type = OPT_LIST,
	 .value = &allow,
	 .arg = "DIR",
	 .help = "folder that backing files may lie in, beside that of the image; may be repeated",
	 .complete = COMPLETE_DIR},
	OPT_END,
};

static void line(const char *label, const char *value)
{
	CLEANUP_FREE char *text = cli_printable(value);

	(void)printf("%-14s %s\n", label, text ? text : "?");
}

static const char *string(const json_t *obj, const char *key)
{
	return json_string_value(json_object_get(obj, key));
}

static void size_line(const json_t *obj, const char *key, const char *label, bool exact)
{
	const json_t *v = json_object_get(obj, key);
	char size[SIZE_TEXT_MAX], text[96];

	if (!v)
		return;
	size_format((uint64_t)json_integer_value(v), size);
	if (exact)
		(void)snprintf(text, sizeof(text), "%s (%lld bytes)", size,
			       (long long)json_integer_value(v));
	line(label, exact && json_integer_value(v) >= 1024 ? text : size);
}

/* "dirty, lazy refcounts": the true flags of format_specific, in its order. */
static void flags_line(const json_t *specific)
{
	char text[256] = "";
	size_t used = 0;
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)specific, key, v)
	{
		if (!json_is_true(v) || used + strlen(key) + 3 > sizeof(text))
			continue;
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", used ? ", " : "",
					 key);
	}
	for (char *s = text; *s; s++)
		if (*s == '_')
			*s = ' ';
	if (*text)
		line("flags", text);
}

static void specific_lines(const json_t *specific)
{
	static const char *const strings[][2] = {{"compression_type", "compression"},
						 {"encryption", "encryption"},
						 {"data_file", "data file"}};
	const json_t *bits = json_object_get(specific, "refcount_bits");
	char text[32];

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		if (string(specific, strings[i][0]))
			line(strings[i][1], string(specific, strings[i][0]));
	if (bits && json_integer_value(bits) != 16) {
		(void)snprintf(text, sizeof(text), "%lld bits",
			       (long long)json_integer_value(bits));
		line("refcounts", text);
	}
	flags_line(specific);
}

static const char *size_cell(const json_t *obj, const char *key, char *buf)
{
	return size_format((uint64_t)json_integer_value(json_object_get(obj, key)), buf);
}

static void print_snapshots(const json_t *list)
{
	static const char *const heads[] = {"  ID", "NAME", "CREATED", "DISK", "VM STATE"};
	struct table *t;
	size_t i;
	const json_t *s;

	if (json_array_size(list) == 0)
		return;
	t = table_new(heads, "lllrr");
	json_array_foreach(list, i, s)
	{
		char disk[SIZE_TEXT_MAX], state[SIZE_TEXT_MAX], id[64];
		const char *cells[] = {id, string(s, "name"), string(s, "created"),
				       size_cell(s, "virtual_size", disk),
				       size_cell(s, "vm_state_size", state)};
		static const char *const more[] = {"  ...", NULL, NULL, NULL, NULL};

		(void)snprintf(id, sizeof(id), "  %s", string(s, "id") ? string(s, "id") : "?");
		table_row(t, json_object_get(s, "truncated") ? more : cells);
	}
	(void)printf("snapshots\n");
	table_print(t, stdout);
	table_free(t);
}

static void print_bitmaps(const json_t *list)
{
	static const char *const heads[] = {"  NAME", "GRANULARITY", "STATE"};
	struct table *t;
	size_t i;
	const json_t *b;

	if (json_array_size(list) == 0)
		return;
	t = table_new(heads, "lrl");
	json_array_foreach(list, i, b)
	{
		char size[SIZE_TEXT_MAX], name[1100];
		const char *cells[] = {name, size_cell(b, "granularity", size),
				       json_is_true(json_object_get(b, "consistent"))
					       ? "consistent"
					       : "not consistent"};
		static const char *const more[] = {"  ...", NULL, NULL};

		(void)snprintf(name, sizeof(name), "  %s",
			       string(b, "name") ? string(b, "name") : "?");
		table_row(t, json_object_get(b, "truncated") ? more : cells);
	}
	(void)printf("bitmaps\n");
	table_print(t, stdout);
	table_free(t);
}

static void print_layer(const json_t *obj)
{
	const json_t *specific = json_object_get(obj, "format_specific");
	const char *compat = string(specific, "compat"), *backing = string(obj, "backing_file");
	const char *backing_format = string(obj, "backing_format");
	char text[2048];

	line("image", string(obj, "name"));
	(void)snprintf(text, sizeof(text), "%s%s%s%s", string(obj, "format"),
		       compat ? " (compat " : "", compat ? compat : "", compat ? ")" : "");
	line("format", text);
	if (!json_object_get(obj, "virtual_size"))
		line("virtual size", "unknown until the stream ends");
	size_line(obj, "virtual_size", "virtual size", true);
	size_line(obj, "actual_size", "on disk", false);
	size_line(obj, "cluster_size", "cluster size", false);
	if (backing) {
		(void)snprintf(text, sizeof(text), "%s (%s)", backing,
			       backing_format ? backing_format : "format not named");
		line("backing file", text);
	}
	specific_lines(specific);
	print_snapshots(json_object_get(obj, "snapshots"));
	print_bitmaps(json_object_get(specific, "bitmaps"));
}

/* All layers as an array, top first; one layer without --chain. */
static int collect(struct image *img, json_t *list, struct err *err)
{
	for (; img; img = chain ? image_backing(img) : NULL) {
		json_t *layer;

		if (image_info(img, &layer, err) < 0)
			return -1;
		if (json_array_append_new(list, layer) < 0)
			return err_nomem(err);
	}
	return 0;
}

static int print(struct cli *cli, json_t *list, struct err *err)
{
	size_t i;
	json_t *layer;

	if (cli->json)
		return cli_print_json(cli, json_incref(chain ? list : json_array_get(list, 0)),
				      err);
	json_array_foreach(list, i, layer)
	{
		if (i)
			(void)putchar('\n');
		print_layer(layer);
	}
	return 0;
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	struct image_open_opts opts = {
		.format = format,
		.flags = (chain ? 0 : IMAGE_INFO) | (shared ? IMAGE_SHARED : 0),
		.allow_dirs = allow.items,
		.n_allow_dirs = allow.count,
	};
	struct image *img;
	json_t *list = json_array();
	int rc = -1;

	(void)argc;
	if (!list)
		return err_nomem(err);
	if (package_named(argv[0], format)) {
		json_decref(list);
		return info_package(cli, package_path(argv[0]), opts.flags, err);
	}
	if (image_open(&img, argv[0], &opts, err) == 0) {
		rc = collect(img, list, err);
		if (rc == 0)
			rc = print(cli, list, err);
		image_close(img);
	}
	json_decref(list);
	return rc;
}

static const char *const examples[] = {
	"vmimg info disk.qcow2",
	"vmimg info appliance.ova",
	"vmimg info --chain --json overlay.qcow2 | jq '.[].backing_file'",
	NULL,
};

const struct verb verb_info = {
	.name = "info",
	.usage = "[OPTIONS] IMAGE",
	.summary = "show format, sizes, backing file, snapshots, bitmaps",
	.details = "Only headers and tables of snapshots and bitmaps are read, no data: it takes a "
		   "few milliseconds "
		   "whatever the size. A backing file that the image names is not opened unless "
		   "--chain is given. Of an OVF or OVA the machines and disks are shown as the "
		   "descriptor has them.",
	.options = options,
	.examples = examples,
	.statuses = "0 done, 4 no such image, or with --chain a backing file is missing, 6 in use "
		    "(see -U), "
		    "8 damaged header, 9 unknown feature, 12 no permission, or the chain leaves "
		    "its folder",
	.min_args = 1,
	.max_args = 1,
	.json = true,
	.complete_args = COMPLETE_FILE,
	.run = run,
};
