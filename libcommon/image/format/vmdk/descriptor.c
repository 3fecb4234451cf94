/* The text of a VMDK: key=value lines and a list of extents, parsed leniently as VMware does.
 *
 *	RW 4192256 SPARSE "disk-s001.vmdk"
 *	RW 1048576 FLAT "disk-flat.vmdk" 0
 *	RW 63 ZERO
 *
 * Lines may end with CR LF, values may stand without quotes (ovftool), keys in either case. What is not known is
 * skipped: VMware's own products add keys with each version.
 */
#include <errno.h>
#include <iconv.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"
#include "libcommon/image/format/vmdk/vmdk.h"

/* A part of the text, not ended by a NUL */
struct span {
	const char *p;
	size_t len;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(struct span s)
{
	while (s.len && is_blank(s.p[0]))
		s.p++, s.len--;
	while (s.len && is_blank(s.p[s.len - 1]))
		s.len--;
	return s;
}

static bool next_line(struct span *rest, struct span *ret)
{
	if (!rest->len)
		return false;

	const char *end = memchr(rest->p, '\n', rest->len);
	size_t n = end ? (size_t)(end - rest->p) : rest->len;

	*ret = trim((struct span){rest->p, n});
	n += end != NULL;
	rest->p += n;
	rest->len -= n;
	return true;
}

static bool span_is(struct span s, const char *word)
{
	return s.len == strlen(word) && strncasecmp(s.p, word, s.len) == 0;
}

/* The next word; @s goes on behind it */
static struct span next_word(struct span *s)
{
	struct span w = trim(*s);
	size_t n = 0;

	while (n < w.len && !is_blank(w.p[n]))
		n++;
	s->p = w.p + n;
	s->len = w.len - n;
	w.len = n;
	return w;
}

bool vmdk_is_descriptor(const uint8_t *head, size_t len)
{
	struct span rest = {(const char *)head, len}, line;

	while (next_line(&rest, &line)) {
		if (!line.len)
			continue;
		if (line.p[0] == '#') {
			if (line.len >= 21 && !strncasecmp(line.p, "# Disk DescriptorFile", 21))
				return true;
			continue;
		}
		return line.len >= 8 && !strncasecmp(line.p, "version", 7) &&
		       (line.p[7] == '=' || line.p[7] == ' ');
	}
	return false;
}

static bool number(struct span s, unsigned base, uint64_t *ret)
{
	uint64_t n = 0;

	if (!s.len)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.p[i];
		unsigned digit = c >= '0' && c <= '9'	? (unsigned)(c - '0')
				 : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
				 : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
							: 16;

		if (digit >= base || !u64_mul(n, base, &n) || !u64_add(n, digit, &n))
			return false;
	}
	*ret = n;
	return true;
}

static int corrupt_line(struct span line, const char *why, struct err *err)
{
	char shown[100];
	size_t n = (size_t)min_u64(line.len, sizeof(shown) - 1);

	for (size_t i = 0; i < n; i++)
		shown[i] = (unsigned char)line.p[i] < 0x20 || line.p[i] == 0x7f ? '?' : line.p[i];
	shown[n] = '\0';
	return err_set(err, ERR_CORRUPT, "the descriptor's line '%s' %s", shown, why);
}

static const struct {
	const char *word;
	enum vmdk_kind kind;
} types[] = {{"FLAT", VMDK_FLAT},    {"VMFS", VMDK_FLAT},	{"SPARSE", VMDK_SPARSE},
	     {"ZERO", VMDK_ZERO},    {"VMFSSPARSE", VMDK_COWD}, {"SESPARSE", VMDK_SESPARSE},
	     {"VMFSTHIN", VMDK_FLAT}};

static int parse_type(struct span line, struct span word, struct vmdk_line *l, struct err *err)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (span_is(word, types[i].word)) {
			l->kind = types[i].kind;
			l->type = types[i].word;
			return 0;
		}
	/* VMFSRDM, VMFSRAW and what is not known: the data are on a device */
	corrupt_line(line, "has an extent of a type that cannot be read", err);
	if (err)
		err->code = ERR_UNSUPPORTED;
	return -1;
}

