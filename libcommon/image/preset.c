/* The table of targets, and what follows from it. Sources: the targets' own pages on importing disks, 2026. */
#include "libcommon/image/preset.h"

#include <inttypes.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/size.h"
#include "libcommon/image/format.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)
#define TIB (1ULL << 40)

const struct image_preset image_presets[] = {
	{.name = "azure",
	 .summary = "fixed VHD of whole MiB, from 20 MiB to 32 TiB",
	 .formats = {{"vhd", {{"subformat", "fixed", NULL}, {"force_size", "on", NULL}}}},
	 .multiple = MIB,
	 .least = 20 * MIB,
	 .most = 32 * TIB},
	{.name = "aws",
	 .summary = "streamOptimized VMDK for VM Import; VHD, VHDX and raw will do",
	 .formats = {{"vmdk", {{"subformat", "streamOptimized", NULL}}},
		     {"vhd", {{NULL, NULL, NULL}}},
		     {"vhdx", {{NULL, NULL, NULL}}},
		     {"raw", {{NULL, NULL, NULL}}}},
	 .multiple = 512},
	{.name = "gce",
	 .summary = "disk.raw of whole GiB in a gzipped GNU tar, as NAME.tar.gz",
	 .multiple = GIB,
	 .least = GIB,
	 .archive = true},
	{.name = "esxi",
	 .summary = "flat VMDK for a datastore; subformat=streamOptimized for an upload as OVF",
	 .formats = {{"vmdk",
		      {{"subformat", "vmfs", "streamOptimized|monolithicFlat"},
		       {"adapter_type", "lsilogic", "buslogic"}}}},
	 .multiple = 512,
	 .most = 62 * TIB},
	{.name = "hyperv",
	 .summary = "dynamic VHDX without holes in the file; VHD for generation 1",
	 .formats = {{"vhdx", {{"subformat", "dynamic", "fixed"}}},
		     {"vhd", {{"subformat", "dynamic", "fixed"}, {"force_size", "on", NULL}}}},
	 .multiple = 4096,
	 .most = 64 * TIB,
	 .no_holes = true},
	{.name = "virtualbox",
	 .summary = "VDI; VMDK, VHD and raw will do",
	 .formats = {{"vdi", {{NULL, NULL, NULL}}},
		     {"vmdk",
		      {{"subformat", "monolithicSparse",
			"streamOptimized|monolithicFlat|twoGbMaxExtentSparse|twoGbMaxExtentFlat"}}},
		     {"vhd", {{NULL, NULL, NULL}}},
		     {"raw", {{NULL, NULL, NULL}}}},
	 .multiple = 512},
	{.name = "openstack",
	 .summary = "qcow2 of one file with compat=v3, for Glance; raw for Ceph",
	 .formats = {{"qcow2",
		      {{"compat", "v3", "1.1"},
		       {"data_file", NULL, NULL},
		       {"data_file_raw", NULL, NULL}}},
		     {"raw", {{NULL, NULL, NULL}}}},
	 .multiple = 512},
	{.name = "proxmox",
	 .summary = "qcow2 of one file with compat=v3, for storage that holds files; raw for LVM, "
		    "ZFS, Ceph",
	 .formats = {{"qcow2",
		      {{"compat", "v3", "1.1"},
		       {"data_file", NULL, NULL},
		       {"data_file_raw", NULL, NULL}}},
		     {"raw", {{NULL, NULL, NULL}}},
		     {"vmdk", {{"subformat", "monolithicSparse", "vmfs|monolithicFlat"}}}},
	 .multiple = 1024},
	{.name = NULL},
};

int image_preset_find(const struct image_preset **ret, const char *name, struct err *err)
{
	for (const struct image_preset *p = image_presets; p->name; p++)
		if (strcmp(p->name, name) == 0) {
			*ret = p;
			return 0;
		}
	return err_set(err, ERR_USAGE, "unknown target '%s': " IMAGE_PRESET_NAMES, name);
}

int image_preset_size(const struct image_preset *p, uint64_t size, uint64_t *ret, struct err *err)
{
	char text[2][SIZE_TEXT_MAX];
	uint64_t want;

	if (!u64_round_up(max_u64(size, p->least), p->multiple, &want) || want > INT64_MAX)
		return err_set(err, ERR_UNSUPPORTED,
			       "%" PRIu64 " bytes are more than a disk can have", size);
	if (p->most && want > p->most)
		return err_set(err, ERR_UNSUPPORTED,
			       "%s takes disks of at most %s, this one has %s", p->name,
			       size_format(p->most, text[0]), size_format(want, text[1]));
	*ret = want;
	return 0;
}

/* Is @word one of "a|b|c"? */
static bool one_of(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *s = list; s; s = strchr(s, '|')) {
		s += *s == '|';
		if (strncmp(s, word, n) == 0 && (s[n] == '\0' || s[n] == '|'))
			return true;
	}
	return false;
}

static int pick_format(const struct image_preset *p, const char *format, const char *target,
		       const struct preset_format **ret, struct err *err)
{
	const struct image_format *named = NULL;

	if (format) {
		if (image_format_find(&named, format, err) < 0)
			return -1;
	} else if (target) {
		named = image_format_of_suffix(target);
	}
	*ret = &p->formats[0];
	if (!named)
		return 0;
	for (size_t i = 0; i < PRESET_FORMATS && p->formats[i].format; i++)
		if (strcmp(p->formats[i].format, named->name) == 0) {
			*ret = &p->formats[i];
			return 0;
		}
	err_set(err, ERR_USAGE, "%s does not take %s", p->name, named->name);
	return err_hint(err, "it wants: %s", p->summary);
}

/* The user's value of @o stands if the target takes it; else the preset's is added. */
static int settle(const struct image_preset *p, const struct preset_option *o,
		  struct bulk_params *params, struct image_option_value *room, struct err *err)
{
	const char *given = bulk_option(params, o->name);

	if (!given && o->value)
		room[params->n_options++] = (struct image_option_value){o->name, o->value};
	if (!given || (o->value && strcmp(given, o->value) == 0) || one_of(o->also, given))
		return 0;
	if (!o->value)
		return err_set(err, ERR_USAGE, "%s takes no image with %s", p->name, o->name);
	return err_set(err, ERR_USAGE, "%s wants %s=%s, not %s", p->name, o->name, o->value, given);
}

int image_preset_apply(const struct image_preset *p, const char *format, const char *target,
		       struct bulk_params *params, struct image_option_value *room,
		       const char **ret_format, struct err *err)
{
	const struct preset_format *f;

	if (params->backing_name)
		return err_set(err, ERR_USAGE, "%s takes no image with a backing file", p->name);
	if (p->archive) {
		if (format || params->n_options || params->compress)
			return err_set(err, ERR_USAGE,
				       "%s takes a tar.gz of one kind: no format, no option",
				       p->name);
		*ret_format = "raw";
		return 0;
	}
	if (pick_format(p, format, target, &f, err) < 0)
		return -1;
	if (params->n_options)
		memcpy(room, params->options, params->n_options * sizeof(*room));
	params->options = room;
	for (size_t i = 0; i < PRESET_OPTIONS && f->options[i].name; i++)
		if (settle(p, &f->options[i], params, room, err) < 0)
			return -1;
	*ret_format = f->format;
	return 0;
}
