/* Listings and errors of an S3 server: see s3_xml.h. */
#include "libcommon/repo/s3_xml.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libcommon/base/cleanup.h"

enum { NAME_MAX_ = 64, DEPTH_MAX = 16 };

/* One step at a time: an element begins, ends, or has text. */
enum step { STEP_OPEN, STEP_CLOSE, STEP_TEXT, STEP_END, STEP_BAD };

struct scan {
	const char *p, *end;
	char name[NAME_MAX_]; /* of STEP_OPEN and STEP_CLOSE, without a prefix */
	const char *text;     /* of STEP_TEXT, not decoded */
	size_t text_len;
	bool empty_element; /* "<a/>": the close comes next */
};

static const char *find(const struct scan *s, const char *what)
{
	return memmem(s->p, (size_t)(s->end - s->p), what, strlen(what));
}

static bool starts(const struct scan *s, const char *what)
{
	size_t n = strlen(what);

	return (size_t)(s->end - s->p) >= n && !memcmp(s->p, what, n);
}

/* The name that begins at @p, without "prefix:"; false when it is too long or empty. */
static bool take_name(struct scan *s, const char *p, const char *end)
{
	size_t n = 0;

	while (p + n < end && !strchr(" \t\r\n/", p[n]))
		n++;
	for (const char *colon; (colon = memchr(p, ':', n));) {
		n -= (size_t)(colon + 1 - p);
		p = colon + 1;
	}
	if (!n || n >= NAME_MAX_ || memchr(p, 0, n))
		return false;
	memcpy(s->name, p, n);
	s->name[n] = 0;
	return true;
}

static enum step tag(struct scan *s)
{
	const char *end = memchr(s->p, '>', (size_t)(s->end - s->p)), *p = s->p + 1;
	bool closing = p < s->end && *p == '/';

	if (!end || !take_name(s, p + closing, end))
		return STEP_BAD;
	s->empty_element = !closing && end[-1] == '/';
	s->p = end + 1;
	return closing ? STEP_CLOSE : STEP_OPEN;
}

static enum step next(struct scan *s)
{
	if (s->empty_element) {
		s->empty_element = false;
		return STEP_CLOSE;
	}
	for (;;) {
		const char *end = NULL;

		if (s->p == s->end)
			return STEP_END;
		if (*s->p != '<') {
			const char *lt = memchr(s->p, '<', (size_t)(s->end - s->p));

			s->text = s->p;
			s->text_len = (size_t)((lt ? lt : s->end) - s->p);
			s->p += s->text_len;
			return STEP_TEXT;
		}
		if (starts(s, "<?"))
			end = find(s, "?>"), end = end ? end + 2 : NULL;
		else if (starts(s, "<!--"))
			end = find(s, "-->"), end = end ? end + 3 : NULL;
		else if (starts(s, "<!"))
			return STEP_BAD; /* DOCTYPE and CDATA: no server sends them */
		else
			return tag(s);
		if (!end)
			return STEP_BAD;
		s->p = end;
	}
}

/* "&#x41;" and its like at @p, behind the "&": as UTF-8 into @ret. Return: bytes taken from @p, 0 when it is none */
static size_t entity(const char *p, size_t len, char ret[5])
{
	static const struct {
		const char *name;
		char c;
	} known[] = {{"lt;", '<'}, {"gt;", '>'}, {"amp;", '&'}, {"quot;", '"'}, {"apos;", '\''}};
	unsigned long c = 0;
	size_t i = 1, digits = 0;
	bool hex;

	for (size_t k = 0; k < sizeof(known) / sizeof(*known); k++) {
		size_t n = strlen(known[k].name);

		if (len >= n && !memcmp(p, known[k].name, n)) {
			ret[0] = known[k].c;
			ret[1] = 0;
			return n;
		}
	}
	if (!len || *p != '#')
		return 0;
	hex = len > 1 && (p[1] == 'x' || p[1] == 'X');
	for (i += hex; i < len && p[i] != ';'; i++, digits++) {
		unsigned d = (unsigned)(p[i] - '0');

		if (hex && d > 9)
			d = (unsigned)((p[i] | 0x20) - 'a') + 10;
		if (d >= (hex ? 16U : 10U) || digits > 7)
			return 0;
		c = c * (hex ? 16 : 10) + d;
	}
	if (i == len || !digits || !c || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	memset(ret, 0, 5);
	if (c < 0x80) {
		ret[0] = (char)c;
	} else if (c < 0x800) {
		ret[0] = (char)(0xc0 | c >> 6);
		ret[1] = (char)(0x80 | (c & 63));
	} else if (c < 0x10000) {
		ret[0] = (char)(0xe0 | c >> 12);
		ret[1] = (char)(0x80 | (c >> 6 & 63));
		ret[2] = (char)(0x80 | (c & 63));
	} else {
		ret[0] = (char)(0xf0 | c >> 18);
		ret[1] = (char)(0x80 | (c >> 12 & 63));
		ret[2] = (char)(0x80 | (c >> 6 & 63));
		ret[3] = (char)(0x80 | (c & 63));
	}
	return i + 1;
}

/* The text of an element, decoded, added to @ret; false: it does not fit or is no text. */
static bool decode(const struct scan *s, char *ret, size_t cap)
{
	size_t n = strlen(ret);

	for (size_t i = 0; i < s->text_len;) {
		char c[5] = {s->text[i], 0};
		size_t took = 1, len;

		if (s->text[i] == '&') {
			took = entity(s->text + i + 1, s->text_len - i - 1, c);
			if (!took++)
				return false;
		}
		len = strlen(c);
		if (!len || n + len >= cap)
			return false;
		memcpy(ret + n, c, len + 1);
		n += len;
		i += took;
	}
	return true;
}

static bool parse_size(const char *s, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || v > (UINT64_MAX - 9) / 10)
			return false;
		v = v * 10 + (uint64_t)(*s - '0');
	}
	*ret = v;
	return true;
}

