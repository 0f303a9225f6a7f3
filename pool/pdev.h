/* Member devices as the pool sees them. */
#ifndef ZONEPOOL_POOL_PDEV_H
#define ZONEPOOL_POOL_PDEV_H

#include "base/list.h"
#include "base/uuid.h"
#include "pool/device.h"
#include "pool/pio.h"
#include "pool/pool.h"

struct pool;

struct pdev {
        struct zdev *dev; /* NULL: not there */
        struct uuid uuid;
        uint32_t index;
        uint32_t nr_zones; /* as the root says */
        uint64_t zone_blocks;
        enum pool_device_state state;
        bool confirming; /* JOINING: the root under way calls it a member */
        bool removing; /* LEAVING: it is to leave the pool when it is empty */
        bool replacing; /* JOINING, MEMBER: when it has joined, another one is to be removed, */
        uint8_t replaces; /* of that slot */
        bool drained; /* LEAVING: nothing is left on it */
        bool giving_up; /* LEAVING: what nobody can read is given up */
        bool busy; /* a step of its coming or going is under way */
        uint64_t leaving_blocks; /* LEAVING: that lived there when it began */
        uint64_t stuck_blocks; /* LEAVING: that cannot be read, by the last attempt */
        uint64_t looked; /* generation of the root at which it was last looked at */
        struct zdev_zone *zones; /* the report taken at import; states are not kept up */
        struct list free; /* groups that can be opened, reset done */
        uint32_t nfree;
        uint32_t active; /* groups with a zone here that is open, or being finished */
        uint32_t nzones; /* groups' own, that work */
        uint32_t nzones_free; /* these, and those with a reset to come */
        uint64_t written, flushed; /* counts of completed writes, and of those a flush covered */
        uint64_t written_blocks;
        int error; /* it failed and is out of use */
        bool recorded; /* and a durable root says so */
        bool returning; /* it is there again, and no durable root says so yet */
        uint64_t last_root; /* generation of the last root it was in use with */
        uint32_t label_failures, flush_failures; /* in a row */
        uint32_t failures; /* of writes, in a row */
        bool failed_event;
        bool stalled; /* an operation of it is overdue */
        bool given_up; /* it failed by that, and is not asked but for what lies there alone */
        uint64_t heard_ns; /* pool.stall_ns when it last answered */
        uint32_t resets; /* under way */
        uint32_t ring_zone; /* label ring: zone in use, */
        uint32_t ring_wp; /* its end, */
        uint32_t ring_cap; /* blocks of it that are used before the other zone's turn */
        bool ring_durable; /* the zone in use holds a root that was flushed */
        bool ring_switch; /* its tail cannot be trusted: go on in the other zone */
        uint32_t ring_torn; /* import: where the tail ends, to be covered; 0: nothing is */
};

/* A root is written to it. */
static inline bool pdev_labelled(const struct pdev *d)
{
        return d->dev && d->state <= POOL_DEVICE_LEAVING;
}

/* It failed before it was a member: its slot is about to be empty again. */
static inline bool pdev_join_failed(const struct pdev *d)
{
        return d->state == POOL_DEVICE_JOINING && d->error;
}

/* Blocks that count may lie there. */
static inline bool pdev_holds(const struct pdev *d)
{
        return d->state == POOL_DEVICE_MEMBER || d->state == POOL_DEVICE_LEAVING;
}

/* It is in use, and what is asked of it does not come back for now. */
static inline bool pdev_slow(const struct pdev *d)
{
        return d->stalled && !d->error;
}

/* Data may be placed there. */
static inline bool pdev_takes(const struct pdev *d)
{
        return d->dev && !d->error && !d->returning && d->state == POOL_DEVICE_MEMBER;
}

#endif
