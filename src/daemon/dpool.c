/* The registry of pools, their tick and their events, see dpool.h.
 *
 * The tick: pool_tick is due when the pool asks (host_wake), and at pool_next_tick_ns; but what
 * happens between two ticks moves that time without telling, so the timer never sleeps longer than
 * TICK_MAX_NS. It goes on until the pool is exported.
 */
#include "daemon/dpool.h"

#include "base/cleanup.h"
#include "base/eventlog.h"
#include "base/log.h"
#include "control/params.h"
#include "daemon/device_methods.h"
#include "daemon/dvol.h"
#include "daemon/files.h"
#include "migrate/owner/record.h"
#include "migrate/peer/transport.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define TICK_MAX_NS UINT64_C(500000000)
#define TICK_MIN_NS UINT64_C(1000000)

void pool_spec_fini(struct pool_spec *s)
{
        for (uint32_t i = 0; i < s->ndevices; i++)
                free(s->devices[i]);
        for (uint32_t i = 0; i < s->npeers; i++)
                free(s->peers[i]);
        free(s->devices);
        free(s->peers);
        *s = (struct pool_spec){0};
}

static int copy_strings(const json_t *array, const char *what, uint32_t max, char ***ret_copies,
                        uint32_t *ret_n, struct err *err)
{
        const char *items[POOL_MAX_DEVICES];
        size_t n = 0;
        int rc = control_parse_strings(array, what, items, max, &n, err);

        if (rc < 0)
                return rc;
        char **copies = calloc(MAX(n, (size_t)1), sizeof(*copies));
        if (!copies)
                return err_set(err, ENOMEM, "out of memory");
        *ret_copies = copies;
        for (size_t i = 0; i < n; i++) {
                copies[i] = strdup(items[i]);
                if (!copies[i])
                        return err_set(err, ENOMEM, "out of memory");
                *ret_n = (uint32_t)i + 1;
        }
        return 0;
}

static int check_device_paths(const struct pool_spec *s, struct err *err)
{
        if (s->ndevices == 0)
                return err_set(err, EINVAL, "pool %s: at least one device is needed", s->name);
        for (uint32_t i = 0; i < s->ndevices; i++) {
                const char *path = s->devices[i];
                if (path[0] != '/' || strlen(path) > 255)
                        return err_set(
                            err, EINVAL,
                            "device '%.80s' must be an absolute path of at most 255 bytes", path);
                for (uint32_t k = 0; k < i; k++)
                        if (!strcmp(s->devices[k], path))
                                return err_set(err, EINVAL, "device %s is named twice", path);
        }
        return 0;
}

static int check_peers(const struct pool_spec *s, struct err *err)
{
        for (uint32_t i = 0; i < s->npeers; i++) {
                const char *peer = s->peers[i];
                if (strlen(peer) >= OWNER_ADDRESS)
                        return err_set(err, EINVAL, "peer '%.80s' is longer than %d bytes", peer,
                                       OWNER_ADDRESS - 1);
                int rc = transport_address_check(peer, NULL, err);
                if (rc < 0)
                        return rc;
        }
        return 0;
}

int copies_check(uint64_t copies, struct err *err)
{
        if (copies < 1 || copies > POOL_MAX_GROUP_WIDTH)
                return err_set(err, EINVAL, "copies: %llu; 1 to %d are possible",
                               (unsigned long long)copies, POOL_MAX_GROUP_WIDTH);
        return 0;
}

int pool_spec_init(struct pool_spec *s, const char *name, const json_t *devices,
                   const json_t *peers, const json_t *options, struct err *err)
{
        uint64_t reserve = 0, checkpoint = 0, copies = 1;
        const struct control_param table[] = {
            PARAM_BOOL("checksums", &s->options.checksums, PARAM_OPTIONAL),
            PARAM_BOOL("degraded", &s->options.degraded, PARAM_OPTIONAL), /* not kept */
            PARAM_U64("reserve_permille", &reserve, PARAM_OPTIONAL),
            PARAM_U64("checkpoint_permille", &checkpoint, PARAM_OPTIONAL),
            PARAM_U64("copies", &copies, PARAM_OPTIONAL),
        };
        int rc = pool_name_check(name, err);

        if (rc < 0)
                return rc;
        strcpy(s->name, name);
        s->options = POOL_OPTIONS_DEFAULT;
        if (options)
                rc = control_parse(options, table, ARRAY_SIZE(table), err);
        if (rc == 0 && (reserve > 900 || checkpoint > 1000))
                rc = err_set(err, EINVAL,
                             "reserve_permille must be at most 900, checkpoint_permille 1000");
        if (rc == 0)
                rc = copies_check(copies, err);
        s->copies = (uint8_t)copies;
        s->options.reserve_permille = (uint32_t)reserve;
        s->options.checkpoint_permille = (uint32_t)checkpoint;
        if (rc == 0)
                rc = copy_strings(devices, "devices", POOL_MAX_DEVICES, &s->devices, &s->ndevices,
                                  err);
        if (rc == 0)
                rc = copy_strings(peers, "peers", POOL_MAX_PEERS, &s->peers, &s->npeers, err);
        if (rc == 0)
                rc = check_device_paths(s, err);
        return rc < 0 ? rc : check_peers(s, err);
}

