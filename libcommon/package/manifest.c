/* Manifests: see manifest.h. */
#include "libcommon/package/manifest.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/package/ovf.h"

static const struct {
	const char *in_file, *name;
	size_t hex;
} algorithms[] = {{"SHA256", "sha256", 64},
		  {"SHA1", "sha1", 40},
		  {"SHA512", "sha512", 128},
		  {"SHA384", "sha384", 96}};
enum { N_ALGORITHMS = sizeof(algorithms) / sizeof(algorithms[0]) };

void manifest_release(struct manifest *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->lines[i].name);
		free(m->lines[i].hex);
	}
	free(m->lines);
	*m = (struct manifest){0};
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* @text of @len bytes without blanks at its ends. */
static void trim(const char **text, size_t *len)
{
	while (*len && blank(**text)) {
		(*text)++;
		(*len)--;
	}
	while (*len && blank((*text)[*len - 1]))
		(*len)--;
}

/* Lower-case copy of hexadecimal digits, NULL when there are others. */
static char *copy_hex(const char *text, size_t len)
{
	char *hex = strndup(text, len);

	for (size_t i = 0; hex && i < len; i++) {
		if (hex[i] >= 'A' && hex[i] <= 'F')
			hex[i] = (char)(hex[i] + 32);
		if (!(hex[i] >= '0' && hex[i] <= '9') && !(hex[i] >= 'a' && hex[i] <= 'f')) {
			free(hex);
			return NULL;
		}
	}
	return hex;
}

static int find_algorithm(const char *text, size_t len, size_t *ret, struct err *err)
{
	for (*ret = 0; *ret < N_ALGORITHMS; (*ret)++)
		if (strlen(algorithms[*ret].in_file) == len &&
		    strncasecmp(text, algorithms[*ret].in_file, len) == 0)
			return 0;
	return err_set(err, ERR_UNSUPPORTED, "the digest %.*s", (int)(len < 40 ? len : 40), text);
}

/* "ALGORITHM(NAME)= HEX"; a name may hold any of these characters, so its end is the last ")" before a "=". */
static int parse_line(struct manifest *m, const char *line, size_t len, bool any_length,
		      struct err *err)
{
	const char *open = memchr(line, '(', len), *equals = memrchr(line, '=', len), *close;
	const char *word = line, *value;
	size_t word_len, value_len, algorithm;
	struct manifest_line *more;

	if (!open || !equals || equals < open)
		return err_set(err, ERR_CORRUPT, "not of the form SHA256(name)= digits");
	for (close = equals - 1; close > open && blank(*close); close--)
		;
	if (*close != ')' || close <= open + 1)
		return err_set(err, ERR_CORRUPT, "not of the form SHA256(name)= digits");
	word_len = (size_t)(open - line);
	m->spaced |= word_len && blank(open[-1]);
	trim(&word, &word_len);
	value = equals + 1;
	value_len = len - (size_t)(value - line);
	trim(&value, &value_len);
	if (find_algorithm(word, word_len, &algorithm, err) < 0)
		return -1;
	if (m->n >= MANIFEST_LINES_MAX)
		return err_set(err, ERR_UNSUPPORTED, "more than %u lines", MANIFEST_LINES_MAX);
	if (memchr(open, '\0', (size_t)(close - open)))
		return err_set(err, ERR_CORRUPT, "a name with byte 0x00 in it");

	CLEANUP_FREE char *hex = copy_hex(value, value_len);

	if (!hex || value_len == 0 || value_len % 2 ||
	    (!any_length && value_len != algorithms[algorithm].hex))
		return err_set(err, ERR_CORRUPT, "the digest is not %zu hexadecimal digits",
			       algorithms[algorithm].hex);
	more = reallocarray(m->lines, m->n + 1, sizeof(*more));
	if (!more)
		return err_nomem(err);
	m->lines = more;
	more[m->n] = (struct manifest_line){.algorithm = algorithms[algorithm].name,
					    .name = strndup(open + 1, (size_t)(close - open - 1))};
	if (!more[m->n].name)
		return err_nomem(err);
	more[m->n++].hex = steal_ptr(&hex);
	return 0;
}

static int parse(struct manifest *m, const char *text, size_t len, bool cert, struct err *err)
{
	size_t at = 0, number = 0;

	*m = (struct manifest){0};
	if (len > MANIFEST_BYTES_MAX)
		return err_set(err, ERR_UNSUPPORTED, "%zu bytes, more than %u", len,
			       MANIFEST_BYTES_MAX);
	while (at < len) {
		const char *line = text + at, *end = memchr(line, '\n', len - at);
		size_t n = end ? (size_t)(end - line) : len - at;

		at += n + (end != NULL);
		number++;
		trim(&line, &n);
		if (n == 0)
			continue;
		if (parse_line(m, line, n, cert, err) < 0)
			return err_prefix(err, "line %zu", number);
		if (cert)
			break;
	}
	m->pem_at = at;
	if (m->n == 0)
		return err_set(err, ERR_CORRUPT, "it has no lines");
	return 0;
}

int manifest_parse(struct manifest *ret, const char *text, size_t len, struct err *err)
{
	return parse(ret, text, len, false, err);
}

int manifest_parse_cert(struct manifest *ret, const char *text, size_t len, struct err *err)
{
	return parse(ret, text, len, true, err);
}

const struct manifest_line *manifest_find(const struct manifest *m, const char *name)
{
	for (size_t i = 0; i < m->n; i++) {
		const char *have = m->lines[i].name;
		CLEANUP_FREE char *decoded = NULL;

		if (strcmp(have, name) == 0)
			return &m->lines[i];
		if (strchr(have, '%') && ovf_decode_href(have, &decoded, NULL) == 0 &&
		    strcmp(decoded, name) == 0)
			return &m->lines[i];
	}
	return NULL;
}
