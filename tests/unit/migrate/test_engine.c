/* src/migrate whole: volumes move between two hosts under a guest that writes, and what goes wrong
 * on the way leaves the guest where it was. */
#include "migrate/owner/internal.h"
#include "pool/internal.h"
#include "t_host.h"

#include <errno.h>
#include <unistd.h>

enum { PID = 1 }; /* a process that lives: QEMU's */

static const struct uuid domain = {{0xd0, 1, 2, 3}};
static struct loop *loop;
static struct t_host a, b;
static struct t_disk disk[2];
static struct rng rng;

struct path {
        const char *pool, *name;
};
static const struct path paths[2] = {{"tank", "v0"}, {"pond", "v1"}};

static void setup_hosts(unsigned devices_a, unsigned devices_b)
{
        CU_ASSERT_EQUAL_FATAL(loop_new(&loop), 0);
        a.ndevices = devices_a;
        b.ndevices = devices_b;
        t_host_init(&a, loop, 1, 48);
        t_host_init(&b, loop, 2, 48);
        a.peers[a.npeers++] = b.address;
        b.peers[b.npeers++] = a.address;
        rng = (struct rng){12345};
}

static void setup(unsigned nvolumes, uint64_t blocks)
{
        setup_hosts(1, 1);
        for (unsigned i = 0; i < nvolumes; i++) {
                t_vol_create(&a, paths[i].pool, paths[i].name, blocks);
                t_disk_init(&disk[i], blocks);
        }
}

static void teardown(unsigned nvolumes)
{
        t_host_fini(&a);
        t_host_fini(&b);
        for (unsigned i = 0; i < nvolumes; i++)
                t_disk_fini(&disk[i]);
        loop_free(loop);
}

static struct t_vol *vol(struct t_host *h, unsigned i)
{
        return t_vol_find(h, paths[i].pool, paths[i].name);
}

static void seed(struct t_host *h, unsigned n)
{
        struct owner_volume *v[2];

        for (unsigned i = 0; i < n; i++)
                v[i] = migrate_volume_owner(vol(h, i)->mv);
        CU_ASSERT_EQUAL(owner_domain_seed(migrate_owner(h->m), &domain, v, n, NULL, NULL), 0);
}

static void guest_writes(struct t_host *h, unsigned n, unsigned count)
{
        for (unsigned k = 0; k < count; k++) {
                unsigned i = (unsigned)rng_below(&rng, n);
                uint64_t first = rng_below(&rng, disk[i].blocks - 8);
                if (rng_chance(&rng, 1, 10))
                        t_disk_discard(&disk[i], vol(h, i), first, 1 + rng_below(&rng, 4));
                else
                        CU_ASSERT_TRUE(
                            t_disk_write(&disk[i], vol(h, i), first, 1 + rng_below(&rng, 8)));
        }
}

static void start_guest(struct t_host *h, unsigned n)
{
        struct t_answer ans;

        seed(h, n);
        owner_acquire(migrate_owner(h->m), &domain, PID, "", false, &t_answer_init(&ans)->r);
        t_until(loop, &ans.done, 5);
        CU_ASSERT_EQUAL(ans.status, 0);
        for (unsigned i = 0; i < n; i++)
                t_rings(vol(h, i), true, PID);
        for (unsigned i = 0; i < n; i++)
                CU_ASSERT_TRUE(t_gate(vol(h, i)));
}

static void begin_incoming(struct t_host *to, unsigned n, struct t_answer *ans)
{
        struct migrate_disk disks[2];

        for (unsigned i = 0; i < n; i++) {
                strcpy(disks[i].pool, paths[i].pool);
                strcpy(disks[i].volume, paths[i].name);
        }
        migrate_incoming(to->m, &domain, disks, n, &t_answer_init(ans)->in);
}

/* a offers, b copies until what remains is little; in has b's answer. */
static void offer_and_copy(unsigned n, char token[OWNER_TOKEN_TEXT], struct t_answer *in)
{
        CU_ASSERT_EQUAL(owner_inquire(migrate_owner(a.m), &domain, PID, token, NULL), 0);
        begin_incoming(&b, n, in);
        t_until(loop, &in->done, 10);
}

static void acquire(struct t_host *h, const char *state, struct t_answer *ans)
{
        owner_acquire(migrate_owner(h->m), &domain, PID, state, false, &t_answer_init(ans)->r);
        t_until(loop, &ans->done, 10);
}

