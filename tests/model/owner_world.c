/* See owner_world.h. */
#include "owner_world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct uuid domain = {{0xd0}};
static const char *const pools[W_VOLUMES] = {"tank", "pond"};

static void fault(struct world *w, const char *text, int host)
{
        if (!w->fault[0])
                snprintf(w->fault, sizeof(w->fault), "%.200s (host %d)", text, host);
}

static struct uuid volume_uuid_of(int index)
{
        return (struct uuid){{0xf0, (uint8_t)index}};
}

static struct uuid host_uuid_of(int number)
{
        return (struct uuid){{0x40, (uint8_t)(number + 1)}};
}

static struct w_job *add_job(struct w_host *h, enum w_job_kind kind)
{
        if (h->njobs == W_MAX_JOBS)
                abort();
        struct w_job *j = &h->jobs[h->njobs++];
        *j = (struct w_job){.kind = kind};
        return j;
}

/* ---- the owner's effects ---- */

static void op_write(void *ctx, struct owner_write *ow)
{
        add_job(ctx, W_WRITE)->write = ow;
}

static void op_send(void *ctx, const struct owner_host *to, const struct owner_msg *msg)
{
        struct w_host *h = ctx;
        struct world *w = h->w;

        for (int i = 0; i < W_HOSTS; i++) {
                struct uuid u = host_uuid_of(i);
                if (uuid_equal(&u, &to->uuid) && w->nnet < W_MAX_NET)
                        w->net[w->nnet++] = (struct w_packet){h->number, i, *msg, {0}};
        }
}

static void op_gate(void *ctx, void *volume, bool open)
{
        struct w_volume *v = volume;

        v->gate = open;
}

static void op_nothing(void *ctx, struct owner_group *g)
{
}

static void op_source_start(void *ctx, struct owner_group *g)
{
        owner_group_set_context(g, ctx);
}

static void op_source_stop(void *ctx, struct owner_group *g)
{
        owner_group_set_context(g, NULL);
}

/* The engine's part in one step: what the source has now goes to everyone, the target knows. */
static void op_source_delta(void *ctx, struct owner_group *g, uint64_t seq)
{
        struct w_host *h = ctx;
        struct world *w = h->w;
        struct owner_msg m = {.kind = OWNER_MSG_DELTA, .token = *owner_group_token(g), .seq = seq};

        for (int i = 0; i < W_HOSTS; i++) {
                if (i == h->number || w->nnet == W_MAX_NET)
                        continue;
                struct w_packet *p = &w->net[w->nnet++];
                *p = (struct w_packet){h->number, i, m, {0}};
                for (int k = 0; k < W_VOLUMES; k++) {
                        p->data[k] = h->v[k].data;
                        if (h->v[k].gate)
                                fault(w, "a delta of a volume that is being served", h->number);
                }
        }
}

static void op_target_prepare(void *ctx, struct owner_group *g)
{
        add_job(ctx, W_PREPARED)->token = *owner_group_token(g);
}

static void op_resume(void *ctx, struct owner_group *g)
{
        add_job(ctx, W_RESUMED)->token = *owner_group_token(g);
}

static void op_delete_copy(void *ctx, void *volume)
{
        add_job(ctx, W_DELETE)->volume = volume;
}

static void op_transition(void *ctx, const struct owner_group *g, const struct owner_rule *row,
                          enum owner_event event)
{
        struct w_host *h = ctx;

        if (h->w->trace)
                printf("    h%d token %02x seq %llu: %s + %s -> %s\n", h->number,
                       owner_group_token(g)->b[0], (unsigned long long)owner_group_seq(g),
                       owner_state_name(owner_group_state(g)), owner_event_name(event),
                       row ? row->row : "REFUSED");
        if (!row) {
                h->w->refusals++;
                return;
        }
        h->w->row_seen[row - owner_rules] = true;
        h->w->hops += row->to == OWNER_GIVEN && row->durable && row->state == OWNER_SUSPENDED;
        h->w->backs += row->state == OWNER_GIVEN && row->to == OWNER_ACTIVE;
}

static bool op_alive(void *ctx, pid_t pid, uint64_t *ret_start)
{
        struct w_host *h = ctx;

        *ret_start = (uint64_t)pid * 7;
        return pid > 0 && pid < 4096 && h->w->pid_alive[pid];
}

