/* The system that is installed in a file system: os-release, hostname, fstab, kernels, what its programs are made for. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/guest/guest.h"

enum { TEXT_MOST = 64 << 10 };

/* A small file of the volume; -1 without an error when it is not there or cannot be read */
static int load(struct guest *g, int volume, const char *path, char **ret, size_t *ret_len)
{
	struct guest_place p;
	int rc;

	if (guest_path(g, volume, NULL, path, 0, &p, NULL) < 0)
		return -1;
	rc = p.node.type == FS_FILE ? fs_load(p.fs, &p.node, TEXT_MOST, ret, ret_len, NULL) : -1;
	guest_place_release(&p);
	return rc;
}

static char *first_line(struct guest *g, int volume, const char *path)
{
	char *text = NULL;
	size_t len;

	if (load(g, volume, path, &text, &len) < 0)
		return NULL;
	text[strcspn(text, "\n")] = '\0';
	while (*text && isspace((unsigned char)text[strlen(text) - 1]))
		text[strlen(text) - 1] = '\0';
	if (*text)
		return text;
	free(text);
	return NULL;
}

/* ---- os-release: shell assignments, with quotes and backslashes */

static char *unquote(const char *value, size_t len)
{
	char *out = malloc(len + 1), quote = 0;
	size_t n = 0;

	if (!out)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		char c = value[i];

		if (quote ? c == quote : c == '"' || c == '\'') {
			quote = quote ? 0 : c;
			continue;
		}
		if (c == '\\' && quote != '\'' && i + 1 < len)
			c = value[++i];
		out[n++] = c;
	}
	out[n] = '\0';
	return out;
}

static void take_release(struct guest_system *s, const char *text)
{
	struct {
		const char *key;
		char **value;
	} keys[] = {{"ID=", &s->id}, {"PRETTY_NAME=", &s->name}, {"VERSION_ID=", &s->version}};

	for (const char *line = text; *line;) {
		size_t len = strcspn(line, "\n");

		for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
			size_t skip = strlen(keys[k].key);

			if (!*keys[k].value && strncmp(line, keys[k].key, skip) == 0)
				*keys[k].value = unquote(line + skip, len - skip);
		}
		line += len + (line[len] == '\n');
	}
}

/* ---- fstab */

/* The next word, with \040 and the like put right; NULL at the end of the line or without memory */
static char *word(const char **p)
{
	const char *s = *p + strspn(*p, " \t");
	size_t len = strcspn(s, " \t\n"), n = 0;
	char *out;

	*p = s + len;
	out = len ? malloc(len + 1) : NULL;
	for (size_t i = 0; out && i < len; i++) {
		unsigned v = 0;

		if (s[i] == '\\' && i + 3 < len && strspn(s + i + 1, "01234567") >= 3) {
			for (unsigned d = 1; d <= 3; d++)
				v = v * 8 + (unsigned)(s[i + d] - '0');
			out[n++] = (char)v;
			i += 3;
		} else {
			out[n++] = s[i];
		}
	}
	if (out)
		out[n] = '\0';
	return out;
}

static bool has_tag(const char *source, const char *tag, const char *value, bool ignore_case)
{
	size_t len = strlen(tag);
	char quoted[600];

	if (!value || !*value || strncmp(source, tag, len) != 0)
		return false;
	source += len;
	if (*source == '"') {
		(void)snprintf(quoted, sizeof(quoted), "\"%s\"", value);
		return strcmp(source, quoted) == 0;
	}
	return ignore_case ? strcasecmp(source, value) == 0 : strcmp(source, value) == 0;
}

/* /dev/sda2, /dev/vda2, /dev/nvme0n1p2: the partition's number is all that can be known. Other disks have other letters */
static unsigned device_number(const char *source)
{
	static const char *const disks[] = {"/dev/sda", "/dev/vda",	 "/dev/xvda",
					    "/dev/hda", "/dev/nvme0n1p", "/dev/mmcblk0p"};

	for (size_t i = 0; i < sizeof(disks) / sizeof(disks[0]); i++) {
		size_t len = strlen(disks[i]);
		const char *digits = source + len;
		unsigned v = 0;

		if (strncmp(source, disks[i], len) != 0 || !*digits || strlen(digits) > 4)
			continue;
		for (; isdigit((unsigned char)*digits); digits++)
			v = v * 10 + (unsigned)(*digits - '0');
		if (!*digits)
			return v;
	}
	return 0;
}

/* /dev/mapper/GROUP-VOLUME, where "-" in a name is "--", and /dev/GROUP/VOLUME */
static bool is_logical(const char *source, const char *name)
{
	static const char mapper[] = "/dev/mapper/", dev[] = "/dev/";

	if (strncmp(source, mapper, strlen(mapper)) != 0)
		return strncmp(source, dev, strlen(dev)) == 0 &&
		       strcmp(source + strlen(dev), name) == 0;
	for (source += strlen(mapper); *name; name++, source++) {
		if (*source != (*name == '/' ? '-' : *name) || (*name == '-' && *++source != '-'))
			return false;
	}
	return !*source;
}

static int source_volume(const struct guest *g, const char *source)
{
	unsigned number = device_number(source);

	for (size_t i = 0; i < g->n_volumes; i++) {
		const struct guest_volume *v = &g->volumes[i];

		if ((v->owned && is_logical(source, v->name)) || (number && v->number == number) ||
		    has_tag(source, "UUID=", v->info.uuid, true) ||
		    has_tag(source, "LABEL=", v->info.label, false) ||
		    has_tag(source, "PARTUUID=", v->partuuid, true) ||
		    has_tag(source, "PARTLABEL=", v->name, false) ||
		    has_tag(source, "/dev/disk/by-uuid/", v->info.uuid, true) ||
		    has_tag(source, "/dev/disk/by-label/", v->info.label, false) ||
		    has_tag(source, "/dev/disk/by-partuuid/", v->partuuid, true))
			return (int)i;
	}
	return -1;
}

