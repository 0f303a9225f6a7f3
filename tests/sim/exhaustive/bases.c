/* The pools that sequences begin with, see script.h. */
#include "tests/sim/exhaustive/script.h"

#include "base/cleanup.h"
#include "tests/sim/exhaustive/case.h"

#include <string.h>

struct base bases[] = {
    /* nearly empty, one device */
    {.name = "fresh",
     .ndisks = 1,
     .specs = {{.nr_zones = 16, .zone_blocks = 32, .capacity_blocks = 32, .max_io_blocks = 16}},
     .data_blocks = 8,
     .hole_blocks = 6,
     .ops = "WOFUDSLXPVNRAKEHY"},
    /* two devices that differ, one with conventional zones and with as few open as a pool takes;
     * hardly any RAM for table pages */
    {.name = "pair",
     .ndisks = 2,
     .specs = {{.nr_zones = 16, .zone_blocks = 32, .capacity_blocks = 32, .max_io_blocks = 16},
               {.nr_zones = 18,
                .nr_conventional = 2,
                .zone_blocks = 40,
                .capacity_blocks = 34,
                .max_open = 4,
                .max_active = 4,
                .max_io_blocks = 8}},
     .data_blocks = 8,
     .hole_blocks = 6,
     .small_cache = true,
     .ops = "WOFUDSLXNRAKG"},
    /* so far written that cleaning runs, the label ring at its end */
    {.name = "aged",
     .ndisks = 1,
     .specs = {{.nr_zones = 16,
                .zone_blocks = 32,
                .capacity_blocks = 32,
                .max_open = 4,
                .max_active = 5,
                .max_io_blocks = 16}},
     .data_blocks = 96,
     .hole_blocks = 6,
     .rounds = 3,
     .ring_end = true,
     .ops = "WOFUDSXNRAKCEHB"},
    /* a snapshot and a clone share blocks that are cleaned */
    {.name = "family",
     .ndisks = 1,
     .specs = {{.nr_zones = 16, .zone_blocks = 32, .capacity_blocks = 32, .max_io_blocks = 16}},
     .family = true,
     .data_blocks = 48,
     .hole_blocks = 6,
     .rounds = 3,
     .ops = "WOFUDSLXPVKC"},
    /* everything twice, on two devices */
    {.name = "mirror",
     .ndisks = 2,
     .specs = {{.nr_zones = 16, .zone_blocks = 32, .capacity_blocks = 32, .max_io_blocks = 16},
               {.nr_zones = 16, .zone_blocks = 32, .capacity_blocks = 32, .max_io_blocks = 16}},
     .copies = 2,
     .data_blocks = 64,
     .hole_blocks = 6,
     .rounds = 3,
     .ops = "WOFUDSLXKCG"},
    /* everything twice, on three devices that differ */
    {.name = "three",
     .ndisks = 3,
     .specs = {{.nr_zones = 16, .zone_blocks = 32, .capacity_blocks = 32, .max_io_blocks = 16},
               {.nr_zones = 16, .zone_blocks = 40, .capacity_blocks = 36, .max_io_blocks = 8},
               {.nr_zones = 18,
                .nr_conventional = 2,
                .zone_blocks = 32,
                .capacity_blocks = 28,
                .max_open = 6,
                .max_active = 6,
                .max_io_blocks = 16}},
     .copies = 2,
     .data_blocks = 12,
     .hole_blocks = 6,
     .ops = "WOFUDSLXKG"},
    /* nearly as full as a pool may be: there is room for what is reserved, or for a snapshot */
    {.name = "sizes",
     .ndisks = 1,
     .specs = {{.nr_zones = 16, .zone_blocks = 32, .capacity_blocks = 32, .max_io_blocks = 16}},
     .data_blocks = 64,
     .hole_blocks = 6,
     .rounds = 1,
     .ops = "WOFDSLVRZQK"},
    /* everything twice, and zones of the second device that go bad by themselves */
    {.name = "worn",
     .ndisks = 2,
     .specs = {{.nr_zones = 16, .zone_blocks = 32, .capacity_blocks = 32, .max_io_blocks = 16},
               {.nr_zones = 18, .zone_blocks = 40, .capacity_blocks = 32, .max_io_blocks = 8}},
     .copies = 2,
     .data_blocks = 12,
     .hole_blocks = 6,
     .ops = "WOFUDKGYT"},
};
const unsigned nbases = ARRAY_SIZE(bases);

