"""Puts and takes alone beside NATS JetStream: the part of a life that a work queue covers."""

import rows as r

SIZE_BYTES = 1024
BATCHES = [32, 256]
LANES = 4
GRPC_OPTIONS = {"connections": 2}
FULL = {"repetitions": 5, "items": 30_720}
QUICK = {"repetitions": 2, "items": 10_240}

NOTES = [
    "NATS: a file-backed work queue; a put is a publish with its ack, a take a pulled message with "
    "its ack, the last of a batch with an answer. Its files are synced every two minutes, so the "
    "loss of power costs more than under relaxed durability, and it picks AES-128-GCM for TLS where "
    "the others use AES-256-GCM. It cannot be asked for a certain "
    "call's output. In Mayfly a put is PutInputs, a take ClaimOutputs and AckOutputs.",
]


def rows(run):
    settings = QUICK if run.quick else FULL
    for batch in BATCHES:
        options = {"payload_bytes": SIZE_BYTES, "batch": batch, "lanes": LANES,
                   "items": settings["items"]}
        mayfly, nats = [], []
        for repetition in range(settings["repetitions"]):
            run.progress(f"puts and takes, batches of {batch}, "
                         f"{repetition + 1} of {settings['repetitions']}")
            mayfly.append(run.drive(run.fleet.mayfly_relaxed, "mayfly-queue", **options,
                                    **GRPC_OPTIONS))
            nats.append(run.drive(run.fleet.nats, "nats", **options))
        for figure in ("puts", "takes"):
            yield r.row(f"{figure}_over_nats", SIZE_BYTES, f"batch_{batch}", "relaxed",
                        "NATS JetStream", [report[f"{figure}_per_s"] for report in nats],
                        f"{figure}/s", [report[f"{figure}_per_s"] for report in mayfly])
