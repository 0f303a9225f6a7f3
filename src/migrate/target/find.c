/* Who has the domain's volumes, and may they come here: everything is asked and checked before the
 * first thing is made. */
#include "base/size.h"
#include "migrate/target/internal.h"

#include <errno.h>
#include <stdio.h>

#define ASK_NS UINT64_C(4000000000) /* peers that are silent for so long have nothing */

/* ---- who has it? ---- */

struct asked *pull_asked(struct pull *p, const struct peer *peer)
{
        for (uint32_t i = 0; i < p->nasked; i++)
                if (p->asked[i].peer == peer)
                        return &p->asked[i];
        return NULL;
}

void pull_decide(struct pull *p)
{
        struct asked *one = NULL;
        char silent[200] = "";

        for (uint32_t i = 0; i < p->nasked; i++) {
                struct asked *a = &p->asked[i];
                if (a->found && one && uuid_equal(&one->host.uuid, &a->host.uuid))
                        continue; /* the same host under two addresses */
                if (a->found && one) {
                        pull_refuse(p, EEXIST,
                                    "two hosts offer the domain's volumes, %s and %s: end one "
                                    "of the two migrations",
                                    one->address, a->address);
                        return;
                }
                if (a->found)
                        one = a;
                else if (!a->answered && strlen(silent) + strlen(a->address) + 3 < sizeof(silent))
                        snprintf(silent + strlen(silent), sizeof(silent) - strlen(silent), " %s",
                                 a->address);
        }
        if (!one) {
                pull_refuse(p, ENOENT,
                            "no peer offers the domain's volumes: is zonepool's lock driver "
                            "active on the source host?%s%s",
                            silent[0] ? " Not reached:" : "", silent);
                return;
        }
        p->offer = *one->offer;
        p->source = one->host;
        p->incarnation = one->incarnation;
        p->peer = one->peer;
        p->phase = CREATING;
        pull_advance(p);
}

bool pull_all_answered(const struct pull *p)
{
        for (uint32_t i = 0; i < p->nasked; i++)
                if (!p->asked[i].answered && !p->asked[i].why.code)
                        return false;
        return true;
}

void pull_ask_peers(struct pull *p)
{
        struct migrate *m = p->m;
        struct peer_frame f = {.type = PEER_WHO_HAS};

        p->request_id = ++m->next_request;
        f.who_has.request = p->request_id;
        f.who_has.domain = p->domain;
        for (uint32_t d = 0; d < p->ndisks; d++) {
                const char *list[MIGRATE_MAX_PEERS];
                uint32_t n =
                    m->host.pool_peers(m->host.ctx, p->disks[d].pool, list, MIGRATE_MAX_PEERS);
                for (uint32_t i = 0; i < n && p->nasked < MIGRATE_MAX_PEERS; i++) {
                        uint32_t k = 0;
                        while (k < p->nasked && strcmp(p->asked[k].address, list[i]) != 0)
                                k++;
                        if (k == p->nasked)
                                snprintf(p->asked[p->nasked++].address, TRANSPORT_ADDRESS, "%s",
                                         list[i]);
                }
        }
        if (!p->nasked) {
                pull_refuse(p, ENOENT,
                            "pool %s has no peers: name the other hosts' zonepoold in its "
                            "settings",
                            p->disks[0].pool);
                return;
        }
        for (uint32_t k = 0; k < p->nasked; k++) {
                struct asked *a = &p->asked[k];
                if (peers_dial(m->peers, a->address, &a->peer, &a->why) < 0)
                        a->peer = NULL;
                else
                        peer_send(a->peer, &f);
        }
        loop_timer_arm(m->s.loop, &p->timer, loop_now_ns(m->s.loop) + ASK_NS);
        if (pull_all_answered(p))
                pull_decide(p);
}

void pull_got_has(struct pull *p, struct peer *peer, const struct peer_frame *f)
{
        struct asked *a = pull_asked(p, peer);

        if (p->phase != ASKING || !a || a->answered || f->has.request != p->request_id)
                return;
        a->answered = true;
        a->host = *peer_host(peer);
        a->incarnation = peer_incarnation(peer);
        if (f->has.found && (a->offer = malloc(sizeof(*a->offer)))) {
                *a->offer = f->has.offer;
                a->found = true;
        }
        if (pull_all_answered(p))
                pull_decide(p);
}

