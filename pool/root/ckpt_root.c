/* The root of a checkpoint: groups and counters as they stand at the freeze, then its bytes for
 * each device. What is sealed and holds nothing live is noted as free, with its next generation. */
#include "pool/internal.h"
#include "pool/space/mirror.h"

#include <stdlib.h>
#include <string.h>

static void note_group(const struct group *g, struct root_group *r)
{
        *r = (struct root_group){
            .cls = (uint8_t)g->cls,
            .width = g->width,
            .copies = g->copies,
            .generation = g->generation,
            .live = g->live,
            .wp = g->tail,
            .cap = g->cap,
            .zone_cap = g->zone_cap,
            .summary = g->summary,
            .last_seq = g->last_seq,
            .last_sum = g->last_sum,
            .sealed = g->sealed,
        };
        memcpy(r->member, g->member, sizeof(r->member));
        switch (g->state) {
        case GROUP_FREE:
        case GROUP_PARKED:
                r->state = ROOT_GROUP_FREE;
                break;
        case GROUP_OPEN:
        case GROUP_SEALING:
                r->state = ROOT_GROUP_OPEN;
                break;
        case GROUP_SEALED:
                r->state = ROOT_GROUP_SEALED;
                break;
        case GROUP_BAD:
                r->state = ROOT_GROUP_BAD;
                break;
        case GROUP_GONE:
                r->state = ROOT_GROUP_GONE;
                break;
        case GROUP_LENT:
                r->state = ROOT_GROUP_LENT;
                break;
        }
        if (g->freeing) {
                r->state = ROOT_GROUP_FREE;
                r->generation++;
                r->wp = r->summary = 0;
                r->last_seq = r->last_sum = 0;
                r->width = r->copies = 1;
                r->member[0].good = MEMBER_GOOD;
                r->cap = r->zone_cap;
        }
}

static uint8_t root_device_state(const struct pdev *d)
{
        return d->error && pdev_holds(d) ? ROOT_DEVICE_OUT : ROOT_DEVICE_IN_USE;
}

/* The zones a group that is freed had borrowed are free with it. */
static void note_returned(const struct pool *pool, const struct group *g, struct root *r)
{
        for (unsigned k = 1; k < g->width; k++) {
                struct root_group *own = &r->groups[g->lent[k]];
                own->state = ROOT_GROUP_FREE;
                own->width = own->copies = 1;
        }
}

static void note_device(const struct pool *pool, const struct pdev *d, struct root_device *r)
{
        bool joined = d->state == POOL_DEVICE_JOINING && d->confirming && !d->error;

        *r = (struct root_device){
            .uuid = d->uuid,
            .nr_zones = d->nr_zones,
            .zone_blocks = d->zone_blocks,
            .state = root_device_state(d),
            .generation = d->last_root,
            .slot = (uint8_t)(joined ? POOL_DEVICE_MEMBER : d->state),
            .removing = d->removing,
            .replacing = d->replacing,
            .replaces = d->replaces,
            .leaving_blocks = d->leaving_blocks,
        };
}

int root_note(struct pool *pool)
{
        struct root *r = &pool->ckpt.root;

        members_mark_stale(pool);
        *r = (struct root){
            .version = POOL_FORMAT_VERSION,
            .generation = pool->generation + 1,
            .claims = pool->claims,
            .pool = pool->uuid,
            .ndevices = pool->ndevs,
            .seq = pool->seq,
            .durable = pool->seq,
            .next_tree = pool->next_tree,
            .catalog_addr = pool->catalog.root_entry.addr,
            .catalog_crc = pool->catalog.root_entry.crc,
            .catalog_height = pool->catalog.height,
            .ngroups = pool->ngroups,
            .blocks = root_blocks(pool->ndevs, pool->ngroups),
            .checksums = pool->options.checksums,
            .reserve_permille = pool->options.reserve_permille,
            .checkpoint_permille = pool->options.checkpoint_permille,
            .user_blocks = pool->user_blocks,
            .device_blocks = pool->device_blocks,
            .clean_blocks = pool->clean_blocks,
            .table_blocks = pool->table_blocks,
        };
        scrub_note(pool, &r->scrub);
        r->unbalanced = pool->balance.off;
        memcpy(r->name, pool->name, sizeof(r->name));
        memcpy(r->secret, pool->secret, sizeof(r->secret));
        r->devices = calloc(pool->ndevs, sizeof(*r->devices));
        r->groups = calloc(pool->ngroups + 1, sizeof(*r->groups));
        if (!r->devices || !r->groups)
                return -ENOMEM;
        for (uint32_t i = 0; i < pool->ndevs; i++)
                note_device(pool, &pool->devs[i], &r->devices[i]);
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                g->freeing = g->state == GROUP_SEALED && !g->live && !g->busy;
                note_group(g, &r->groups[i]);
        }
        for (uint32_t i = 0; i < pool->ngroups; i++)
                if (pool->groups[i]->freeing)
                        note_returned(pool, pool->groups[i], r);
        return 0;
}

