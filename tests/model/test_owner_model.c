/* Ownership under everything at once: random interleavings of migrations, lost and repeated
 * messages, killed daemons and QEMUs, crashes between the pools of one hand-over.
 *
 * After every step: never two gates open, nobody serves anything but the newest data. After every
 * history, with links and daemons back and every QEMU gone: some host can start the domain.
 *
 *   test_owner_model [first seed [number of seeds]]
 */
#include "owner_world.h"

#include <stdio.h>
#include <stdlib.h>

enum { STEPS = 1000, SEEDS = 2000 };

static void settle(struct world *w, unsigned rounds)
{
        for (unsigned r = 0; r < rounds; r++) {
                for (int n = 0; n < W_HOSTS; n++)
                        w_job(w, n);
                w_net(w, false);
                loop_turn(w->loop, 0);
                w_check(w);
        }
}

/* Records of one hand-over are durable in one pool and not yet in the other. */
static bool half_written(const struct w_host *h)
{
        for (unsigned i = 0; i < h->njobs; i++)
                if (h->jobs[i].kind == W_WRITE && h->jobs[i].applied[0] != h->jobs[i].applied[1])
                        return true;
        return false;
}

/* What a person does, in an order that libvirt would keep to most of the time. */
static void hop(struct world *w)
{
        int from = (int)rng_below(&w->rng, W_HOSTS), to = (int)rng_below(&w->rng, W_HOSTS);
        bool clean = rng_chance(&w->rng, 1, 2);

        if (from == to || !w->h[from].qemu)
                return;
        w_kill_qemu(w, to);
        w_inquire(w, from);
        w_stage(w, from, to);
        settle(w, clean ? 30 : (unsigned)rng_below(&w->rng, 20));
        w_start_qemu(w, to);
        w_rings(w, from, false);
        w_release(w, from);
        if (!clean && rng_chance(&w->rng, 1, 4))
                w_rings(w, from, true); /* QEMU resumed by itself */
        w_acquire(w, to, w->token);
        if (!clean && rng_chance(&w->rng, 1, 3))
                for (int r = 0; r < 60 && !half_written(&w->h[from]); r++)
                        settle(w, 1);
        else
                settle(w, clean ? 60 : (unsigned)rng_below(&w->rng, 40));
        if (!clean && rng_chance(&w->rng, 1, 2)) { /* a daemon dies while it is handed over */
                int n = rng_chance(&w->rng, 2, 3) ? from : to;
                w_kill_daemon(w, n);
                w_start_daemon(w, n);
                for (int i = 0; i < W_VOLUMES; i++)
                        w_ready_pool(w, n, i);
                settle(w, 5);
                if (rng_chance(&w->rng, 1, 3))
                        w_rings(w, from, true);
                w_timer(w, to, false);
                settle(w, 20);
        }
        if (!w->h[to].acquiring && w->h[to].acquire_status == 0)
                w_rings(w, to, true);
        settle(w, (unsigned)rng_below(&w->rng, 10));
        if (clean)
                w_kill_qemu(w, from);
}

static void step(struct world *w)
{
        int n = (int)rng_below(&w->rng, W_HOSTS), m = (int)rng_below(&w->rng, W_HOSTS);
        struct w_host *h = &w->h[n];

        switch (rng_below(&w->rng, 25)) {
        case 0:
                w_inquire(w, n);
                break;
        case 1:
                w_stage(w, m, n);
                break;
        case 2:
                w_start_qemu(w, n);
                break;
        case 3:
                if (rng_chance(&w->rng, 1, 6))
                        w_kill_qemu(w, n);
                break;
        case 4:
                w_acquire(w, n, w->token);
                break;
        case 5:
                w_acquire(w, n, rng_chance(&w->rng, 1, 2) ? h->release_state : "");
                break;
        case 6:
                w_release(w, n);
                break;
        case 7:
        case 8:
                w_rings(w, n, rng_chance(&w->rng, 1, 2));
                break;
        case 9:
                if (rng_chance(&w->rng, 1, 12))
                        w_kill_daemon(w, n);
                break;
        case 10:
                w_start_daemon(w, n);
                break;
        case 11:
        case 12:
                w_ready_pool(w, n, (int)rng_below(&w->rng, W_VOLUMES));
                break;
        case 13:
                w_timer(w, n, rng_chance(&w->rng, 1, 4));
                break;
        case 24:
                if (rng_chance(&w->rng, 1, 3))
                        w_log_off(w, n);
                else if (rng_chance(&w->rng, 1, 4))
                        w_fail(w, n);
                else
                        w_released(w, n);
                break;
        case 14:
                hop(w);
                break;
        case 15:
        case 16:
        case 17:
        case 18:
                w_job(w, n);
                break;
        default:
                w_net(w, true);
        }
        loop_turn(w->loop, 0);
        w_check(w);
}