static void op_random(void *ctx, void *buf, size_t len)
{
        struct w_host *h = ctx;

        for (size_t i = 0; i < len; i++)
                ((uint8_t *)buf)[i] = (uint8_t)rng_next(&h->w->rng);
}

/* ---- daemons ---- */

void w_ready_pool(struct world *w, int host, int i)
{
        struct w_host *h = &w->h[host];
        struct w_volume *v = &h->v[i];
        struct err err = ERR_INIT;

        if (!h->o || h->pool_ready[i])
                return;
        if (v->exists) {
                struct uuid u = volume_uuid_of(i);
                if (owner_volume_add(h->o, pools[i], "v", &u, v->record, v->record_len, v, &v->ov,
                                     &err) < 0)
                        fault(w, err.msg, host);
        }
        h->pool_ready[i] = true;
        owner_pool_ready(h->o, pools[i]);
        /* A QEMU of before connects again; its rings come on when they do. */
        if (v->ov && h->qemu && v->connected)
                owner_volume_observer(v->ov).event(v->ov, FRONT_CONNECTED, h->qemu);
        if (v->ov && h->qemu && v->rings)
                owner_volume_observer(v->ov).event(v->ov, FRONT_RINGS_ON, h->qemu);
}

void w_start_daemon(struct world *w, int host)
{
        struct w_host *h = &w->h[host];
        struct owner_settings s = {
            .loop = w->loop,
            .host_uuid = host_uuid_of(host),
            .boot_id = {{9}},
            .incarnation = ++h->incarnation + (uint64_t)host * 1000,
            .max_pause_ns = 1000 * SECOND_NS,
            .take_ns = 1000 * SECOND_NS,
            .ask_ns = 1000 * SECOND_NS,
            .retry_ns = 900 * SECOND_NS,
            .offer_ns = 1000 * SECOND_NS,
        };
        struct owner_ops ops = {
            .write = op_write,
            .send = op_send,
            .gate = op_gate,
            .source_start = op_source_start,
            .source_stop = op_source_stop,
            .source_delta = op_source_delta,
            .target_prepare = op_target_prepare,
            .target_stop = op_nothing,
            .resume = op_resume,
            .delete_copy = op_delete_copy,
            .transition = op_transition,
            .process_alive = op_alive,
            .random = op_random,
            .ctx = h,
        };

        if (h->o)
                return;
        snprintf(s.address, sizeof(s.address), "h%d", host);
        if (owner_new(&s, &ops, &h->o) < 0)
                abort();
}

void w_kill_daemon(struct world *w, int host)
{
        struct w_host *h = &w->h[host];

        if (!h->o)
                return;
        if (w->trace)
                printf("    h%d killed\n", host);
        for (int i = 0; i < W_VOLUMES; i++) {
                h->v[i].ov = NULL;
                h->v[i].gate = false;
                h->pool_ready[i] = false;
        }
        owner_free(h->o);
        h->o = NULL;
        h->njobs = 0;
        h->acquiring = h->staging = false;
        h->bulk = (struct owner_token){0};
        w->crashes++;
}

static void volume_appears(struct world *w, int host, int i, const struct owner_record *rec)
{
        struct w_volume *v = &w->h[host].v[i];

        v->exists = true;
        v->record_len = owner_record_encode(rec, v->record);
        v->data = 0;
}

void w_init(struct world *w, uint64_t seed)
{
        struct owner_record first = {.state = OWNER_ACTIVE, .epoch = 1};

        *w = (struct world){.rng = {seed}, .next_pid = 1};
        if (loop_new(&w->loop) < 0)
                abort();
        for (int n = 0; n < W_HOSTS; n++) {
                w->h[n].w = w;
                w->h[n].number = n;
                for (int i = 0; i < W_VOLUMES; i++) {
                        w->h[n].v[i].w = w;
                        w->h[n].v[i].host = n;
                        w->h[n].v[i].index = i;
                }
        }
        for (int i = 0; i < W_VOLUMES; i++) {
                volume_appears(w, 0, i, &first);
                w->h[0].v[i].data = w->newest[i] = 1;
        }
        for (int n = 0; n < W_HOSTS; n++) {
                w_start_daemon(w, n);
                for (int i = 0; i < W_VOLUMES; i++)
                        w_ready_pool(w, n, i);
        }
}

