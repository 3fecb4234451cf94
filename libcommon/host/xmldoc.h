/* XML of machines, looked at and changed by XPath. libxml2 is loaded with the first document. */
#ifndef VMKIT_HOST_XMLDOC_H
#define VMKIT_HOST_XMLDOC_H

#include <stdbool.h>
#include <stddef.h>

#include "libcommon/base/err.h"

struct xmldoc;

/** xmldoc_parse() - @what: "domain", for messages; no entities, nothing fetched; ERR_USAGE for what is no XML;
 *  *@ret is owned: xmldoc_free() */
int xmldoc_parse(struct xmldoc **ret, const char *text, const char *what, struct err *err);
void xmldoc_free(struct xmldoc *x); /* NULL is fine */

/** xmldoc_text() - the document; owned (free) */
int xmldoc_text(const struct xmldoc *x, char **ret, struct err *err);

/** xmldoc_count() - nodes that @path names, from the root ("/domain/devices/disk") */
size_t xmldoc_count(const struct xmldoc *x, const char *path);

/** xmldoc_get() - what the first node of @path holds, an attribute's too; owned; NULL when there is none */
char *xmldoc_get(const struct xmldoc *x, const char *path);

/** xmldoc_get_nth() - as xmldoc_get() with @sub looked up from node number @i of @path; NULL @sub: the node itself */
char *xmldoc_get_nth(const struct xmldoc *x, const char *path, size_t i, const char *sub);

/** xmldoc_node_nth() - node number @i of @path as XML text; owned; NULL when there is none */
char *xmldoc_node_nth(const struct xmldoc *x, const char *path, size_t i);

/** xmldoc_set() - text of the first node of @path; false when there is none */
bool xmldoc_set(struct xmldoc *x, const char *path, const char *text);

/** xmldoc_set_attribute() - of node number @i of @path; false when there is no such node */
bool xmldoc_set_attribute(struct xmldoc *x, const char *path, size_t i, const char *name,
			  const char *value);

/** xmldoc_remove() - all nodes of @path; Return: how many */
size_t xmldoc_remove(struct xmldoc *x, const char *path);

/** xmldoc_add() - @fragment, one element, as the last child of the first node of @path; ERR_USAGE */
int xmldoc_add(struct xmldoc *x, const char *path, const char *fragment, struct err *err);

/** xml_escape() - text for an element or an attribute; owned; NULL without memory */
char *xml_escape(const char *text);

#endif
