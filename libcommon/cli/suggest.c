/* "did you mean": the nearest of some words. */
#include <string.h>

#include "libcommon/cli/internal.h"

enum { WORD_MAX = 31 };

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

/* Edits (insert, delete, replace, swap neighbours) from @a to @b. */
static unsigned distance(const char *a, size_t la, const char *b, size_t lb)
{
	unsigned d[WORD_MAX + 1][WORD_MAX + 1];

	for (size_t i = 0; i <= la; i++)
		d[i][0] = (unsigned)i;
	for (size_t j = 0; j <= lb; j++)
		d[0][j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++)
		for (size_t j = 1; j <= lb; j++) {
			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1,
				       d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	return d[la][lb];
}

const char *cli_suggest(const char *word, const char *const *candidates, size_t n)
{
	size_t lw = strlen(word);
	const char *best = NULL;
	unsigned best_distance = 0;

	if (lw == 0 || lw > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		size_t lc = strlen(candidates[i]);
		unsigned d, near = lw < 3 ? 1 : lw < 6 ? 2 : 3;

		if (lc > WORD_MAX)
			continue;
		d = distance(word, lw, candidates[i], lc);
		/* The beginning of a word counts as near: "snap" means snapshot. */
		if (lw >= 3 && !strncmp(word, candidates[i], lw))
			d = 1;
		if (d <= near && d < lc && (!best || d < best_distance)) {
			best = candidates[i];
			best_distance = d;
		}
	}
	return best;
}
