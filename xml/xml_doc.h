/* Reading XML that people or libvirt wrote: bounded, closed to the outside, strict.
 *
 * A document that declares a DOCTYPE is refused, so no entity is ever defined, expanded or fetched;
 * nothing is read from the network or from other files. Errors name the element, its line, the
 * attribute, the value, and what is allowed.
 *
 * Threads: any, a document by one at a time.
 */
#ifndef ZONEPOOL_XML_XML_DOC_H
#define ZONEPOOL_XML_XML_DOC_H

#include "base/err.h"

#include <libxml/tree.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        XML_DOC_MAX = 4 << 20, /* bytes of a document: the most that libvirt itself takes */
};

/* text need not end in NUL. what: the document's name in errors ("domain XML").
 * Returns 0; -EINVAL not well-formed or has a DOCTYPE; -EMSGSIZE; -ENOMEM. The document is the
 * caller's to free with xmlFreeDoc. */
int xml_doc_parse(const char *text, size_t len, const char *what, xmlDoc **ret_doc,
                  struct err *err);

/* Scope-bound xmlFreeDoc: CLEANUP(xml_doc_freep) xmlDoc *doc = NULL; */
void xml_doc_freep(xmlDoc **doc);

/* True for an element of that local name in the namespace uri (NULL: in none). */
bool xml_is(const xmlNode *node, const char *name, const char *uri);
/* The first child element of that name without a namespace; NULL: none. */
xmlNode *xml_child(const xmlNode *node, const char *name);
/* The next element at or after node among its siblings; NULL: none. */
xmlNode *xml_next_element(const xmlNode *node);

/* The value of an attribute without a namespace, to be freed by free(); NULL: not there. */
char *xml_attr(const xmlNode *node, const char *name);
/* The text inside the element, to be freed by free(). Never NULL but out of memory. */
char *xml_text(const xmlNode *node);

/* "<prefix:name> (line N)" for errors; at most 96 bytes with the NUL. */
void xml_where(const xmlNode *node, char where[96]);

/* -EINVAL, with text, when node has an attribute that is not in allowed (ended by NULL). */
int xml_only_attrs(const xmlNode *node, const char *const *allowed, struct err *err);
/* -EINVAL when there is text that is not white space between the children. */
int xml_no_text(const xmlNode *node, struct err *err);
/* -EINVAL when there is such text or any child. */
int xml_no_content(const xmlNode *node, struct err *err);

/* Optional attributes: *value is left alone when the attribute is missing.
 * Returns 0, or -EINVAL with text. */
int xml_attr_size(const xmlNode *node, const char *name, uint64_t *value, struct err *err);
int xml_attr_uint(const xmlNode *node, const char *name, uint32_t min, uint32_t max,
                  uint32_t *value, struct err *err);
int xml_attr_yes_no(const xmlNode *node, const char *name, bool *value, struct err *err);

/* Appends text to a growing string with &, <, >, ' and " escaped. Returns 0 or -ENOMEM. */
struct xml_buf {
        char *text; /* NUL-terminated; NULL: nothing yet. The owner frees it */
        size_t len;
        bool failed; /* out of memory once: the rest is ignored */
};
void xml_buf_add(struct xml_buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void xml_buf_escape(struct xml_buf *buf, const char *text);

#endif
