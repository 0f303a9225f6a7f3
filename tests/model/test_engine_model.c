/* The whole engine under a writing guest and random trouble: cut connections, daemons that start
 * again, cancelled hooks, a QEMU that resumes by itself, refused hand-overs.
 *
 * After every migration, however it went: the guest runs on exactly one host, and reads what it
 * wrote last, every block. Time is real, so a seed fixes the decisions, not every interleaving.
 *
 *   test_engine_model [first seed [number of seeds]]
 */
#include "unit/migrate/t_host.h"

#include <errno.h>
#include <unistd.h>

enum { SEEDS = 12, HOPS = 8, VOLUMES = 2, BLOCKS = 500, PID = 1 };

enum trouble {
        CUT_WHILE_COPYING,
        SOURCE_RESTARTS_WHILE_COPYING,
        TARGET_RESTARTS_WHILE_COPYING,
        HOOK_HANGS_UP,
        CANCELLED_BY_PERSON,
        GUEST_RESETS,
        CUT_BEFORE_TAKE,
        QEMU_RESUMES_BY_ITSELF,
        SOURCE_RESTARTS_BEFORE_TAKE,
        TARGET_RESTARTS_BEFORE_TAKE,
        BOTH_RESTART_WHEN_OWNED,
        TARGET_QEMU_DIES_WHEN_OWNED,
        NO_TROUBLE,
        NTROUBLES = NO_TROUBLE + 4,
};

static const struct uuid domain = {{0xe0, 1}};
static const char *const pools[VOLUMES] = {"tank", "pond"};
static struct loop *loop;
static struct t_host host[2];
static struct t_disk disk[VOLUMES];
static struct rng rng;
static uint64_t first_seed = 1, nseeds = SEEDS;
static unsigned moved, stayed;

static struct t_vol *vol(int h, int i)
{
        return t_vol_find(&host[h], pools[i], "v");
}

static void seed_domain(int h)
{
        struct owner_volume *list[VOLUMES];
        uint32_t n = 0;

        for (int i = 0; i < VOLUMES; i++)
                if (vol(h, i))
                        list[n++] = migrate_volume_owner(vol(h, i)->mv);
        owner_domain_seed(migrate_owner(host[h].m), &domain, list, n,
                          n < VOLUMES ? "some volume" : NULL, NULL);
}

static void rings(int h, bool on)
{
        for (int i = 0; i < VOLUMES; i++)
                if (vol(h, i))
                        t_rings(vol(h, i), on, PID);
}

static int acquire(int h, const char *state, pid_t pid)
{
        struct t_answer a;

        owner_acquire(migrate_owner(host[h].m), &domain, pid, state, false, &t_answer_init(&a)->r);
        t_until(loop, &a.done, 40);
        return a.status;
}

static void one_gate_at_most(void)
{
        for (int i = 0; i < VOLUMES; i++)
                if (vol(0, i) && vol(1, i))
                        CU_ASSERT_FALSE(t_gate(vol(0, i)) && t_gate(vol(1, i)));
}

/* A guest that runs on h writes a little; what the gate holds back waits, as a ring does. */
static void guest_writes(int h, unsigned count)
{
        for (unsigned k = 0; k < count; k++) {
                int i = (int)rng_below(&rng, VOLUMES);
                uint64_t first = rng_below(&rng, BLOCKS - 8), n = 1 + rng_below(&rng, 8);
                if (!t_gate(vol(h, i)))
                        continue;
                if (rng_chance(&rng, 1, 8))
                        t_disk_discard(&disk[i], vol(h, i), first, n);
                else
                        t_disk_write(&disk[i], vol(h, i), first, n);
        }
        one_gate_at_most();
}

static void cut(int h)
{
        struct peer *p = peers_find(host[h].m->peers, &host[!h].uuid);

        if (p)
                peer_close(p, "cut by the test");
}

/* The daemon starts again; the guest's QEMU, when it runs there, connects again. */
static void restart(int h, bool guest)
{
        t_host_stop(&host[h]);
        t_host_start(&host[h]);
        seed_domain(h);
        if (guest)
                rings(h, true);
        t_turns(loop, 5);
}

static void wait_gates(int h)
{
        uint64_t end = clock_now_ns() + UINT64_C(10000000000);
        bool open = false;

        while (!open && clock_now_ns() < end) {
                loop_turn(loop, 1000000);
                open = t_gate(vol(h, 0)) && t_gate(vol(h, 1));
                one_gate_at_most();
        }
        CU_ASSERT_TRUE(open);
}

static int bring(int from, int to, enum trouble t)
{
        struct migrate_disk disks[VOLUMES];
        struct t_answer in;
        unsigned turns = 0, when = (unsigned)rng_below(&rng, 12);
        const struct uuid *d = &domain;

        for (int i = 0; i < VOLUMES; i++) {
                strcpy(disks[i].pool, pools[i]);
                strcpy(disks[i].volume, "v");
        }
        migrate_incoming(host[to].m, d, disks, VOLUMES, &t_answer_init(&in)->in);
        uint64_t end = clock_now_ns() + UINT64_C(40000000000);
        while (!in.done && clock_now_ns() < end) {
                guest_writes(from, 1);
                loop_turn(loop, 1000000);
                if (turns++ != when)
                        continue;
                if (t == CUT_WHILE_COPYING)
                        cut(to);
                else if (t == SOURCE_RESTARTS_WHILE_COPYING)
                        restart(from, true);
                else if (t == TARGET_RESTARTS_WHILE_COPYING)
                        restart(to, false);
                else if (t == HOOK_HANGS_UP)
                        migrate_incoming_cancel(&in.in);
                else if (t == CANCELLED_BY_PERSON)
                        migrate_cancel(host[rng_chance(&rng, 1, 2) ? from : to].m, d, NULL);
                else if (t == GUEST_RESETS) {
                        rings(from, false);
                        t_turns(loop, 2);
                        rings(from, true);
                }
        }
        if (!in.done)
                printf("\n    trouble %d at turn %u: the hook was never answered\n", (int)t, when);
        CU_ASSERT_TRUE_FATAL(in.done);
        return in.status;
}