struct creation {
        bool done;
        int status;
};

static void created(void *ctx, int status, struct volume *vol)
{
        struct creation *c = ctx;
        (void)vol;
        c->done = true;
        c->status = status;
}

static void create(struct base *b, unsigned volume, const char *name, uint32_t nblocks)
{
        uint8_t owner = 1;
        struct creation c = {0};
        struct volume_spec spec = {.name = name,
                                   .uuid = volume_uuid_of(volume),
                                   .size_bytes = (uint64_t)nblocks * ZP_BLOCK,
                                   .owner = &owner,
                                   .owner_len = 1,
                                   .copies = b->copies};
        volume_create(b->stage.pool, &spec, &c, created);
        stage_run(&b->stage, &c.done, "create");
        if (c.status < 0)
                case_fail("create: %d", c.status);
        struct volume_history *v = &b->history.volumes[volume];
        v->created = v->exists = 0;
        v->nblocks.value = nblocks;
        v->owner.value = owner;
        v->copies = b->copies;
        if (volume == MAIN)
                b->history.whole = nblocks;
}

/* Of the label ring's zone in use. */
static uint64_t ring_left(const struct disk *d)
{
        uint64_t left = d->spec.capacity_blocks;
        for (uint32_t i = 0; i < 2; i++) {
                uint64_t wp = d->model.zones[i].wp_block;
                if (wp && wp < d->spec.capacity_blocks)
                        left = MIN(left, d->spec.capacity_blocks - wp);
        }
        return left;
}

/* Every block, in an order that mixes what dies soon with what stays. */
static void write_all(struct base *b, struct script *sc, unsigned round)
{
        for (uint32_t i = 0; i < b->data_blocks; i += REQUEST_BLOCKS) {
                uint32_t n = MIN((uint32_t)REQUEST_BLOCKS, b->data_blocks - i);
                if (round && (i / REQUEST_BLOCKS + round) % 3 == 0)
                        continue;
                sc->nrequests = 0;
                b->history.next_tag = (uint8_t)(2 * round + 1); /* one for all of the round */
                script_write(sc, MAIN, i, n, false);
                script_wait(sc);
        }
}

static void make(struct script *sc, char op)
{
        if (!script_start(sc, op))
                case_fail("the base cannot be made");
        script_wait(sc);
}

void base_make(struct base *b)
{
        struct script sc;
        struct err err;
        case_now.doing = "making the base";
        stage_init(&b->stage);
        history_init(&b->history);
        b->copies = MAX(b->copies, (uint8_t)1);
        b->stage.ndisks = b->ndisks;
        for (uint32_t i = 0; i < b->ndisks; i++)
                b->stage.disks[i] = disk_new(&b->specs[i], i, &b->stage.numbers);
        b->stage.options.table_cache_bytes = b->small_cache;
        b->stage.options.borrow_depth = 1;
        stage_format(&b->stage);
        int rc = stage_import(&b->stage, b->ndisks, &err);
        if (rc < 0)
                case_fail("import: %d %s", rc, err.msg);
        script_init(&sc, &b->stage, &b->history, b);
        create(b, MAIN, "main", b->data_blocks + b->hole_blocks);
        create(b, OTHER, "other", 4);
        for (unsigned round = 0; round <= b->rounds; round++) {
                write_all(b, &sc, round);
                if (round == 0 && b->family) {
                        make(&sc, 'S');
                        make(&sc, 'L');
                }
        }
        sc.nrequests = 0;
        script_write(&sc, OTHER, 0, 2, true);
        script_wait(&sc);
        /* an import writes a root, a checkpoint of a sequence the next ones */
        for (unsigned i = 0; b->ring_end && i < 200 && ring_left(b->stage.disks[0]) > 3; i++)
                stage_checkpoint(&b->stage);
        script_fini(&sc);
        stage_export(&b->stage);
        for (uint32_t i = 0; i < b->ndisks; i++)
                disk_settle(b->stage.disks[i]);
        history_flushed(&b->history, MAX_VOLUMES, ++b->history.now);
        b->history.acks = 0;
}

void base_free(struct base *b)
{
        stage_fini(&b->stage);
}
