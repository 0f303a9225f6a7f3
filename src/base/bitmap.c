/* Fixed-size bitmap, see bitmap.h. Bits past nbits in the last word are always clear. */
#include "base/bitmap.h"

#include "base/cleanup.h"

#include <errno.h>
#include <string.h>

static size_t words_for(uint64_t nbits)
{
        return (size_t)DIV_ROUND_UP(nbits, 64);
}

int bitmap_init(struct bitmap *bm, uint64_t nbits)
{
        *bm = (struct bitmap){.nbits = nbits};
        bm->words = calloc(words_for(nbits) + 1, sizeof(uint64_t));
        return bm->words ? 0 : -ENOMEM;
}

void bitmap_fini(struct bitmap *bm)
{
        free(bm->words);
        *bm = (struct bitmap){0};
}

int bitmap_resize(struct bitmap *bm, uint64_t nbits)
{
        struct bitmap fresh;
        if (bitmap_init(&fresh, nbits) < 0)
                return -ENOMEM;
        memcpy(fresh.words, bm->words,
               MIN(words_for(nbits), words_for(bm->nbits)) * sizeof(uint64_t));
        fresh.nset = bm->nset;
        if (nbits < bm->nbits) {
                if (nbits % 64)
                        fresh.words[nbits / 64] &= (UINT64_C(1) << nbits % 64) - 1;
                fresh.nset = 0;
                for (size_t i = 0; i < words_for(nbits); i++)
                        fresh.nset += (uint64_t)__builtin_popcountll(fresh.words[i]);
        }
        bitmap_fini(bm);
        *bm = fresh;
        return 0;
}

bool bitmap_test(const struct bitmap *bm, uint64_t bit)
{
        return bit < bm->nbits && (bm->words[bit / 64] >> bit % 64 & 1);
}

/* The bits of word w that lie in [first, end). */
static uint64_t mask_of(uint64_t w, uint64_t first, uint64_t end)
{
        uint64_t mask = ~UINT64_C(0);
        if (first > w * 64)
                mask &= ~UINT64_C(0) << (first - w * 64);
        if (end < (w + 1) * 64)
                mask &= ~UINT64_C(0) >> ((w + 1) * 64 - end);
        return mask;
}

void bitmap_set_range(struct bitmap *bm, uint64_t first, uint64_t n)
{
        uint64_t end = first + n;
        for (uint64_t w = first / 64; n && w <= (end - 1) / 64; w++) {
                uint64_t fresh = mask_of(w, first, end) & ~bm->words[w];
                bm->words[w] |= fresh;
                bm->nset += (uint64_t)__builtin_popcountll(fresh);
        }
}

void bitmap_clear_range(struct bitmap *bm, uint64_t first, uint64_t n)
{
        uint64_t end = first + n;
        for (uint64_t w = first / 64; n && w <= (end - 1) / 64; w++) {
                uint64_t gone = mask_of(w, first, end) & bm->words[w];
                bm->words[w] &= ~gone;
                bm->nset -= (uint64_t)__builtin_popcountll(gone);
        }
}

static uint64_t next(const struct bitmap *bm, uint64_t from, uint64_t invert)
{
        if (from >= bm->nbits)
                return bm->nbits;
        uint64_t w = from / 64;
        uint64_t word = (bm->words[w] ^ invert) & ~UINT64_C(0) << from % 64;
        while (!word) {
                if (++w * 64 >= bm->nbits)
                        return bm->nbits;
                word = bm->words[w] ^ invert;
        }
        uint64_t bit = w * 64 + (uint64_t)__builtin_ctzll(word);
        return MIN(bit, bm->nbits);
}

uint64_t bitmap_next_set(const struct bitmap *bm, uint64_t from)
{
        return next(bm, from, 0);
}

uint64_t bitmap_next_clear(const struct bitmap *bm, uint64_t from)
{
        return next(bm, from, ~UINT64_C(0));
}
