#!/usr/bin/env python3
"""A fetcher for the tests' Mesos: brings what a task needs into its sandbox, as MESOS_FETCHER_INFO says."""

import json
import os
import shutil
import sys
import tarfile
import urllib.parse
import urllib.request


def download(uri, target):
    print(f"fetching {uri} to {target}", file=sys.stderr)
    if "://" in uri and not uri.startswith("file://"):
        with urllib.request.urlopen(uri, timeout=60) as source, open(target, "wb") as file:
            shutil.copyfileobj(source, file)
    else:
        shutil.copyfile(uri.removeprefix("file://"), target)


def main():
    info = json.loads(os.environ["MESOS_FETCHER_INFO"])
    sandbox, cache = info["sandbox_directory"], info.get("cache_directory")
    for item in info.get("items", []):
        uri = item["uri"]
        value = uri["value"]
        path = urllib.parse.urlparse(value).path if "://" in value else value
        name = uri.get("output_file") or os.path.basename(path)
        target = source = os.path.join(sandbox, name)
        if item["action"] == "BYPASS_CACHE":
            download(value, target)
        else:
            source = os.path.join(cache, item["cache_filename"])
            if item["action"] == "DOWNLOAD_AND_CACHE":
                os.makedirs(cache, exist_ok=True)
                download(value, source)
        if uri.get("extract", True) and name.endswith((".tar", ".tar.gz", ".tgz")):
            with tarfile.open(source) as archive:
                # Older releases of Python have no filters.
                archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
                archive.extractall(sandbox)
        elif source != target:
            shutil.copyfile(source, target)
        if uri.get("executable"):
            os.chmod(target, 0o755)


main()
