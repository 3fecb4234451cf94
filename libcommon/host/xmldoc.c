/* XML by XPath: see xmldoc.h. */
#include "libcommon/host/xmldoc.h"

#include <dlfcn.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <libxml/xpath.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libcommon/base/cleanup.h"

#define XMLDOC_FUNCTIONS(F)                                                                        \
	F(xmlAddChild)                                                                             \
	F(xmlBufferContent)                                                                        \
	F(xmlBufferCreate)                                                                         \
	F(xmlBufferFree)                                                                           \
	F(xmlDocCopyNode)                                                                          \
	F(xmlDocDumpMemory)                                                                        \
	F(xmlDocGetRootElement)                                                                    \
	F(xmlFreeDoc)                                                                              \
	F(xmlFreeNode)                                                                             \
	F(xmlGetLastError)                                                                         \
	F(xmlNodeDump)                                                                             \
	F(xmlNodeGetContent)                                                                       \
	F(xmlNodeSetContent)                                                                       \
	F(xmlReadMemory)                                                                           \
	F(xmlResetLastError)                                                                       \
	F(xmlSetProp)                                                                              \
	F(xmlUnlinkNode)                                                                           \
	F(xmlXPathEvalExpression)                                                                  \
	F(xmlXPathFreeContext)                                                                     \
	F(xmlXPathFreeObject)                                                                      \
	F(xmlXPathNewContext)

enum { XMLDOC_BYTES_MAX = 8 << 20 };