static bool keep_mount(struct guest_mount *m)
{
	size_t len;

	if (!m->source || !m->dir || !m->type)
		return false;
	for (len = strlen(m->dir); len > 1 && m->dir[len - 1] == '/'; len--)
		m->dir[len - 1] = '\0';
	return *m->source != '#' && (*m->dir == '/' || strcmp(m->type, "swap") == 0);
}

static void take_fstab(struct guest *g, struct guest_system *s, const char *text)
{
	for (const char *line = text; *line;) {
		const char *p = line;
		struct guest_mount m = {.volume = -1};

		m.source = word(&p);
		m.dir = m.source ? word(&p) : NULL;
		m.type = m.dir ? word(&p) : NULL;
		if (s->n_mounts < GUEST_MOUNTS_MOST && keep_mount(&m)) {
			m.volume = source_volume(g, m.source);
			/* A mount on "/" is the root itself */
			if (m.volume == s->root && strcmp(m.dir, "/") != 0)
				m.volume = -1;
			s->mounts[s->n_mounts++] = m;
		} else {
			free(m.source);
			free(m.dir);
			free(m.type);
		}
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
}

/* ---- kernels and architecture */

static int by_text(const void *a, const void *b)
{
	return strverscmp(*(char *const *)a, *(char *const *)b);
}

static void add_kernel(struct guest_system *s, const char *name)
{
	for (size_t i = 0; i < s->n_kernels; i++)
		if (strcmp(s->kernels[i], name) == 0)
			return;
	if (s->n_kernels < GUEST_KERNELS_MOST && *name && (s->kernels[s->n_kernels] = strdup(name)))
		s->n_kernels++;
}

static void take_kernels(struct guest *g, struct guest_system *s, const char *dir,
			 const char *prefix)
{
	size_t skip = strlen(prefix);
	struct guest_place p;
	struct fs_list l;

	if (guest_path(g, s->root, s, dir, 0, &p, NULL) < 0)
		return;
	if (fs_list(p.fs, &p.node, &l, NULL) == 0) {
		for (size_t i = 0; i < l.n; i++)
			if (strncmp(l.entries[i].name, prefix, skip) == 0)
				add_kernel(s, l.entries[i].name + skip);
		fs_list_release(&l);
	}
	guest_place_release(&p);
}

static const char *machine_name(const uint8_t head[20])
{
	static const struct {
		uint16_t machine;
		const char *name;
	} names[] = {{3, "i386"},      {8, "mips"},	 {21, "ppc64"},
		     {22, "s390x"},    {40, "arm"},	 {62, "x86_64"},
		     {183, "aarch64"}, {243, "riscv64"}, {258, "loongarch64"}};
	uint16_t machine = head[5] == 2 ? get_be16(head + 18) : get_le16(head + 18);

	if (memcmp(head, "\177ELF", 4) != 0)
		return NULL;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].machine == machine)
			return names[i].name;
	return NULL;
}

static const char *architecture(struct guest *g, int volume)
{
	static const char *const programs[] = {"/bin/sh", "/sbin/init", "/bin/ls"};
	const char *name = NULL;

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]) && !name; i++) {
		struct guest_place p;
		struct fs_map m;
		uint8_t head[20];

		if (guest_path(g, volume, NULL, programs[i], 0, &p, NULL) < 0)
			continue;
		if (p.node.type == FS_FILE && fs_map(p.fs, &p.node, &m, NULL) == 0) {
			if (m.size >= sizeof(head) &&
			    fs_read(p.fs, &m, head, 0, sizeof(head), NULL) == 0)
				name = machine_name(head);
			fs_map_release(&m);
		}
		guest_place_release(&p);
	}
	return name;
}

void guest_system_release(struct guest_system *s)
{
	char *const strings[] = {s->id, s->name, s->version, s->hostname, s->machine_id};

	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		free(strings[i]);
	for (size_t i = 0; i < s->n_kernels; i++)
		free(s->kernels[i]);
	for (size_t i = 0; i < s->n_mounts; i++) {
		free(s->mounts[i].source);
		free(s->mounts[i].dir);
		free(s->mounts[i].type);
	}
	*s = (struct guest_system){0};
}

int guest_search_one(struct guest *g, int i, struct err *err)
{
	struct guest_system *s = &g->systems[g->n_systems];
	CLEANUP_FREE char *release = NULL, *fstab = NULL;
	struct fs *unused;
	size_t len;

	(void)err;
	if (g->n_systems >= GUEST_SYSTEMS_MOST || guest_fs(g, i, &unused, NULL) < 0)
		return 0;
	if (load(g, i, "/etc/os-release", &release, &len) < 0)
		(void)load(g, i, "/usr/lib/os-release", &release, &len);
	(void)load(g, i, "/etc/fstab", &fstab, &len);
	if (!release && !fstab)
		return 0;
	s->root = i;
	if (release)
		take_release(s, release);
	if (fstab)
		take_fstab(g, s, fstab);
	s->hostname = first_line(g, i, "/etc/hostname");
	s->machine_id = first_line(g, i, "/etc/machine-id");
	s->arch = architecture(g, i);
	take_kernels(g, s, "/lib/modules", "");
	take_kernels(g, s, "/boot", "vmlinuz-");
	if (s->n_kernels)
		qsort(s->kernels, s->n_kernels, sizeof(s->kernels[0]), by_text);
	g->n_systems++;
	return 0;
}
