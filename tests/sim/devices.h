/* Devices that join and leave the pool at random, and what must hold of that after power cuts. */
#ifndef ZONEPOOL_TESTS_SIM_DEVICES_H
#define ZONEPOOL_TESTS_SIM_DEVICES_H

#include "tests/sim/sim.h"

/* What users were told of a device. */
enum device_fate {
        DEVICE_OUT, /* not the pool's */
        DEVICE_JOINING, /* may be in or out after a cut */
        DEVICE_IN,
        DEVICE_EVACUATING, /* asked for, not yet answered: in, or being emptied */
        DEVICE_EVACUATED, /* answered: stays empty, or is being emptied */
        DEVICE_REMOVING, /* asked for, not yet answered */
        DEVICE_REMOVED, /* answered: being emptied, or gone */
        DEVICE_KEEPING, /* asked to stay, not yet answered */
};

struct sim_device {
        enum device_fate fate;
        bool listed; /* given to import, as the daemon's file has it */
        bool absent; /* but cannot be: it is not there, for now */
        bool blank; /* it has left: its label must be gone */
        bool marked; /* it has left, and its label could not be wiped: nobody adds it again */
        uint32_t heir; /* number of the device that replaces it, plus one; 0: none */
        bool away; /* the pool has let go of it, and it is not back yet */
        bool empty; /* nothing may be written to its groups */
};

/* The slot of a member that is not away. */
uint32_t devices_slot(struct sim *sim, uint32_t media);
/* The pool has let go of none: all that lives can be looked at. */
bool devices_here(const struct sim *sim);
/* Asks for something, if it is time. */
void devices_act(struct sim *sim);
/* An event of the pool about a slot. */
void devices_event(struct sim *sim, struct pool *pool, const struct pool_event *e);
void devices_power_cut(struct sim *sim);
/* That slot is of a device that may be in trouble, and the others not. */
bool devices_ailing(const struct sim *sim, struct pool *pool, uint32_t slot);
/* A scrub is through. */
void devices_scrubbed(struct sim *sim, struct pool *pool);
/* After a recovery: slots are what users were told. */
void devices_check(struct sim *sim);
/* Waits until every device that leaves has left. False: power was lost, or devices are worn. */
bool devices_settle(struct sim *sim);
/* In an import: the device was listed and has no label of the pool any more, or not yet. */
void devices_drop(struct sim *sim, uint32_t media, int status);
/* A write to a group of that device. */
void devices_written(struct sim *sim, uint32_t media);
/* A new pool was made of those that are listed. */
void devices_formatted(struct sim *sim);
/* All are members, and nothing is under way. */
bool devices_quiet(const struct sim *sim);
void devices_fini(struct sim *sim);

#endif
