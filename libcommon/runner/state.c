/* Reading a saved machine's file: see state.h. */
#include "libcommon/runner/state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libcommon/base/bytes.h"
#include "libcommon/base/checked.h"
#include "libcommon/base/digest.h"
#include "libcommon/base/io.h"
#include "libcommon/runner/linux.h"
#include "libcommon/runner/runner.h"
#include "libcommon/runner/state_private.h"
#include "libcommon/runner/virtio_fs.h"

enum { SECTION_HEAD = 16 };

/* ---- sections */

void state_out_free(struct state_out *o)
{
	free(o->data);
	*o = (struct state_out){.data = NULL};
}

void state_put(struct state_out *o, const void *data, size_t len)
{
	if (o->failed || len > STATE_SECTIONS_MAX - o->len) {
		o->failed = true;
		return;
	}
	if (len > o->room - o->len) {
		size_t room = o->len + len + 65536;
		uint8_t *more = realloc(o->data, room);

		if (!more) {
			o->failed = true;
			return;
		}
		o->data = more;
		o->room = room;
	}
	if (len)
		memcpy(o->data + o->len, data, len);
	o->len += len;
}

void state_put_int(struct state_out *o, uint64_t v)
{
	uint8_t raw[8];

	put_le64(raw, v);
	state_put(o, raw, sizeof(raw));
}

size_t state_begin(struct state_out *o, const char tag[5], uint32_t index)
{
	uint8_t raw[SECTION_HEAD] = {0};

	memcpy(raw, tag, 4);
	put_le32(raw + 4, index);
	state_put(o, raw, sizeof(raw));
	return o->len;
}

void state_end(struct state_out *o, size_t begun)
{
	static const uint8_t zeros[8];
	size_t len = o->len - begun;

	state_put(o, zeros, (size_t)round_up(len, 8) - len);
	if (!o->failed)
		put_le64(o->data + begun - 8, len);
}

bool state_find(const struct state *s, const char tag[5], uint32_t index, struct state_in *ret)
{
	size_t at = 0;

	*ret = (struct state_in){.failed = true};
	while (s->sections_len - at >= SECTION_HEAD) {
		const uint8_t *head = s->sections + at;
		uint64_t len = get_le64(head + 8);

		at += SECTION_HEAD;
		if (len > s->sections_len - at)
			return false;
		if (memcmp(head, tag, 4) == 0 && get_le32(head + 4) == index) {
			*ret = (struct state_in){.data = head + SECTION_HEAD, .len = (size_t)len};
			return true;
		}
		at += (size_t)min_u64(round_up(len, 8), s->sections_len - at);
	}
	return false;
}

void state_get(struct state_in *in, void *to, size_t len)
{
	if (in->failed || len > in->len - in->at) {
		in->failed = true;
		memset(to, 0, len);
		return;
	}
	if (len)
		memcpy(to, in->data + in->at, len);
	in->at += len;
}

uint64_t state_get_int(struct state_in *in)
{
	uint8_t raw[8];

	state_get(in, raw, sizeof(raw));
	return get_le64(raw);
}

int state_done(const struct state_in *in, const char *tag, struct err *err)
{
	if (in->failed || in->at != in->len)
		return err_set(err, ERR_CORRUPT, "its section %s is damaged", tag);
	return 0;
}

/* ---- the file */

int state_digest(const void *data, size_t len, char ret[DIGEST_HEX_MAX], struct err *err)
{
	struct digest *d;
	int rc;

	if (digest_new(&d, "sha256", err) < 0)
		return -1;
	rc = digest_update(d, data, len, err);
	if (rc == 0)
		rc = digest_final(d, ret, err);
	digest_free(d);
	return rc;
}

static int check_digest(const void *data, size_t len, const uint8_t *want, const char *what,
			struct err *err)
{
	char have[DIGEST_HEX_MAX];

	if (state_digest(data, len, have, err) < 0)
		return -1;
	if (memcmp(have, want, STATE_DIGEST) != 0)
		return err_set(err, ERR_CORRUPT, "%s of the saved machine is damaged", what);
	return 0;
}

static int check_layout(struct state *s, const uint8_t *head, uint64_t size, struct err *err)
{
	uint64_t length = get_le64(head + STATE_AT_LENGTH),
		 sections = get_le64(head + STATE_AT_SECTIONS + 8), end;

	if (size < length)
		return err_set(err, ERR_CORRUPT,
			       "cut off: %" PRIu64 " bytes of the saved machine's %" PRIu64
			       " are there",
			       size, length);
	s->memory = get_le64(head + STATE_AT_GUEST);
	s->memory_off = get_le64(head + STATE_AT_MEMORY);
	s->memory_len = get_le64(head + STATE_AT_MEMORY + 8);
	s->sections_off = get_le64(head + STATE_AT_SECTIONS);
	s->sections_len = (size_t)min_u64(sections, STATE_SECTIONS_MAX + 1UL);
	if (s->memory_off != STATE_HEAD || !u64_add(s->memory_off, s->memory_len, &end) ||
	    end > s->sections_off || !range_inside(s->sections_off, sections, length) ||
	    sections > STATE_SECTIONS_MAX || s->memory % 4096 || s->memory < GUEST_MEMORY_MIN ||
	    (!s->compressed && s->memory_len != s->memory))
		return err_set(err, ERR_CORRUPT, "its head makes no sense");
	return 0;
}