/* "NAME", in quotes; what is behind them is left in @rest */
static int parse_name(struct span line, struct span *rest, struct vmdk_line *l, struct err *err)
{
	struct span s = trim(*rest);
	const char *end = s.len && s.p[0] == '"' ? memchr(s.p + 1, '"', s.len - 1) : NULL;

	if (!end || end == s.p + 1)
		return corrupt_line(line, "names no file", err);
	l->name = strndup(s.p + 1, (size_t)(end - s.p) - 1);
	if (!l->name)
		return err_nomem(err);
	*rest = trim((struct span){end + 1, s.len - (size_t)(end + 1 - s.p)});
	return 0;
}

/* Return: 1 an extent, 0 not a line of the list, -1 */
static int parse_extent(struct span line, struct vmdk_line *l, struct err *err)
{
	static const char *const access[] = {"RW", "RDONLY", "NOACCESS"};
	struct span rest = line, word = next_word(&rest);
	unsigned a = 0;

	while (a < 3 && !span_is(word, access[a]))
		a++;
	if (a == 3)
		return 0;
	l->access = (enum vmdk_access)a;
	if (!number(next_word(&rest), 10, &l->sectors) || l->sectors > INT64_MAX / VMDK_SECTOR)
		return corrupt_line(line, "has no valid count of sectors", err);
	if (parse_type(line, next_word(&rest), l, err) < 0)
		return -1;
	if (l->kind == VMDK_ZERO)
		return 1;
	if (parse_name(line, &rest, l, err) < 0)
		return -1;
	/* Behind the offset a device's identity may follow */
	if (l->kind == VMDK_FLAT && rest.len &&
	    (!number(next_word(&rest), 10, &l->offset) || l->offset > INT64_MAX / VMDK_SECTOR))
		return corrupt_line(line, "has no valid offset", err);
	return 1;
}

static int add_extent(struct vmdk_descriptor *d, struct span line, bool *ret_is, struct err *err)
{
	struct vmdk_line l = {0};
	int rc = parse_extent(line, &l, err);

	*ret_is = rc > 0;
	if (rc > 0 && d->n_lines == VMDK_EXTENTS_MAX)
		rc = err_set(err, ERR_UNSUPPORTED, "the descriptor lists more than %u extents",
			     VMDK_EXTENTS_MAX);
	if (rc > 0 && d->n_lines % 16 == 0) {
		struct vmdk_line *more = reallocarray(d->lines, d->n_lines + 16, sizeof(*d->lines));

		if (more)
			d->lines = more;
		else
			rc = err_nomem(err);
	}
	if (rc <= 0) {
		free(l.name);
		return rc;
	}
	d->lines[d->n_lines++] = l;
	return 0;
}

static int set_string(char **field, struct span value, struct err *err)
{
	free(*field);
	*field = strndup(value.p, value.len);
	return *field ? 0 : err_nomem(err);
}

static int set_cid(uint32_t *field, struct span line, struct span value, struct err *err)
{
	uint64_t n;

	if (!number(value, 16, &n) || n > UINT32_MAX)
		return corrupt_line(line, "has no valid content ID", err);
	*field = (uint32_t)n;
	return 0;
}

static int parse_key(struct vmdk_descriptor *d, struct span line, struct err *err)
{
	const struct {
		const char *key;
		char **field;
	} strings[] = {{"createType", &d->create_type},
		       {"parentFileNameHint", &d->parent_hint},
		       {"encoding", &d->encoding},
		       {"ddb.adapterType", &d->adapter_type},
		       {"ddb.virtualHWVersion", &d->hw_version},
		       {"ddb.toolsVersion", &d->tools_version}};
	const char *equals = memchr(line.p, '=', line.len);

	if (!equals)
		return 0;

	struct span key = trim((struct span){line.p, (size_t)(equals - line.p)});
	struct span value =
		trim((struct span){equals + 1, line.len - (size_t)(equals + 1 - line.p)});

	if (value.len >= 2 && value.p[0] == '"' && value.p[value.len - 1] == '"') {
		value.p++;
		value.len -= 2;
	}
	if (span_is(key, "CID"))
		return set_cid(&d->cid, line, value, err);
	if (span_is(key, "parentCID"))
		return set_cid(&d->parent_cid, line, value, err);
	if (span_is(key, "version")) {
		uint64_t n;

		if (!number(value, 10, &n) || n < 1 || n > 4)
			return err_set(err, ERR_UNSUPPORTED,
				       "the descriptor is of an unknown version");
		return 0;
	}
	for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
		if (span_is(key, strings[i].key))
			return set_string(strings[i].field, value, err);
	return 0;
}

