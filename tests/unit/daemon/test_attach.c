/* A volume whose attaching fails half-way: nothing of it is left, whatever else the daemon is busy
 * with. A whole daemon, without a mount, over one file device. */
#include "base/cleanup.h"
#include "daemon/daemon.h"
#include "daemon/dpool.h"
#include "daemon/dvol.h"
#include "daemon/migration.h"
#include "migrate/internal.h"
#include "nvme/internal.h"
#include "pool/device/file.h"
#include "tests/t_suite.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static char tmp_dir[] = "/tmp/zonepool-attach-XXXXXX";
static struct daemon d;
static struct dpool *tank;

static void until(const bool *flag)
{
        uint64_t end = clock_now_ns() + UINT64_C(10000000000);

        while (!*flag && clock_now_ns() < end)
                loop_turn(d.loop, 1000000);
        CU_ASSERT_TRUE_FATAL(*flag);
}

struct answer {
        bool done;
        int status;
        struct err err;
        void *result;
};

static void answered(void *ctx, int status, const struct err *err, void *result)
{
        struct answer *a = ctx;

        *a = (struct answer){true, status, err ? *err : ERR_INIT, result};
}

static void formatted(void *ctx, int status, const struct err *err)
{
        answered(ctx, status, err, NULL);
}

static void imported(void *ctx, int status, const struct err *err, struct dpool *p)
{
        answered(ctx, status, err, p);
}

static void created(void *ctx, int status, const struct err *err, struct dvol *v)
{
        answered(ctx, status, err, v);
}

static uint64_t now(void *ctx)
{
        return clock_now_ns();
}

static void random_of(void *ctx, void *buf, size_t len)
{
        memset(buf, 0x5a, len);
}

static void start(void)
{
        const char *const dirs[] = {"run", "state", "log"};
        struct config cfg;
        struct err err = ERR_INIT;

        CU_ASSERT_EQUAL_FATAL(config_init(&cfg), 0);
        char **const settings[] = {&cfg.rundir, &cfg.statedir, &cfg.logdir};
        for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
                char path[64];
                snprintf(path, sizeof(path), "%s/%s", tmp_dir, dirs[i]);
                CU_ASSERT_EQUAL_FATAL(config_set_text(settings[i], path), 0);
        }
        cfg.fuse = false;
        CU_ASSERT_EQUAL_FATAL(config_set_text(&cfg.disk_user, ""), 0);
        CU_ASSERT_EQUAL_FATAL(daemon_start(&d, &cfg, &err), 0);
}

static void make_pool(void)
{
        const struct file_device_spec geometry = {.size_bytes = 64 << 20};
        const struct pool_host host = {.now_ns = now, .random = random_of};
        const struct uuid uuid = {{1, 2, 3}};
        struct answer a = {0};
        struct zdev *dev;
        struct pool_spec spec = {0};
        struct err err = ERR_INIT;
        char path[64];

        snprintf(path, sizeof(path), "%s/tank.img", tmp_dir);
        CU_ASSERT_EQUAL_FATAL(file_device_create(path, &geometry, false, &err), 0);
        CU_ASSERT_EQUAL_FATAL(file_device_open(d.loop, path, &dev, &err), 0);
        json_t *devices = json_pack("[s]", path);
        CU_ASSERT_EQUAL_FATAL(pool_spec_init(&spec, "tank", devices, NULL, NULL, &err), 0);
        json_decref(devices);
        pool_format(&dev, 1, "tank", &uuid, &host, &spec.options, &a, formatted);
        until(&a.done);
        CU_ASSERT_EQUAL_FATAL(a.status, 0);
        zdev_close(dev);
        a = (struct answer){0};
        dpool_import(&d, &spec, NULL, false, &a, imported);
        until(&a.done);
        CU_ASSERT_EQUAL_FATAL(a.status, 0);
        tank = a.result;
}

static void stop(void)
{
        daemon_stop(&d);
        CU_ASSERT_EQUAL(loop_run(d.loop), 0);
        CU_ASSERT_TRUE(d.clean);
        daemon_fini(&d);
}

static void test_a_controller_that_cannot_go_at_once_goes_later(void)
{
        char name[VOLUME_NAME_MAX + 1];
        struct volume_spec spec = {.name = name, .size_bytes = 1 << 20, .uuid = {{7}}};
        struct answer a = {0};

        start();
        make_pool();
        memset(name, 'n', sizeof(name) - 1); /* its socket's path is too long */
        name[sizeof(name) - 1] = '\0';
        /* Of another domain a controller is being resumed: no volume leaves meanwhile. */
        struct migrate *m = migration_engine(&d);
        struct list resume;
        list_add_tail(&m->resumes, &resume);
        dvol_create(tank, &spec, &a, created);
        for (int i = 0; i < 100; i++)
                loop_turn(d.loop, 1000000);
        list_del(&resume);
        until(&a.done);
        CU_ASSERT_EQUAL(a.status, -ENAMETOOLONG);
        CU_ASSERT_PTR_NOT_NULL(strstr(a.err.msg, "choose a shorter name"));
        CU_ASSERT_PTR_NULL(nvm_controller_by_uuid(d.nvm, &spec.uuid));
        CU_ASSERT_TRUE(list_empty(&m->volumes));
        CU_ASSERT_TRUE(list_empty(&tank->volumes));
        CU_ASSERT_PTR_NULL(volume_by_name(tank->pool, name));

        /* the UUID is free again */
        strcpy(name, "short");
        a = (struct answer){0};
        dvol_create(tank, &spec, &a, created);
        until(&a.done);
        CU_ASSERT_EQUAL(a.status, 0);
        stop();
}

static const struct t_case cases[] = {
    T_CASE(test_a_controller_that_cannot_go_at_once_goes_later),
};

int main(void)
{
        if (!mkdtemp(tmp_dir))
                return 1;
        int rc = t_run("attaching volumes", cases, ARRAY_SIZE(cases));
        char command[64];
        snprintf(command, sizeof(command), "rm -rf %s", tmp_dir);
        return system(command) == 0 ? rc : 1;
}