/* ---- may it come here? ---- */

static const struct migrate_disk *disk_of(const struct pull *p, const char *pool, const char *name)
{
        for (uint32_t i = 0; i < p->ndisks; i++)
                if (!strcmp(p->disks[i].pool, pool) && !strcmp(p->disks[i].volume, name))
                        return &p->disks[i];
        return NULL;
}

/* One volume of the offer against what is here. False: fail() was called. */
static bool check_volume(struct pull *p, const struct peer_offer_volume *ov)
{
        struct migrate *m = p->m;
        const char *pool_name = p->offer.pools[ov->member.pool];
        struct pool *pool = m->host.pool_by_name(m->host.ctx, pool_name);
        struct err err = ERR_INIT;

        if (!pool) {
                pull_refuse(p, ENOENT, "pool %s is not imported on this host", pool_name);
                return false;
        }
        struct volume *by_name = volume_by_name(pool, ov->name);
        struct volume *by_uuid = volume_by_uuid(pool, &ov->member.uuid);
        if (by_name && by_name != by_uuid) {
                pull_refuse(p, EEXIST,
                            "pool %s has another volume with the name %s on this host: rename "
                            "or delete one of them",
                            pool_name, ov->name);
                return false;
        }
        if (by_uuid && by_uuid != by_name) {
                pull_refuse(p, EEXIST,
                            "volume %s of pool %s is known on this host under the name %s",
                            ov->name, pool_name, volume_name(by_uuid));
                return false;
        }
        struct owner_volume *o = owner_volume_in_pool(m->owner, pool_name, &ov->member.uuid);
        if (by_uuid && !o) {
                pull_refuse(p, EBUSY, "volume %s/%s is not ready on this host", pool_name,
                            ov->name);
                return false;
        }
        if (owner_stage_check(m->owner, o, ov->member.epoch_before, &p->source, &err) < 0) {
                pull_refuse(p, err.code, "%s", err.msg);
                return false;
        }
        if (by_uuid && volume_size_bytes(by_uuid) > ov->size_bytes) {
                pull_refuse(p, EINVAL,
                            "the old copy of volume %s/%s on this host is larger than the "
                            "volume: delete it first",
                            pool_name, ov->name);
                return false;
        }
        if (by_uuid) {
                struct volume_info info;
                volume_get_info(by_uuid, &info);
                if (info.copies != ov->copies) {
                        pull_refuse(p, EINVAL,
                                    "the old copy of volume %s/%s on this host keeps %u copies of "
                                    "each block, the volume %u: it cannot take its place",
                                    pool_name, ov->name, info.copies, ov->copies);
                        return false;
                }
        }
        return true;
}

/* What the pool has to take in, by copies, less what its old copies give back. Returns all of it,
 * nothing given back. */
static uint64_t need_of(const struct pull *p, unsigned k, struct pool *pool,
                        struct volume_need need[POOL_MAX_GROUP_WIDTH])
{
        uint64_t back[POOL_MAX_GROUP_WIDTH] = {0}, all = 0;

        for (unsigned i = 0; i < p->offer.nvolumes; i++) {
                const struct peer_offer_volume *ov = &p->offer.volumes[i];
                struct volume *old = volume_by_uuid(pool, &ov->member.uuid);
                uint64_t bytes = MAX(MIN(ov->allocated_bytes, ov->size_bytes), ov->reserved_bytes);
                struct volume_info info;

                if (ov->member.pool != k)
                        continue;
                need[ov->copies - 1].volumes++;
                need[ov->copies - 1].bytes += bytes;
                all += bytes;
                if (!old)
                        continue;
                volume_get_info(old, &info);
                back[ov->copies - 1] += MAX(info.allocated_bytes, info.reserved_bytes);
        }
        for (unsigned c = 0; c < POOL_MAX_GROUP_WIDTH; c++)
                need[c].bytes -= MIN(need[c].bytes, back[c]);
        return all;
}