void w_fini(struct world *w)
{
        for (int n = 0; n < W_HOSTS; n++)
                w_kill_daemon(w, n);
        loop_free(w->loop);
}

/* ---- QEMUs ---- */

static void tell(struct w_host *h, struct w_volume *v, enum front_event event)
{
        if (v->ov)
                owner_volume_observer(v->ov).event(v->ov, event, h->qemu);
}

void w_start_qemu(struct world *w, int host)
{
        struct w_host *h = &w->h[host];

        if (h->qemu || w->next_pid >= 4095)
                return;
        h->qemu = w->next_pid++;
        w->pid_alive[h->qemu] = true;
        for (int i = 0; i < W_VOLUMES; i++) {
                if (!h->v[i].exists)
                        continue;
                h->v[i].connected = true;
                tell(h, &h->v[i], FRONT_CONNECTED);
        }
}

void w_rings(struct world *w, int host, bool on)
{
        struct w_host *h = &w->h[host];

        for (int i = 0; i < W_VOLUMES && h->qemu; i++) {
                struct w_volume *v = &h->v[i];
                if (!v->connected || v->rings == on)
                        continue;
                v->rings = on;
                tell(h, v, on ? FRONT_RINGS_ON : FRONT_RINGS_OFF);
        }
}

void w_kill_qemu(struct world *w, int host)
{
        struct w_host *h = &w->h[host];

        if (!h->qemu)
                return;
        w->pid_alive[h->qemu] = false;
        h->granted = 0;
        for (int i = 0; i < W_VOLUMES; i++) {
                if (h->v[i].connected)
                        tell(h, &h->v[i], FRONT_DISCONNECTED);
                h->v[i].connected = h->v[i].rings = false;
        }
        h->qemu = 0;
}

static void seed(struct w_host *h)
{
        struct owner_volume *list[W_VOLUMES];
        const char *missing = NULL;
        uint32_t n = 0;

        for (int i = 0; i < W_VOLUMES; i++) {
                if (h->v[i].ov)
                        list[n++] = h->v[i].ov;
                else
                        missing = pools[i];
        }
        owner_domain_seed(h->o, &domain, list, n, missing, NULL);
}

static void acquired(struct owner_request *r, int status, const struct err *err)
{
        struct w_host *h = r->ctx;

        h->acquiring = false;
        h->acquire_status = status;
        h->granted = status || h->asking != h->qemu ? 0 : h->qemu;
        if (status && !err->msg[0])
                fault(h->w, "a refusal without a text", h->number);
}

void w_acquire(struct world *w, int host, const char *state)
{
        struct w_host *h = &w->h[host];

        if (!h->o || h->acquiring || !h->qemu)
                return;
        seed(h);
        h->acquire = (struct owner_request){.done = acquired, .ctx = h};
        h->acquiring = true;
        h->asking = h->qemu;
        owner_acquire(h->o, &domain, h->qemu, state, false, &h->acquire);
}

void w_release(struct world *w, int host)
{
        struct w_host *h = &w->h[host];

        if (!h->o || !h->qemu)
                return;
        owner_release(h->o, &domain, h->qemu, h->release_state);
        bool rings = false;
        for (int i = 0; i < W_VOLUMES; i++)
                rings |= h->v[i].rings;
        if (!rings) /* it is stopped; to run again it has to ask */
                h->granted = 0;
}

void w_inquire(struct world *w, int host)
{
        struct w_host *h = &w->h[host];

        if (!h->o || !h->qemu)
                return;
        for (int i = 0; i < W_VOLUMES; i++)
                if (!h->v[i].ov) /* the hook's list is not complete: libvirt's hosts differ */
                        return;
        seed(h);
        if (owner_inquire(h->o, &domain, h->qemu, w->token, NULL) == 0)
                h->granted = 0; /* a migration may stop it without a word */
}

static void staged(struct owner_request *r, int status, const struct err *err)
{
        struct w_host *h = r->ctx;
        struct owner_group *g = h->v[0].ov ? h->v[0].ov->group : NULL;

        h->staging = false;
        if (!status && g)
                h->bulk = *owner_group_token(g);
}