static void stop_guest(struct t_host *h, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                t_rings(vol(h, i), false, PID);
}

static void no_two_gates(unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                if (vol(&b, i) && vol(&a, i))
                        CU_ASSERT_FALSE(t_gate(vol(&a, i)) && t_gate(vol(&b, i)));
}

/* What libvirt does, with writes where a guest would write. Returns bytes moved. */
static uint64_t hop(struct t_host *from, struct t_host *to, unsigned n, unsigned writes)
{
        char token[OWNER_TOKEN_TEXT], state[OWNER_TOKEN_TEXT];
        struct t_answer in, acq;
        struct err err = ERR_INIT;

        CU_ASSERT_EQUAL_FATAL(owner_inquire(migrate_owner(from->m), &domain, PID, token, &err), 0);
        begin_incoming(to, n, &in);
        while (!in.done) {
                guest_writes(from, n, 1);
                loop_turn(loop, 1000000);
                no_two_gates(n);
        }
        if (in.status)
                printf("\n    %s\n", in.err.msg);
        CU_ASSERT_EQUAL_FATAL(in.status, 0);
        seed(to, n);
        guest_writes(from, n, writes);
        stop_guest(from, n);
        owner_release(migrate_owner(from->m), &domain, PID, state);
        CU_ASSERT_TRUE(state[0] != '\0');
        acquire(to, token, &acq);
        if (acq.status)
                printf("\n    %s\n", acq.err.msg);
        CU_ASSERT_EQUAL_FATAL(acq.status, 0);
        for (unsigned i = 0; i < n; i++) {
                CU_ASSERT_EQUAL(t_state(vol(from, i)), OWNER_GIVEN);
                CU_ASSERT_EQUAL(t_state(vol(to, i)), OWNER_OWNED);
                CU_ASSERT_FALSE(t_gate(vol(to, i)));
                t_rings(vol(to, i), true, PID);
        }
        bool open = false;
        uint64_t end = clock_now_ns() + UINT64_C(5000000000);
        while (!open && clock_now_ns() < end) {
                loop_turn(loop, 1000000);
                open = true;
                for (unsigned i = 0; i < n; i++)
                        open &= t_gate(vol(to, i));
                no_two_gates(n);
        }
        CU_ASSERT_TRUE(open);
        for (unsigned i = 0; i < n; i++) {
                CU_ASSERT_EQUAL(t_state(vol(to, i)), OWNER_ACTIVE);
                CU_ASSERT_EQUAL(t_disk_wrong(&disk[i], vol(to, i)), 0);
        }
        return 0;
}

struct status_of {
        bool outgoing;
        struct migrate_status s;
};

static void take_status(void *ctx, const struct migrate_status *s)
{
        struct status_of *want = ctx;

        if (s->outgoing == want->outgoing)
                want->s = *s;
}

static void test_volumes_in_two_pools_move_there_and_back_under_a_writing_guest(void)
{
        setup(2, 700);
        start_guest(&a, 2);
        guest_writes(&a, 2, 150);
        for (int i = 0; i < 4; i++) {
                hop(i % 2 ? &b : &a, i % 2 ? &a : &b, 2, 40);
                guest_writes(i % 2 ? &a : &b, 2, 20);
                t_turns(loop, 20);
                struct owner_info info;
                owner_volume_info(migrate_volume_owner(vol(i % 2 ? &b : &a, 0)->mv), &info);
                CU_ASSERT_TRUE(info.evictable);
                CU_ASSERT_TRUE(info.hidden);
        }
        teardown(2);
}

static void test_only_allocated_and_changed_blocks_travel(void)
{
        struct status_of st = {.outgoing = true};
        uint64_t before;

        setup(1, 2000);
        start_guest(&a, 1);
        guest_writes(&a, 1, 60);
        before = disk[0].written_bytes;
        uint64_t allocated = t_disk_nonzero(&disk[0]);
        hop(&a, &b, 1, 10);
        migrate_status(a.m, &st, take_status);
        uint64_t during = disk[0].written_bytes - before;
        CU_ASSERT_TRUE(st.s.progress.moved_bytes >= allocated / 2);
        CU_ASSERT_TRUE(st.s.progress.moved_bytes <= allocated + during);
        CU_ASSERT_TRUE(st.s.progress.pause_ns > 0);
        teardown(1);
}

