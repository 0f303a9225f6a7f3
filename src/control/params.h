/* Typed access to the parameters of a request: one table says what is allowed.
 *
 *   const char *pool; uint64_t size = 0;
 *   const struct control_param table[] = {
 *           PARAM_STR("pool", &pool, PARAM_REQUIRED),
 *           PARAM_U64("size_bytes", &size, PARAM_OPTIONAL)};
 *   if (control_parse(control_params(req), table, ARRAY_SIZE(table), &err) < 0) ...
 */
#ifndef ZONEPOOL_CONTROL_PARAMS_H
#define ZONEPOOL_CONTROL_PARAMS_H

#include "base/err.h"
#include "base/uuid.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum control_param_type {
        PARAM_TYPE_STR, /* const char *; without embedded NUL, at most 4096 bytes */
        PARAM_TYPE_U64, /* uint64_t; an integer 0..2^63-1 */
        PARAM_TYPE_BOOL, /* bool */
        PARAM_TYPE_UUID, /* struct uuid; text */
        PARAM_TYPE_ARRAY, /* json_t *; borrowed */
        PARAM_TYPE_OBJECT /* json_t *; borrowed */
};

enum { PARAM_OPTIONAL, PARAM_REQUIRED };

struct control_param {
        const char *name;
        enum control_param_type type;
        int required;
        void *out; /* untouched when the parameter is absent */
};

#define PARAM_STR(name, p, req)                                                                    \
        {                                                                                          \
                (name), PARAM_TYPE_STR, (req), (const char **)                                     \
                {                                                                                  \
                        p                                                                          \
                }                                                                                  \
        }
#define PARAM_U64(name, p, req)                                                                    \
        {                                                                                          \
                (name), PARAM_TYPE_U64, (req), (uint64_t *)                                        \
                {                                                                                  \
                        p                                                                          \
                }                                                                                  \
        }
#define PARAM_BOOL(name, p, req)                                                                   \
        {                                                                                          \
                (name), PARAM_TYPE_BOOL, (req), (bool *)                                           \
                {                                                                                  \
                        p                                                                          \
                }                                                                                  \
        }
#define PARAM_UUID(name, p, req)                                                                   \
        {                                                                                          \
                (name), PARAM_TYPE_UUID, (req), (struct uuid *)                                    \
                {                                                                                  \
                        p                                                                          \
                }                                                                                  \
        }
#define PARAM_ARRAY(name, p, req)                                                                  \
        {                                                                                          \
                (name), PARAM_TYPE_ARRAY, (req), (json_t **)                                       \
                {                                                                                  \
                        p                                                                          \
                }                                                                                  \
        }
#define PARAM_OBJECT(name, p, req)                                                                 \
        {                                                                                          \
                (name), PARAM_TYPE_OBJECT, (req), (json_t **)                                      \
                {                                                                                  \
                        p                                                                          \
                }                                                                                  \
        }

/* Reads object by table. Out values are borrowed from object. Errors: -EINVAL naming the member
 * that is unknown, missing or badly typed, and what is allowed; some outs may be set then. */
int control_parse(const json_t *object, const struct control_param *table, size_t n,
                  struct err *err);

/* The strings of an array, at most max. Borrowed. -EINVAL naming what. */
int control_parse_strings(const json_t *array, const char *what, const char **ret_strings,
                          size_t max, size_t *ret_n, struct err *err);

#endif
