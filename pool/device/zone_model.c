/* The rules of a zoned device, see zone_model.h.
 *
 * Invariants: `open` lists exactly the zones in state OPEN; nr_open is its length; nr_active is
 * nr_open plus the zones in state CLOSED; a zone that is neither open, full, read-only nor offline
 * has no write in flight.
 *
 * Left out: explicit open and close commands and zone append, which the pool does not use.
 */
#include "pool/device/zone_model.h"

#include <errno.h>

int zone_model_init(struct zone_model *m, const struct zdev_geometry *geo, uint64_t capacity_blocks,
                    uint32_t nr_conventional)
{
        if (!geo->nr_zones || !geo->zone_blocks || !geo->max_io_blocks || !capacity_blocks ||
            capacity_blocks > geo->zone_blocks || nr_conventional > geo->nr_zones)
                return -EINVAL;
        struct zone_model_zone *zones = calloc(geo->nr_zones, sizeof(*zones));
        if (!zones)
                return -ENOMEM;
        *m = (struct zone_model){.geo = *geo, .zones = zones};
        list_init(&m->open);
        for (uint32_t i = 0; i < geo->nr_zones; i++) {
                bool conventional = i < nr_conventional;
                zones[i].state = conventional ? ZDEV_ZONE_CONVENTIONAL : ZDEV_ZONE_EMPTY;
                zones[i].capacity_blocks = conventional ? geo->zone_blocks : capacity_blocks;
                list_init(&zones[i].node);
        }
        return 0;
}

void zone_model_fini(struct zone_model *m)
{
        free(m->zones);
        *m = (struct zone_model){0};
}

/* Every change of state goes through here, so that the counts are right. */
static void set_state(struct zone_model *m, struct zone_model_zone *z, enum zdev_zone_state state)
{
        if (z->state == ZDEV_ZONE_OPEN) {
                list_del(&z->node);
                m->nr_open--;
                m->nr_active--;
        } else if (z->state == ZDEV_ZONE_CLOSED) {
                m->nr_active--;
        }
        z->state = state;
        if (state == ZDEV_ZONE_OPEN) {
                list_add_tail(&m->open, &z->node);
                m->nr_open++;
                m->nr_active++;
        } else if (state == ZDEV_ZONE_CLOSED) {
                m->nr_active++;
        }
}

void zone_model_restore(struct zone_model *m, uint32_t zone, enum zdev_zone_state state,
                        uint64_t wp_block)
{
        struct zone_model_zone *z = &m->zones[zone];
        wp_block = MIN(wp_block, z->capacity_blocks);
        if (state == ZDEV_ZONE_OPEN || state == ZDEV_ZONE_CLOSED) {
                state = ZDEV_ZONE_CLOSED;
                if (wp_block == 0)
                        state = ZDEV_ZONE_EMPTY;
                else if (wp_block == z->capacity_blocks)
                        state = ZDEV_ZONE_FULL;
        }
        if (state == ZDEV_ZONE_EMPTY || state == ZDEV_ZONE_CONVENTIONAL)
                wp_block = 0;
        if (state == ZDEV_ZONE_FULL)
                wp_block = z->capacity_blocks;
        z->writing = 0;
        z->wp_block = wp_block;
        set_state(m, z, state);
}

static struct zone_model_zone *idle_open_zone(const struct zone_model *m)
{
        struct zone_model_zone *z;
        list_for_each (z, &m->open, node)
                if (!z->writing)
                        return z;
        return NULL;
}

uint32_t zone_model_would_close(const struct zone_model *m, uint32_t zone)
{
        if (zone >= m->geo.nr_zones || !m->geo.max_open || m->nr_open < m->geo.max_open)
                return UINT32_MAX;
        enum zdev_zone_state state = m->zones[zone].state;
        if (state != ZDEV_ZONE_EMPTY && state != ZDEV_ZONE_CLOSED)
                return UINT32_MAX;
        const struct zone_model_zone *z = idle_open_zone(m);
        return z ? (uint32_t)(z - m->zones) : UINT32_MAX;
}

/* Makes an empty or closed zone open, closing another one where the limit asks for it. */
static int open_zone(struct zone_model *m, struct zone_model_zone *z)
{
        if (z->state == ZDEV_ZONE_EMPTY && m->geo.max_active && m->nr_active >= m->geo.max_active)
                return -EOVERFLOW;
        if (m->geo.max_open && m->nr_open >= m->geo.max_open) {
                struct zone_model_zone *other = idle_open_zone(m);
                if (!other)
                        return -EOVERFLOW;
                set_state(m, other, ZDEV_ZONE_CLOSED);
        }
        set_state(m, z, ZDEV_ZONE_OPEN);
        return 0;
}

