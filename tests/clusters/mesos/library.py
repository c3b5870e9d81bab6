#!/usr/bin/env python3
"""The native library of Mesos out of the registry of Python packages, and stand-ins for old libraries it names.

    library.py fetch FILE             writes the library
    library.py stand-ins FILE DIR     writes C sources, and the versions of their symbols, to be compiled

`pip download` does not take the old version's name, so pip's own finder is asked. A stand-in has each symbol
that the library leaves undefined, as a function that returns 0: none of them is called as long as nobody asks
for TLS, downloads by curl, Subversion's deltas or Python.
"""

import collections
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile

from pip._internal.commands import create_command

PACKAGE = "mesos.scheduler"
ARCHIVE = "mesos.scheduler-1.11.0.linux-x86_64.tar.gz"
DIGEST = "1d376f20bca6d05ee8b90c1c123a452b28753497ccc2f1c80ea3ac94c12e8f6e"
MEMBER = "usr/local/lib/python2.7/dist-packages/mesos/scheduler/_scheduler.so"
# Data that the library reads, and does not call.
DATA = {"PyExc_Exception", "PyExc_TypeError", "_Py_NoneStruct"}
# Which library a symbol without a version is of, by how it begins.
OWNERS = [
    (r"_?Py", "libpystub.so"),
    (r"svn_txdelta|svn_.*delta", "libsvn_delta-1.so.1"),
    (r"svn_", "libsvn_subr-1.so.1"),
    (r"apr_", "libapr-1.so.0"),
    (r"sasl_", "libsasl2.so.2"),
    (r"curl_", "libcurl.so.4"),
]
LIBRARIES = {owner for _, owner in OWNERS} | {"libssl.so.1.0.0", "libcrypto.so.1.0.0"}


def fetch(target):
    command = create_command("download")
    options, _ = command.parse_args(["--no-deps", PACKAGE])
    with command.main_context():
        session = command._build_session(options)
        finder = command._build_package_finder(options, session)
        candidates = finder.find_all_candidates(PACKAGE)
        link = next(one.link for one in candidates if one.link.filename == ARCHIVE)
        content = session.get(link.url_without_fragment).content
    digest = hashlib.sha256(content).hexdigest()
    if digest != DIGEST:
        sys.exit(f"{ARCHIVE} has the digest {digest}")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        member = next(one for one in archive if one.name.removeprefix("./") == MEMBER)
        with open(target, "wb") as file:
            file.write(archive.extractfile(member).read())


def readelf(option, library):
    run = ["readelf", "-W", option, library]
    return subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines()


def owners_of_versions(library):
    owners, current = {}, None
    for line in readelf("-V", library):
        if match := re.search(r"Version: \d+\s+File: (\S+)", line):
            current = match[1]
        elif current and (match := re.search(r"Name: \S+\s+Flags: \S+\s+Version: (\d+)", line)):
            owners[match[1]] = current
    return owners


def undefined(library):
    """By library and version, the symbols that are missing."""
    owners = owners_of_versions(library)
    missing = collections.defaultdict(lambda: collections.defaultdict(set))
    for line in readelf("--dyn-syms", library):
        fields = line.split()
        if len(fields) < 8 or fields[6] != "UND":
            continue
        name, _, version = fields[7].partition("@")
        version = version.lstrip("@")
        if version:
            owner = owners.get(fields[8].strip("()"), "") if len(fields) > 8 else ""
        else:
            owner = next((owner for begin, owner in OWNERS if re.match(begin, name)), "")
        missing[owner][version].add(name)
    return missing


def stand_ins(library, directory):
    os.makedirs(directory, exist_ok=True)
    missing = undefined(library)
    for owner in sorted(LIBRARIES):
        versions = missing.get(owner, {})
        with open(f"{directory}/{owner}.c", "w") as source:
            for name in sorted(set().union(*versions.values()) if versions else ()):
                if name in DATA:
                    source.write(f"char {name}[4096];\n")
                else:
                    source.write(f"long {name}(void) {{ return 0; }}\n")
        with open(f"{directory}/{owner}.map", "w") as script:
            before = ""
            for version in sorted(filter(None, versions)):
                names = " ".join(f"{name};" for name in sorted(versions[version]))
                rest = "" if before else " local: *;"
                script.write(f"{version} {{ global: {names}{rest} }}{before};\n")
                before = f" {version}"


def main():
    match sys.argv[1:]:
        case ["fetch", target]:
            fetch(target)
        case ["stand-ins", library, directory]:
            stand_ins(library, directory)
        case _:
            sys.exit(__doc__)


main()