static void test_a_connection_that_breaks_again_and_again_is_picked_up(void)
{
        char token[OWNER_TOKEN_TEXT], state[OWNER_TOKEN_TEXT];
        struct t_answer in, acq;

        setup(2, 700);
        start_guest(&a, 2);
        guest_writes(&a, 2, 200);
        CU_ASSERT_EQUAL(owner_inquire(migrate_owner(a.m), &domain, PID, token, NULL), 0);
        begin_incoming(&b, 2, &in);
        for (int cut = 0; cut < 3; cut++) {
                guest_writes(&a, 2, 3);
                t_turns(loop, 15);
                struct peer *p = peers_find(b.m->peers, &a.uuid);
                if (p)
                        peer_close(p, "cut by the test");
        }
        t_until(loop, &in.done, 20);
        CU_ASSERT_EQUAL_FATAL(in.status, 0);
        stop_guest(&a, 2);
        owner_release(migrate_owner(a.m), &domain, PID, state);
        struct peer *p = peers_find(b.m->peers, &a.uuid);
        if (p)
                peer_close(p, "cut by the test");
        owner_acquire(migrate_owner(b.m), &domain, PID, token, false, &t_answer_init(&acq)->r);
        t_until(loop, &acq.done, 20);
        CU_ASSERT_EQUAL(acq.status, 0);
        for (unsigned i = 0; i < 2; i++)
                CU_ASSERT_EQUAL(t_disk_wrong(&disk[i], vol(&b, i)), 0);
        teardown(2);
}

static void test_a_source_restarted_before_take_keeps_its_guest(void)
{
        char token[OWNER_TOKEN_TEXT];
        struct t_answer in, acq;

        setup(1, 300);
        start_guest(&a, 1);
        guest_writes(&a, 1, 50);
        offer_and_copy(1, token, &in);
        CU_ASSERT_EQUAL(in.status, 0);
        t_host_stop(&a);
        t_host_start(&a);
        acquire(&b, token, &acq);
        CU_ASSERT_TRUE(acq.status < 0);
        CU_ASSERT_TRUE(acq.err.msg[0] != '\0');
        CU_ASSERT_EQUAL(t_state(vol(&b, 0)), OWNER_REFUSED);
        t_rings(vol(&a, 0), true, PID);
        CU_ASSERT_TRUE(t_gate(vol(&a, 0)));
        guest_writes(&a, 1, 10);
        CU_ASSERT_EQUAL(t_disk_wrong(&disk[0], vol(&a, 0)), 0);
        /* and it can be migrated again */
        seed(&a, 1);
        hop(&a, &b, 1, 5);
        teardown(1);
}

static void test_a_target_restarted_after_staging_refuses_and_the_source_takes_back(void)
{
        char token[OWNER_TOKEN_TEXT], state[OWNER_TOKEN_TEXT];
        struct t_answer in, acq;

        setup(1, 300);
        start_guest(&a, 1);
        guest_writes(&a, 1, 50);
        offer_and_copy(1, token, &in);
        stop_guest(&a, 1);
        owner_release(migrate_owner(a.m), &domain, PID, state);
        t_host_stop(&b);
        t_host_start(&b);
        t_turns(loop, 20);
        CU_ASSERT_EQUAL(t_state(vol(&b, 0)), OWNER_REFUSED);
        acquire(&b, token, &acq);
        CU_ASSERT_TRUE(acq.status < 0);
        acquire(&a, state, &acq);
        CU_ASSERT_EQUAL(acq.status, 0);
        t_rings(vol(&a, 0), true, PID);
        CU_ASSERT_TRUE(t_gate(vol(&a, 0)));
        guest_writes(&a, 1, 10);
        CU_ASSERT_EQUAL(t_disk_wrong(&disk[0], vol(&a, 0)), 0);
        teardown(1);
}

