/* The dirty log: which bits, and when. */
#include "t_vub.h"

#include "base/le.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static struct t_rig rig;
static struct t_peer peer;

static void up(void)
{
        t_rig_up(&rig);
        t_peer_connect(&peer, &rig);
        t_handshake(&peer, T_FEATURES);
        t_start_queue(&peer, 0, 16, 0);
}

static void down(void)
{
        t_peer_free(&peer);
        t_rig_down(&rig);
}

static bool bit(uint64_t gpa)
{
        return peer.log[(gpa >> 12) / 8] >> ((gpa >> 12) % 8) & 1;
}

static unsigned bits(void)
{
        unsigned n = 0;
        for (unsigned i = 0; i < 4096; i++)
                n += (unsigned)__builtin_popcount(peer.log[i]);
        return n;
}

/* Exactly the pages of data and status, and of the used ring only when its flag asks. */
static void test_bits_are_exact(void)
{
        static const struct {
                uint32_t type, len;
                uint64_t data;
                unsigned data_pages;
        } cases[] = {
            {T_IN, 4096, T_DATA, 1},          {T_IN, 4096, T_DATA + 512, 2},
            {T_IN, 512, T_DATA + 3584, 1},    {T_IN, 65536, T_DATA, 16},
            {T_IN, 4096, T_SEAM - 2048, 2}, /* two regions */
            {T_OUT, 4096, T_DATA, 0},         {T_FLUSH, 0, T_DATA, 0},
            {T_GET_ID, 20, T_DATA + 4090, 2},
        };
        for (unsigned used_ring = 0; used_ring < 2; used_ring++) {
                up();
                t_log_on(&peer);
                t_send_addr(&peer, 0, used_ring); /* while the ring runs */
                t_settle(&rig);
                for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                        memset(peer.log, 0, 4096);
                        CU_ASSERT_EQUAL(
                            t_do(&peer, 0, cases[i].type, 0, cases[i].data, cases[i].len), T_OK);
                        CU_ASSERT_TRUE(bit(t_status_gpa(0)));
                        CU_ASSERT_EQUAL(bit(peer.q[0].used), used_ring);
                        for (unsigned n = 0; n < cases[i].data_pages; n++)
                                CU_ASSERT_TRUE(bit(cases[i].data + n * 4096));
                        CU_ASSERT_EQUAL(bits(), cases[i].data_pages + 1 + used_ring);
                }
                down();
        }
}

static void test_nothing_is_marked_while_logging_is_off(void)
{
        uint8_t features[8];

        up();
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_IN, 0, T_DATA, 4096), T_OK);
        CU_ASSERT_EQUAL(bits(), 0);
        t_log_on(&peer);
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_IN, 0, T_DATA, 4096), T_OK);
        CU_ASSERT_EQUAL(bits(), 2);
        memset(peer.log, 0, 4096);
        put_le64(features, T_FEATURES);
        CU_ASSERT_EQUAL(t_ask_ack(&peer, VUB_SET_FEATURES, features, 8, NULL, 0), 0);
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_IN, 0, T_DATA, 4096), T_OK);
        CU_ASSERT_EQUAL(bits(), 0);
        down();
}

static void test_log_events_tell_turns_only(void)
{
        uint8_t features[8];

        up();
        t_log_on(&peer);
        t_log_on(&peer); /* resized by a peer that got more memory */
        put_le64(features, T_FEATURES);
        t_ask_ack(&peer, VUB_SET_FEATURES, features, 8, NULL, 0);
        t_ask_ack(&peer, VUB_SET_FEATURES, features, 8, NULL, 0);
        CU_ASSERT_EQUAL(t_count(&rig, FRONT_LOG_ON), 1);
        CU_ASSERT_EQUAL(t_count(&rig, FRONT_LOG_OFF), 1);
        t_log_on(&peer);
        CU_ASSERT_EQUAL(t_count(&rig, FRONT_LOG_ON), 2);
        t_peer_hang_up(&peer); /* not the end of logging, but of the peer */
        T_UNTIL(&rig, t_saw(&rig, FRONT_DISCONNECTED));
        CU_ASSERT_EQUAL(t_count(&rig, FRONT_LOG_OFF), 1);
        down();
}

/* A failed read has scribbled on the guest's memory all the same. */
static void test_failed_reads_are_marked(void)
{
        up();
        t_log_on(&peer);
        rig.disk.fail = -5;
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_IN, 0, T_DATA, 8192), T_IOERR);
        CU_ASSERT(bit(T_DATA) && bit(T_DATA + 4096) && bit(t_status_gpa(0)));
        down();
}

/* A read begun before logging and done after it is marked: the peer copies the page after this. */
static void test_requests_begun_before_are_marked(void)
{
        up();
        rig.disk.mode = T_DISK_SLOW;
        t_offer(&peer, 0, t_request(&peer, 0, 0, T_IN, 0, T_DATA, 4096));
        t_kick(&peer, 0);
        t_settle(&rig);
        t_log_on(&peer);
        CU_ASSERT_EQUAL(bits(), 0);
        t_disk_release(&rig.disk, false);
        T_UNTIL(&rig, t_used_idx(&peer, 0) == 1);
        CU_ASSERT(bit(T_DATA) && bit(t_status_gpa(0)));
        down();
}

/* Instruction by instruction: when the used index tells of the request, data and status are marked;
 * the used ring's page is marked no sooner than that. */
