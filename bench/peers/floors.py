"""The limits of the machine: no figure can be above them."""

import rows as r

REPETITIONS = 5

NOTES = [
    "Floors: one thread encrypting with AES-256-GCM, a new key and nonce each time; 4 KiB appends, "
    "each synced, to the disk that the servers write to. A life encrypts two payloads and decrypts "
    "two for the disk, and does both for TLS at both ends.",
]


def rows(run):
    seconds = 0.05 if run.quick else 0.2
    reports = [run.program(run.floor_path, "--directory", run.directory, "--seconds", seconds)
               for _ in range(REPETITIONS)]
    for place, seal in enumerate(reports[0]["aes_256_gcm"]):
        yield r.row("floor_aes_256_gcm", seal["size_bytes"], "one thread", "none", "OpenSSL",
                    [report["aes_256_gcm"][place]["per_s"] for report in reports], "messages/s")
    yield r.row("floor_fdatasync", 4096, "one thread", "sync", "the disk",
                [report["fdatasync_per_s"] for report in reports], "appends/s")