static void test_what_was_given_comes_back_when_the_target_never_ran_it(void)
{
        char token[OWNER_TOKEN_TEXT], state[OWNER_TOKEN_TEXT];
        struct t_answer in, acq;
        pid_t dead = 0x3fffffff; /* beyond any pid: gone */

        setup(1, 300);
        start_guest(&a, 1);
        guest_writes(&a, 1, 50);
        offer_and_copy(1, token, &in);
        seed(&b, 1);
        stop_guest(&a, 1);
        owner_release(migrate_owner(a.m), &domain, PID, state);
        owner_acquire(migrate_owner(b.m), &domain, dead, token, false, &t_answer_init(&acq)->r);
        t_until(loop, &acq.done, 10);
        CU_ASSERT_EQUAL_FATAL(acq.status, 0);
        CU_ASSERT_EQUAL(t_state(vol(&b, 0)), OWNER_OWNED);
        /* both daemons start again: the records alone carry it */
        t_host_stop(&a);
        t_host_stop(&b);
        t_host_start(&b);
        t_host_start(&a);
        seed(&a, 1);
        CU_ASSERT_EQUAL(t_state(vol(&a, 0)), OWNER_GIVEN);
        CU_ASSERT_EQUAL(t_state(vol(&b, 0)), OWNER_OWNED);
        t_rings(vol(&a, 0), true, PID);
        t_turns(loop, 20);
        CU_ASSERT_FALSE(t_gate(vol(&a, 0)));
        t_rings(vol(&a, 0), false, PID);
        acquire(&a, state, &acq);
        if (acq.status)
                printf("\n    %s\n", acq.err.msg);
        CU_ASSERT_EQUAL(acq.status, 0);
        t_rings(vol(&a, 0), true, PID);
        CU_ASSERT_TRUE(t_gate(vol(&a, 0)));
        CU_ASSERT_EQUAL(t_state(vol(&b, 0)), OWNER_REFUSED);
        guest_writes(&a, 1, 10);
        hop(&a, &b, 1, 5);
        teardown(1);
}

static void test_a_new_owner_that_runs_is_never_robbed(void)
{
        struct t_answer acq;

        setup(1, 300);
        start_guest(&a, 1);
        guest_writes(&a, 1, 20);
        hop(&a, &b, 1, 5);
        owner_acquire(migrate_owner(a.m), &domain, PID, "", false, &t_answer_init(&acq)->r);
        t_until(loop, &acq.done, 30);
        CU_ASSERT_EQUAL(acq.status, -EREMOTE);
        owner_reclaim(migrate_volume_owner(vol(&a, 0)->mv), false, &t_answer_init(&acq)->r);
        t_until(loop, &acq.done, 30);
        CU_ASSERT_EQUAL(acq.status, -EREMOTE);
        CU_ASSERT_EQUAL(t_state(vol(&a, 0)), OWNER_GIVEN);
        CU_ASSERT_TRUE(t_gate(vol(&b, 0)));
        teardown(1);
}

static void refused_with(struct t_host *to, unsigned n, int code, const char *text)
{
        struct t_answer in;

        begin_incoming(to, n, &in);
        t_until(loop, &in.done, 10);
        CU_ASSERT_EQUAL(in.status, -code);
        if (!strstr(in.err.msg, text))
                printf("\n    expected '%s' in: %s\n", text, in.err.msg);
        CU_ASSERT_PTR_NOT_NULL(strstr(in.err.msg, text));
}

/* A token as `virsh migrate` makes one; it ends with the refusal. */
static void offer(struct t_host *h, char token[OWNER_TOKEN_TEXT])
{
        t_turns(loop, 20);
        CU_ASSERT_EQUAL(owner_inquire(migrate_owner(h->m), &domain, PID, token, NULL), 0);
}

static void test_refusals_say_why_and_change_nothing(void)
{
        char token[OWNER_TOKEN_TEXT];
        struct t_answer ans;

        setup(2, 300);
        start_guest(&a, 2);
        guest_writes(&a, 2, 30);
        refused_with(&b, 2, ENOENT, "no peer offers");
        offer(&a, token);
        refused_with(&b, 1, EINVAL, "does not name");
        b.npeers = 0;
        refused_with(&b, 2, ENOENT, "no peers");
        b.npeers = 1;
        struct t_vol *other = t_vol_create(&b, "pond", "v1", 10);
        offer(&a, token);
        refused_with(&b, 2, EEXIST, "another volume with the name v1");
        owner_delete(migrate_volume_owner(other->mv), &t_answer_init(&ans)->r);
        t_until(loop, &ans.done, 5);
        CU_ASSERT_EQUAL(ans.status, 0);
        struct pool *pond = b.pools[1];
        b.pools[1] = NULL;
        refused_with(&b, 2, ENOENT, "pool pond is not imported");
        b.pools[1] = pond;
        CU_ASSERT_PTR_NULL(t_vol_find(&b, "tank", "v0"));
        t_turns(loop, 20);
        CU_ASSERT_EQUAL(t_state(vol(&a, 0)), OWNER_ACTIVE);
        CU_ASSERT_TRUE(t_gate(vol(&a, 0)));
        teardown(2);
}