static void test_data_and_status_are_marked_before_the_index(void)
{
        char dir[] = "/tmp/t_vub_log.XXXXXX";
        uint8_t reply[8];
        uint8_t *data =
            mmap(NULL, T_DISK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CU_ASSERT_FATAL(data != MAP_FAILED && mkdtemp(dir));
        memset(&rig, 0, sizeof(rig));
        snprintf(rig.path, sizeof(rig.path), "%s/disk.sock", dir);
        pid_t pid = t_spawn_server(data, rig.path, 0);
        t_peer_connect(&peer, &rig);
        t_handshake(&peer, T_FEATURES);
        t_log_on(&peer);
        t_start_queue(&peer, 0, 16, 0);
        t_send(&peer, VUB_GET_FEATURES, 0, NULL, 0, NULL, 0);
        CU_ASSERT_EQUAL(t_recv(&peer, VUB_GET_FEATURES, reply, 8, NULL), 8); /* all handled */
        t_trace(pid);
        t_offer(&peer, 0, t_request(&peer, 0, 0, T_IN, 0, T_DATA, 8192));
        t_kick(&peer, 0);

        unsigned long steps = 0;
        memset(peer.log, 0, 4096);
        while (t_used_idx(&peer, 0) == 0 && steps++ < 3000000 && t_step(pid))
                ;
        CU_ASSERT_EQUAL(t_used_idx(&peer, 0), 1);
        CU_ASSERT_EQUAL(peer.mem[t_status_gpa(0)], T_OK);
        CU_ASSERT(bit(T_DATA) && bit(T_DATA + 4096) && bit(t_status_gpa(0)));
        memset(peer.log, 0, 4096);
        while (!bit(peer.q[0].used) && steps++ < 3000000 && t_step(pid))
                ;
        CU_ASSERT_TRUE(bit(peer.q[0].used)); /* marked (again) after the index was written */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        t_peer_free(&peer);
        munmap(data, T_DISK_BYTES);
        unlink(rig.path);
        rmdir(dir);
}

static void test_a_log_too_short_is_reported_once(void)
{
        uint8_t payload[16], reply[8];

        up();
        t_log_on(&peer);
        put_le64(payload, 8); /* 64 pages */
        put_le64(payload + 8, 0);
        t_send(&peer, VUB_SET_LOG_BASE, 0, payload, 16, &peer.log_fd, 1);
        t_recv(&peer, VUB_SET_LOG_BASE, reply, 8, NULL);
        for (unsigned i = 0; i < 3; i++)
                CU_ASSERT_EQUAL(t_do(&peer, 0, T_IN, 0, T_DATA, 4096), T_OK);
        CU_ASSERT_EQUAL(rig.ntrouble, 1);
        CU_ASSERT_EQUAL(bits(), 0);
        down();
}

/* What was refused wrote nothing but its status, however much memory it named. */
static void test_refused_requests_mark_their_status_only(void)
{
        struct t_buf bufs[126] = {{t_header_gpa(0), 16, false}};
        uint32_t id, len;

        up();
        t_log_on(&peer);
        t_send_addr(&peer, 0, false);
        for (unsigned i = 1; i < 125; i++)
                bufs[i] = (struct t_buf){T_SEAM, T_MEM_BYTES - T_SEAM, true};
        bufs[125] = (struct t_buf){t_status_gpa(0), 1, true};
        static const uint32_t types[] = {T_IN, T_OUT, 99};
        for (unsigned i = 0; i < 3; i++) {
                memset(peer.log, 0, 4096);
                t_header(&peer, t_header_gpa(0), types[i], 0);
                t_offer(&peer, 0, t_chain_indirect(&peer, 0, T_DATA, bufs, 126));
                t_kick(&peer, 0);
                T_UNTIL(&rig, t_used(&peer, 0, &id, &len));
                CU_ASSERT_EQUAL(len, 1);
                CU_ASSERT(bits() == 1 && bit(t_status_gpa(0)));
        }
        /* Room that is left over in an answer is not marked either. */
        memset(peer.log, 0, 4096);
        CU_ASSERT_EQUAL(t_do(&peer, 0, T_GET_ID, 0, T_DATA, 8192), T_OK);
        CU_ASSERT(bits() == 2 && bit(T_DATA) && bit(t_status_gpa(0)));
        down();
}

static void test_bad_logs_are_refused(void)
{
        static const struct {
                uint64_t size, offset;
        } cases[] = {{0, 0}, {4097, 0}, {4096, 1}, {UINT64_MAX, 1}, {1, UINT64_MAX}};
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                uint8_t payload[16];
                up();
                put_le64(payload, cases[i].size);
                put_le64(payload + 8, cases[i].offset);
                t_send(&peer, VUB_SET_LOG_BASE, 0, payload, 16, &peer.log_fd, 1);
                CU_ASSERT_TRUE(t_closed(&peer));
                down();
        }
}

static const struct t_case cases[] = {
    T_CASE(test_bits_are_exact),
    T_CASE(test_nothing_is_marked_while_logging_is_off),
    T_CASE(test_log_events_tell_turns_only),
    T_CASE(test_failed_reads_are_marked),
    T_CASE(test_requests_begun_before_are_marked),
    T_CASE(test_data_and_status_are_marked_before_the_index),
    T_CASE(test_a_log_too_short_is_reported_once),
    T_CASE(test_refused_requests_mark_their_status_only),
    T_CASE(test_bad_logs_are_refused),
};
T_MAIN("vhost-user dirty log", cases)
