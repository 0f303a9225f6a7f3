/* The server dies and comes back; the guest goes on. */
#include "t_vub.h"

#include "base/le.h"
#include "base/rng.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static struct t_rig rig;
static struct t_peer peer;

static void put_inflight(uint8_t *payload, uint64_t bytes, uint16_t queues, uint16_t size)
{
        memset(payload, 0, VUB_INFLIGHT_BYTES);
        put_le64(payload, bytes);
        put_le16(payload + 16, queues);
        put_le16(payload + 18, size);
}

/* Asks for a region and maps it. Returns its bytes. */
static uint64_t get_region(uint16_t queues, uint16_t size, uint32_t len)
{
        uint8_t payload[VUB_INFLIGHT_BYTES], reply[VUB_INFLIGHT_BYTES];

        put_inflight(payload, 0, queues, size);
        t_send(&peer, VUB_GET_INFLIGHT_FD, 0, payload, len, NULL, 0);
        peer.inflight_fd = -1;
        CU_ASSERT_EQUAL(t_recv(&peer, VUB_GET_INFLIGHT_FD, reply, sizeof(reply), &peer.inflight_fd),
                        (int)len);
        CU_ASSERT_FATAL(peer.inflight_fd >= 0);
        CU_ASSERT_EQUAL(get_le16(reply + 16), queues);
        CU_ASSERT_EQUAL(get_le16(reply + 18), size);
        peer.inflight_bytes = get_le64(reply);
        peer.inflight = mmap(NULL, peer.inflight_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                             peer.inflight_fd, 0);
        CU_ASSERT_FATAL(peer.inflight != MAP_FAILED);
        return peer.inflight_bytes;
}

static void set_region(uint16_t queues, uint16_t size)
{
        uint8_t payload[VUB_INFLIGHT_BYTES];
        put_inflight(payload, peer.inflight_bytes, queues, size);
        t_send(&peer, VUB_SET_INFLIGHT_FD, 0, payload, sizeof(payload), &peer.inflight_fd, 1);
}

static void up(void)
{
        t_rig_up(&rig);
        t_peer_connect(&peer, &rig);
        t_handshake(&peer, T_FEATURES);
}

static void down(void)
{
        t_peer_free(&peer);
        t_rig_down(&rig);
}

static void test_region_has_the_specified_size(void)
{
        static const struct {
                uint16_t queues, size;
                uint32_t len;
                uint64_t bytes;
        } cases[] = {
            {1, 128, 24, 16 + 128 * 16 + 48}, /* rounded up to 64 */
            {2, 128, 20, 2 * (16 + 128 * 16 + 48)},
            {64, 1024, 24, 64 * (16 + 1024 * 16 + 48)},
            {1, 3, 24, 64},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                up();
                CU_ASSERT_EQUAL(get_region(cases[i].queues, cases[i].size, cases[i].len),
                                cases[i].bytes);
                for (uint64_t b = 0; b < peer.inflight_bytes; b++)
                        if (peer.inflight[b])
                                CU_FAIL("not zero");
                CU_ASSERT(ftruncate(peer.inflight_fd, 0) < 0); /* sealed */
                down();
        }
}

/* A region as a killed server leaves it: heads marked with these counters, `published` of the
 * last batch's heads known to the guest but not yet to the region. */