/* Returns where the guest runs afterwards. */
static int hop(int from, enum trouble t)
{
        char token[OWNER_TOKEN_TEXT], state[OWNER_TOKEN_TEXT];
        int to = !from;
        pid_t pid = t == TARGET_QEMU_DIES_WHEN_OWNED ? 0x3fffffff : PID;

        CU_ASSERT_EQUAL(owner_inquire(migrate_owner(host[from].m), &domain, PID, token, NULL), 0);
        if (bring(from, to, t) < 0) {
                guest_writes(from, 3); /* libvirt was refused, the guest never stopped */
                return from;
        }
        seed_domain(to);
        guest_writes(from, 5);
        rings(from, false);
        owner_release(migrate_owner(host[from].m), &domain, PID, state);
        if (t == QEMU_RESUMES_BY_ITSELF) {
                rings(from, true);
                wait_gates(from);
                guest_writes(from, 3);
        } else if (t == CUT_BEFORE_TAKE) {
                cut(rng_chance(&rng, 1, 2) ? from : to);
        } else if (t == SOURCE_RESTARTS_BEFORE_TAKE) {
                restart(from, false);
        } else if (t == TARGET_RESTARTS_BEFORE_TAKE) {
                restart(to, false);
        }
        int rc = acquire(to, token, pid);
        one_gate_at_most();
        if (rc == 0 && t == BOTH_RESTART_WHEN_OWNED) {
                restart(from, false);
                restart(to, false);
        }
        if (rc == 0 && t != TARGET_QEMU_DIES_WHEN_OWNED) {
                rings(to, true);
                wait_gates(to);
                for (int i = 0; i < VOLUMES; i++)
                        t_disconnect(vol(from, i)); /* libvirt ends the QEMU there */
                return to;
        }
        if (t == QEMU_RESUMES_BY_ITSELF) {
                CU_ASSERT_NOT_EQUAL(rc, 0);
                return from;
        }
        /* rolled back: libvirt asks on the source, and resumes */
        seed_domain(from);
        CU_ASSERT_EQUAL(acquire(from, state, PID), 0);
        rings(from, true);
        wait_gates(from);
        return from;
}

static void run(uint64_t seed)
{
        int at = 0;

        rng = (struct rng){seed};
        CU_ASSERT_EQUAL_FATAL(loop_new(&loop), 0);
        for (int h = 0; h < 2; h++) {
                host[h].max_pause_ns = 0;
                t_host_init(&host[h], loop, h + 1, 48);
        }
        for (int h = 0; h < 2; h++)
                host[h].peers[host[h].npeers++] = host[!h].address;
        for (int i = 0; i < VOLUMES; i++) {
                t_vol_create(&host[0], pools[i], "v", BLOCKS);
                t_disk_init(&disk[i], BLOCKS);
        }
        seed_domain(0);
        CU_ASSERT_EQUAL(acquire(0, "", PID), 0);
        rings(0, true);
        guest_writes(0, 60);
        for (int n = 0; n < HOPS; n++) {
                enum trouble t = (enum trouble)rng_below(&rng, NTROUBLES);
                unsigned failures = CU_get_number_of_failures();
                int was = at;

                at = hop(at, t);
                guest_writes(at, 5);
                for (int i = 0; i < VOLUMES; i++) {
                        CU_ASSERT_TRUE(t_gate(vol(at, i)));
                        CU_ASSERT_EQUAL(t_disk_wrong(&disk[i], vol(at, i)), 0);
                }
                moved += at != was;
                stayed += at == was;
                if (CU_get_number_of_failures() != failures) {
                        printf("\n    seed %llu, migration %d, trouble %d\n",
                               (unsigned long long)seed, n, (int)t);
                        break;
                }
        }
        for (int h = 0; h < 2; h++)
                t_host_fini(&host[h]);
        for (int i = 0; i < VOLUMES; i++)
                t_disk_fini(&disk[i]);
        loop_free(loop);
}

static void test_a_guest_survives_whatever_happens_to_its_migrations(void)
{
        for (uint64_t s = first_seed; s < first_seed + nseeds; s++)
                run(s);
        printf(" [%u moved, %u stayed] ", moved, stayed);
        if (nseeds >= SEEDS) {
                CU_ASSERT_TRUE(moved > nseeds);
                CU_ASSERT_TRUE(stayed > nseeds);
        }
}

static const struct t_case cases[] = {
    T_CASE(test_a_guest_survives_whatever_happens_to_its_migrations),
};

int main(int argc, char **argv)
{
        if (argc > 1)
                first_seed = strtoull(argv[1], NULL, 0);
        if (argc > 2)
                nseeds = strtoull(argv[2], NULL, 0);
        return t_run("migration engine under trouble", cases, ARRAY_SIZE(cases));
}