/* The first volume that comes to the pool with so many copies. */
static const char *name_with(const struct pull *p, unsigned k, unsigned copies)
{
        for (unsigned i = 0; i < p->offer.nvolumes; i++)
                if (p->offer.volumes[i].member.pool == k && p->offer.volumes[i].copies == copies)
                        return p->offer.volumes[i].name;
        return "";
}

static void refuse_room(struct pull *p, unsigned k, int rc, uint64_t need, unsigned copies,
                        const struct pool *pool)
{
        const char *name = p->offer.pools[k];
        struct pool_status st;
        char n[16], h[16];

        if (rc == -ENODEV) {
                pull_refuse(p, ENODEV,
                            "volume %s keeps %u copies of each block, and pool %s has fewer "
                            "devices in use on this host: add some (zonepool device add %s ...)",
                            name_with(p, k, copies), copies, name, name);
                return;
        }
        if (rc == -EMFILE) {
                pull_refuse(p, EMFILE,
                            "volume %s keeps %u copies of each block, and a device of pool %s on "
                            "this host allows too few open zones for volumes of one more number "
                            "of copies",
                            name_with(p, k, copies), copies, name);
                return;
        }
        pool_get_status(pool, &st);
        size_format(need, n);
        size_format(st.available_by_copies[copies - 1], h);
        pull_refuse(p, ENOSPC,
                    rc == -EROFS ? "pool %s is read-only on this host (needs %s, has %s)"
                                 : "pool %s is too full on this host: the volumes need %s with "
                                   "what is reserved for them, it has %s for volumes of %u copies",
                    name, n, h, copies);
}

static bool check_room(struct pull *p)
{
        struct migrate *m = p->m;

        for (unsigned k = 0; k < p->offer.npools; k++) {
                struct pool *pool = m->host.pool_by_name(m->host.ctx, p->offer.pools[k]);
                struct volume_need need[POOL_MAX_GROUP_WIDTH] = {0};
                uint64_t all = need_of(p, k, pool, need);
                unsigned copies = 1;
                int rc = pool_admits_volumes(pool, need, &copies);

                if (rc < 0) {
                        refuse_room(p, k, rc, all, copies, pool);
                        return false;
                }
        }
        return true;
}

static bool offer_fits(struct pull *p)
{
        const struct peer_offer *o = &p->offer;

        for (unsigned i = 0; i < o->nvolumes; i++) {
                const char *pool = o->pools[o->volumes[i].member.pool];
                if (!disk_of(p, pool, o->volumes[i].name)) {
                        pull_refuse(p, EINVAL,
                                    "the source offers volume %s/%s, which the domain's "
                                    "definition does not name",
                                    pool, o->volumes[i].name);
                        return false;
                }
        }
        if (o->nvolumes != p->ndisks) {
                for (uint32_t d = 0; d < p->ndisks; d++) {
                        bool found = false;
                        for (unsigned i = 0; i < o->nvolumes; i++)
                                found |= disk_of(p, o->pools[o->volumes[i].member.pool],
                                                 o->volumes[i].name) == &p->disks[d];
                        if (!found) {
                                pull_refuse(p, EINVAL,
                                            "the source does not offer volume %s/%s of the "
                                            "domain",
                                            p->disks[d].pool, p->disks[d].volume);
                                return false;
                        }
                }
        }
        for (unsigned i = 0; i < o->nvolumes; i++)
                if (!check_volume(p, &o->volumes[i]))
                        return false;
        return check_room(p);
}

static void make_stage(struct pull *p)
{
        struct owner_stage *s = &p->stage;

        s->token = p->offer.token;
        s->domain = p->domain;
        s->source = p->source;
        s->nvolumes = p->offer.nvolumes;
        s->npools = p->offer.npools;
        memcpy(s->pools, p->offer.pools, sizeof(s->pools));
        for (unsigned i = 0; i < s->nvolumes; i++)
                s->volumes[i] = p->offer.volumes[i].member;
        s->nholders = p->offer.nholders;
        memcpy(s->holders, p->offer.holders, sizeof(s->holders));
        p->nvolumes = s->nvolumes;
}

bool pull_check_offer(struct pull *p)
{
        if (!offer_fits(p))
                return false;
        make_stage(p);
        return true;
}