static void becomes_active(struct t_host *h)
{
        uint64_t end = clock_now_ns() + UINT64_C(5000000000);

        while (t_state(vol(h, 0)) != OWNER_ACTIVE && clock_now_ns() < end)
                loop_turn(loop, 1000000);
        CU_ASSERT_EQUAL(t_state(vol(h, 0)), OWNER_ACTIVE);
}

static void test_an_offer_that_nobody_pulls_ends_by_its_age_or_with_its_guest(void)
{
        char token[OWNER_TOKEN_TEXT];
        struct err err = ERR_INIT;

        setup(1, 300);
        start_guest(&a, 1);
        struct owner *o = migrate_owner(a.m);
        struct owner_volume *v = migrate_volume_owner(vol(&a, 0)->mv);
        CU_ASSERT_EQUAL(o->s.offer_ns, UINT64_C(30000000000));
        o->s.offer_ns = UINT64_C(200000000);
        uint64_t since = loop_now_ns(loop);
        CU_ASSERT_EQUAL(owner_inquire(o, &domain, PID, token, NULL), 0);
        CU_ASSERT_EQUAL(t_state(vol(&a, 0)), OWNER_OFFERED);
        CU_ASSERT_EQUAL(owner_volume_check(v, "resize", &err), -EBUSY);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.msg, "it is offered for a migration"));
        /* rings that turn do not make it live longer, nor end it */
        t_turns(loop, 20);
        owner_volume_observer(v).event(v, FRONT_RINGS_OFF, PID);
        owner_volume_observer(v).event(v, FRONT_RINGS_ON, PID);
        t_turns(loop, 20);
        CU_ASSERT_EQUAL(t_state(vol(&a, 0)), OWNER_OFFERED);
        becomes_active(&a);
        CU_ASSERT_TRUE(clock_now_ns() - since >= o->s.offer_ns);
        CU_ASSERT_TRUE(clock_now_ns() - since < 5 * o->s.offer_ns);
        CU_ASSERT_EQUAL(owner_volume_check(v, "resize", &err), 0);
        CU_ASSERT_TRUE(t_gate(vol(&a, 0)));

        o->s.offer_ns = UINT64_C(30000000000);
        CU_ASSERT_EQUAL(owner_inquire(o, &domain, PID, token, NULL), 0);
        since = clock_now_ns();
        owner_volume_observer(v).event(v, FRONT_RINGS_OFF, PID);
        owner_domain_released(o, &domain);
        becomes_active(&a);
        CU_ASSERT_TRUE(clock_now_ns() - since < UINT64_C(2000000000));
        teardown(1);
}

static void test_an_offer_whose_target_gave_up_ends(void)
{
        char token[OWNER_TOKEN_TEXT];
        struct t_answer in;

        setup(1, 300);
        start_guest(&a, 1);
        migrate_owner(a.m)->s.offer_ns = UINT64_C(50000000);
        /* the domain ended on the target before it could run there */
        offer_and_copy(1, token, &in);
        t_turns(loop, 100); /* it is being copied: its age does not matter */
        CU_ASSERT_EQUAL(t_state(vol(&a, 0)), OWNER_OFFERED);
        owner_domain_released(migrate_owner(b.m), &domain);
        t_turns(loop, 50);
        CU_ASSERT_EQUAL(t_state(vol(&b, 0)), OWNER_REFUSED);
        CU_ASSERT_EQUAL(t_state(vol(&a, 0)), OWNER_ACTIVE);
        CU_ASSERT_TRUE(t_gate(vol(&a, 0)));
        teardown(1);
}

