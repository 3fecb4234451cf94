/* Results on standard output: JSON, terminals, text from hostile images, and whether all of it was written. */
#include "libcommon/cli/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libcommon/base/digest.h"

static bool stderr_said_to_be_tty; /* set once by main */

void output_setup(bool stderr_is_tty)
{
	stderr_said_to_be_tty = stderr_is_tty;
}

bool cli_is_terminal(int fd)
{
	return (fd == STDERR_FILENO && stderr_said_to_be_tty) || isatty(fd) == 1;
}

bool cli_use_color(int fd)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return cli_is_terminal(fd) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

int cli_refuse_terminal(struct err *err)
{
	if (!cli_is_terminal(STDOUT_FILENO))
		return 0;
	err_set(err, ERR_USAGE, "binary data is not written to a terminal");
	return err_hint(err, "redirect standard output to a file or a pipe, or name a file");
}

/* The length of the valid UTF-8 character at @s, 0 when there is none (also for surrogates, overlong forms). */
static size_t utf8_len(const unsigned char *s)
{
	static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80			 ? 1
		   : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
		   : (s[0] & 0xf0) == 0xe0	 ? 3
		   : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
						 : 0;

	if (n < 2)
		return n;

	unsigned c = s[0] & (0x7fU >> n);

	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fU);
	}
	return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

/* C0, DEL and C1 (U+0080 to U+009F) drive terminals. */
static bool is_control(const unsigned char *s)
{
	return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

char *cli_printable(const char *text)
{
	size_t len = strlen(text);
	char *ret = malloc(4 * len + 1), *out = ret;

	if (!ret)
		return NULL;
	for (const unsigned char *s = (const unsigned char *)text; *s;) {
		size_t n = utf8_len(s);

		if (n && !is_control(s)) {
			memcpy(out, s, n);
			out += n;
			s += n;
			continue;
		}
		for (n = n ? n : 1; n; n--, s++) {
			memcpy(out, "\\x", 2);
			hex_encode(s, 1, out + 2);
			out += 4;
		}
	}
	*out = '\0';
	return ret;
}

json_t *cli_json_string(const char *text)
{
	json_t *value = json_string(text);

	if (value)
		return value;

	/* A file name that is not UTF-8: each wrong byte becomes U+FFFD. */
	char *copy = malloc(3 * strlen(text) + 1), *out = copy;

	if (!copy)
		return NULL;
	for (const unsigned char *s = (const unsigned char *)text; *s;) {
		size_t n = utf8_len(s);

		memcpy(out, n ? (const char *)s : "\xef\xbf\xbd", n ? n : 3);
		out += n ? n : 3;
		s += n ? n : 1;
	}
	*out = '\0';
	value = json_string(copy);
	free(copy);
	return value;
}

static int dump(json_t *value, size_t flags, struct err *err)
{
	if (json_dumpf(value, stdout, flags | JSON_PRESERVE_ORDER | JSON_ENCODE_ANY) < 0 ||
	    fputc('\n', stdout) == EOF)
		return errno ? err_sys(err, "cannot write to standard output")
			     : err_set(err, ERR_FAILED, "cannot make JSON");
	return 0;
}

int cli_print_json(struct cli *cli, json_t *value, struct err *err)
{
	int rc = 0;

	errno = 0;
	if (!value)
		return err_nomem(err);
	if (!cli->json_lines) {
		rc = dump(value, JSON_INDENT(2), err);
	} else if (!json_is_array(value)) {
		rc = dump(value, JSON_COMPACT, err);
	} else {
		for (size_t i = 0; rc == 0 && i < json_array_size(value); i++)
			rc = dump(json_array_get(value, i), JSON_COMPACT, err);
	}
	json_decref(value);
	return rc;
}

int output_finish(struct err *err)
{
	bool failed = ferror(stdout);

	errno = 0;
	if (fflush(stdout) != 0)
		return err_sys(err, "cannot write to standard output");
	if (failed)
		return err_set(err, ERR_FAILED, "cannot write to standard output");

	/* Closing any descriptor of a file on a network file system tells its late errors. */
	int fd = dup(STDOUT_FILENO);

	if (fd >= 0 && close(fd) < 0 && errno != EINTR)
		return err_sys(err, "cannot finish standard output");
	return 0;
}
