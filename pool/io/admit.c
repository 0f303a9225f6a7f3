/* Whether there is room for a request. What counts are blocks it will map and pages it may add.
 * What overwrites mapped blocks alone needs nothing and is never refused; it waits in the stream
 * until cleaning has made room. */
#include "pool/io/req.h"

/* Blocks of zeroes that are covered in part and read as what a parent has: they are copied. */
static uint64_t edges_copied(const struct req *r)
{
        const struct tree *t = r->vol->tree;
        uint64_t start = r->io->offset_bytes, stop = start + r->io->length_bytes, n = 0;

        if (r->io->op != VOLUME_WRITE_ZEROES || !t->up)
                return 0;
        if (start % ZP_BLOCK)
                n += !(tree_get(t, r->first).addr & ADDR_MAPPED) && tree_lookup(t, r->first).addr;
        if (stop % ZP_BLOCK)
                n += !(tree_get(t, r->end - 1).addr & ADDR_MAPPED) &&
                     tree_lookup(t, r->end - 1).addr;
        return n;
}

/* Within its volume's reservation nobody is asked, as long as the pool has all it promised. */
bool req_has_room(const struct req *r)
{
        uint64_t blocks = r->lacks, promised = MIN(promise_room(r->vol), blocks);

        if (!blocks)
                return space_admits_overwrite(r->pool, r->end - r->first, r->vol->copies);
        if (promised < blocks)
                return space_admits(r->pool, blocks - promised, r->lacks_pages, r->vol->copies);
        return !r->pool->overcommitted ||
               space_admits_now(r->pool, blocks, r->lacks_pages, r->vol->copies);
}

bool req_admit(struct req *r)
{
        uint64_t blocks = edges_copied(r), pages = blocks * MAX_HEIGHT;

        if (r->io->op == VOLUME_WRITE)
                tree_cost(r->vol->tree, r->first, r->end - r->first, &blocks, &pages);
        r->lacks = blocks;
        r->lacks_pages = pages;
        if (!blocks)
                return r->io->op != VOLUME_WRITE || req_has_room(r);
        uint64_t promised = MIN(promise_room(r->vol), blocks);
        if (!req_has_room(r))
                return false;
        if (promised < blocks)
                space_claim(r->pool, &r->claim, blocks - promised, pages, r->vol->copies);
        r->promised = promised;
        if (promised)
                promise_take(r->vol, promised);
        return true;
}