static void test_a_pool_that_is_too_full_is_refused_before_anything_is_made(void)
{
        char token[OWNER_TOKEN_TEXT];

        setup(1, 1500);
        struct t_vol *ballast = t_vol_create(&b, "tank", "ballast", 1800);
        struct t_disk full;
        t_disk_init(&full, 1800);
        t_rings(ballast, true, PID);
        for (uint64_t at = 0; at < 1800; at += 100)
                CU_ASSERT_TRUE(t_disk_write(&full, ballast, at, 100));
        start_guest(&a, 1);
        for (uint64_t at = 0; at < 1500; at += 100)
                CU_ASSERT_TRUE(t_disk_write(&disk[0], vol(&a, 0), at, 100));
        CU_ASSERT_EQUAL(owner_inquire(migrate_owner(a.m), &domain, PID, token, NULL), 0);
        refused_with(&b, 1, ENOSPC, "pool tank is too full");
        CU_ASSERT_PTR_NULL(vol(&b, 0));
        t_disk_fini(&full);
        teardown(1);
}

static void properties(struct t_host *h, unsigned i, unsigned copies, uint64_t reserved_blocks)
{
        struct volume_info info;
        struct pool_status st;

        volume_get_info(vol(h, i)->vol, &info);
        CU_ASSERT_EQUAL(info.copies, copies);
        CU_ASSERT_EQUAL(info.reserved_bytes, reserved_blocks * T_BLOCK);
        pool_get_status(volume_pool(vol(h, i)->vol), &st);
        CU_ASSERT_EQUAL(st.copies, copies);
        CU_ASSERT_EQUAL(st.rebuild_bytes, 0);
}

static void test_copies_and_reservations_travel_there_and_back(void)
{
        setup_hosts(2, 3);
        t_vol_make(&a, "tank", "v0", 700, 2, 0);
        t_vol_make(&a, "pond", "v1", 700, 1, 500);
        t_disk_init(&disk[0], 700);
        t_disk_init(&disk[1], 700);
        start_guest(&a, 2);
        guest_writes(&a, 2, 150);
        for (int i = 0; i < 2; i++) {
                hop(i ? &b : &a, i ? &a : &b, 2, 20);
                properties(i ? &a : &b, 0, 2, 0);
                properties(i ? &a : &b, 1, 1, 500);
                /* what was promised is there: not a block of it is free for others */
                struct pool_status st;
                struct volume_info info;
                volume_get_info(vol(i ? &a : &b, 1)->vol, &info);
                pool_get_status(volume_pool(vol(i ? &a : &b, 1)->vol), &st);
                CU_ASSERT_EQUAL(st.reserved_bytes,
                                info.reserved_bytes - MIN(info.reserved_bytes, info.allocated_bytes));
        }
        teardown(2);
}

static void test_copies_that_a_pool_cannot_keep_are_refused_before_anything_is_made(void)
{
        char token[OWNER_TOKEN_TEXT];

        setup_hosts(3, 1);
        t_vol_make(&a, "tank", "v0", 300, 3, 0);
        t_disk_init(&disk[0], 300);
        start_guest(&a, 1);
        guest_writes(&a, 1, 20);
        offer(&a, token);
        refused_with(&b, 1, ENODEV,
                     "volume v0 keeps 3 copies of each block, and pool tank has fewer devices in "
                     "use on this host: add some (zonepool device add tank ...)");
        CU_ASSERT_PTR_NULL(vol(&b, 0));
        guest_writes(&a, 1, 5);
        CU_ASSERT_EQUAL(t_disk_wrong(&disk[0], vol(&a, 0)), 0);
        teardown(1);
}

static void test_room_is_judged_for_all_copies(void)
{
        char token[OWNER_TOKEN_TEXT];
        struct pool_status st;

        setup_hosts(3, 2);
        pool_get_status(b.pools[0], &st);
        uint64_t two = st.available_by_copies[1] / T_BLOCK, n = two + (two / 2);
        CU_ASSERT_TRUE(n < st.available_by_copies[0] / T_BLOCK);
        t_vol_make(&a, "tank", "v0", n, 2, 0);
        t_disk_init(&disk[0], n);
        start_guest(&a, 1);
        for (uint64_t at = 0; at + 50 <= n; at += 50)
                CU_ASSERT_TRUE(t_disk_write(&disk[0], vol(&a, 0), at, 50));
        offer(&a, token);
        refused_with(&b, 1, ENOSPC, "pool tank is too full");
        CU_ASSERT_PTR_NULL(vol(&b, 0));
        teardown(1);
}

