/* Parameters by table, see params.h. */
#include "control/params.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { STRING_MAX = 4096 };

static int bad(struct err *err, const char *name, const char *wanted)
{
        return err_set(err, EINVAL, "parameter '%s' must be %s", name, wanted);
}

static int take_string(const json_t *v, const char *name, const char **out, struct err *err)
{
        const char *text = json_string_value(v);
        if (!text || strlen(text) != json_string_length(v) || json_string_length(v) > STRING_MAX)
                return bad(err, name, "a string of at most 4096 bytes");
        *out = text;
        return 0;
}

static int take(json_t *v, const struct control_param *p, struct err *err)
{
        switch (p->type) {
        case PARAM_TYPE_STR:
                return take_string(v, p->name, p->out, err);
        case PARAM_TYPE_U64:
                if (!json_is_integer(v) || json_integer_value(v) < 0)
                        return bad(err, p->name, "an integer of 0 or more");
                *(uint64_t *)p->out = (uint64_t)json_integer_value(v);
                return 0;
        case PARAM_TYPE_BOOL:
                if (!json_is_boolean(v))
                        return bad(err, p->name, "true or false");
                *(bool *)p->out = json_is_true(v);
                return 0;
        case PARAM_TYPE_UUID:
                if (!json_is_string(v) || uuid_parse_text(json_string_value(v), p->out) < 0)
                        return bad(err, p->name, "a UUID in text form");
                return 0;
        case PARAM_TYPE_ARRAY:
                if (!json_is_array(v))
                        return bad(err, p->name, "an array");
                *(json_t **)p->out = v;
                return 0;
        case PARAM_TYPE_OBJECT:
                if (!json_is_object(v))
                        return bad(err, p->name, "an object");
                *(json_t **)p->out = v;
                return 0;
        }
        return -EINVAL;
}

static int unknown(struct err *err, const char *name, const struct control_param *table, size_t n)
{
        char allowed[256] = "";
        size_t used = 0;
        for (size_t i = 0; i < n && used < sizeof(allowed); i++)
                used += (size_t)snprintf(allowed + used, sizeof(allowed) - used, "%s%s",
                                         i ? ", " : "", table[i].name);
        return err_set(err, EINVAL, "unknown parameter '%.64s'; known: %s", name,
                       n ? allowed : "none");
}

int control_parse(const json_t *object, const struct control_param *table, size_t n,
                  struct err *err)
{
        const char *key;
        json_t *value;

        json_object_foreach((json_t *)object, key, value)
        {
                size_t i = 0;
                while (i < n && strcmp(table[i].name, key) != 0)
                        i++;
                if (i == n)
                        return unknown(err, key, table, n);
                int rc = take(value, &table[i], err);
                if (rc < 0)
                        return rc;
        }
        for (size_t i = 0; i < n; i++)
                if (table[i].required && !json_object_get(object, table[i].name))
                        return err_set(err, EINVAL, "parameter '%s' is missing", table[i].name);
        return 0;
}

int control_parse_strings(const json_t *array, const char *what, const char **ret_strings,
                          size_t max, size_t *ret_n, struct err *err)
{
        size_t n = json_array_size(array);

        if (n > max)
                return err_set(err, EINVAL, "parameter '%s' has more than %zu items", what, max);
        for (size_t i = 0; i < n; i++) {
                int rc = take_string(json_array_get(array, i), what, &ret_strings[i], err);
                if (rc < 0)
                        return rc;
        }
        *ret_n = n;
        return 0;
}
