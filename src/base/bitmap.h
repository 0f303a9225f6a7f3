/* Fixed-size bitmap. Bits are numbered from 0. Not thread-safe. */
#ifndef ZONEPOOL_BASE_BITMAP_H
#define ZONEPOOL_BASE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bitmap {
        uint64_t *words;
        uint64_t nbits;
        uint64_t nset; /* kept exact */
};

/* All bits clear. Returns 0 or -ENOMEM. */
int bitmap_init(struct bitmap *bm, uint64_t nbits);
/* Accepts a zeroed struct. */
void bitmap_fini(struct bitmap *bm);
/* Grows or shrinks; new bits are clear. Returns 0 or -ENOMEM (unchanged). */
int bitmap_resize(struct bitmap *bm, uint64_t nbits);

bool bitmap_test(const struct bitmap *bm, uint64_t bit);
/* first + n must not exceed nbits. */
void bitmap_set_range(struct bitmap *bm, uint64_t first, uint64_t n);
void bitmap_clear_range(struct bitmap *bm, uint64_t first, uint64_t n);
/* First set (clear) bit at or after from, or nbits. */
uint64_t bitmap_next_set(const struct bitmap *bm, uint64_t from);
uint64_t bitmap_next_clear(const struct bitmap *bm, uint64_t from);

#endif