void w_stage(struct world *w, int from, int to)
{
        struct w_host *s = &w->h[from], *t = &w->h[to];
        struct owner_group *g = s->o ? owner_group_offered(s->o, &domain) : NULL;
        struct owner_stage st = {0};
        struct owner_record rec;

        if (!g || !t->o || t->staging || t->qemu || from == to ||
            owner_group_nvolumes(g) != W_VOLUMES)
                return;
        owner_token_format(owner_group_token(g), 0, w->token);
        st.token = *owner_group_token(g);
        st.domain = domain;
        st.source.uuid = host_uuid_of(from);
        snprintf(st.source.address, sizeof(st.source.address), "h%d", from);
        st.nvolumes = st.npools = W_VOLUMES;
        for (int i = 0; i < W_VOLUMES; i++) {
                struct owner_volume *ov = owner_group_volume(g, i);
                st.volumes[i] = (struct owner_member){*owner_volume_uuid(ov),
                                                      owner_volume_epoch(ov), (uint8_t)i};
                strcpy(st.pools[i], owner_volume_pool(ov));
        }
        st.nholders = owner_group_holders(g, st.holders);
        for (int i = 0; i < W_VOLUMES; i++) {
                int index = strcmp(st.pools[i], pools[0]) != 0;
                struct w_volume *v = &t->v[index];
                if (!t->pool_ready[index] ||
                    owner_stage_check(t->o, v->ov, st.volumes[i].epoch_before, &st.source, NULL) <
                        0)
                        return;
                if (v->exists)
                        continue;
                struct uuid u = volume_uuid_of(index);
                if (owner_stage_record(t->o, &st, &u, &rec, NULL) < 0)
                        abort();
                volume_appears(w, to, index, &rec);
                owner_volume_add(t->o, pools[index], "v", &u, v->record, v->record_len, v, &v->ov,
                                 NULL);
        }
        t->stage = (struct owner_request){.done = staged, .ctx = t};
        t->staging = true;
        owner_stage(t->o, &st, &t->stage);
}

void w_log_off(struct world *w, int host)
{
        struct w_host *h = &w->h[host];

        for (int i = 0; i < W_VOLUMES && h->qemu; i++)
                if (h->v[i].connected)
                        tell(h, &h->v[i], FRONT_LOG_OFF);
}

void w_fail(struct world *w, int host)
{
        struct w_host *h = &w->h[host];
        const struct err why = {EIO, "the test says so"};
        struct owner_group *g, *tmp;

        if (!h->o)
                return;
        list_for_each_safe (g, tmp, &h->o->groups, node) {
                if (g->unresolved)
                        continue;
                if (owner_group_state(g) == OWNER_STAGED)
                        owner_target_failed(g, &why);
                else
                        owner_source_failed(g, &why);
                return;
        }
}

void w_released(struct world *w, int host)
{
        if (w->h[host].o)
                owner_domain_released(w->h[host].o, &domain);
}

/* ---- what happens by itself ---- */

static void deliver(struct world *w, const struct w_packet *p)
{
        struct w_host *h = &w->h[p->to];
        struct owner_host from = {.uuid = host_uuid_of(p->from)};

        if (!h->o)
                return;
        snprintf(from.address, sizeof(from.address), "h%d", p->from);
        if (p->msg.kind != OWNER_MSG_DELTA) {
                owner_message(h->o, &from, &p->msg);
                return;
        }
        struct owner_group *g = owner_group_by_token(h->o, &p->msg.token);
        if (!g || owner_group_state(g) != OWNER_STAGED || g->row || g->unresolved || g->taking ||
            g->preparing)
                return;
        if (!owner_token_equal(&h->bulk, &p->msg.token))
                return; /* a delta completes the bulk of this daemon's life, no other */
        for (int i = 0; i < W_VOLUMES; i++)
                h->v[i].data = p->data[i];
        owner_delta(g, p->msg.seq);
}