void pool_spec_drop(struct pool_spec *s, uint32_t i)
{
        uint32_t behind = --s->ndevices - i;

        free(s->devices[i]);
        memmove(&s->devices[i], &s->devices[i + 1], behind * sizeof(*s->devices));
        memmove(&s->uuids[i], &s->uuids[i + 1], behind * sizeof(*s->uuids));
}

bool pool_spec_share_device(const struct pool_spec *a, const struct pool_spec *b)
{
        for (uint32_t i = 0; i < a->ndevices; i++)
                for (uint32_t k = 0; k < b->ndevices; k++)
                        if (!strcmp(a->devices[i], b->devices[k]))
                                return true;
        return false;
}

const char *dpool_state_name(enum dpool_state state)
{
        static const char *const names[] = {
            [DPOOL_IMPORTING] = "importing",
            [DPOOL_ACTIVE] = "active",
            [DPOOL_EXPORTING] = "exporting",
            [DPOOL_FAILED] = "failed",
        };
        return names[state];
}

struct dpool *dpool_find(struct daemon *d, const char *name)
{
        struct dpool *p;
        list_for_each (p, &d->pools, node) {
                if (!strcmp(p->spec.name, name))
                        return p;
        }
        return NULL;
}

struct dpool *dpool_active(struct daemon *d, const char *name, struct err *err)
{
        struct dpool *p = dpool_find(d, name);

        if (!p)
                err_set(err, ENOENT, "no pool '%.64s' is imported", name);
        else if (p->state == DPOOL_FAILED)
                err_set(err, p->error.code, "pool %s could not be imported: %s", name,
                        p->error.msg);
        else if (p->state != DPOOL_ACTIVE)
                err_set(err, EAGAIN, "pool %s is %s; try again when it is done", name,
                        dpool_state_name(p->state));
        else
                return p;
        return NULL;
}

struct dpool *dpool_of_device(struct daemon *d, const char *path)
{
        struct dpool *p;
        list_for_each (p, &d->pools, node) {
                for (uint32_t i = 0; p->state != DPOOL_FAILED && i < p->spec.ndevices; i++)
                        if (!strcmp(p->spec.devices[i], path))
                                return p;
        }
        return NULL;
}

/* ---- what the pool is given ---- */

static uint64_t host_now(void *ctx)
{
        return clock_now_ns();
}

static void host_wake(void *ctx, struct pool *pool)
{
        struct dpool *p = ctx;

        p->woken = pool;
        loop_defer(p->daemon->loop, &p->wake);
}

static void woken(struct loop_defer *defer)
{
        pool_tick(((struct dpool *)container_of(defer, struct dpool, wake))->woken);
}

static void device_failed(struct dpool *p, struct pool *pool, const struct pool_event *e)
{
        struct pool_device_status dev;

        dpool_device_status(p, pool, e->device, &dev);
        const char *why = dev.trouble ? dev.trouble : strerror(-e->status);
        if (dev.error)
                log_error("pool",
                          "%s: device %s is out of use: %s. When it is mended: 'zonepool device "
                          "return %s %s'; else 'zonepool device replace' or 'zonepool device remove'",
                          p->spec.name, dev.path, why, p->spec.name, dev.path);
        else
                log_warn("pool", "%s: an operation of device %s has failed: %s", p->spec.name,
                         dev.path, why);
        eventlog_emit(dev.error ? "device-failed" : "device-error",
                      "\"pool\":\"%s\",\"device\":%u,\"errno\":%d,\"path\":\"%s\",\"why\":\"%s\"",
                      p->spec.name, e->device, -e->status, dev.path, why);
}

