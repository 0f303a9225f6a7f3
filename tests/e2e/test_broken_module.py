"""Whatever is wrong with our backend, libvirtd starts and every other pool works; ours say why they do not."""

import shutil
import signal

FOLDER = "/run/broken"
STOCK = "/usr/lib/zonepool"


def run(lab, options):
    host = lab.a
    host.virsh("pool-define", host.write("/run/tank.xml", lab.pool_xml(host, "tank")))
    host.virsh("pool-build", "tank")
    host.virsh("pool-start", "tank")
    faults = {
        "missing": lambda module: module.unlink(),
        "not-a-module": lambda module: module.write_bytes(b"not an ELF file"),
        "without-entry": lambda module: shutil.copy(host.path("/usr/lib/x86_64-linux-gnu/libvirt/lock-driver/zonepool.so"),
                                                    module),
        "cut-short": lambda module: module.write_bytes(module.read_bytes()[:4000]),
    }
    for name, spoil in faults.items():
        shutil.rmtree(host.path(FOLDER), ignore_errors=True)
        shutil.copytree(host.path(STOCK), host.path(FOLDER), symlinks=True)
        spoil(host.path(f"{FOLDER}/zonepool-backend.so"))
        restart(host, FOLDER)
        host.virsh("pool-create-as", "plain", "dir", "--target", "/srv")
        host.virsh("pool-destroy", "plain")
        text = host.virsh_refused("pool-start", "tank")
        assert "vstorage" in text, f"{name}: {text}"
        log = host.path("/var/log/libvirt/libvirtd.log").read_text()
        assert "zonepool pools are not available" in log, f"{name}: nothing in libvirtd's log"
    restart(host, STOCK)
    assert "running" in host.virsh("pool-info", "tank") or host.virsh("pool-start", "tank"), "the pool did not come back"
    xml = host.virsh("pool-dumpxml", "tank")
    assert "<zonepool:device path='/srv/tank-0.img'" in xml, f"the settings were lost: {xml}"
    host.virsh("pool-destroy", "tank")
    host.virsh("pool-undefine", "tank")
    return f"{len(faults)} faults"


def restart(host, folder):
    host.daemons["libvirtd"].stop(signal.SIGTERM)
    host.path("/var/log/libvirt/libvirtd.log").write_text("")
    host.start_libvirtd({"LIBVIRT_STORAGE_BACKEND_DIR": f"{folder}/storage-backend"})
