"""What the packages have in common: the program as it is given out, and archives that are the same whenever
they are made."""

import os
import pathlib
import re
import struct
import subprocess
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOME = "https://github.com/anymaster/anymaster"
SUMMARY = "Drivers and executors on any cluster manager, chosen by the master URL; spark-submit without the JVM"
# e_machine of ELF, and what Python, Debian and OCI call it.
MACHINES = {62: ("x86_64", "amd64", "amd64"), 183: ("aarch64", "arm64", "arm64")}
# How hard archives are compressed: 0 not at all, 9 most.
LEVEL = int(os.environ.get("COMPRESSION", "6"))
EPOCH = 1767225600  # 2026-01-01


def version():
    text = (ROOT / "Cargo.toml").read_text()
    return re.search(r'^version = "(.+)"$', text, re.MULTILINE).group(1)


class Program:
    """An ELF program: for which machine it is, and whether it needs nothing else."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        data = self.path.read_bytes()
        if data[:4] != b"\x7fELF" or data[4] != 2:
            raise SystemExit(f"{path} is not a program for a 64-bit Linux")
        (machine,) = struct.unpack_from("<H", data, 18)
        if machine not in MACHINES:
            raise SystemExit(f"{path} is for a machine that is not known ({machine})")
        self.python, self.debian, self.oci = MACHINES[machine]
        (table,) = struct.unpack_from("<Q", data, 32)
        size, count = struct.unpack_from("<HH", data, 54)
        kinds = [struct.unpack_from("<I", data, table + size * at)[0] for at in range(count)]
        # A static program has no PT_INTERP.
        self.is_static = 3 not in kinds
        self.data = data

    def says(self, *words):
        return subprocess.run([self.path, *words], check=True, stdout=subprocess.PIPE).stdout

    def man_pages(self):
        """The man pages, by their file names."""
        with tempfile.TemporaryDirectory() as directory:
            subprocess.run([self.path, "man", "--dir", directory], check=True, stderr=subprocess.DEVNULL)
            pages = sorted(pathlib.Path(directory).iterdir())
            return {page.name: page.read_bytes() for page in pages}


def of_root(entry):
    """An entry of a tar archive: the same for whoever makes it, and whenever."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = EPOCH
    return entry


def write(path, data, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    path.chmod(mode)


def entry(name, kind=tarfile.REGTYPE, mode=0o644, size=0, target=""):
    it = of_root(tarfile.TarInfo(name))
    it.type, it.mode, it.size, it.linkname = kind, mode, size, target
    return it