static void device_stalls(struct dpool *p, struct pool *pool, const struct pool_event *e)
{
        bool stalls = e->kind == POOL_EVENT_DEVICE_STALLED;
        struct pool_device_status dev;

        dpool_device_status(p, pool, e->device, &dev);
        if (stalls)
                log_warn("pool", "%s: device %s stalls: what it was asked does not come back",
                         p->spec.name, dev.path);
        else
                log_info("pool", "%s: device %s answers again", p->spec.name, dev.path);
        eventlog_emit(stalls ? "device-stalled" : "device-answers", "\"pool\":\"%s\",\"device\":%u",
                      p->spec.name, e->device);
}

static void device_healed(const struct dpool *p, const struct pool_event *e, const char *volume)
{
        struct pool_device_status dev;

        dpool_device_status(p, p->pool, e->device, &dev);
        if (e->volume)
                log_warn("pool",
                         "%s: volume '%s' block %llu was wrong on device %s and is written anew",
                         p->spec.name, volume, (unsigned long long)e->block, dev.path);
        else
                log_warn("pool",
                         "%s: a block of the tables was wrong on device %s and is written anew",
                         p->spec.name, dev.path);
        eventlog_emit("healed", "\"pool\":\"%s\",\"volume\":\"%s\",\"block\":%llu,\"device\":%u",
                      p->spec.name, volume, (unsigned long long)e->block, e->device);
}

static void writes_held(const struct dpool *p, const struct pool *pool)
{
        struct pool_status st;

        pool_get_status(pool, &st);
        if (st.lacking_bytes)
                log_warn(
                    "pool",
                    "%s: writes of guests wait: %llu MiB of devices are missing for all copies "
                    "of what there is; add a device, delete data, or keep fewer copies",
                    p->spec.name, (unsigned long long)DIV_ROUND_UP(st.lacking_bytes, 1 << 20));
        else
                log_warn("pool", "%s: no space left; writes of guests wait until there is some",
                         p->spec.name);
        eventlog_emit("pool-held", "\"pool\":\"%s\",\"lacking\":%llu", p->spec.name,
                      (unsigned long long)st.lacking_bytes);
}

static void host_event(void *ctx, struct pool *pool, const struct pool_event *e)
{
        struct dpool *p = ctx;
        const char *volume = e->volume ? volume_name(e->volume) : "";

        switch (e->kind) {
        case POOL_EVENT_HELD:
                p->held = true;
                writes_held(p, pool);
                break;
        case POOL_EVENT_RELEASED:
                p->held = false;
                log_info("pool", "%s: space is back, no write waits any more", p->spec.name);
                eventlog_emit("pool-released", "\"pool\":\"%s\"", p->spec.name);
                break;
        case POOL_EVENT_UNBACKED:
                log_warn("pool",
                         "%s: there is no room any more for all that is reserved, %llu MiB are "
                         "lacking; add a device or reserve less",
                         p->spec.name, (unsigned long long)DIV_ROUND_UP(e->block, 256));
                eventlog_emit("pool-unbacked", "\"pool\":\"%s\",\"blocks\":%llu", p->spec.name,
                              (unsigned long long)e->block);
                break;
        case POOL_EVENT_BACKED:
                log_info("pool", "%s: there is room for all that is reserved", p->spec.name);
                eventlog_emit("pool-backed", "\"pool\":\"%s\"", p->spec.name);
                break;
        case POOL_EVENT_DEVICE_FAILED:
                device_failed(p, pool, e);
                break;
        case POOL_EVENT_DEVICE_STALLED:
        case POOL_EVENT_DEVICE_ANSWERS:
                device_stalls(p, pool, e);
                break;
        case POOL_EVENT_CORRUPTION:
                log_error("pool",
                          "%s: volume '%s' block %llu: the checksum is wrong; reading it fails",
                          p->spec.name, volume, (unsigned long long)e->block);
                eventlog_emit("corruption", "\"pool\":\"%s\",\"volume\":\"%s\",\"block\":%llu",
                              p->spec.name, volume, (unsigned long long)e->block);
                break;
        case POOL_EVENT_SCRUBBED:
                log_info("pool", "%s: scrubbed, %llu blocks are damaged", p->spec.name,
                         (unsigned long long)e->block);
                eventlog_emit("pool-scrubbed", "\"pool\":\"%s\",\"damaged\":%llu", p->spec.name,
                              (unsigned long long)e->block);
                break;
        case POOL_EVENT_BALANCING:
                log_info("pool", "%s: devices are unevenly full, data are moved", p->spec.name);
                eventlog_emit("pool-balancing", "\"pool\":\"%s\"", p->spec.name);
                break;
        case POOL_EVENT_BALANCED:
                log_info("pool", "%s: evened out, %llu MiB were moved", p->spec.name,
                         (unsigned long long)DIV_ROUND_UP(e->block, 256));
                eventlog_emit("pool-balanced", "\"pool\":\"%s\",\"blocks\":%llu", p->spec.name,
                              (unsigned long long)e->block);
                break;
        case POOL_EVENT_DEVICE_EMPTY:
        case POOL_EVENT_DEVICE_STUCK:
        case POOL_EVENT_DEVICE_REMOVED:
                dpool_device_event(p, pool, e);
                break;
        case POOL_EVENT_HEALED:
                device_healed(p, e, volume);
                break;
        case POOL_EVENT_READONLY:
                log_error("pool",
                          "%s: metadata can no longer be written, the pool is read-only: %s",
                          p->spec.name, strerror(-e->status));
                eventlog_emit("pool-readonly", "\"pool\":\"%s\",\"errno\":%d", p->spec.name,
                              -e->status);
                break;
        }
}