static void test_marked_requests_are_submitted_again_in_order(void)
{
        up();
        get_region(1, 32, 24);
        struct t_queue *q = &peer.q[0];
        q->num = 32;
        /* Five offered and taken: 0..4. The batch {1, 3} was published, its marks not cleared. */
        for (unsigned i = 0; i < 5; i++)
                t_offer(&peer, 0, t_request(&peer, 0, i, T_OUT, 10 * i, T_DATA + 512 * i, 512));
        t_offer(&peer, 0, t_request(&peer, 0, 5, T_OUT, 50, T_DATA, 512)); /* not taken */
        static const uint64_t counters[] = {7, 5, 9, 6, 8};
        uint8_t *r = peer.inflight;
        put_le16(r + 8, 1);
        put_le16(r + 10, 32);
        for (unsigned i = 0; i < 5; i++) {
                uint16_t head = (uint16_t)(i * 3);
                r[16 + 16 * head] = 1;
                put_le64(r + 16 + 16 * head + 8, counters[i]);
        }
        put_le16(r + 12, 9); /* the batch's last head: request 3 */
        put_le16(r + 16 + 16 * 9 + 6, 3); /* before it: request 1 */
        put_le16(peer.mem + q->used + 2, 2);
        q->used_seen = 2;

        rig.disk.mode = T_DISK_SLOW;
        set_region(1, 32);
        t_start_queue(&peer, 0, 32, 2); /* the base a peer restores from the used index */
        CU_ASSERT_EQUAL_FATAL(rig.disk.nlog, 4);
        CU_ASSERT_EQUAL(rig.disk.log[0].offset, 0 * 5120); /* counter 7 */
        CU_ASSERT_EQUAL(rig.disk.log[1].offset, 4 * 5120); /* counter 8 */
        CU_ASSERT_EQUAL(rig.disk.log[2].offset, 2 * 5120); /* counter 9 */
        CU_ASSERT_EQUAL(rig.disk.log[3].offset, 50 * 512); /* new */
        CU_ASSERT_EQUAL(r[16 + 16 * 15], 1);
        CU_ASSERT_EQUAL(get_le64(r + 16 + 16 * 15 + 8), 10); /* counters go on */
        CU_ASSERT_EQUAL(r[16 + 16 * 3], 0);
        CU_ASSERT_EQUAL(r[16 + 16 * 9], 0);
        rig.disk.mode = T_DISK_NORMAL;
        t_disk_release(&rig.disk, true);
        T_UNTIL(&rig, t_used_idx(&peer, 0) == 6);
        for (unsigned i = 0; i < 32; i++)
                CU_ASSERT_EQUAL(r[16 + 16 * i], 0);
        CU_ASSERT_EQUAL(get_le16(r + 14), 6);
        CU_ASSERT_EQUAL(t_stop_queue(&peer, 0), 6);
        down();
}

static void test_marks_stand_while_in_flight(void)
{
        up();
        get_region(1, 16, 24);
        set_region(1, 16);
        rig.disk.mode = T_DISK_SLOW;
        t_start_queue(&peer, 0, 16, 0);
        uint16_t head = t_request(&peer, 0, 0, T_OUT, 0, T_DATA, 512);
        t_offer(&peer, 0, head);
        t_kick(&peer, 0);
        t_settle(&rig);
        CU_ASSERT_EQUAL(peer.inflight[16 + 16 * head], 1);
        t_disk_release(&rig.disk, false);
        t_settle(&rig);
        CU_ASSERT_EQUAL(peer.inflight[16 + 16 * head], 0);
        down();
}

/* A peer whose connection breaks gets its requests submitted again, though we lived on. */
static void test_reconnection_submits_again(void)
{
        up();
        get_region(1, 16, 24);
        set_region(1, 16);
        rig.disk.mode = T_DISK_SLOW;
        t_start_queue(&peer, 0, 16, 0);
        memset(peer.mem + T_DATA, 0x77, 512);
        t_offer(&peer, 0, t_request(&peer, 0, 0, T_OUT, 0, T_DATA, 512));
        t_kick(&peer, 0);
        t_settle(&rig);
        t_peer_hang_up(&peer);
        t_settle(&rig);
        t_disk_release(&rig.disk, false);
        t_settle(&rig);
        CU_ASSERT_EQUAL(t_used_idx(&peer, 0), 0);
        t_peer_reconnect(&peer);
        rig.disk.mode = T_DISK_NORMAL;
        t_handshake(&peer, T_FEATURES);
        set_region(1, 16);
        t_start_queue(&peer, 0, 16, 0);
        T_UNTIL(&rig, t_used_idx(&peer, 0) == 1);
        CU_ASSERT_EQUAL(peer.mem[t_status_gpa(0)], T_OK);
        CU_ASSERT_EQUAL(rig.disk.nlog, 2);
        down();
}

/* The gate is shut after the restart: a ring that must stop fails what it cannot submit again,
 * for the guest would otherwise lose it in a migration. */