static void test_an_old_copy_with_other_copies_is_refused(void)
{
        char token[OWNER_TOKEN_TEXT];

        setup_hosts(2, 2);
        t_vol_make(&a, "tank", "v0", 300, 2, 0);
        t_disk_init(&disk[0], 300);
        start_guest(&a, 1);
        guest_writes(&a, 1, 20);
        hop(&a, &b, 1, 5);
        vol(&a, 0)->vol->copies = 1; /* as if it had been made so */
        offer(&b, token);
        refused_with(&a, 1, EINVAL, "keeps 1 copies of each block, the volume 2");
        vol(&a, 0)->vol->copies = 2;
        offer(&b, token);
        hop(&b, &a, 1, 5);
        teardown(1);
}

static void test_hanging_up_cancels_and_the_guest_goes_on(void)
{
        char token[OWNER_TOKEN_TEXT];
        struct t_answer in, acq;

        setup(1, 1500);
        start_guest(&a, 1);
        for (uint64_t at = 0; at < 1500; at += 100)
                CU_ASSERT_TRUE(t_disk_write(&disk[0], vol(&a, 0), at, 100));
        CU_ASSERT_EQUAL(owner_inquire(migrate_owner(a.m), &domain, PID, token, NULL), 0);
        begin_incoming(&b, 1, &in);
        t_turns(loop, 3);
        migrate_incoming_cancel(&in.in);
        t_until(loop, &in.done, 10);
        if (in.status != 0) {
                CU_ASSERT_EQUAL(in.status, -ECANCELED);
                owner_acquire(migrate_owner(b.m), &domain, PID, token, false,
                              &t_answer_init(&acq)->r);
                t_until(loop, &acq.done, 30);
                CU_ASSERT_TRUE(acq.status < 0);
        }
        guest_writes(&a, 1, 5);
        CU_ASSERT_EQUAL(t_disk_wrong(&disk[0], vol(&a, 0)), 0);
        /* a new try replaces the token */
        hop(&a, &b, 1, 5);
        teardown(1);
}

static void test_a_copy_begun_again_for_the_same_token_is_whole(void)
{
        char token[OWNER_TOKEN_TEXT], state[OWNER_TOKEN_TEXT];
        struct t_answer in, acq;

        setup(2, 600);
        start_guest(&a, 2);
        guest_writes(&a, 2, 200);
        offer_and_copy(2, token, &in);
        t_turns(loop, 50); /* all of it is there */
        t_host_stop(&b);
        t_host_start(&b);
        t_turns(loop, 10);
        CU_ASSERT_EQUAL(t_state(vol(&b, 0)), OWNER_REFUSED);
        begin_incoming(&b, 2, &in);
        t_until(loop, &in.done, 10);
        CU_ASSERT_EQUAL(in.status, 0);
        stop_guest(&a, 2);
        owner_release(migrate_owner(a.m), &domain, PID, state);
        acquire(&b, token, &acq);
        CU_ASSERT_EQUAL(acq.status, 0);
        for (unsigned i = 0; i < 2; i++)
                CU_ASSERT_EQUAL(t_disk_wrong(&disk[i], vol(&b, i)), 0);
        teardown(2);
}

static void test_a_paused_guest_moves_by_what_its_release_announced(void)
{
        char state[OWNER_TOKEN_TEXT], again[OWNER_TOKEN_TEXT];
        struct t_answer in, acq;

        setup(2, 300);
        start_guest(&a, 2);
        guest_writes(&a, 2, 60);
        stop_guest(&a, 2);
        owner_release(migrate_owner(a.m), &domain, PID, state);
        owner_release(migrate_owner(a.m), &domain, PID, again);
        CU_ASSERT_TRUE(state[0] != '\0');
        CU_ASSERT_STRING_EQUAL(state, again); /* libvirt calls twice and keeps the last */
        begin_incoming(&b, 2, &in);
        t_until(loop, &in.done, 10);
        CU_ASSERT_EQUAL_FATAL(in.status, 0);
        seed(&b, 2);
        /* its QEMU here ends; nobody acquires there until it is resumed */
        for (unsigned i = 0; i < 2; i++)
                t_disconnect(vol(&a, i));
        owner_domain_released(migrate_owner(a.m), &domain);
        t_turns(loop, 100);
        owner_acquire(migrate_owner(b.m), &domain, PID, state, false, &t_answer_init(&acq)->r);
        t_until(loop, &acq.done, 10);
        CU_ASSERT_EQUAL_FATAL(acq.status, 0);
        for (unsigned i = 0; i < 2; i++) {
                t_rings(vol(&b, i), true, PID);
                CU_ASSERT_EQUAL(t_disk_wrong(&disk[i], vol(&b, i)), 0);
        }
        teardown(2);
}

