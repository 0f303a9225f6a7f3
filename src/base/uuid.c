/* UUID text, see uuid.h. */
#include "base/uuid.h"

#include <errno.h>
#include <stdio.h>

void uuid_format(const struct uuid *u, char text[UUID_TEXT_LEN])
{
        const uint8_t *b = u->b;
        snprintf(text, UUID_TEXT_LEN,
                 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
                 b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
                 b[15]);
}

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

int uuid_parse_text(const char *text, struct uuid *ret_uuid)
{
        struct uuid u;
        const char *p = text;

        for (int i = 0; i < 16; i++) {
                if (i == 4 || i == 6 || i == 8 || i == 10) {
                        if (*p++ != '-')
                                return -EINVAL;
                }
                int hi = hex_digit(p[0]);
                int lo = hi < 0 ? -1 : hex_digit(p[1]);
                if (lo < 0)
                        return -EINVAL;
                u.b[i] = (uint8_t)(hi << 4 | lo);
                p += 2;
        }
        if (*p)
                return -EINVAL;
        *ret_uuid = u;
        return 0;
}

void uuid_from_random(struct uuid *u)
{
        u->b[6] = (uint8_t)((u->b[6] & 0x0f) | 0x40);
        u->b[8] = (uint8_t)((u->b[8] & 0x3f) | 0x80);
}