/* Written once under once_control, only read afterwards. */
static struct {
#define XMLDOC_MEMBER(name) __typeof__(name)(*(name));
	XMLDOC_FUNCTIONS(XMLDOC_MEMBER)
#undef XMLDOC_MEMBER
} lib;
static bool loaded;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void)
{
	void *handle = dlopen("libxml2.so.2", RTLD_NOW | RTLD_LOCAL);

	if (!handle)
		return;
#define XMLDOC_LOOKUP(name)                                                                        \
	if (!(*(void **)&lib.name = dlsym(handle, #name)))                                         \
		return;
	XMLDOC_FUNCTIONS(XMLDOC_LOOKUP)
#undef XMLDOC_LOOKUP
	loaded = true;
}

struct xmldoc {
	xmlDocPtr doc;
};

static const xmlChar *to_xml(const char *s)
{
	return (const xmlChar *)s;
}

/* libxml2's own strings become ours, for free(). */
static char *own(xmlChar *s)
{
	return (char *)s; /* its allocator is malloc() unless somebody changes it */
}

static int parse(xmlDocPtr *ret, const char *text, const char *what, struct err *err)
{
	size_t len = strlen(text);

	(void)pthread_once(&once, load);
	if (!loaded)
		return err_set(err, ERR_UNSUPPORTED, "libxml2.so.2 is needed, which is not here");
	if (len > XMLDOC_BYTES_MAX)
		return err_set(err, ERR_UNSUPPORTED, "%s: %zu bytes of XML are too many", what,
			       len);
	if (strstr(text, "<!DOCTYPE") || strstr(text, "<!ENTITY"))
		return err_set(err, ERR_USAGE, "%s: a document type has no use here", what);
	lib.xmlResetLastError();
	*ret = lib.xmlReadMemory(text, (int)len, NULL, NULL,
				 XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	if (*ret)
		return 0;

	const xmlError *e = lib.xmlGetLastError();
	const char *said = e && e->message ? e->message : "not understood";

	return err_set(err, ERR_USAGE, "%s: line %d: %.*s", what, e ? e->line : 0,
		       (int)strcspn(said, "\n"), said);
}

int xmldoc_parse(struct xmldoc **ret, const char *text, const char *what, struct err *err)
{
	struct xmldoc *x = calloc(1, sizeof(*x));

	if (!x)
		return err_nomem(err);
	if (parse(&x->doc, text, what, err) < 0) {
		free(x);
		return -1;
	}
	*ret = x;
	return 0;
}

void xmldoc_free(struct xmldoc *x)
{
	if (!x)
		return;
	lib.xmlFreeDoc(x->doc);
	free(x);
}

int xmldoc_text(const struct xmldoc *x, char **ret, struct err *err)
{
	xmlChar *text = NULL;
	int len = 0;

	lib.xmlDocDumpMemory(x->doc, &text, &len);
	if (!text)
		return err_nomem(err);
	*ret = own(text);
	return 0;
}

/* *@ret is to be freed; NULL: no node. @from NULL: the document */
static xmlNodePtr *find(const struct xmldoc *x, xmlNodePtr from, const char *path, size_t *ret_n)
{
	xmlXPathContextPtr ctx = lib.xmlXPathNewContext(x->doc);
	xmlXPathObjectPtr found = NULL;
	xmlNodePtr *nodes = NULL;

	*ret_n = 0;
	if (ctx) {
		if (from)
			ctx->node = from;
		found = lib.xmlXPathEvalExpression(to_xml(path), ctx);
	}
	if (found && found->nodesetval && found->nodesetval->nodeNr > 0) {
		size_t n = (size_t)found->nodesetval->nodeNr;

		nodes = calloc(n, sizeof(xmlNodePtr));
		if (nodes) {
			memcpy(nodes, found->nodesetval->nodeTab, n * sizeof(xmlNodePtr));
			*ret_n = n;
		}
	}
	if (found)
		lib.xmlXPathFreeObject(found);
	if (ctx)
		lib.xmlXPathFreeContext(ctx);
	return nodes;
}

static xmlNodePtr find_nth(const struct xmldoc *x, xmlNodePtr from, const char *path, size_t i)
{
	size_t n;
	CLEANUP_FREE xmlNodePtr *nodes = find(x, from, path, &n);

	return i < n ? nodes[i] : NULL;
}

size_t xmldoc_count(const struct xmldoc *x, const char *path)
{
	size_t n;

	free(find(x, NULL, path, &n));
	return n;
}

char *xmldoc_get_nth(const struct xmldoc *x, const char *path, size_t i, const char *sub)
{
	xmlNodePtr node = find_nth(x, NULL, path, i);

	if (node && sub)
		node = find_nth(x, node, sub, 0);
	return node ? own(lib.xmlNodeGetContent(node)) : NULL;
}

char *xmldoc_get(const struct xmldoc *x, const char *path)
{
	return xmldoc_get_nth(x, path, 0, NULL);
}

char *xmldoc_node_nth(const struct xmldoc *x, const char *path, size_t i)
{
	xmlNodePtr node = find_nth(x, NULL, path, i);
	xmlBufferPtr buffer = node ? lib.xmlBufferCreate() : NULL;
	char *text = NULL;

	if (buffer && lib.xmlNodeDump(buffer, x->doc, node, 0, 0) >= 0)
		text = strdup((const char *)lib.xmlBufferContent(buffer));
	if (buffer)
		lib.xmlBufferFree(buffer);
	return text;
}

bool xmldoc_set(struct xmldoc *x, const char *path, const char *text)
{
	xmlNodePtr node = find_nth(x, NULL, path, 0);
	CLEANUP_FREE char *safe = node ? xml_escape(text) : NULL;

	if (!safe)
		return false;
	lib.xmlNodeSetContent(node, to_xml(safe)); /* which reads entities in it */
	return true;
}

bool xmldoc_set_attribute(struct xmldoc *x, const char *path, size_t i, const char *name,
			  const char *value)
{
	xmlNodePtr node = find_nth(x, NULL, path, i);

	return node && lib.xmlSetProp(node, to_xml(name), to_xml(value));
}

size_t xmldoc_remove(struct xmldoc *x, const char *path)
{
	size_t n;
	CLEANUP_FREE xmlNodePtr *nodes = find(x, NULL, path, &n);

	/* Last first: one that lies in another goes before it. */
	for (size_t i = n; i-- > 0;) {
		lib.xmlUnlinkNode(nodes[i]);
		lib.xmlFreeNode(nodes[i]);
	}
	return n;
}

int xmldoc_add(struct xmldoc *x, const char *path, const char *fragment, struct err *err)
{
	xmlNodePtr parent = find_nth(x, NULL, path, 0), copy = NULL;
	xmlDocPtr doc;

	if (!parent)
		return err_set(err, ERR_USAGE, "there is no %s", path);
	if (parse(&doc, fragment, "element", err) < 0)
		return -1;
	copy = lib.xmlDocCopyNode(lib.xmlDocGetRootElement(doc), x->doc, 1);
	lib.xmlFreeDoc(doc);
	if (!copy || !lib.xmlAddChild(parent, copy)) {
		if (copy)
			lib.xmlFreeNode(copy);
		return err_nomem(err);
	}
	return 0;
}

char *xml_escape(const char *text)
{
	static const char *const names[128] = {
		['<'] = "&lt;",	  ['>'] = "&gt;",   ['&'] = "&amp;", ['"'] = "&quot;",
		['\''] = "&#39;", ['\n'] = "&#10;", ['\t'] = "&#9;"};
	char *ret = malloc(6 * strlen(text) + 1), *out = ret;

	if (!ret)
		return NULL;
	for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
		const char *name = *s < 128 ? names[*s] : NULL;
		size_t len = name ? strlen(name) : 1;

		memcpy(out, name ? name : (const char *)s, len);
		out += len;
	}
	*out = '\0';
	return ret;
}
