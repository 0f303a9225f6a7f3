/* Byte counts as text, see size.h. */
#include "base/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char units[] = "KMGTPE";

int size_parse(const char *text, uint64_t *ret_bytes)
{
        uint64_t v = 0;
        const char *p = text;

        if (!isdigit((unsigned char)*p))
                return -EINVAL;
        for (; isdigit((unsigned char)*p); p++) {
                if (__builtin_mul_overflow(v, 10, &v) ||
                    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
                        return -ERANGE;
        }
        if (*p) {
                const char *u = strchr(units, toupper((unsigned char)*p));
                if (u) {
                        for (long i = 0; i <= u - units; i++)
                                if (__builtin_mul_overflow(v, 1024, &v))
                                        return -ERANGE;
                        p++;
                        if (p[0] == 'i' && p[1] == 'B')
                                p++;
                }
                if (*p == 'B')
                        p++;
        }
        if (*p)
                return -EINVAL;
        if (v > INT64_MAX)
                return -ERANGE;
        *ret_bytes = v;
        return 0;
}

void size_format(uint64_t bytes, char text[16])
{
        double v = (double)bytes;
        int u = -1;

        while (v >= 1024 && u < 5) {
                v /= 1024;
                u++;
        }
        if (u < 0)
                snprintf(text, 16, "%u B", (unsigned)bytes);
        else
                snprintf(text, 16, "%.*f %ciB", v < 10 ? 2 : v < 100 ? 1 : 0, v, units[u]);
}