static int read_head(struct state *s, uint64_t size, struct err *err)
{
	uint8_t head[STATE_HEAD] = {0};
	uint32_t flags;
	ssize_t n = io_pread_upto(s->fd, head, sizeof(head), 0, err);

	if (n < 0)
		return -1;
	if (memcmp(head, STATE_MAGIC, 8) != 0)
		return err_set(err, ERR_CORRUPT, "not a saved machine");
	if (n < STATE_HEAD)
		return err_set(err, ERR_CORRUPT, "cut off: not even its head is whole");
	if (get_le32(head + STATE_AT_VERSION) != STATE_VERSION)
		return err_set(err, ERR_UNSUPPORTED,
			       "saved in version %" PRIu32 " of the format, this is %d",
			       get_le32(head + STATE_AT_VERSION), STATE_VERSION);
	if (check_digest(head, STATE_AT_HEAD_DIGEST, head + STATE_AT_HEAD_DIGEST, "the head", err) <
	    0)
		return -1;
	flags = get_le32(head + STATE_AT_FLAGS);
	s->compressed = flags & STATE_COMPRESSED;
	s->waits = flags & STATE_WAITS;
	if (flags & ~(uint32_t)(STATE_COMPRESSED | STATE_WAITS))
		return err_set(err, ERR_UNSUPPORTED, "it has features that are not known here");
	if (check_layout(s, head, size, err) < 0)
		return -1;
	s->sections = malloc(s->sections_len + 1);
	if (!s->sections)
		return err_nomem(err);
	if (io_pread(s->fd, s->sections, s->sections_len, s->sections_off, err) < 0)
		return -1;
	return check_digest(s->sections, s->sections_len, head + STATE_AT_SECTIONS_DIGEST,
			    "the description", err);
}

/* A string, a size and a list: what restore needs of a disk */
static bool good_disk(const json_t *disk)
{
	const json_t *files = json_object_get(disk, "files");

	return json_is_string(json_object_get(disk, "image")) &&
	       json_is_string(json_object_get(disk, "mode")) &&
	       json_is_integer(json_object_get(disk, "size")) && json_is_array(files) &&
	       json_array_size(files) <= STATE_FILES_MAX;
}

const char *state_net(const struct state *s, size_t i, uint8_t ret_mac[NET_MAC])
{
	const json_t *net = json_array_get(json_object_get(s->conf, "nets"), i);
	const char *mac = json_string_value(json_object_get(net, "mac"));

	return mac && net_parse_mac(mac, ret_mac, NULL) == 0
		       ? json_string_value(json_object_get(net, "kind"))
		       : NULL;
}

/* Those that an earlier vmrun saved have none. */
static bool good_nets(struct state *s)
{
	uint8_t mac[NET_MAC];

	s->n_nets = json_array_size(json_object_get(s->conf, "nets"));
	for (size_t i = 0; i < s->n_nets && s->n_nets <= MACHINE_NETS_MAX; i++)
		if (!state_net(s, i, mac))
			return false;
	return s->n_nets <= MACHINE_NETS_MAX;
}

static bool good_shares(struct state *s)
{
	s->n_shares = json_array_size(json_object_get(s->conf, "shares"));
	for (size_t i = 0; i < s->n_shares && s->n_shares <= MACHINE_SHARES_MAX; i++) {
		const json_t *share = state_share(s, i);
		size_t tag = json_string_length(json_object_get(share, "tag"));

		if (!tag || tag > VIRTIO_FS_TAG_MAX ||
		    !json_is_string(json_object_get(share, "folder")) ||
		    !json_is_boolean(json_object_get(share, "read_only")) ||
		    !json_is_integer(json_object_get(share, "inode")))
			return false;
	}
	return s->n_shares <= MACHINE_SHARES_MAX;
}

static int read_conf(struct state *s, struct err *err)
{
	const json_t *disks;
	struct state_in in;
	json_int_t cpus;

	if (state_find(s, "CONF", 0, &in))
		s->conf = json_loadb((const char *)in.data, in.len, JSON_REJECT_DUPLICATES, NULL);
	disks = json_object_get(s->conf, "disks");
	cpus = json_integer_value(json_object_get(s->conf, "cpus"));
	s->n_disks = json_array_size(disks);
	if (!json_is_array(disks) || s->n_disks > MACHINE_DISKS_MAX || cpus < 1 ||
	    cpus > MACHINE_CPUS_MAX)
		return err_set(err, ERR_CORRUPT, "its section CONF is damaged");
	for (size_t i = 0; i < s->n_disks; i++)
		if (!good_disk(state_disk(s, i)))
			return err_set(err, ERR_CORRUPT, "its section CONF is damaged");
	if (!good_nets(s) || !good_shares(s))
		return err_set(err, ERR_CORRUPT, "its section CONF is damaged");
	s->cpus = (unsigned)cpus;
	return 0;
}

int state_open(struct state **ret, const char *path, struct err *err)
{
	struct state *s = calloc(1, sizeof(*s));
	uint64_t size;
	int rc;

	if (!s)
		return err_nomem(err);
	s->fd = -1;
	rc = linux_open(path, &s->fd, &size, err);
	if (rc == 0)
		rc = read_head(s, size, err);
	if (rc == 0)
		rc = read_conf(s, err);
	if (rc < 0) {
		state_close(s);
		return err_object(err, path);
	}
	*ret = s;
	return 0;
}

void state_close(struct state *s)
{
	if (!s)
		return;
	if (s->fd >= 0)
		(void)close(s->fd);
	json_decref(s->conf);
	free(s->sections);
	free(s);
}

const json_t *state_disk(const struct state *s, size_t i)
{
	return json_array_get(json_object_get(s->conf, "disks"), i);
}

const json_t *state_share(const struct state *s, size_t i)
{
	return json_array_get(json_object_get(s->conf, "shares"), i);
}
