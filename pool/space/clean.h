/* Cleaning. */
#ifndef ZONEPOOL_POOL_SPACE_CLEAN_H
#define ZONEPOOL_POOL_SPACE_CLEAN_H

#include <stdbool.h>

struct pool;
struct cleaner;

int clean_init(struct pool *pool);
void clean_fini(struct pool *pool);
void clean_poll(struct pool *pool);
bool clean_wanted(const struct pool *pool);
/* Nothing is being moved, and nothing will be unless something changes. */
bool clean_idle(const struct pool *pool);

#endif