static int check_range(const struct zone_model *m, uint32_t zone, uint64_t block, uint32_t nblocks)
{
        if (zone >= m->geo.nr_zones || !nblocks || nblocks > m->geo.max_io_blocks)
                return -EIO;
        const struct zone_model_zone *z = &m->zones[zone];
        if (z->state == ZDEV_ZONE_OFFLINE)
                return -EIO;
        return block > z->capacity_blocks || nblocks > z->capacity_blocks - block ? -EIO : 0;
}

int zone_model_begin_write(struct zone_model *m, uint32_t zone, uint64_t block, uint32_t nblocks)
{
        int rc = check_range(m, zone, block, nblocks);
        if (rc < 0)
                return rc;
        struct zone_model_zone *z = &m->zones[zone];
        switch (z->state) {
        case ZDEV_ZONE_CONVENTIONAL:
                return 0;
        case ZDEV_ZONE_READONLY:
                return -EROFS;
        case ZDEV_ZONE_FULL:
        case ZDEV_ZONE_OFFLINE:
                return -EIO;
        case ZDEV_ZONE_EMPTY:
        case ZDEV_ZONE_OPEN:
        case ZDEV_ZONE_CLOSED:
                break;
        }
        if (z->writing || block != z->wp_block)
                return -EIO;
        if (z->state != ZDEV_ZONE_OPEN) {
                rc = open_zone(m, z);
                if (rc < 0)
                        return rc;
        } else { /* now the most recently written */
                list_del(&z->node);
                list_add_tail(&m->open, &z->node);
        }
        z->writing = nblocks;
        return 0;
}

void zone_model_end_write(struct zone_model *m, uint32_t zone, uint32_t written)
{
        struct zone_model_zone *z = &m->zones[zone];
        if (z->state != ZDEV_ZONE_OPEN) /* conventional, or taken away while the write ran */
                return;
        z->wp_block += MIN(written, z->writing);
        z->writing = 0;
        if (z->wp_block == z->capacity_blocks)
                set_state(m, z, ZDEV_ZONE_FULL);
        else if (z->wp_block == 0)
                set_state(m, z, ZDEV_ZONE_EMPTY);
}

int zone_model_check_read(const struct zone_model *m, uint32_t zone, uint64_t block,
                          uint32_t nblocks)
{
        return check_range(m, zone, block, nblocks);
}

int zone_model_check_manage(const struct zone_model *m, uint32_t zone)
{
        if (zone >= m->geo.nr_zones)
                return -EIO;
        const struct zone_model_zone *z = &m->zones[zone];
        if (z->state == ZDEV_ZONE_READONLY)
                return -EROFS;
        if (z->state == ZDEV_ZONE_OFFLINE || z->state == ZDEV_ZONE_CONVENTIONAL || z->writing)
                return -EIO;
        return 0;
}

int zone_model_reset(struct zone_model *m, uint32_t zone)
{
        int rc = zone_model_check_manage(m, zone);
        if (rc < 0)
                return rc;
        m->zones[zone].wp_block = 0;
        set_state(m, &m->zones[zone], ZDEV_ZONE_EMPTY);
        return 0;
}

int zone_model_finish(struct zone_model *m, uint32_t zone)
{
        int rc = zone_model_check_manage(m, zone);
        if (rc < 0)
                return rc;
        m->zones[zone].wp_block = m->zones[zone].capacity_blocks;
        set_state(m, &m->zones[zone], ZDEV_ZONE_FULL);
        return 0;
}

int zone_model_report(const struct zone_model *m, uint32_t zone, uint32_t nzones,
                      struct zdev_zone *report)
{
        if (zone > m->geo.nr_zones || nzones > m->geo.nr_zones - zone)
                return -EIO;
        for (uint32_t i = 0; i < nzones; i++) {
                const struct zone_model_zone *z = &m->zones[zone + i];
                report[i] = (struct zdev_zone){.state = z->state,
                                               .capacity_blocks = z->capacity_blocks,
                                               .wp_block = z->wp_block};
        }
        return 0;
}

int zone_model_submit(struct zone_model *m, const struct zdev_io *io)
{
        switch (io->op) {
        case ZDEV_READ:
                return zone_model_check_read(m, io->zone, io->block, io->nblocks);
        case ZDEV_WRITE:
                return zone_model_begin_write(m, io->zone, io->block, io->nblocks);
        case ZDEV_RESET:
        case ZDEV_FINISH:
                return zone_model_check_manage(m, io->zone);
        case ZDEV_REPORT:
        case ZDEV_FLUSH:
                break;
        }
        return 0;
}