static void test_a_shut_gate_does_not_lose_requests(void)
{
        up();
        get_region(1, 16, 24);
        struct t_queue *q = &peer.q[0];
        q->num = 16;
        uint16_t head = t_request(&peer, 0, 0, T_OUT, 0, T_DATA, 512);
        t_offer(&peer, 0, head);
        put_le16(peer.inflight + 8, 1);
        put_le16(peer.inflight + 10, 16);
        peer.inflight[16 + 16 * head] = 1;
        nvc_gate_set(rig.controller, false);
        set_region(1, 16);
        t_start_queue(&peer, 0, 16, 0);
        CU_ASSERT_EQUAL(rig.disk.nlog, 0);
        CU_ASSERT_EQUAL(t_stop_queue(&peer, 0), 1);
        CU_ASSERT_EQUAL(t_used_idx(&peer, 0), 1);
        CU_ASSERT_EQUAL(peer.mem[t_status_gpa(0)], T_IOERR);
        CU_ASSERT_EQUAL(rig.disk.nlog, 0);
        down();
}

static void test_bad_regions_are_refused(void)
{
        static const struct {
                uint64_t bytes, offset;
                uint16_t queues, size;
        } cases[] = {
            {2112, 0, 0, 128},       {2112, 0, 1, 0},
            {2112, 0, 65, 1},        {2112, 0, 1, 1025},
            {2112, 0, 2, 128},       {2112, 8, 1, 128},
            {2048, 4, 1, 16},        {2111, 0, 1, 128},
            {UINT64_MAX, 8, 1, 128}, {2112, UINT64_MAX - 7, 1, 128},
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint8_t payload[VUB_INFLIGHT_BYTES];
                up();
                get_region(1, 128, 24);
                put_inflight(payload, cases[i].bytes, cases[i].queues, cases[i].size);
                put_le64(payload + 8, cases[i].offset);
                t_send(&peer, VUB_SET_INFLIGHT_FD, 0, payload, sizeof(payload), &peer.inflight_fd,
                       1);
                CU_ASSERT_TRUE(t_closed(&peer));
                down();
        }
}

/* The region is in the peer's hands: whatever it says, we stay in bounds. */
static void test_nonsense_in_the_region_is_survived(void)
{
        struct rng rng = {42};
        for (unsigned round = 0; round < 200; round++) {
                up();
                get_region(1, 16, 24);
                for (uint64_t i = 0; i < peer.inflight_bytes; i++)
                        peer.inflight[i] =
                            (uint8_t)rng_below(&rng, rng_chance(&rng, 1, 2) ? 2 : 256);
                if (rng_chance(&rng, 3, 4)) {
                        put_le16(peer.inflight + 8, 1);
                        put_le16(peer.inflight + 10, 16);
                }
                for (uint64_t i = 0; i < 16 * 16; i++)
                        peer.mem[peer.q[0].desc + i] = (uint8_t)rng_next(&rng);
                set_region(1, 16);
                t_start_queue(&peer, 0, 16, (uint16_t)rng_next(&rng));
                t_kick(&peer, 0);
                t_settle(&rig);
                down();
        }
}

/* ---- kill -9 ---- */

enum { SLOTS = 20, RING = 64, KILLS = 25, BLOCK = 4096 };

static struct slot {
        bool outstanding, write;
        uint16_t head;
        uint8_t version; /* what the block must hold */
} slots[SLOTS];

static void issue(struct rng *rng, unsigned s)
{
        uint64_t data = T_DATA + (uint64_t)s * BLOCK;

        slots[s].write = rng_chance(rng, 1, 2);
        memset(peer.mem + data, slots[s].write ? slots[s].version + 1 : 0xee, BLOCK);
        peer.mem[data] = 0x99; /* so that no block is all of one byte */
        slots[s].head = (uint16_t)(s * 3); /* fixed descriptors: a head is free when its slot is */
        peer.q[0].next_desc = slots[s].head;
        t_request(&peer, 0, s, slots[s].write ? T_OUT : T_IN, s * 8, data, BLOCK);
        if (slots[s].write)
                slots[s].version++;
        slots[s].outstanding = true;
        t_offer(&peer, 0, slots[s].head);
}