int64_t s3_time(const char *s)
{
	struct tm tm = {0};
	const char *end = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);

	if (!end)
		return 0;
	if (*end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	return strcmp(end, "Z") && strcmp(end, "+00:00") ? 0 : (int64_t)timegm(&tm);
}

struct list_state {
	struct s3_list_page *page;
	char key[S3_KEY_MAX], size[24], etag[128], modified[40], truncated[8];
};

/* Where the text of an element that counts goes; NULL: nowhere. */
static char *slot(struct list_state *l, const char *name, const char *parent, unsigned depth,
		  size_t *ret_cap)
{
	if (depth == 3 && !strcmp(parent, "Contents")) {
		if (!strcmp(name, "Key"))
			return *ret_cap = sizeof(l->key), l->key;
		if (!strcmp(name, "Size"))
			return *ret_cap = sizeof(l->size), l->size;
		if (!strcmp(name, "ETag"))
			return *ret_cap = sizeof(l->etag), l->etag;
		if (!strcmp(name, "LastModified"))
			return *ret_cap = sizeof(l->modified), l->modified;
	}
	if (depth == 2 && !strcmp(name, "IsTruncated"))
		return *ret_cap = sizeof(l->truncated), l->truncated;
	if (depth == 2 && !strcmp(name, "NextContinuationToken"))
		return *ret_cap = sizeof(l->page->token), l->page->token;
	return NULL;
}

static int not_xml(struct err *err)
{
	return err_set(err, ERR_CORRUPT, "the server's listing is no XML that S3 knows");
}

static int entry(struct list_state *l,
		 int (*fn)(void *ctx, const struct s3_list_entry *e, struct err *err), void *ctx,
		 struct err *err)
{
	struct s3_list_entry e = {.key = l->key, .etag = l->etag};
	int rc;

	if (!l->key[0] || !parse_size(l->size, &e.size))
		return err_set(err, ERR_CORRUPT, "the server lists an object without name or size");
	e.modified = s3_time(l->modified);
	rc = fn(ctx, &e, err);
	l->key[0] = l->size[0] = l->etag[0] = l->modified[0] = 0;
	return rc;
}

int s3_list_parse(const char *xml, size_t len,
		  int (*fn)(void *ctx, const struct s3_list_entry *e, struct err *err), void *ctx,
		  struct s3_list_page *ret, struct err *err)
{
	struct scan s = {.p = xml, .end = xml + len};
	CLEANUP_FREE struct list_state *l = calloc(1, sizeof(*l));
	char names[DEPTH_MAX][NAME_MAX_];
	unsigned depth = 0;
	bool seen = false;

	if (!l)
		return err_nomem(err);
	memset(ret, 0, sizeof(*ret));
	l->page = ret;
	for (enum step step; (step = next(&s)) != STEP_END;) {
		size_t cap;
		char *text;

		if (step == STEP_BAD)
			return not_xml(err);
		if (step == STEP_OPEN) {
			if (depth == DEPTH_MAX ||
			    (!depth && (seen || strcmp(s.name, "ListBucketResult"))))
				return not_xml(err);
			seen = true;
			memcpy(names[depth++], s.name, NAME_MAX_);
		} else if (step == STEP_CLOSE) {
			if (!depth || strcmp(names[--depth], s.name))
				return not_xml(err);
			if (depth == 1 && !strcmp(s.name, "Contents") && entry(l, fn, ctx, err))
				return -1;
		} else if (depth &&
			   (text = slot(l, names[depth - 1], depth > 1 ? names[depth - 2] : "",
					depth, &cap)) &&
			   !decode(&s, text, cap)) {
			return not_xml(err);
		}
	}
	if (!seen || depth)
		return not_xml(err);
	ret->truncated = !strcmp(l->truncated, "true");
	if (ret->truncated && !ret->token[0])
		return err_set(err, ERR_CORRUPT, "the server's listing goes on without a token");
	return 0;
}

void s3_error_parse(const char *xml, size_t len, struct s3_error *ret)
{
	struct scan s = {.p = xml, .end = xml + len};
	unsigned depth = 0;
	char name[NAME_MAX_] = "";

	memset(ret, 0, sizeof(*ret));
	for (enum step step; (step = next(&s)) != STEP_END && step != STEP_BAD;) {
		bool ok = true;

		if (step == STEP_OPEN) {
			depth++;
			memcpy(name, s.name, NAME_MAX_);
		} else if (step == STEP_CLOSE) {
			depth -= depth > 0;
			name[0] = 0;
		} else if (depth == 2 && !strcmp(name, "Code")) {
			ok = decode(&s, ret->code, sizeof(ret->code));
		} else if (depth == 2 && !strcmp(name, "Message")) {
			ok = decode(&s, ret->message, sizeof(ret->message));
		}
		if (!ok)
			return;
	}
}
