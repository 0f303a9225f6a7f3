/* What <backingStore><path> may name: volumes and snapshots of the same pool, by path or name. */
#include "base/cleanup.h"
#include "t_suite.h"
#include "xml/volume_xml.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define RUNDIR "/run/zonepool"

static void test_volumes_and_snapshots_are_named(void)
{
        static const struct {
                const char *path, *volume, *snapshot;
        } cases[] = {
            {RUNDIR "/mnt/tank/base", "base", ""},
            {RUNDIR "/mnt/tank/base@monday", "base", "monday"},
            {"base", "base", ""},
            {"b.a+s_e-1@2", "b.a+s_e-1", "2"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct volume_xml_base base;
                struct err err = ERR_INIT;

                CU_ASSERT_EQUAL_FATAL(
                    volume_xml_base_parse(cases[i].path, RUNDIR, "tank", &base, &err), 0);
                CU_ASSERT_STRING_EQUAL(base.volume, cases[i].volume);
                CU_ASSERT_STRING_EQUAL(base.snapshot, cases[i].snapshot);
                CLEANUP(free_ptr)
                char *path = volume_xml_base_format(RUNDIR, "tank", base.volume,
                                                    base.snapshot[0] ? base.snapshot : NULL);
                CU_ASSERT_PTR_NOT_NULL_FATAL(path);
                const char *given = strrchr(cases[i].path, '/');
                CU_ASSERT_STRING_EQUAL(strrchr(path, '/') + 1, given ? given + 1 : cases[i].path);
        }
}

static void test_refusals_say_what_is_allowed(void)
{
        static const struct {
                const char *path, *says;
        } cases[] = {
            {"", "is no name of a volume"},
            {"@monday", "is no name of a volume"},
            {"base@", "is no name of a volume"},
            {"base@a@b", "is no name of a volume"},
            {"..", "is no name of a volume"},
            {RUNDIR "/mnt/tank/", "is no name of a volume"},
            {RUNDIR "/mnt/tank/a/b", "is no name of a volume"},
            {RUNDIR "/mnt/tank/../tank/a", "is no name of a volume"},
            {RUNDIR "/mnt/tank", "is no volume of zonepool"},
            {RUNDIR "/mnt/other/base", "'/run/zonepool/mnt/other/base' is of another pool"},
            {RUNDIR "/mnt/tan/base", "is of another pool"},
            {RUNDIR "/mnt/tanks/base", "is of another pool"},
            {RUNDIR "/tank/base.sock", "is no volume of zonepool"},
            {"/srv/base.img", "'/srv/base.img' is no volume of zonepool; allowed: a volume of pool "
                              "'tank', /run/zonepool/mnt/tank/VOLUME, or VOLUME@SNAPSHOT there"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct volume_xml_base base;
                struct err err = ERR_INIT;
                int rc = volume_xml_base_parse(cases[i].path, RUNDIR, "tank", &base, &err);
                bool ok = rc == -EINVAL && strstr(err.msg, cases[i].says);

                CU_ASSERT_TRUE(ok);
                if (!ok)
                        printf("\n  case %zu: rc %d, \"%s\"\n", i, rc, err.msg);
        }
}

static void test_names_are_as_long_as_names_may_be(void)
{
        char path[2 * VOLUME_XML_MAX_NAME + 3];
        struct volume_xml_base base;
        struct err err = ERR_INIT;

        memset(path, 'a', sizeof(path));
        path[VOLUME_XML_MAX_NAME] = '@';
        path[2 * VOLUME_XML_MAX_NAME + 1] = '\0';
        CU_ASSERT_EQUAL(volume_xml_base_parse(path, RUNDIR, "tank", &base, &err), 0);
        CU_ASSERT_EQUAL(strlen(base.volume), VOLUME_XML_MAX_NAME);
        CU_ASSERT_EQUAL(strlen(base.snapshot), VOLUME_XML_MAX_NAME);
        path[2 * VOLUME_XML_MAX_NAME + 1] = 'a';
        path[2 * VOLUME_XML_MAX_NAME + 2] = '\0';
        CU_ASSERT_EQUAL(volume_xml_base_parse(path, RUNDIR, "tank", &base, &err), -EINVAL);
        path[VOLUME_XML_MAX_NAME] = 'a';
        CU_ASSERT_EQUAL(volume_xml_base_parse(path, RUNDIR, "tank", &base, &err), -EINVAL);
}

static const struct t_case cases[] = {
    T_CASE(test_volumes_and_snapshots_are_named),
    T_CASE(test_refusals_say_what_is_allowed),
    T_CASE(test_names_are_as_long_as_names_may_be),
};
T_MAIN("volume XML", cases)