static void complete(uint32_t id)
{
        unsigned s = id / 3;

        CU_ASSERT_FATAL(id % 3 == 0 && s < SLOTS && slots[s].outstanding);
        slots[s].outstanding = false;
        CU_ASSERT_EQUAL(peer.mem[t_status_gpa(s)], T_OK);
        const uint8_t *data = peer.mem + T_DATA + (uint64_t)s * BLOCK;
        uint8_t first = slots[s].write || slots[s].version > 0 ? 0x99 : 0;
        CU_ASSERT_EQUAL(data[0], first);
        for (unsigned i = 1; i < BLOCK; i++)
                if (data[i] != slots[s].version) {
                        CU_FAIL("stale or foreign data");
                        return;
                }
}

static void start_again(void)
{
        t_handshake(&peer, T_FEATURES);
        if (!peer.inflight)
                get_region(1, RING, 24);
        set_region(1, RING);
        t_start_queue(&peer, 0, RING, t_used_idx(&peer, 0));
}

static void collect(unsigned *completed)
{
        uint32_t id, len;
        while (t_used(&peer, 0, &id, &len)) {
                complete(id);
                (*completed)++;
        }
}

/* Some die with requests in the disk, some in the middle of publishing. */
static void test_killed_servers_lose_nothing(void)
{
        struct rng rng = {7};
        unsigned completed = 0, kills = 0, outstanding = 0, kill_at = 50;
        char dir[] = "/tmp/t_vub_kill.XXXXXX";
        uint64_t end = clock_now_ns() + UINT64_C(60000000000);
        uint8_t *data =
            mmap(NULL, T_DISK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CU_ASSERT_FATAL(data != MAP_FAILED && mkdtemp(dir));
        memset(&rig, 0, sizeof(rig));
        memset(slots, 0, sizeof(slots));
        snprintf(rig.path, sizeof(rig.path), "%s/disk.sock", dir);
        pid_t pid = t_spawn_server(data, rig.path, 0);
        t_peer_connect(&peer, &rig);
        start_again();
        while (kills < KILLS && clock_now_ns() < end) {
                unsigned offered = 0;
                for (unsigned s = 0; s < SLOTS; s++)
                        if (!slots[s].outstanding && rng_chance(&rng, 2, 3)) {
                                issue(&rng, s);
                                offered++;
                        }
                if (offered > 0)
                        t_kick(&peer, 0);
                if (completed < kill_at) {
                        sched_yield();
                        collect(&completed);
                        continue;
                }
                uint16_t first = t_used_idx(&peer, 0);
                for (uint64_t spin = rng_below(&rng, 20000); spin > 0; spin--)
                        if (kills % 3 == 2 && t_used_idx(&peer, 0) != first)
                                break; /* it is publishing right now */
                kill(pid, SIGKILL);
                waitpid(pid, NULL, 0);
                collect(&completed);
                for (unsigned s = 0; s < SLOTS; s++)
                        outstanding += slots[s].outstanding;
                kills++;
                kill_at = completed + 20 + (unsigned)rng_below(&rng, 200);
                pid = t_spawn_server(data, rig.path, kills % 2 ? 2000000 : 0);
                t_peer_hang_up(&peer);
                t_peer_reconnect(&peer);
                start_again();
        }
        CU_ASSERT_EQUAL(kills, KILLS);
        CU_ASSERT(outstanding > 0); /* else nothing was tried */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        t_peer_free(&peer);
        munmap(data, T_DISK_BYTES);
        unlink(rig.path);
        rmdir(dir);
}

/* ---- killed after each store ---- */

enum { WATCHED = 4096 };

/* What the outside sees of a server: the region's and the used ring's bytes. */
static bool changed(uint8_t *before)
{
        uint8_t now[WATCHED];
        size_t n = peer.inflight_bytes;

        memcpy(now, peer.inflight, n);
        memcpy(now + n, peer.mem + peer.q[0].used, 4 + 8 * RING);
        n += 4 + 8 * RING;
        if (memcmp(now, before, n) == 0)
                return false;
        memcpy(before, now, n);
        return true;
}

/* Steps the server until its k-th store that the outside can see. false: it became idle before. */
static bool step_until_store(pid_t pid, unsigned k)
{
        uint8_t before[WATCHED] = {0};

        changed(before);
        for (unsigned long steps = 0; steps < 3000000; steps++) {
                if (!t_step(pid))
                        return false;
                if (changed(before) && --k == 0)
                        return true;
                if (k < 1000 && t_used_idx(&peer, 0) == peer.q[0].avail_idx &&
                    get_le16(peer.inflight + 14) == peer.q[0].avail_idx)
                        return false;
        }
        return false;
}

/* Two requests, and a server that dies after its k-th store: from the kick on, or (publishing) from
 * when both were submitted. */
static bool run_killed_at(unsigned k, bool publishing, uint8_t *data)
{
        unsigned completed = 0;

        memset(slots, 0, sizeof(slots));
        memset(data, 0, T_DISK_BYTES);
        pid_t pid = t_spawn_server(data, rig.path, 20000000);
        t_peer_connect(&peer, &rig);
        start_again();
        t_send(&peer, VUB_GET_FEATURES, 0, NULL, 0, NULL, 0);
        uint8_t reply[8];
        CU_ASSERT_EQUAL(t_recv(&peer, VUB_GET_FEATURES, reply, 8, NULL), 8); /* all handled */
        struct rng rng = {k};
        issue(&rng, 1);
        issue(&rng, 2);
        uint64_t end = clock_now_ns() + UINT64_C(5000000000);
        if (publishing) {
                t_kick(&peer, 0);
                const volatile uint8_t *mark = &peer.inflight[16 + 16 * slots[2].head];
                while (!*mark && clock_now_ns() < end)
                        sched_yield();
                t_trace(pid);
        } else {
                t_trace(pid);
                t_kick(&peer, 0);
        }
        bool killed = step_until_store(pid, k);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        pid = t_spawn_server(data, rig.path, 0);
        t_peer_hang_up(&peer);
        t_peer_reconnect(&peer);
        start_again();
        issue(&rng, 3); /* behind the others: when it is done, so is everything */
        t_kick(&peer, 0);
        end = clock_now_ns() + UINT64_C(5000000000);
        while (completed < 3 && clock_now_ns() < end) {
                sched_yield();
                collect(&completed);
        }
        CU_ASSERT_EQUAL(completed, 3);
        CU_ASSERT_EQUAL(t_stop_queue(&peer, 0), 3);
        CU_ASSERT_EQUAL(t_used_idx(&peer, 0), 3); /* each once */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        t_peer_free(&peer);
        return killed;
}

static void test_killed_after_each_store(void)
{
#ifdef __SANITIZE_THREAD__
        return; /* a million single steps of instrumented code, and no second thread to watch */
#endif
        char dir[] = "/tmp/t_vub_step.XXXXXX";
        unsigned k;
        uint8_t *data =
            mmap(NULL, T_DISK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CU_ASSERT_FATAL(data != MAP_FAILED && mkdtemp(dir));
        memset(&rig, 0, sizeof(rig));
        snprintf(rig.path, sizeof(rig.path), "%s/disk.sock", dir);
        for (k = 1; k <= 4; k++) /* counter and mark of each */
                CU_ASSERT_TRUE(run_killed_at(k, false, data));
        for (k = 1; k < 40 && run_killed_at(k, true, data); k++)
                ;
        CU_ASSERT(k > 8 && k < 40); /* links, elements, index, clearing */
        munmap(data, T_DISK_BYTES);
        unlink(rig.path);
        rmdir(dir);
}

static const struct t_case cases[] = {
    T_CASE(test_region_has_the_specified_size),
    T_CASE(test_marked_requests_are_submitted_again_in_order),
    T_CASE(test_marks_stand_while_in_flight),
    T_CASE(test_reconnection_submits_again),
    T_CASE(test_a_shut_gate_does_not_lose_requests),
    T_CASE(test_bad_regions_are_refused),
    T_CASE(test_nonsense_in_the_region_is_survived),
    T_CASE(test_killed_servers_lose_nothing),
    T_CASE(test_killed_after_each_store),
};
T_MAIN("vhost-user in-flight tracking", cases)
