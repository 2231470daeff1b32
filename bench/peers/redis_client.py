"""What is asked of Redis beside what is measured: its client, and waits for what it does by itself."""

import time

import redis

POLL_SECONDS = 0.002
REWRITE_POLL_SECONDS = 0.2


def connect(port, certificates):
    """A client over TLS. It connects with its first command, and disconnects when it is dropped."""
    return redis.Redis(host="localhost", port=port, ssl=True, ssl_check_hostname=True,
                       ssl_ca_certs=str(certificates / "ca.pem"),
                       ssl_certfile=str(certificates / "client.pem"),
                       ssl_keyfile=str(certificates / "client.key"))


def wait_for_key(port, certificates, key, seconds_max):
    """Monotonic time of the first answer with the value of `key`, however often it takes asking."""
    client = connect(port, certificates)
    end = time.monotonic() + seconds_max
    while time.monotonic() < end:
        try:
            # The client drops its connection when GET is refused because Redis is loading its file,
            # and a handshake for each poll would slow Redis down. INFO is answered meanwhile.
            if not client.info("persistence")["loading"] and client.get(key) is not None:
                return time.monotonic()
        except redis.ConnectionError:
            pass  # it does not listen yet
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"Redis did not answer within {seconds_max} s")


def wait_for_rewrite(port, certificates):
    """Returns when no rewrite of the append-only file is under way."""
    client = connect(port, certificates)
    while client.info("persistence")["aof_rewrite_in_progress"]:
        time.sleep(REWRITE_POLL_SECONDS)
