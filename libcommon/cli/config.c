/* Settings from /etc/vmkit.conf and ~/.config/vmkit.conf.
 *
 *	# a comment
 *	repository = /srv/backup		for every program
 *	[vmbackup]
 *	password_file = ~/.vmkit-password	for one
 *
 * They are the defaults of options that an environment variable can give too; the command line beats the
 * environment, the environment beats the user's file, that beats the system's.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"
#include "libcommon/base/io.h"
#include "libcommon/cli/internal.h"

enum { CONFIG_MAX_BYTES = 1 << 16, SETTINGS_MAX = 64 };

/* Filled by main before any thread starts, read-only afterwards. */
static struct {
	char *key, *value;
} settings[SETTINGS_MAX];
static size_t n_settings;

static char *trim(char *s)
{
	while (isspace((unsigned char)*s))
		s++;

	char *end = s + strlen(s);

	while (end > s && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return s;
}

/* "~/x" is a file of the user; "quotes" keep blanks at the ends. */
static char *make_value(char *s)
{
	size_t len = strlen(s);
	const char *home = getenv("HOME");
	char *value;

	if (len >= 2 && s[0] == '"' && s[len - 1] == '"') {
		s[len - 1] = '\0';
		return strdup(s + 1);
	}
	if (home && s[0] == '~' && s[1] == '/')
		return asprintf(&value, "%s%s", home, s + 1) < 0 ? NULL : value;
	return strdup(s);
}

static int add(const char *key, char *text, struct err *err)
{
	char *value = make_value(text);
	size_t i = 0;

	if (!value)
		return err_nomem(err);
	while (i < n_settings && strcmp(settings[i].key, key) != 0)
		i++;
	if (i == SETTINGS_MAX) {
		free(value);
		return err_set(err, ERR_USAGE, "more than %d settings", SETTINGS_MAX);
	}
	if (i == n_settings) {
		settings[i].key = strdup(key);
		if (!settings[i].key) {
			free(value);
			return err_nomem(err);
		}
		n_settings++;
	}
	free(settings[i].value);
	settings[i].value = value;
	return 0;
}

static bool is_key(const char *s)
{
	return *s && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

int config_parse(const char *program, const char *name, char *text, struct err *err)
{
	bool ours = true;
	unsigned number = 0;
	char *rest = text, *line;

	while ((line = strsep(&rest, "\n"))) {
		number++;
		line = trim(line);
		if (!*line || *line == '#')
			continue;

		size_t len = strlen(line);

		if (*line == '[' && line[len - 1] == ']') {
			line[len - 1] = '\0';
			ours = !strcmp(trim(line + 1), program);
			continue;
		}

		char *value = strchr(line, '=');

		if (value)
			*value++ = '\0';
		if (!value || !is_key(trim(line))) {
			err_set(err, ERR_USAGE, "line %u is not 'key = value'", number);
			return err_object(err, name);
		}
		if (ours && add(trim(line), trim(value), err) < 0)
			return err_object(err, name);
	}
	return 0;
}

static int load_file(const char *program, const char *path, struct err *err)
{
	CLEANUP_FREE char *text = NULL;
	size_t len;

	if (access(path, R_OK) < 0)
		return 0; /* not there, or not ours to read */
	if (io_read_file(path, CONFIG_MAX_BYTES, &text, &len, err) < 0)
		return err_object(err, path);
	return config_parse(program, path, text, err);
}

int config_load(const char *program, struct err *err)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char path[4096];

	config_free();
	if (load_file(program, "/etc/vmkit.conf", err) < 0)
		return -1;
	if (xdg && xdg[0] == '/')
		(void)snprintf(path, sizeof(path), "%s/vmkit.conf", xdg);
	else if (home && home[0] == '/')
		(void)snprintf(path, sizeof(path), "%s/.config/vmkit.conf", home);
	else
		return 0;
	return load_file(program, path, err);
}

const char *config_get(const char *key)
{
	for (size_t i = 0; i < n_settings; i++)
		if (!strcmp(settings[i].key, key))
			return settings[i].value;
	return NULL;
}

const char *cli_config(const char *key)
{
	return config_get(key);
}

void config_free(void)
{
	for (size_t i = 0; i < n_settings; i++) {
		free(settings[i].key);
		free(settings[i].value);
		settings[i].key = settings[i].value = NULL;
	}
	n_settings = 0;
}
