/* Completion: dynamic words, and which shell's script is wanted. The scripts are made by complete_SHELL.c. */
#include <string.h>

#include "libcommon/cli/complete.h"

static const char *const kinds[] = {
	[COMPLETE_FILE] = "file",	[COMPLETE_DIR] = "dir",
	[COMPLETE_FORMAT] = "format",	[COMPLETE_SNAPSHOT] = "snapshot",
	[COMPLETE_MACHINE] = "machine", [COMPLETE_DIGEST] = "digest",
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

const char *complete_kind_name(enum complete_kind kind)
{
	return (size_t)kind < KINDS ? kinds[kind] : NULL;
}

bool complete_is_dynamic(enum complete_kind kind)
{
	return kind != COMPLETE_NONE && kind != COMPLETE_FILE && kind != COMPLETE_DIR;
}

bool complete_takes_value(const struct opt *o)
{
	return o->type != OPT_FLAG && o->type != OPT_COUNT && o->type != OPT_OPTIONAL;
}

void complete_words(const struct program *p, const char *kind, const char *prefix, FILE *out)
{
	static const char *const digests[] = {"md5",	"sha1",	  "sha256",
					      "sha384", "sha512", "blake2b"};

	for (size_t k = 1; k < KINDS; k++) {
		if (strcmp(kinds[k], kind) != 0)
			continue;
		if (k == COMPLETE_DIGEST) {
			for (size_t i = 0; i < sizeof(digests) / sizeof(digests[0]); i++)
				if (!strncmp(digests[i], prefix, strlen(prefix)))
					(void)fprintf(out, "%s\n", digests[i]);
		} else if (p->complete) {
			p->complete((enum complete_kind)k, prefix, out);
		}
	}
}

int completion_script(const struct program *p, const char *shell, FILE *out, struct err *err)
{
	if (!strcmp(shell, "bash"))
		complete_bash(p, out);
	else if (!strcmp(shell, "zsh"))
		complete_zsh(p, out);
	else if (!strcmp(shell, "fish"))
		complete_fish(p, out);
	else
		return err_set(err, ERR_USAGE, "'%s' is not one of: bash, zsh, fish", shell);
	return 0;
}
