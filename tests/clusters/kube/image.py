#!/usr/bin/env python3
"""Writes an image with one layer as `ctr images import` reads it, without a container engine.

image.py NAME OUT.tar ROOT [--entrypoint WORD...] [--user USER] [--env NAME=VALUE...]
"""
import argparse
import hashlib
import io
import json
import os
import tarfile

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DAY = "2026-01-01T00:00:00Z"


def of_root(entry):
    """The same for whoever builds it, and whenever."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def add(archive, name, data):
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("out")
    parser.add_argument("root")
    parser.add_argument("--entrypoint", nargs="*")
    parser.add_argument("--env", nargs="*", default=[])
    parser.add_argument("--user", default="")
    args = parser.parse_args()

    layer = args.out + ".layer"
    with tarfile.open(layer, "w") as archive:
        archive.add(args.root, arcname=".", filter=of_root)
    with open(layer, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    config = json.dumps({
        "architecture": "amd64",
        "os": "linux",
        "created": DAY,
        "config": {"Env": [PATH, *args.env], "User": args.user, "Entrypoint": args.entrypoint},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": DAY}],
    }).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = [{"Config": config_name, "RepoTags": [args.name], "Layers": [f"{digest}.tar"]}]
    with tarfile.open(args.out, "w") as archive:
        add(archive, config_name, config)
        archive.add(layer, arcname=f"{digest}.tar", filter=of_root)
        add(archive, "manifest.json", json.dumps(manifest).encode())
    os.remove(layer)


main()
