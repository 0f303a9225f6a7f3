/* Trees above trees: what a volume reads as when its own tree says nothing. */
#ifndef ZONEPOOL_POOL_TABLE_CHAIN_H
#define ZONEPOOL_POOL_TABLE_CHAIN_H

#include "pool/table/table.h"

/* But for the next_maybe and the links, all that follows looks only at what chain pins hold in RAM
 * (pager.h). */

/* What the block reads as: the entry of the youngest tree that has one, from t upwards. Mapped, or
 * all zero: a hole. */
struct entry tree_lookup(const struct tree *t, uint64_t index);
/* First block in [from, end) that reads as mapped, or end. */
uint64_t tree_next_shown(const struct tree *t, uint64_t from, uint64_t end);
/* The same, or a block that stands below a page that is not in RAM. */
uint64_t tree_next_shown_maybe(const struct tree *t, uint64_t from, uint64_t end);
/* The blocks read as zeroes from now on: entries go, and where a tree above shows something a hole
 * hides it. -ENOMEM. */
int tree_discard(struct pool *pool, struct tree *t, uint64_t index, uint64_t count);
/* Pages that tree_discard may add, at most. */
uint64_t tree_discard_cost(const struct tree *t, uint64_t index, uint64_t count);
/* Nothing of the parent shows from that block on. */
void tree_lower_limit(struct pool *pool, struct tree *t, uint64_t limit);
/* Leaf pages that one record may change where it can change many (discards over a parent, merges):
 * a step no checkpoint is too small for. */
uint32_t tree_step_leaves(const struct pool *pool);

/* Makes t a child of up. */
void tree_link(struct tree *t, struct tree *up);
void tree_unlink(struct tree *t);
void tree_init(struct tree *t);
/* A tree that is deleted and has one child: that. Else NULL. */
struct tree *tree_heir(const struct tree *t);

/* Entries of [index, index + count) of a tree that goes: to its only child where that one has none
 * of its own and sees them, else freed. -ENOMEM. */
int tree_merge(struct pool *pool, struct tree *t, uint64_t index, uint64_t count);
/* The tree that a block whose header names (tree, index) belongs to now, or NULL: to none. */
struct tree *tree_of_block(struct pool *pool, uint64_t tree, uint64_t index, uint64_t addr);

#endif
