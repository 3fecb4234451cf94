/* Columns for people: aligned by what the terminal shows, two blanks between, no lines. */
#include <stdlib.h>
#include <string.h>

#include "libcommon/cli/internal.h"

struct table {
	size_t columns;
	char *alignment; /* 'l' or 'r' a column */
	char **cells;	 /* rows * columns, the header first; printable */
	size_t rows;
	bool failed; /* a row is missing for want of memory */
};

/* Characters, not bytes: names may be UTF-8. Wide ones are counted as one. */
static size_t width(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

struct table *table_new(const char *const *headers, const char *alignment)
{
	struct table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->columns = strlen(alignment);
	t->alignment = strdup(alignment);
	if (!t->alignment) {
		free(t);
		return NULL;
	}
	table_row(t, headers);
	return t;
}

void table_row(struct table *t, const char *const *cells)
{
	if (!t)
		return;

	char **more = realloc(t->cells, (t->rows + 1) * t->columns * sizeof(*more));

	if (!more) {
		t->failed = true;
		return;
	}
	t->cells = more;
	for (size_t c = 0; c < t->columns; c++) {
		t->cells[t->rows * t->columns + c] = cli_printable(cells[c] ? cells[c] : "");
		if (!t->cells[t->rows * t->columns + c])
			t->failed = true;
	}
	t->rows++;
}

static const char *cell(const struct table *t, size_t row, size_t column)
{
	const char *s = t->cells[row * t->columns + column];

	return s ? s : "?";
}

static void print_row(const struct table *t, size_t row, const size_t *widths, FILE *out)
{
	size_t pending = 0; /* blanks owed: none at the end of a line */

	for (size_t c = 0; c < t->columns; c++) {
		const char *s = cell(t, row, c);
		size_t pad = widths[c] - width(s);

		if (t->alignment[c] == 'r')
			pending += pad;
		if (*s)
			(void)fprintf(out, "%*s%s", (int)pending, "", s);
		pending = *s ? 0 : pending + width(s);
		if (t->alignment[c] != 'r')
			pending += pad;
		pending += 2;
	}
	(void)fputc('\n', out);
}

void table_print(const struct table *t, FILE *out)
{
	size_t *widths = t ? calloc(t->columns, sizeof(*widths)) : NULL;
	bool bold = cli_use_color(fileno(out));

	if (!widths)
		return;
	for (size_t r = 0; r < t->rows; r++)
		for (size_t c = 0; c < t->columns; c++)
			if (width(cell(t, r, c)) > widths[c])
				widths[c] = width(cell(t, r, c));
	for (size_t r = 0; r < t->rows; r++) {
		if (r == 0 && bold)
			(void)fputs("\033[1m", out);
		print_row(t, r, widths, out);
		if (r == 0 && bold)
			(void)fputs("\033[0m", out);
	}
	if (t->failed)
		(void)fputs("(out of memory: rows are missing)\n", out);
	free(widths);
}

void table_free(struct table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->rows * t->columns; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t->alignment);
	free(t);
}
