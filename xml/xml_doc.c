/* Bounded, closed, strict reading of XML (see xml_doc.h).
 *
 * The DOCTYPE is caught while the parser reads it, before any of its declarations takes effect.
 * libxml2's own limits on depth and on names stay in force (XML_PARSE_HUGE is never set).
 */
#include "xml/xml_doc.h"
#include "base/cleanup.h"
#include "base/size.h"

#include <ctype.h>
#include <errno.h>
#include <libxml/parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int has_doctype;

static void refuse_doctype(void *ctx, const xmlChar *name, const xmlChar *external,
                           const xmlChar *system)
{
        xmlParserCtxt *ctxt = ctx;

        ctxt->_private = (void *)&has_doctype;
        xmlStopParser(ctxt);
}

static int fail_parse(xmlParserCtxt *ctxt, const char *what, struct err *err)
{
        const xmlError *xe = xmlCtxtGetLastError(ctxt);

        if (ctxt->_private == &has_doctype)
                return err_set(err, EINVAL, "%s: a DOCTYPE is not allowed; remove it", what);
        if (!xe || !xe->message)
                return err_set(err, EINVAL, "%s: not well-formed XML", what);
        return err_set(err, EINVAL, "%s: line %d: %.*s", what, xe->line,
                       (int)strcspn(xe->message, "\n"), xe->message);
}

int xml_doc_parse(const char *text, size_t len, const char *what, xmlDoc **ret_doc, struct err *err)
{
        if (len > XML_DOC_MAX)
                return err_set(err, EMSGSIZE, "%s: longer than %d bytes", what, XML_DOC_MAX);
        if (len == 0)
                return err_set(err, EINVAL, "%s: empty", what);

        xmlParserCtxt *ctxt = xmlNewParserCtxt();
        if (!ctxt)
                return err_set_sys(err, ENOMEM, "%s", what);
        ctxt->sax->internalSubset = refuse_doctype;

        xmlDoc *doc = xmlCtxtReadMemory(ctxt, text, (int)len, NULL, NULL,
                                        XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
                                            XML_PARSE_NOCDATA);
        int rc = 0;
        if (!doc || !ctxt->wellFormed || ctxt->_private || !xmlDocGetRootElement(doc)) {
                rc = fail_parse(ctxt, what, err);
                xmlFreeDoc(doc);
        } else {
                *ret_doc = doc;
        }
        xmlFreeParserCtxt(ctxt);
        return rc;
}

void xml_doc_freep(xmlDoc **doc)
{
        xmlFreeDoc(*doc);
}

bool xml_is(const xmlNode *node, const char *name, const char *uri)
{
        const char *own = node->ns ? (const char *)node->ns->href : NULL;

        if (node->type != XML_ELEMENT_NODE || strcmp((const char *)node->name, name) != 0)
                return false;
        return uri ? own && strcmp(own, uri) == 0 : !own;
}

xmlNode *xml_next_element(const xmlNode *node)
{
        while (node && node->type != XML_ELEMENT_NODE)
                node = node->next;
        return (xmlNode *)node;
}

xmlNode *xml_child(const xmlNode *node, const char *name)
{
        for (xmlNode *c = xml_next_element(node->children); c; c = xml_next_element(c->next))
                if (xml_is(c, name, NULL))
                        return c;
        return NULL;
}

/* libxml2 hands out memory of its own allocator; ours is freed by free(). */
static char *own_copy(xmlChar *text)
{
        char *copy = text ? strdup((const char *)text) : NULL;

        xmlFree(text);
        return copy;
}

char *xml_attr(const xmlNode *node, const char *name)
{
        return own_copy(xmlGetNoNsProp((xmlNode *)node, (const xmlChar *)name));
}

char *xml_text(const xmlNode *node)
{
        return own_copy(xmlNodeGetContent((xmlNode *)node));
}

void xml_where(const xmlNode *node, char where[96])
{
        const char *prefix = node->ns && node->ns->prefix ? (const char *)node->ns->prefix : "";

        snprintf(where, 96, "<%.24s%s%.40s> (line %ld)", prefix, *prefix ? ":" : "",
                 (const char *)node->name, xmlGetLineNo((xmlNode *)node));
}

static int refuse_attr(const xmlNode *node, const char *attr, const char *const *allowed,
                       struct err *err)
{
        char where[96], list[256] = "";

