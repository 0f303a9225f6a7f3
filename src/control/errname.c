/* Error names, see errname.h: glibc's own table, read in both directions. */
#include "control/errname.h"

#include <errno.h>
#include <string.h>

enum { ERRNO_MAX = 256 }; /* above the highest that Linux has */

const char *errname_of(int code)
{
        const char *name = code > 0 ? strerrorname_np(code) : NULL;
        return name ? name : "EIO";
}

int errname_parse(const char *name)
{
        for (int code = 1; code < ERRNO_MAX; code++) {
                const char *known = strerrorname_np(code);
                if (known && !strcmp(known, name))
                        return code;
        }
        return EIO;
}
