/* Reading XML: see xml.h. */
#include "libcommon/package/xml.h"

#include <stdlib.h>
#include <string.h>

#include "libcommon/base/checked.h"
#include "libcommon/base/cleanup.h"

/* Before the parser sees it: a document type would be worked through before it could be refused. */
static int look_over(const char *text, size_t len, const char *what, struct err *err)
{
	size_t nodes = 0;

	if (len > XML_BYTES_MAX)
		return err_set(err, ERR_UNSUPPORTED, "%s has %zu bytes, more than %u", what, len,
			       XML_BYTES_MAX);
	for (size_t i = 0; i < len; i++)
		nodes += text[i] == '<' || text[i] == '=';
	if (nodes > XML_NODES_MAX)
		return err_set(err, ERR_UNSUPPORTED, "%s has more than %u tags and attributes",
			       what, XML_NODES_MAX);
	if (memmem(text, len, "<!DOCTYPE", 9) || memmem(text, len, "<!ENTITY", 8))
		return err_set(err, ERR_UNSUPPORTED,
			       "%s has a document type, which it has no use for", what);
	return 0;
}

int xml_parse(struct xml *ret, const char *text, size_t len, const char *what, struct err *err)
{
	struct xml x = {.lib = xml_lib(err)};

	if (!x.lib || look_over(text, len, what, err) < 0)
		return -1;
	x.lib->xmlResetLastError();
	x.doc = x.lib->xmlReadMemory(text, (int)len, NULL, NULL,
				     XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
					     XML_PARSE_NOBLANKS | XML_PARSE_NOCDATA |
					     XML_PARSE_COMPACT);
	if (!x.doc) {
		const xmlError *e = x.lib->xmlGetLastError();
		const char *said = e && e->message ? e->message : "not understood";

		return err_set(err, ERR_CORRUPT, "%s: line %d: %.*s", what, e ? e->line : 0,
			       (int)strcspn(said, "\n"), said);
	}
	x.root = x.lib->xmlDocGetRootElement(x.doc);
	if (!x.root || x.doc->intSubset || x.doc->extSubset) { /* in UTF-16 it was not seen */
		xml_release(&x);
		return err_set(err, ERR_UNSUPPORTED,
			       "%s has a document type, which it has no use for", what);
	}
	*ret = x;
	return 0;
}

void xml_release(struct xml *x)
{
	if (x->doc)
		x->lib->xmlFreeDoc(x->doc);
	*x = (struct xml){0};
}

bool xml_is(const xmlNode *node, const char *name)
{
	return node && node->type == XML_ELEMENT_NODE && node->name &&
	       strcmp((const char *)node->name, name) == 0;
}

static xmlNodePtr first_from(xmlNodePtr node, const char *name)
{
	while (node && !xml_is(node, name))
		node = node->next;
	return node;
}

xmlNodePtr xml_child(const xmlNode *node, const char *name)
{
	return node ? first_from(node->children, name) : NULL;
}

xmlNodePtr xml_next(const xmlNode *node, const char *name)
{
	return first_from(node->next, name);
}

/* The content of an element or attribute, which is consumed; ours afterwards. */
static int own(xmlChar *content, char **ret, struct err *err)
{
	static const char blanks[] = " \t\r\n";
	CLEANUP_FREE char *text = (char *)content; /* libxml2 allocates with malloc here */

	*ret = NULL;
	if (!text)
		return 0;

	const char *from = text + strspn(text, blanks);
	size_t len = strlen(from);

	while (len && strchr(blanks, from[len - 1]))
		len--;
	if (!len)
		return 0;
	*ret = strndup(from, len);
	return *ret ? 0 : err_nomem(err);
}

/* xmlNodeGetContent() changes nothing, but older headers do not say so. */
static xmlChar *content(const struct xml *x, const void *node)
{
	xmlNodePtr p;

	memcpy(&p, &node, sizeof(p));
	return x->lib->xmlNodeGetContent(p);
}

int xml_text(const struct xml *x, const xmlNode *node, char **ret, struct err *err)
{
	return own(node ? content(x, node) : NULL, ret, err);
}

int xml_attribute(const struct xml *x, const xmlNode *node, const char *name, char **ret,
		  struct err *err)
{
	*ret = NULL;
	if (!node || node->type != XML_ELEMENT_NODE)
		return 0;
	for (const xmlAttr *a = node->properties; a; a = a->next)
		if (strcmp((const char *)a->name, name) == 0)
			return own(content(x, a), ret, err);
	return 0;
}

bool xml_number(const char *text, uint64_t *ret)
{
	uint64_t v = 0;

	if (!text || !*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || !u64_mul(v, 10, &v) ||
		    !u64_add(v, (uint64_t)(*text - '0'), &v) || v > INT64_MAX)
			return false;
	}
	*ret = v;
	return true;
}
