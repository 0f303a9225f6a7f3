/* JSON of pools and volumes, see report.h. Every member is there in every state, so that clients
 * need no cases: of a pool that is not active the sizes are 0.
 */
#include "daemon/report.h"

#include "daemon/migration.h"

#include <limits.h>
#include <string.h>

static json_t *u64(uint64_t n)
{
        return json_integer((json_int_t)MIN(n, (uint64_t)INT64_MAX));
}

static const char *slot_name(const struct pool_device_status *dev)
{
        switch (dev->state) {
        case POOL_DEVICE_JOINING:
                return "joining";
        case POOL_DEVICE_LEAVING:
                if (dev->removing)
                        return "removing";
                return dev->drained ? "evacuated" : "evacuating";
        case POOL_DEVICE_LEFT:
                return "left";
        default:
                return "member";
        }
}

/* Why it is out of use. */
static json_t *device_error(const struct pool_device_status *dev)
{
        if (!dev->error)
                return json_null();
        return json_string(dev->trouble ? dev->trouble : strerror(-dev->error));
}

static json_t *device_json(const char *path, const char *uuid, const struct pool_device_status *dev,
                           const char *state)
{
        return json_pack(
            "{s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o, s:s, s:o, s:o, s:o, s:b, s:b, s:o, "
            "s:b}",
            "path", path, "uuid", uuid, "capacity_bytes", u64(dev->capacity_bytes), "written_bytes",
            u64(dev->written_bytes), "zones", (json_int_t)dev->nr_zones, "empty_zones",
            (json_int_t)dev->empty_zones, "open_zones", (json_int_t)dev->open_zones, "full_zones",
            (json_int_t)dev->full_zones, "bad_zones", (json_int_t)dev->bad_zones, "error",
            device_error(dev), "state", state,
            "live_bytes", u64(dev->live_bytes), "leaving_bytes", u64(dev->leaving_bytes),
            "stuck_bytes", u64(dev->stuck_bytes), "waiting", dev->waiting, "missing", dev->missing,
            "stale_bytes", u64(dev->stale_bytes), "stalled", dev->stalled);
}

static json_t *device_open(const struct pool_device_status *dev)
{
        char uuid[UUID_TEXT_LEN];

        uuid_format(&dev->uuid, uuid);
        return device_json(dev->path, uuid, dev, slot_name(dev));
}

static json_t *device_closed(const char *path)
{
        const struct pool_device_status none = {0};

        return device_json(path, "", &none, "member");
}

static json_t *devices(const struct dpool *p, const struct pool_status *st)
{
        json_t *array = json_array();

        for (uint32_t i = 0; array && p->pool && i < st->ndevices; i++) {
                struct pool_device_status dev;
                dpool_device_status(p, p->pool, i, &dev);
                if (dev.state != POOL_DEVICE_NONE)
                        json_array_append_new(array, device_open(&dev));
        }
        for (uint32_t i = 0; array && !p->pool && i < p->spec.ndevices; i++)
                json_array_append_new(array, device_closed(p->spec.devices[i]));
        return array;
}

static json_t *peers(const struct dpool *p)
{
        json_t *array = json_array();
        for (uint32_t i = 0; array && i < p->spec.npeers; i++)
                json_array_append_new(array, json_string(p->spec.peers[i]));
        return array;
}

static json_t *options(const struct dpool *p)
{
        const struct pool_options *o = &p->spec.options;
        return json_pack("{s:b, s:I, s:I, s:I}", "checksums", o->checksums, "reserve_permille",
                         (json_int_t)o->reserve_permille, "checkpoint_permille",
                         (json_int_t)o->checkpoint_permille, "copies", (json_int_t)p->spec.copies);
}

static json_t *counters(const struct pool_status *st)
{
        return json_pack("{s:o, s:o, s:o, s:o, s:o}", "user_write_bytes", u64(st->user_write_bytes),
                         "absorbed_write_bytes", u64(st->absorbed_write_bytes),
                         "device_write_bytes", u64(st->device_write_bytes), "clean_write_bytes",
                         u64(st->clean_write_bytes), "table_write_bytes",
                         u64(st->table_write_bytes));
}

static json_t *table(const struct pool_status *st)
{
        return json_pack("{s:o, s:o, s:o, s:o, s:o}", "bytes", u64(st->table_bytes), "cache_bytes",
                         u64(st->table_cache_bytes), "cache_cap_bytes",
                         u64(st->table_cache_cap_bytes), "hits", u64(st->table_hits), "misses",
                         u64(st->table_misses));
}

static json_t *redundancy(const struct pool_status *st)
{
        return json_pack("{s:I, s:[o, o, o], s:o, s:o, s:o, s:o}", "copies", (json_int_t)st->copies,
                         "available_by_copies", u64(st->available_by_copies[0]),
                         u64(st->available_by_copies[1]), u64(st->available_by_copies[2]),
                         "lacking_bytes", u64(st->lacking_bytes), "rebuild_bytes",
                         u64(st->rebuild_bytes), "lost_bytes", u64(st->lost_bytes), "healed_blocks",
                         u64(st->healed_blocks));
}

