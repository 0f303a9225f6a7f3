/* Byte counts as people write them: digits, then nothing or one of K M G T P (powers of 1024, with
 * an optional "iB" or "B" behind). */
#ifndef ZONEPOOL_BASE_SIZE_H
#define ZONEPOOL_BASE_SIZE_H

#include <stddef.h>
#include <stdint.h>

/* Returns 0, -EINVAL (not a size) or -ERANGE (over 2^63 - 1). */
int size_parse(const char *text, uint64_t *ret_bytes);

/* "512 B", "1.5 GiB"; at most 16 bytes with the NUL. */
void size_format(uint64_t bytes, char text[16]);

#endif
