/* The label ring of a device. */
#ifndef ZONEPOOL_POOL_ROOT_LABEL_H
#define ZONEPOOL_POOL_ROOT_LABEL_H

#include "pool/pdev.h"
#include "pool/root/root.h"

struct pool;

struct label_scan {
        struct zdev *dev;
        struct pool *pool; /* NULL before there is one */
        struct zdev_zone *zones; /* all of the device; the caller's to free */
        int status; /* 0, -ENOENT, -EPROTONOSUPPORT, -EBADMSG, -EIO */
        struct root best; /* status 0; fixed part valid with -EPROTONOSUPPORT */
        uint32_t best_zone, best_end;
        bool best_tail_clean;
        void (*done)(struct label_scan *s);
        void *ctx;
        /* private */
        struct list node; /* in pool.scans */
        struct pio pio;
        uint32_t ring[LABEL_ZONES];
        uint32_t at; /* in ring */
        uint64_t off;
        uint8_t *buf;
        uint32_t need, got;
        bool seen;
        struct root foreign;
        bool newer;
};
/* The zones of a label ring, from a report of the whole device: the first that are not
 * conventional, whatever else their state. Returns false when there are too few; ret_zones is scrap
 * then. */
bool label_zones(const struct zdev_zone *zones, uint32_t nr_zones, uint32_t ret_zones[LABEL_ZONES]);
/* Both ring zones take one of the device's active zones, when the power cut undid that one was
 * finished: the next root then changes zones, which finishes one and resets the other. */
bool label_both_active(const struct zdev_zone *zones, uint32_t nr_zones);
/* Flushes and reports the device, then reads its rings. */
void label_scan_start(struct label_scan *s);

/* The pool goes, and its scans with it: done is never called. */
void label_scans_forget(struct pool *pool);

/* Where the ring stands, as a scan found it; d->dev and d->zones are set. */
void label_ring_set(struct pdev *d, uint32_t zone, uint32_t end, bool tail_clean);

struct label_write {
        struct pool *pool;
        struct pdev *pdev;
        uint8_t *buf; /* not owned */
        uint32_t blocks, sent;
        struct pio pio;
        int step;
        uint32_t reset; /* zone of STEP_RESET */
        uint32_t cover; /* blocks still to be covered */
        struct zdev_zone zone; /* as it was found where it could not be finished, */
        int failure; /* and why */
        void (*done)(struct label_write *w, int status);
        void *ctx;
};
uint64_t zone_end(const struct zdev_zone *z); /* blocks that may have been written */
/* The pointer of a ring zone behind which bytes of a lost root may stand; 0: no such. */
uint32_t label_torn_at(const struct zdev_zone *z);
/* Appends a root to the ring, changing zones when it is full. Not durable before a flush. Fails
 * where the ring would take a second active zone of a device that limits them. */
void label_write_start(struct label_write *w);

#endif
