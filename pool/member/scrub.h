/* Scrubbing: every live block is read and verified, those of tables too. */
#ifndef ZONEPOOL_POOL_MEMBER_SCRUB_H
#define ZONEPOOL_POOL_MEMBER_SCRUB_H

#include "pool/pool.h"
#include "pool/root/root.h"

struct pool;
struct scrub;

int scrub_init(struct pool *pool);
void scrub_fini(struct pool *pool);
void scrub_poll(struct pool *pool);
/* When it wants a tick; UINT64_MAX: not for now. */
uint64_t scrub_next_ns(const struct pool *pool);
/* To and from roots. */
void scrub_note(const struct pool *pool, struct root_scrub *ret_scrub);
void scrub_restore(struct pool *pool, const struct root_scrub *scrub);

#endif
