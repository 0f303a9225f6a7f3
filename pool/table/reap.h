/* What is left of deleted volumes and snapshots goes, step by step. */
#ifndef ZONEPOOL_POOL_TABLE_REAP_H
#define ZONEPOOL_POOL_TABLE_REAP_H

struct pool;
struct volume;
struct reaper;

int reap_init(struct pool *pool);
void reap_fini(struct pool *pool);
/* Notes the node if it can go now: it is doomed, nobody works on it, and at most one tree is a
 * child of its own. Called whenever one of these may have become true. */
void reap_check(struct pool *pool, struct volume *node);
/* Starts the next step, if there is one and none is under way. */
void reap_poll(struct pool *pool);

#endif
