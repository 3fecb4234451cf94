/* XML from strangers: a tree with no entities, no document type, nothing fetched, bounded in size. */
#ifndef VMKIT_PACKAGE_XML_H
#define VMKIT_PACKAGE_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libcommon/package/libs.h"

#define XML_BYTES_MAX (1U << 20)
/* Tags and attributes together: the tree takes 100 to 200 bytes for each */
#define XML_NODES_MAX 32000U

struct xml {
	const struct xml_lib *lib;
	xmlDocPtr doc;
	xmlNodePtr root;
};

/** xml_parse() - @what: "OVF descriptor", for messages; ERR_CORRUPT, ERR_UNSUPPORTED; xml_release() is due on success */
int xml_parse(struct xml *ret, const char *text, size_t len, const char *what, struct err *err);
void xml_release(struct xml *x);

/** xml_is() - is @node an element of that local name? Namespaces differ by version and author */
bool xml_is(const xmlNode *node, const char *name);

/** xml_child() - the first child element called @name, or NULL; xml_next(): the next one of that name */
xmlNodePtr xml_child(const xmlNode *node, const char *name);
xmlNodePtr xml_next(const xmlNode *node, const char *name);

/** xml_text() - text of @node without blanks at its ends; *@ret is owned, NULL when @node is NULL or empty */
int xml_text(const struct xml *x, const xmlNode *node, char **ret, struct err *err);

/** xml_attribute() - by local name; *@ret is owned, NULL when there is none or it is empty */
int xml_attribute(const struct xml *x, const xmlNode *node, const char *name, char **ret,
		  struct err *err);

/** xml_number() - all of @text is a decimal number; Return: false for signs, blanks, what does not fit 63 bits */
bool xml_number(const char *text, uint64_t *ret);

#endif
