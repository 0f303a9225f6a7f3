/* What reads found far up in a chain of trees, kept in RAM: borrowed entries.
 *
 * A block that no tree of a volume's last snapshots has is looked for in each of them, and each
 * must have its pages in RAM for that. The second time it is found here: one look-up, whatever
 * stands between, and no page. Only what was found, or seen to be a hole, several trees above the
 * one that is read is kept (pool_options.borrow_depth): nearer by, the page is as cheap, and holds
 * 340.
 *
 * A borrowed entry says what a tree reads as at a block, and is never wrong because
 *
 * - what the tree itself is given there, and a limit that is lowered below it, comes first:
 *   leaf_set forgets it, and it does not count beyond the limit;
 * - those above are frozen. Merging them hands entries down and changes neither what a tree below
 *   reads as nor where the block lies; after a snapshot, a clone or going back a volume reads
 *   another tree, and ids of trees are never used again;
 * - a block that somebody reads lives, and its group is reset only when nothing lives there: it
 *   must have been moved before. Any move out of a group ends what was borrowed from it.
 *
 * The table grows as it is used, to an eighth of the cap of table pages and 32 MiB at most (and
 * takes 2 KiB under any cap); it counts as table pages do. Where there is no memory nothing is
 * borrowed.
 */
#ifndef ZONEPOOL_POOL_TABLE_BORROW_H
#define ZONEPOOL_POOL_TABLE_BORROW_H

#include "pool/table/table.h"

enum { BORROW_DEPTH = 4 }; /* what borrow_depth 0 means */

struct borrowed;

struct borrow {
        struct borrowed *slots; /* NULL: nothing was borrowed yet */
        uint64_t nsets; /* a power of two */
        uint64_t bytes; /* of RAM */
        uint64_t kept; /* entries, since the table was made */
        uint64_t reads; /* of blocks, of volumes that stand above others, */
        uint64_t found; /* answered from here, */
        uint64_t trees; /* and trees that the others looked into */
};

/* What the block reads as, as tree_lookup; borrows it where that was far to go. Under a chain pin,
 * or where borrow_has has just said so. */
struct entry borrow_lookup(struct pool *pool, const struct tree *t, uint64_t index);
/* All of [first, end), not empty, is borrowed: nothing of the chain need be in RAM to read it. */
bool borrow_has(const struct pool *pool, const struct tree *t, uint64_t first, uint64_t end);
/* The tree has another entry there. */
void borrow_forget(struct pool *pool, const struct tree *t, uint64_t index);
/* Gives the RAM back; it comes again as the cap has it then. */
void borrow_drop(struct pool *pool);

#endif
