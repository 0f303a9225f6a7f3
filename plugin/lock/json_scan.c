/* A strict scanner for small JSON objects (see json_scan.h).
 *
 * One recursive-descent walk over (p, end): every function returns the position behind what it
 * read, or NULL when the text is not JSON. Recursion is bounded by MAX_DEPTH.
 */
#include "plugin/lock/json_scan.h"

#include <string.h>

enum { MAX_DEPTH = 16 };

static const char *skip_value(const char *p, const char *end, int depth);

static const char *skip_space(const char *p, const char *end)
{
        while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
                p++;
        return p;
}

static bool is_hex(char c)
{
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static const char *skip_string(const char *p, const char *end)
{
        if (p >= end || *p != '"')
                return NULL;
        for (p++; p < end && *p != '"'; p++) {
                if ((unsigned char)*p < 0x20)
                        return NULL;
                if (*p != '\\')
                        continue;
                if (++p >= end || !strchr("\"\\/bfnrtu", *p) || !*p)
                        return NULL;
                if (*p == 'u') {
                        if (end - p < 5 || !is_hex(p[1]) || !is_hex(p[2]) || !is_hex(p[3]) ||
                            !is_hex(p[4]))
                                return NULL;
                        p += 4;
                }
        }
        return p < end ? p + 1 : NULL;
}

static const char *skip_digits(const char *p, const char *end)
{
        const char *first = p;

        while (p < end && *p >= '0' && *p <= '9')
                p++;
        return p > first ? p : NULL;
}

static const char *skip_number(const char *p, const char *end)
{
        if (p < end && *p == '-')
                p++;
        if (p < end && *p == '0')
                p++;
        else
                p = skip_digits(p, end);
        if (p && p < end && *p == '.')
                p = skip_digits(p + 1, end);
        if (p && p < end && (*p == 'e' || *p == 'E')) {
                p++;
                if (p < end && (*p == '+' || *p == '-'))
                        p++;
                p = skip_digits(p, end);
        }
        return p;
}

static const char *skip_word(const char *p, const char *end, const char *word)
{
        size_t len = strlen(word);

        return (size_t)(end - p) >= len && memcmp(p, word, len) == 0 ? p + len : NULL;
}

/* Behind '"key" : ' at the start of its value; the key itself goes to *ret_key. */
static const char *skip_key(const char *p, const char *end, struct json_span *ret_key)
{
        const char *behind = skip_string(p, end);

        if (!behind)
                return NULL;
        *ret_key = (struct json_span){p + 1, (size_t)(behind - p) - 2};
        p = skip_space(behind, end);
        return p < end && *p == ':' ? skip_space(p + 1, end) : NULL;
}

/* An object (close '}') or an array (']'), p behind the opening bracket. */
static const char *skip_members(const char *p, const char *end, char close, int depth)
{
        struct json_span key;

        p = skip_space(p, end);
        if (p < end && *p == close)
                return p + 1;
        for (;;) {
                if (close == '}')
                        p = skip_key(p, end, &key);
                p = p ? skip_value(p, end, depth) : NULL;
                if (!p)
                        return NULL;
                p = skip_space(p, end);
                if (p >= end || (*p != ',' && *p != close))
                        return NULL;
                if (*p++ == close)
                        return p;
                p = skip_space(p, end);
        }
}

static const char *skip_value(const char *p, const char *end, int depth)
{
        if (p >= end || depth >= MAX_DEPTH)
                return NULL;
        switch (*p) {
        case '{':
                return skip_members(p + 1, end, '}', depth + 1);
        case '[':
                return skip_members(p + 1, end, ']', depth + 1);
        case '"':
                return skip_string(p, end);
        case 't':
                return skip_word(p, end, "true");
        case 'f':
                return skip_word(p, end, "false");
        case 'n':
                return skip_word(p, end, "null");
        default:
                return skip_number(p, end);
        }
}

bool json_scan_object(const char *text, size_t len)
{
        const char *end = text + len, *p = skip_space(text, end);

        if (p >= end || *p != '{')
                return false;
        p = skip_value(p, end, 0);
        return p && skip_space(p, end) == end;
}

struct json_span json_scan_member(struct json_span object, const char *key)
{
        const char *end = object.start + object.len, *p = skip_space(object.start, end);
        struct json_span none = {0}, name;

        if (!object.start || p >= end || *p != '{')
                return none;
        p = skip_space(p + 1, end);
        while (p < end && *p == '"') {
                const char *value = skip_key(p, end, &name);
                const char *behind = value ? skip_value(value, end, 0) : NULL;

                if (!behind)
                        return none;
                if (name.len == strlen(key) && memcmp(name.start, key, name.len) == 0)
                        return (struct json_span){value, (size_t)(behind - value)};
                p = skip_space(behind, end);
                if (p >= end || *p != ',')
                        return none;
                p = skip_space(p + 1, end);
        }
        return none;
}

static unsigned hex_value(const char *p)
{
        unsigned v = 0;

        for (int i = 0; i < 4; i++) {
                char c = p[i];
                v = v << 4 | (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
        }
        return v;
}

static char printable(unsigned c)
{
        return c >= 0x20 && c < 0x7f ? (char)c : '?';
}

bool json_scan_string(struct json_span value, char *buf, size_t size)
{
        const char *p = value.start, *end = p + value.len;
        size_t n = 0;

        if (!p || value.len < 2 || *p != '"' || size == 0)
                return false;
        for (p++; p < end && *p != '"' && n + 1 < size; p++) {
                if (*p != '\\') {
                        buf[n++] = *p;
                        continue;
                }
                p++;
                if (*p == 'u') {
                        buf[n++] = printable(hex_value(p + 1));
                        p += 4;
                } else {
                        buf[n++] = strchr("\"\\/", *p) ? *p : ' ';
                }
        }
        buf[n] = '\0';
        return true;
}
