"""A row: one comparison.

  figure       what is compared, one of the names in table.py
  size_bytes   of an input and of an output
  shape        unary_N: N calls one at a time, each a batch of one; batch_N: batches of N
  durability   relaxed (a crash loses nothing, loss of power up to a second), sync, or none
  mayfly       {median, min, max, unit}, or null where Mayfly is not part of it
  peer         whom it is compared with
  peer_value   as mayfly, of the peer in the same run
  ratio        median of mayfly over median of the peer, or null
  aim          what the ratio should be, as in ">= 0.85", or Mayfly's own median, as in
               "Mayfly <= 2"; or null
  repetitions  of each
"""

import statistics


def value(samples, unit):
    return {"median": statistics.median(samples), "min": min(samples), "max": max(samples),
            "unit": unit}


def row(figure, size_bytes, shape, durability, peer, peer_samples, unit, mayfly_samples=None,
        aim=None):
    mayfly = value(mayfly_samples, unit) if mayfly_samples else None
    peer_value = value(peer_samples, unit)
    ratio = mayfly["median"] / peer_value["median"] if mayfly else None
    return {"figure": figure, "size_bytes": size_bytes, "shape": shape, "durability": durability,
            "mayfly": mayfly, "peer": peer, "peer_value": peer_value,
            "ratio": round(ratio, 3) if ratio is not None else None, "aim": aim,
            "repetitions": len(peer_samples)}


def meets(row):
    """True, false, or None without an aim."""
    if row["aim"] is None or row["mayfly"] is None:
        return None
    *of_mayfly, sign, bound = row["aim"].split()
    measured = row["mayfly"]["median"] if of_mayfly else row["ratio"]
    return measured >= float(bound) if sign == ">=" else measured <= float(bound)


def size_text(size_bytes):
    for unit, bytes_of_unit in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes >= bytes_of_unit:
            return f"{size_bytes // bytes_of_unit} {unit}"
    return f"{size_bytes} B"