int root_note_resumed(struct pool *pool, const struct root *from)
{
        struct root *r = &pool->ckpt.root;

        root_fini(r);
        *r = *from;
        r->devices = calloc(r->ndevices, sizeof(*r->devices));
        r->groups = calloc(r->ngroups + 1, sizeof(*r->groups));
        if (!r->devices || !r->groups)
                return -ENOMEM;
        memcpy(r->devices, from->devices, r->ndevices * sizeof(*r->devices));
        memcpy(r->groups, from->groups, r->ngroups * sizeof(*r->groups));
        r->generation = pool->generation + 1;
        r->claims = pool->claims;
        r->durable = pool->seq;
        r->resumed = true;
        for (uint32_t i = 0; i < r->ndevices; i++)
                r->devices[i].generation = pool->devs[i].last_root;
        for (uint32_t i = 0; i < r->ngroups; i++) {
                const struct group *g = pool->groups[i];
                struct root_group *rg = &r->groups[i];
                if (rg->state != ROOT_GROUP_FREE && rg->state != ROOT_GROUP_OPEN)
                        continue;
                if (g->state == GROUP_FREE || g->state == GROUP_PARKED)
                        rg->generation = g->generation;
                else
                        rg->replayed = g->tail;
        }
        return 0;
}

void root_note_tables(struct pool *pool)
{
        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                struct root_group *r = &pool->ckpt.root.groups[i];
                uint32_t live = r->live; /* of the tables this root names */
                if (g->cls != CLASS_TABLE || g->freeing || g->state == GROUP_FREE ||
                    g->state == GROUP_PARKED || g->state == GROUP_GONE || g->state == GROUP_LENT)
                        continue;
                note_group(g, r);
                r->live = live;
        }
}

uint32_t root_choose_released(struct pool *pool)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < pool->ngroups; i++) {
                struct group *g = pool->groups[i];
                g->freeing = group_releasable(g);
                n += g->freeing;
        }
        return n;
}

void root_note_released(struct pool *pool, uint64_t durable)
{
        struct root *r = &pool->ckpt.root;

        r->generation = pool->generation + 1;
        r->durable = durable;
        for (uint32_t i = 0; i < r->ngroups; i++) {
                const struct group *g = pool->groups[i];
                uint32_t live = r->groups[i].live;
                if (!g->freeing)
                        continue;
                note_group(g, &r->groups[i]);
                r->groups[i].live = live;
                r->groups[i].flags |= ROOT_GROUP_RELEASED;
                note_returned(pool, g, r);
        }
}

int root_encode_all(struct pool *pool)
{
        struct ckpt *c = &pool->ckpt;
        uint32_t blocks = c->root.blocks;
        const uint8_t *first = NULL;

        c->nbufs = c->root.ndevices; /* a release writes an older root */
        c->bufs = calloc(c->nbufs, sizeof(*c->bufs));
        for (uint32_t i = 0; c->bufs && i < c->nbufs; i++) {
                void *buf = NULL;
                if (!pdev_labelled(&pool->devs[i]) || pdev_join_failed(&pool->devs[i]) ||
                    c->root.devices[i].state != ROOT_DEVICE_IN_USE)
                        continue;
                if (posix_memalign(&buf, ZP_BLOCK, (size_t)blocks * ZP_BLOCK))
                        return -ENOMEM;
                c->bufs[i] = buf;
                if (first)
                        memcpy(buf, first, (size_t)blocks * ZP_BLOCK);
                else
                        root_encode(&c->root, buf);
                first = buf;
                root_set_device(buf, blocks, &pool->devs[i].uuid, i);
        }
        return c->bufs ? 0 : -ENOMEM;
}