/* ---- life in the registry ---- */

static void tick_fire(struct loop_timer *t)
{
        struct dpool *p = container_of(t, struct dpool, tick);
        uint64_t now = loop_now_ns(p->daemon->loop);

        uint64_t next = pool_next_tick_ns(p->pool);
        loop_timer_arm(p->daemon->loop, t, MIN(MAX(next, now + TICK_MIN_NS), now + TICK_MAX_NS));
        device_return_look(p);
        pool_tick(p->pool); /* may end the pool, and stop the ticking */
}

void dpool_start_ticking(struct dpool *p)
{
        loop_timer_arm(p->daemon->loop, &p->tick, loop_now_ns(p->daemon->loop));
}

void dpool_stop_ticking(struct dpool *p)
{
        loop_timer_disarm(&p->tick);
        loop_defer_cancel(&p->wake);
}

static uint64_t table_cache_bytes(const struct daemon *d)
{
        long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

        if (d->cfg.table_cache_mib)
                return d->cfg.table_cache_mib << 20;
        return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size / 4 : UINT64_C(1) << 30;
}

void dpool_share_table_cache(struct daemon *d)
{
        uint64_t n = 0;
        struct dpool *p;

        list_for_each (p, &d->pools, node)
                n += p->state != DPOOL_FAILED;
        uint64_t share = MAX(table_cache_bytes(d) / MAX(n, UINT64_C(1)), UINT64_C(16) << 20);
        list_for_each (p, &d->pools, node) {
                p->spec.options.table_cache_bytes = share;
                if (p->state == DPOOL_ACTIVE)
                        pool_set_table_cache(p->pool, share);
        }
}

struct dpool *dpool_new(struct daemon *d, struct pool_spec *spec)
{
        struct dpool *p = calloc(1, sizeof(*p));
        if (!p) {
                pool_spec_fini(spec);
                return NULL;
        }
        p->daemon = d;
        p->spec = *spec;
        *spec = (struct pool_spec){0};
        p->spec.options.stall_ms = (uint32_t)d->cfg.device_stall_ms;
        p->spec.options.give_up_ms =
            d->cfg.device_give_up_ms ? (uint32_t)d->cfg.device_give_up_ms : UINT32_MAX;
        p->state = DPOOL_IMPORTING;
        p->tick.fire = tick_fire;
        p->wake.call = woken;
        p->host = (struct pool_host){.now_ns = host_now,
                                     .random = random_bytes,
                                     .event = host_event,
                                     .wake = host_wake,
                                     .ctx = p};
        list_init(&p->volumes);
        list_add_tail(&d->pools, &p->node);
        dpool_share_table_cache(d);
        return p;
}

void dpool_free(struct dpool *p)
{
        if (!p)
                return;
        dpool_stop_ticking(p);
        list_del(&p->node);
        dpool_share_table_cache(p->daemon);
        pool_spec_fini(&p->spec);
        free(p);
}
