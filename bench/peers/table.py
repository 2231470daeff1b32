"""The rows as Markdown, fit for bench/README.md."""

import tabulate

import rows as r

# Every figure, in the order of the page, with its heading.
FIGURES = {
    "lives_over_redis": "Lives of calls per second, beside Redis",
    "lives_over_null": "Lives of calls per second, beside a server that stores nothing",
    "callers": "Lives of calls per second of many callers, through the C++ client",
    "session_over_unary":
        "Lives of calls per second by Session, beside unary RPCs, of a server that stores nothing",
    "upload_over_null": "Uploads, beside a server that keeps the same messages in memory",
    "download_over_null": "Downloads, beside a server that keeps the same messages in memory",
    "switches": "Context switches of the server for one request, beyond a server that stores nothing",
    "put_p50_over_null": "Median of one put, beside a server that stores nothing",
    "puts_over_nats": "Puts per second, beside NATS JetStream",
    "takes_over_nats": "Takes per second, beside NATS JetStream",
    "rss_per_live_call": "Memory of the server for each live call",
    "start_after_kill": "From the start after kill -9 to the first answer",
    "rate_at_many_calls": "Lives of calls per second with many live calls, over those with 10,000",
    "life_p99": "99th percentile of a life, before and while many calls fall due at once",
    "life_p99_in_storm": "99th percentile of a life while many calls fall due at once, over quiet",
    "closed_within": "From the end of the second in which calls are due to when nobody can open them",
    "removal_cpu": "CPU of removing calls that nobody has retrieved, beside putting them",
    "removed_within": "From when many calls fall due at once to when all are removed",
    "written_per_payload_byte": "Bytes written for each byte of payload",
    "floor_aes_256_gcm": "Floor: encryption, one thread",
    "floor_fdatasync": "Floor: synced appends of 4 KiB",
}

VERDICTS = {True: "met", False: "**not met**", None: ""}


def number(value):
    if value >= 10_000:
        return f"{value / 1000:.1f} k"
    if value >= 1000:
        return f"{value / 1000:.2f} k"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(value):
    if value is None:
        return "-"
    return f"{number(value['median'])} ({number(value['min'])}-{number(value['max'])})"


def markdown(headings, lines):
    """Cells are text as it is to be shown, numbers too."""
    return tabulate.tabulate(lines, headings, tablefmt="github", disable_numparse=True)


def section(heading, rows):
    unit = rows[0]["peer_value"]["unit"]
    yield f"### {heading}"
    yield ""
    yield f"Median (lowest-highest) of {rows[0]['repetitions']}, in {unit}."
    yield ""
    if rows[0]["mayfly"] is None:
        yield markdown(["size", "by", unit],
                       [[r.size_text(row["size_bytes"]), row["peer"], spread(row["peer_value"])]
                        for row in rows])
    else:
        yield markdown(
            ["size", "shape", "durability", "Mayfly", "peer", "its value", "ratio", "aim", ""],
            [[r.size_text(row["size_bytes"]), row["shape"], row["durability"],
              spread(row["mayfly"]), row["peer"], spread(row["peer_value"]),
              f"{row['ratio']:.2f}", row["aim"] or "", VERDICTS[r.meets(row)]] for row in rows])
    yield ""


def render(rows, notes):
    lines = []
    for figure in dict.fromkeys([*FIGURES, *(row["figure"] for row in rows)]):
        of_figure = [row for row in rows if row["figure"] == figure]
        if of_figure:
            lines += section(FIGURES.get(figure, figure), of_figure)
    return "\n".join([*lines, *(f"- {note}" for note in notes)])
