"""What a lab is made of: the installed tree and the guest's image."""

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from .signals import uninterrupted

GUEST_BUILD = Path(__file__).resolve().parents[1] / "guest/build"


@contextlib.contextmanager
def stage(build):
    """Installs the build into a tree that exists inside the with; several may exist at once."""
    tree = Path(tempfile.mkdtemp(prefix="stage.", dir=build))
    try:
        tree.chmod(0o755)
        subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", tree.resolve()],
                       check=True, stdout=subprocess.DEVNULL)
        yield tree
    finally:
        with uninterrupted():
            shutil.rmtree(tree, ignore_errors=True)


def guest(build):
    """Makes the guest's kernel and initramfs, or finds them made; returns their directory."""
    directory = Path(build) / "guest"
    subprocess.run([GUEST_BUILD, directory], check=True)
    return directory