void w_net(struct world *w, bool lossy)
{
        if (!w->nnet)
                return;
        unsigned i = lossy ? (unsigned)rng_below(&w->rng, w->nnet) : 0;
        struct w_packet p = w->net[i];
        bool again = lossy && rng_chance(&w->rng, 1, 10);

        if (!again) {
                memmove(&w->net[i], &w->net[i + 1], (w->nnet - i - 1) * sizeof(w->net[0]));
                w->nnet--;
        }
        if (lossy && rng_chance(&w->rng, 1, 6))
                return;
        if (w->trace)
                printf("    h%d -> h%d %s token %02x\n", p.from, p.to, owner_msg_name(p.msg.kind),
                       p.msg.token.b[0]);
        deliver(w, &p);
}

static void write_part(struct w_job *j, struct w_host *h, int index)
{
        struct owner_write *ow = j->write;

        for (uint32_t i = 0; i < ow->n; i++) {
                struct w_volume *v = ow->item[i].volume;
                if (v->index == index && v->exists)
                        v->record_len = owner_record_encode(ow->item[i].record, v->record);
        }
        j->applied[index] = true;
}

void w_job(struct world *w, int host)
{
        struct w_host *h = &w->h[host];

        if (!h->njobs)
                return;
        unsigned at = (unsigned)rng_below(&w->rng, h->njobs);
        struct w_job *j = &h->jobs[at];
        if (j->kind == W_WRITE && !(j->applied[0] && j->applied[1])) {
                int index = rng_chance(&w->rng, 1, 2);
                write_part(j, h, j->applied[index] ? !index : index);
                if (!rng_chance(&w->rng, 1, 4) || !(j->applied[0] && j->applied[1]))
                        return; /* the answer, or the other pool, comes in a step of its own */
        }
        struct w_job done = *j;
        memmove(j, j + 1, (h->njobs - at - 1) * sizeof(*j));
        h->njobs--;
        struct owner_group *g;
        struct uuid u;
        switch (done.kind) {
        case W_WRITE:
                done.write->done(done.write, 0);
                break;
        case W_PREPARED:
                if ((g = owner_group_by_token(h->o, &done.token)))
                        owner_target_ready(g, 0, NULL);
                break;
        case W_RESUMED:
                if ((g = owner_group_by_token(h->o, &done.token)))
                        owner_resumed(g, 0);
                break;
        case W_DELETE:
                u = volume_uuid_of(done.volume->index);
                owner_volume_remove(done.volume->ov, true, NULL);
                done.volume->ov = NULL;
                done.volume->exists = false;
                owner_copy_deleted(h->o, &u, 0);
                break;
        }
}

void w_timer(struct world *w, int host, bool timeup)
{
        struct owner *o = w->h[host].o;
        struct owner_group *g, *tmp;

        if (!o)
                return;
        if (loop_timer_armed(&o->report_timer)) {
                loop_timer_disarm(&o->report_timer);
                o->report_timer.fire(&o->report_timer);
        }
        list_for_each_safe (g, tmp, &o->groups, node) {
                if (!loop_timer_armed(&g->timer))
                        continue;
                if (timeup)
                        g->deadline_ns = 0;
                loop_timer_disarm(&g->timer);
                g->timer.fire(&g->timer);
                return;
        }
}

/* A QEMU whose Acquire was granted, and that has not stopped since, keeps its volumes. */
static void check_granted(struct world *w, struct w_host *h)
{
        for (int i = 0; i < W_VOLUMES && h->o && h->granted; i++) {
                struct owner_group *g = h->v[i].ov ? h->v[i].ov->group : NULL;
                if (g && !g->unresolved &&
                    (g->state == OWNER_GIVEN || g->state == OWNER_REFUSED ||
                     g->state == OWNER_STAGED))
                        fault(w, "taken from a guest that was told to run", h->number);
        }
}

void w_check(struct world *w)
{
        for (int n = 0; n < W_HOSTS; n++)
                check_granted(w, &w->h[n]);
        for (int i = 0; i < W_VOLUMES; i++) {
                int serving = -1;
                for (int n = 0; n < W_HOSTS; n++) {
                        struct w_volume *v = &w->h[n].v[i];
                        if (!v->gate)
                                continue;
                        if (!v->rings)
                                fault(w, "a gate stands open with the rings off", n);
                        if (serving >= 0)
                                fault(w, "two gates are open", n);
                        serving = n;
                        if (v->data != w->newest[i])
                                fault(w, "an old copy is served", n);
                        v->data = ++w->newest[i];
                }
        }
}
