#!/usr/bin/env python3
"""A folder includes only what stands below it, and pool/ stays free of the world.

The order is the architecture's (docs/architecture.md). Every `#include "..."` of the tree's own code is
resolved to its folder and must point down or stay inside.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1])

# Folder -> folders it may include besides itself. Longest prefix wins.
ALLOWED = {
    "src/base": [],
    "pool": ["src/base"],
    "pool/device": ["src/base", "pool"],
    "src/nvme": ["src/base", "pool"],
    "src/frontend": ["src/base", "pool", "src/nvme"],
    "src/control": ["src/base"],
    "src/migrate": ["src/base", "pool", "src/nvme", "src/frontend", "src/control"],
    "xml": ["src/base"],
    "src/daemon": ["src/base", "pool", "pool/device", "src/nvme", "src/frontend", "src/control",
                   "src/migrate"],
    "src/cli": ["src/base", "src/control", "xml"],
    "plugin": ["src/base", "src/control", "xml"],
}

# System headers that have no place in the deterministic part of the pool.
POOL_FORBIDDEN = re.compile(
    r"(unistd|fcntl|time|pthread|threads|sys/(?!types|uio)\w+|liburing|libvirt/.*|linux/.*|poll|signal"
    r"|netinet/.*|stdatomic)\.h")


def folder_of(path):
    best = ""
    for name in ALLOWED:
        if str(path).startswith(name + "/") and len(name) > len(best):
            best = name
    return best


def main():
    faults = []
    seen = 0
    for top in ("src", "pool", "plugin", "xml"):
        for path in sorted((ROOT / top).rglob("*.[ch]")):
            rel = path.relative_to(ROOT)
            own = folder_of(rel)
            text = path.read_text(encoding="utf-8")
            seen += 1
            for number, line in enumerate(text.splitlines(), 1):
                quoted = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                system = re.match(r"\s*#\s*include\s+<([^>]+)>", line)
                if system and own == "pool" and POOL_FORBIDDEN.fullmatch(system[1]):
                    faults.append(f"{rel}:{number}: pool/ includes <{system[1]}>")
                if not quoted:
                    continue
                name = quoted[1]
                for base in ("", "src", str(rel.parent)):
                    if (ROOT / base / name).is_file():
                        target = folder_of(pathlib.Path(base) / name)
                        break
                else:
                    continue  # a foreign header (libvirt's) or a generated one
                if target not in ("", own, *ALLOWED[own]):
                    faults.append(f"{rel}:{number}: {own} includes {target} ({name})")
    for fault in faults:
        print(fault)
    print(f"{seen} files, {len(faults)} upward includes")
    return 1 if faults or not seen else 0


sys.exit(main())