        xml_where(node, where);
        for (size_t i = 0; allowed[i]; i++) {
                size_t n = strlen(list);
                snprintf(list + n, sizeof(list) - n, "%s%s", i ? ", " : "", allowed[i]);
        }
        return err_set(err, EINVAL, "%s: unknown attribute '%.64s'; allowed: %s", where, attr,
                       *list ? list : "none");
}

int xml_only_attrs(const xmlNode *node, const char *const *allowed, struct err *err)
{
        for (const xmlAttr *a = node->properties; a; a = a->next) {
                bool known = false;

                for (size_t i = 0; allowed[i] && !known; i++)
                        known = !a->ns && strcmp((const char *)a->name, allowed[i]) == 0;
                if (!known)
                        return refuse_attr(node, (const char *)a->name, allowed, err);
        }
        return 0;
}

static bool is_blank(const xmlChar *text)
{
        for (; text && *text; text++)
                if (!isspace(*text))
                        return false;
        return true;
}

int xml_no_text(const xmlNode *node, struct err *err)
{
        char where[96];

        xml_where(node, where);
        for (const xmlNode *c = node->children; c; c = c->next) {
                if (c->type == XML_ELEMENT_NODE || c->type == XML_COMMENT_NODE ||
                    (c->type == XML_TEXT_NODE && is_blank(c->content)))
                        continue;
                return err_set(err, EINVAL, "%s: text '%.40s' has no place here", where,
                               c->content ? (const char *)c->content : "");
        }
        return 0;
}

int xml_no_content(const xmlNode *node, struct err *err)
{
        char where[96];
        const xmlNode *c = xml_next_element(node->children);

        if (!c)
                return xml_no_text(node, err);
        xml_where(node, where);
        return err_set(err, EINVAL, "%s: unknown element <%.40s>; nothing is allowed inside", where,
                       (const char *)c->name);
}

int xml_attr_size(const xmlNode *node, const char *name, uint64_t *value, struct err *err)
{
        CLEANUP(free_ptr) char *text = xml_attr(node, name);
        char where[96];

        if (!text || size_parse(text, value) == 0)
                return 0;
        xml_where(node, where);
        return err_set(err, EINVAL,
                       "%s: %s='%.64s' is not a size; allowed: bytes below 2^63, or a number with "
                       "K, M, G, T or P behind it",
                       where, name, text);
}

int xml_attr_uint(const xmlNode *node, const char *name, uint32_t min, uint32_t max,
                  uint32_t *value, struct err *err)
{
        CLEANUP(free_ptr) char *text = xml_attr(node, name);
        char where[96];
        size_t len = text ? strlen(text) : 0;

        if (!text)
                return 0;
        if (len > 0 && len <= 10 && strspn(text, "0123456789") == len) {
                unsigned long long v = strtoull(text, NULL, 10);
                if (v >= min && v <= max) {
                        *value = (uint32_t)v;
                        return 0;
                }
        }
        xml_where(node, where);
        return err_set(err, EINVAL, "%s: %s='%.64s'; allowed: a whole number from %u to %u", where,
                       name, text, min, max);
}

int xml_attr_yes_no(const xmlNode *node, const char *name, bool *value, struct err *err)
{
        CLEANUP(free_ptr) char *text = xml_attr(node, name);
        char where[96];

        if (!text)
                return 0;
        if (strcmp(text, "yes") == 0 || strcmp(text, "no") == 0) {
                *value = *text == 'y';
                return 0;
        }
        xml_where(node, where);
        return err_set(err, EINVAL, "%s: %s='%.64s'; allowed: yes, no", where, name, text);
}

void xml_buf_add(struct xml_buf *buf, const char *fmt, ...)
{
        va_list ap;
        char *more = NULL, *grown;

        va_start(ap, fmt);
        int n = buf->failed ? -1 : vasprintf(&more, fmt, ap);
        va_end(ap);
        if (n < 0) {
                buf->failed = true;
                return;
        }
        grown = realloc(buf->text, buf->len + (size_t)n + 1);
        if (!grown) {
                buf->failed = true;
        } else {
                memcpy(grown + buf->len, more, (size_t)n + 1);
                buf->text = grown;
                buf->len += (size_t)n;
        }
        free(more);
}

void xml_buf_escape(struct xml_buf *buf, const char *text)
{
        while (*text) {
                size_t plain = strcspn(text, "&<>'\"");

                xml_buf_add(buf, "%.*s", (int)plain, text);
                text += plain;
                if (*text)
                        xml_buf_add(buf, "&#%d;", *text++);
        }
}