/* Everything is well again and no QEMU is left: `virsh start` must work somewhere. */
static bool can_start_somewhere(struct world *w)
{
        for (int n = 0; n < W_HOSTS; n++) {
                w_kill_qemu(w, n);
                w_start_daemon(w, n);
                for (int i = 0; i < W_VOLUMES; i++)
                        w_ready_pool(w, n, i);
        }
        settle(w, 200);
        for (int n = 0; n < W_HOSTS; n++)
                if (w->h[n].acquiring)
                        w_timer(w, n, true);
        settle(w, 200);
        for (int n = 0; n < W_HOSTS; n++) {
                bool whole = true;
                for (int i = 0; i < W_VOLUMES; i++)
                        whole &= w->h[n].v[i].exists;
                if (!whole)
                        continue;
                w_start_qemu(w, n);
                w_acquire(w, n, "");
                for (int r = 0; r < 6 && w->h[n].acquiring; r++) {
                        settle(w, 60);
                        w_timer(w, n, r == 4);
                }
                settle(w, 60);
                if (!w->h[n].acquiring && w->h[n].acquire_status == 0) {
                        w_rings(w, n, true);
                        settle(w, 60);
                        if (w->h[n].v[0].gate && w->h[n].v[1].gate)
                                return true;
                }
                w_kill_qemu(w, n);
                settle(w, 20);
        }
        return false;
}

int main(int argc, char **argv)
{
        uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
        uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 0) : SEEDS;
        static struct world w;
        static bool seen[256];
        unsigned long hops = 0, backs = 0, crashes = 0;
        unsigned faults = 0, rows = 0;

        for (uint64_t seed = first; seed < first + count && faults < 5; seed++) {
                w_init(&w, seed);
                w.trace = getenv("OWNER_MODEL_TRACE") != NULL;
                w_start_qemu(&w, 0);
                w_acquire(&w, 0, "");
                loop_turn(w.loop, 0);
                w_rings(&w, 0, true);
                unsigned i = 0;
                for (; i < STEPS && !w.fault[0]; i++)
                        step(&w);
                if (!w.fault[0] && !can_start_somewhere(&w))
                        snprintf(w.fault, sizeof(w.fault), "no host can start the domain");
                if (w.fault[0]) {
                        printf("seed %llu step %u: %s\n", (unsigned long long)seed, i, w.fault);
                        for (int n = 0; n < W_HOSTS; n++)
                                for (int k = 0; k < W_VOLUMES; k++) {
                                        struct w_volume *v = &w.h[n].v[k];
                                        if (v->ov)
                                                printf("  host %d volume %d: %s/%s epoch %llu gate "
                                                       "%d data %llu of %llu\n",
                                                       n, k, owner_state_name(v->ov->rec.state),
                                                       v->ov->group
                                                           ? owner_state_name(v->ov->group->state)
                                                           : "-",
                                                       (unsigned long long)v->ov->rec.epoch,
                                                       v->gate, (unsigned long long)v->data,
                                                       (unsigned long long)w.newest[k]);
                                }
                        faults++;
                }
                hops += w.hops;
                backs += w.backs;
                crashes += w.crashes;
                for (size_t r = 0; r < owner_nrules; r++)
                        seen[r] |= w.row_seen[r];
                w_fini(&w);
        }
        for (size_t r = 0; r < owner_nrules; r++)
                rows += seen[r];
        if (getenv("OWNER_MODEL_ROWS"))
                for (size_t r = 0; r < owner_nrules; r++)
                        if (!seen[r])
                                printf("row not reached: %s\n", owner_rules[r].row);
        printf("owner model: seeds=%llu hand_overs=%lu given_back=%lu crashes=%lu rows=%u/%zu "
               "faults=%u\n",
               (unsigned long long)count, hops, backs, crashes, rows, owner_nrules, faults);
        /* A world in which little happens proves little. */
        if (count >= SEEDS && (hops < count || backs < count / 20 || crashes < count))
                return 1;
        return faults != 0;
}
