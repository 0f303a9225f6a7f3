/* 16-byte UUIDs, RFC 9562 byte order. */
#ifndef ZONEPOOL_BASE_UUID_H
#define ZONEPOOL_BASE_UUID_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define UUID_TEXT_LEN 37 /* with the terminating NUL */

struct uuid {
        uint8_t b[16];
};

void uuid_format(const struct uuid *u, char text[UUID_TEXT_LEN]);

/* Accepts 8-4-4-4-12 hex digits, either case. Returns 0 or -EINVAL. */
int uuid_parse_text(const char *text, struct uuid *ret_uuid);

/* Makes 16 random bytes a version 4 UUID. */
void uuid_from_random(struct uuid *u);

static inline bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
        return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

static inline bool uuid_is_nil(const struct uuid *u)
{
        static const struct uuid nil;
        return uuid_equal(u, &nil);
}

#endif
