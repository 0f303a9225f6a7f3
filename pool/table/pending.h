/* Records that replay has found and that no table page has taken yet.
 *
 * Replay does not bring the pages it changes into RAM. It sorts its records by leaf page, each
 * page's in the order of their sequences, and a page takes its own when it is read: before anybody
 * sees it (pager.c). So everybody finds the tables as replay leaves them, and which pages are read
 * first does not matter. Before a checkpoint notes the tables all of them are read
 * (pending_drain).
 *
 * Only what changes entries by itself waits like that, writes and moves. Records that change which
 * trees there are, or many entries at once, are applied in their place with all that comes before
 * them (recover.c). Leaf pages that are in RAM, or that no tree had before, are changed at once.
 *
 * Until a record is taken its block counts as live, beside the one it takes the place of, and is
 * charged as if it filled a hole: counts are too high, never too low, and right in the end. */
#ifndef ZONEPOOL_POOL_TABLE_PENDING_H
#define ZONEPOOL_POOL_TABLE_PENDING_H

#include <stdbool.h>
#include <stdint.h>

struct page;
struct pool;
struct record;

/* The record can wait, or has nothing to do with the order of those that do. */
bool pending_fits(const struct record *rec);
/* All pages above leaves are in RAM, and whole trees of one page. Then each batch is counted, the
 * runs are laid out, and each batch, in the order of sequences, is added. -ENOMEM. */
int pending_begin(struct pool *pool);
void pending_count(struct pool *pool, const uint8_t *records, uint32_t bytes);
int pending_lay_out(struct pool *pool);
int pending_add(struct pool *pool, const uint8_t *records, uint32_t bytes, uint64_t seq,
                uint32_t group, uint32_t data_off);
void pending_end(struct pool *pool);
/* Leaf pages that have not taken theirs yet. */
uint64_t pending_pages(const struct pool *pool);
/* The leaf was read: it takes what waits for it. */
void pending_apply(struct pool *pool, struct page *leaf);
/* What the leaf below that page of level 1 holds when it has taken its own, made of what is on
 * disk.
 */
void pending_view(const struct pool *pool, const struct page *above, unsigned slot, uint64_t *addr,
                  uint32_t *crc);
/* Has all pages read that something waits for. True: there is none. Else done is called, never
 * from inside: 0, or what kept one from being read; the others have theirs then. One at a time. */
bool pending_drain(struct pool *pool, void (*done)(void *ctx, int status), void *ctx);
/* Accepts a pool without any. */
void pending_free(struct pool *pool);

#endif
