/* Devices that stall: an operation of theirs does not come back. In RAM only.
 *
 * A device is stalled while its oldest operation is older than pool_options.stall_ms. What can goes
 * elsewhere then: new groups are not opened on it where others can be, lanes that write there are
 * passed over, mirrored blocks are read from other members. Nothing is blamed: when it answers it
 * is used again as if nothing had been.
 *
 * After pool_options.give_up_ms, as long as a kernel gives a command, it has failed (fault.h) if the
 * pool can do without it: every mirrored group has another whole member, no single block that may
 * not be durable lies there, and enough devices are left to put that on record. Operations under
 * way end as those of a device that is gone, and only once that is on record is anything
 * acknowledged that it lacks. What it still does with them touches nothing (pio.h), and the device
 * is not used again before it is returned (comeback.c), which waits for the last of them. Where the
 * pool cannot do without it, it is waited for.
 *
 * Time is counted by ticks, and no tick counts for more than a fifth of that: an operation is not
 * old because nobody asked for its answer. */
#ifndef ZONEPOOL_POOL_MEMBER_STALL_H
#define ZONEPOOL_POOL_MEMBER_STALL_H

#include "pool/pdev.h"

#include <stdbool.h>
#include <stdint.h>

struct pool;
struct group;
struct pio;

void stall_tick(struct pool *pool, uint64_t now);
uint64_t stall_next_ns(const struct pool *pool);
/* An operation of the device came back. */
void stall_heard(struct pool *pool, struct pdev *d);
/* The slot whose device it is; NULL: none (yet). */
struct pdev *stall_pdev(struct pool *pool, const struct zdev *dev);
/* A device in use has answered nothing for as long as it takes to be stalled, and should: whatever
 * takes all devices would wait for it. */
bool stall_silent(const struct pool *pool);
/* It is such a device. */
bool device_silent(const struct pool *pool, const struct pdev *d);
/* One of the members is on a device that is in use and stalled. */
bool group_stalled(const struct pool *pool, const struct group *g);
/* The device was given up, and the operation is not asked of it. */
bool stall_refuses(struct pool *pool, const struct zdev *dev, const struct pio *p);

#endif