static void test_a_guest_that_was_resumed_is_not_offered_any_more(void)
{
        char state[OWNER_TOKEN_TEXT];
        struct t_answer acq;

        setup(1, 300);
        start_guest(&a, 1);
        stop_guest(&a, 1);
        owner_release(migrate_owner(a.m), &domain, PID, state);
        owner_acquire(migrate_owner(a.m), &domain, PID, state, false, &t_answer_init(&acq)->r);
        t_until(loop, &acq.done, 5);
        CU_ASSERT_EQUAL(acq.status, 0);
        t_rings(vol(&a, 0), true, PID);
        refused_with(&b, 1, ENOENT, "no peer offers");
        CU_ASSERT_TRUE(t_gate(vol(&a, 0)));
        teardown(1);
}

/* A migration that libvirt gave up before the target came leaves a token and no callback. */
static void test_an_offer_that_nobody_came_for_ends_with_its_guest(void)
{
        char token[OWNER_TOKEN_TEXT];

        setup(1, 300);
        start_guest(&a, 1);
        CU_ASSERT_EQUAL(owner_inquire(migrate_owner(a.m), &domain, PID, token, NULL), 0);
        t_turns(loop, 20);
        CU_ASSERT_EQUAL(t_state(vol(&a, 0)), OWNER_OFFERED);
        stop_guest(&a, 1);
        owner_domain_released(migrate_owner(a.m), &domain);
        for (unsigned i = 0; i < 100 && t_state(vol(&a, 0)) == OWNER_OFFERED; i++)
                t_turns(loop, 5);
        CU_ASSERT_EQUAL(t_state(vol(&a, 0)), OWNER_ACTIVE);
        teardown(1);
}

static void test_a_deleted_volume_takes_its_stale_copies_along(void)
{
        struct t_answer ans;

        setup(1, 300);
        start_guest(&a, 1);
        guest_writes(&a, 1, 20);
        hop(&a, &b, 1, 5);
        stop_guest(&b, 1);
        t_turns(loop, 20);
        struct t_vol *v = vol(&b, 0);
        t_disconnect(v);
        owner_delete(migrate_volume_owner(v->mv), &t_answer_init(&ans)->r);
        t_until(loop, &ans.done, 10);
        CU_ASSERT_EQUAL(ans.status, 0);
        CU_ASSERT_PTR_NULL(vol(&a, 0));
        teardown(1);
}

static const struct t_case cases[] = {
    T_CASE(test_volumes_in_two_pools_move_there_and_back_under_a_writing_guest),
    T_CASE(test_only_allocated_and_changed_blocks_travel),
    T_CASE(test_a_connection_that_breaks_again_and_again_is_picked_up),
    T_CASE(test_a_source_restarted_before_take_keeps_its_guest),
    T_CASE(test_a_target_restarted_after_staging_refuses_and_the_source_takes_back),
    T_CASE(test_what_was_given_comes_back_when_the_target_never_ran_it),
    T_CASE(test_a_new_owner_that_runs_is_never_robbed),
    T_CASE(test_refusals_say_why_and_change_nothing),
    T_CASE(test_an_offer_that_nobody_pulls_ends_by_its_age_or_with_its_guest),
    T_CASE(test_an_offer_whose_target_gave_up_ends),
    T_CASE(test_a_pool_that_is_too_full_is_refused_before_anything_is_made),
    T_CASE(test_copies_and_reservations_travel_there_and_back),
    T_CASE(test_copies_that_a_pool_cannot_keep_are_refused_before_anything_is_made),
    T_CASE(test_room_is_judged_for_all_copies),
    T_CASE(test_an_old_copy_with_other_copies_is_refused),
    T_CASE(test_hanging_up_cancels_and_the_guest_goes_on),
    T_CASE(test_a_copy_begun_again_for_the_same_token_is_whole),
    T_CASE(test_a_paused_guest_moves_by_what_its_release_announced),
    T_CASE(test_a_guest_that_was_resumed_is_not_offered_any_more),
    T_CASE(test_an_offer_that_nobody_came_for_ends_with_its_guest),
    T_CASE(test_a_deleted_volume_takes_its_stale_copies_along),
};
T_MAIN("migration engine", cases)