/* Names of files to UTF-8. Only encodings that VMware writes: the name of one must not load code. */
static int recode(char **name, const char *encoding, struct err *err)
{
	static const char *const known[] = {
		"windows-1250", "windows-1251", "windows-1252", "ISO-8859-1", "ISO-8859-15", "GBK",
		"GB18030",	"Big5",		"Shift_JIS",	"EUC-JP",     "EUC-KR"};
	size_t len = *name ? strlen(*name) : 0, room = 4 * len + 1, i = 0;

	while (i < len && (unsigned char)(*name)[i] < 0x80)
		i++;
	if (i == len)
		return 0;
	for (i = 0; i < sizeof(known) / sizeof(known[0]) && strcasecmp(known[i], encoding); i++)
		;
	if (i == sizeof(known) / sizeof(known[0]))
		return err_set(err, ERR_UNSUPPORTED, "the descriptor has an unknown encoding");

	CLEANUP_FREE char *out = calloc(1, room);
	char *from = *name, *to = out;
	iconv_t c = iconv_open("UTF-8", known[i]);

	if (!out || c == (iconv_t)-1) {
		if (c != (iconv_t)-1)
			(void)iconv_close(c);
		return out ? err_set(err, ERR_UNSUPPORTED,
				     "this system cannot convert names from %s", known[i])
			   : err_nomem(err);
	}
	room--;

	size_t rc = iconv(c, &from, &len, &to, &room);

	(void)iconv_close(c);
	if (rc == (size_t)-1)
		return err_set(err, ERR_CORRUPT, "a file name in the descriptor is not valid %s",
			       known[i]);
	free(*name);
	*name = steal_ptr(&out);
	return 0;
}

static int recode_names(struct vmdk_descriptor *d, struct err *err)
{
	if (!d->encoding || !strcasecmp(d->encoding, "UTF-8") || !strcasecmp(d->encoding, "UTF8"))
		return 0;
	for (size_t i = 0; i < d->n_lines; i++)
		if (recode(&d->lines[i].name, d->encoding, err) < 0)
			return -1;
	return recode(&d->parent_hint, d->encoding, err);
}

int vmdk_descriptor_parse(const char *text, size_t len, struct vmdk_descriptor *ret,
			  struct err *err)
{
	struct span rest = {text, strnlen(text, len)}, line;
	bool is_extent;

	*ret = (struct vmdk_descriptor){.parent_cid = VMDK_NO_PARENT};
	while (next_line(&rest, &line)) {
		if (!line.len || line.p[0] == '#')
			continue;
		if (add_extent(ret, line, &is_extent, err) < 0 ||
		    (!is_extent && parse_key(ret, line, err) < 0)) {
			vmdk_descriptor_release(ret);
			return -1;
		}
	}
	if (recode_names(ret, err) < 0) {
		vmdk_descriptor_release(ret);
		return -1;
	}
	return 0;
}

void vmdk_descriptor_release(struct vmdk_descriptor *d)
{
	for (size_t i = 0; i < d->n_lines; i++)
		free(d->lines[i].name);
	free(d->lines);
	free(d->create_type);
	free(d->parent_hint);
	free(d->encoding);
	free(d->adapter_type);
	free(d->hw_version);
	free(d->tools_version);
	*d = (struct vmdk_descriptor){0};
}