json_t *report_balance(const struct pool *pool)
{
        static const char *const names[] = {
            [POOL_BALANCE_OFF] = "paused",      [POOL_BALANCE_IDLE] = "idle",
            [POOL_BALANCE_RUNNING] = "running", [POOL_BALANCE_RESTING] = "resting",
            [POOL_BALANCE_WAITING] = "waiting",
        };
        struct pool_balance_status st = {.state = POOL_BALANCE_IDLE};

        if (pool)
                pool_get_balance_status(pool, &st);
        return json_pack("{s:s, s:I, s:I, s:o}", "state", names[st.state], "least_used_permille",
                         (json_int_t)st.least_used_permille, "most_used_permille",
                         (json_int_t)st.most_used_permille, "moved_bytes", u64(st.moved_bytes));
}

json_t *report_pool(const struct dpool *p)
{
        struct pool_status st = {0};
        char uuid[UUID_TEXT_LEN];

        if (p->pool)
                pool_get_status(p->pool, &st);
        uuid_format(&p->spec.uuid, uuid);
        return json_pack(
            "{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:I, s:o, s:o, s:o, s:o, s:o, "
            "s:o, s:o, s:o}",
            "name", p->spec.name, "uuid", uuid, "state", dpool_state_name(p->state), "error",
            p->state == DPOOL_FAILED ? json_string(p->error.msg) : json_null(), "capacity_bytes",
            u64(st.capacity_bytes), "allocated_bytes", u64(st.allocated_bytes), "available_bytes",
            u64(st.available_bytes), "reserved_bytes", u64(st.reserved_bytes), "unbacked_bytes",
            u64(st.unbacked_bytes), "held_requests", u64(st.held_requests), "readonly", st.readonly,
            "nvolumes", (json_int_t)st.nvolumes, "generation", u64(st.generation), "devices",
            devices(p, &st), "counters", counters(&st), "table", table(&st), "options", options(p),
            "peers", peers(p), "redundancy", redundancy(&st), "balance", report_balance(p->pool));
}

/* What it was cloned from, where that can be seen here. */
static json_t *origin(const struct dvol *v)
{
        struct volume *from = volume_origin(v->vol), *of = NULL;
        struct migration_info mi;
        struct snapshot_info si;

        if (!from)
                return json_null();
        snapshot_get_info(from, &si);
        of = volume_by_uuid(v->pool->pool, &si.uuid);
        bool is_volume = of != NULL;
        if (!is_volume)
                of = volume_by_uuid(v->pool->pool, &si.of);
        const struct dvol *source = of ? dvol_of(of) : NULL;
        if (!source || source->going)
                return json_null();
        migration_volume_info(source, &mi);
        if (mi.hidden)
                return json_null();
        return json_pack("{s:s, s:o}", "volume", volume_name(of), "snapshot",
                         is_volume ? json_null() : json_string(si.name));
}

json_t *report_volume(const struct dvol *v)
{
        const struct daemon *d = v->pool->daemon;
        const char *pool = v->pool->spec.name;
        char uuid[UUID_TEXT_LEN], socket[PATH_MAX] = "", path[PATH_MAX] = "";
        struct volume_info vi;
        struct migration_info mi;
        const char *user = dvol_in_use(v);

        volume_get_info(v->vol, &vi);
        migration_volume_info(v, &mi);
        uuid_format(&vi.uuid, uuid);
        dvol_socket_path(d, pool, vi.name, socket, sizeof(socket), NULL);
        dvol_file_path(d, pool, vi.name, path, sizeof(path), NULL);
        return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:{s:s, s:o, s:o}, "
                         "s:o, s:b, s:o, s:I, s:o, s:o, s:o}",
                         "pool", pool, "name", vi.name, "uuid", uuid, "size_bytes",
                         u64(vi.size_bytes), "allocated_bytes", u64(vi.allocated_bytes),
                         "shared_bytes", u64(vi.shared_bytes), "user_write_bytes",
                         u64(vi.user_write_bytes), "moved_write_bytes", u64(vi.moved_write_bytes),
                         "socket", socket, "path", path, "owner", "state", mi.state, "epoch",
                         u64(mi.epoch), "peer", mi.peer[0] ? json_string(mi.peer) : json_null(),
                         "in_use", user ? json_string(user) : json_null(), "hidden", mi.hidden,
                         "error", v->error.code ? json_string(v->error.msg) : json_null(), "copies",
                         (json_int_t)vi.copies, "origin", origin(v), "reserved_bytes",
                         u64(vi.reserved_bytes), "held_requests", u64(vi.held_requests));
}
