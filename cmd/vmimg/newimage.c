/* Options that describe a new image: see newimage.h. */
#include "cmd/vmimg/newimage.h"

#include <stdlib.h>
#include <string.h>

/* Cut @text, which is ours, at its next single comma; ",," becomes ",". Return: what follows, or NULL */
static char *cut_at_comma(char *text)
{
	char *out = text;

	for (char *in = text; *in; in++) {
		if (*in == ',' && in[1] == ',') {
			in++;
		} else if (*in == ',') {
			*out = '\0';
			return in + 1;
		}
		*out++ = *in;
	}
	*out = '\0';
	return NULL;
}

static int add_value(struct new_options *o, char *text, struct err *err)
{
	struct image_option_value *more = reallocarray(o->values, o->count + 1, sizeof(*o->values));
	char *equals = strchr(text, '=');

	if (!more)
		return err_nomem(err);
	o->values = more;
	if (equals)
		*equals = '\0';
	if (!*text)
		return err_set(err, ERR_USAGE, "-o: KEY=VALUE is wanted");
	o->values[o->count++] = (struct image_option_value){text, equals ? equals + 1 : "on"};
	return 0;
}

int new_options_parse(const struct opt_list *list, struct new_options *ret, struct err *err)
{
	ret->texts = calloc(list->count + 1, sizeof(*ret->texts));
	if (!ret->texts)
		return err_nomem(err);
	for (size_t i = 0; i < list->count; i++) {
		char *text = strdup(list->items[i]);

		if (!text)
			return err_nomem(err);
		ret->texts[ret->n_texts++] = text;
		while (text) {
			char *next = cut_at_comma(text);

			if (add_value(ret, text, err) < 0)
				return -1;
			text = next;
		}
	}
	return 0;
}

void new_options_free(struct new_options *o)
{
	for (size_t i = 0; i < o->n_texts; i++)
		free(o->texts[i]);
	free(o->texts);
	free(o->values);
}

int new_compression_parse(const char *text, struct bulk_params *ret, struct err *err)
{
	static const struct {
		const char *name;
		enum codec codec;
	} codecs[] = {{"zstd", CODEC_ZSTD}, {"zlib", CODEC_DEFLATE}, {"deflate", CODEC_DEFLATE}};

	if (!text)
		return 0;
	ret->compress = true;

	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : strlen(text);
	bool known = len == 0;

	for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++)
		if (strlen(codecs[i].name) == len && memcmp(codecs[i].name, text, len) == 0) {
			ret->compress_codec = codecs[i].codec;
			known = true;
		}
	if (!known)
		return err_set(err, ERR_USAGE, "-c: '%.*s' is no compression (zstd, zlib)",
			       (int)len, text);
	if (!colon)
		return 0;

	char *end;
	long level = strtol(colon + 1, &end, 10);

	if (colon[1] == '\0' || *end || level < -100 || level > 100)
		return err_set(err, ERR_USAGE, "-c: '%s' is no level", colon + 1);
	ret->compress_level = (int)level;
	return 0;
}

int new_preset(const char *name, const char *target, struct new_options *o,
	       struct bulk_params *params, const char **format, const struct image_preset **ret,
	       struct err *err)
{
	struct image_option_value *room;

	*ret = NULL;
	if (!name)
		return 0;
	if (image_preset_find(ret, name, err) < 0)
		return -1;
	room = calloc(o->count + PRESET_OPTIONS, sizeof(*room));
	if (!room)
		return err_nomem(err);

	int rc = image_preset_apply(*ret, *format, target, params, room, format, err);

	/* In place of the user's own, which it begins with */
	if (rc == 0 && params->options == room) {
		free(o->values);
		o->values = room;
		o->count = params->n_options;
	} else {
		free(room);
	}
	return rc;
}
