/* Members of zone groups: the zones of different devices that are written alike, and how many
 * groups of a width the free zones make. */
#ifndef ZONEPOOL_POOL_SPACE_MIRROR_H
#define ZONEPOOL_POOL_SPACE_MIRROR_H

#include "pool/pdev.h"
#include "pool/space/group.h"

struct pool;

#define DEVICE_WHOLE (UINT64_C(1) << 20)

/* The device is there and has not failed. */
static inline bool pdev_usable(const struct pdev *d)
{
        return d->dev && !d->error;
}

/* It is the better one to read from. */
static inline bool pdev_nearer(const struct pdev *d, const struct pdev *than)
{
        if (!d->error != !than->error)
                return !d->error;
        if (d->stalled != than->stalled)
                return than->stalled;
        return d->dev->inflight < than->dev->inflight;
}

struct pdev *member_dev(const struct pool *pool, const struct group *g, unsigned k);
/* Blocks below may be read from the member, as far as its device is there at all. */
static inline bool member_good(const struct group *g, unsigned k, uint32_t end)
{
        return g->member[k].good >= end;
}

/* A member to read blocks up to `end` from, none of those in `tried` (a bit each). Devices in use
 * come before others, among these those that do not stall, then the one with least in flight; -1:
 * none is left. */
int member_pick(const struct pool *pool, const struct group *g, uint32_t end, unsigned tried);
/* Members on devices in use that hold all of the group. */
unsigned members_whole(const struct pool *pool, const struct group *g);
/* How many the group should have, now. */
unsigned members_wanted(const struct pool *pool, const struct group *g);
/* It has fewer whole members than it should, or a zone of it fails: what lives there is to move. */
bool group_short(const struct pool *pool, const struct group *g);
/* The zone of member k of a sealed group is in that state: it went bad by itself. */
void member_zone_seen(struct group *g, unsigned k, enum zdev_zone_state state);
/* The largest transfer that every member's device takes. */
uint32_t members_max_io(const struct pool *pool, const struct group *g);
/* The slot whose own zone is the member. */
struct group *member_slot(const struct pool *pool, const struct group *g, unsigned k);

/* What so many of a device's zones are to the choice of where a group is opened; DEVICE_WHOLE: all
 * of them. Where nothing is mirrored their share of the device's own, so that unequal devices fill
 * alike. Else their number, in parts of the largest device: what is left of that one must find
 * partners (space.c counts with it). */
uint64_t device_room(const struct pool *pool, const struct pdev *d, uint32_t zones);

/* Copies that can be made of a block now: fewer than asked for where devices are missing. */
unsigned width_for(const struct pool *pool, unsigned copies);
/* Groups of that width that could be formed of free zones; ready: of those already reset. */
uint32_t groups_formable(const struct pool *pool, unsigned width, bool ready);
/* Of the width the tables have; these are what room is kept for. */
uint32_t groups_free(const struct pool *pool);
/* The same as blocks, for comparisons with so many times max_cap; */
uint64_t groups_free_blocks(const struct pool *pool);
/* without those that are free on the device; */
uint64_t groups_free_without(const struct pool *pool, uint32_t leaving);
/* and those that surely fit in, */
uint64_t groups_free_room(const struct pool *pool);
/* at so many a group. */
uint32_t groups_cap(const struct pool *pool);

#endif
