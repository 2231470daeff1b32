#!/usr/bin/python3
"""An independent decryptor of C2SP chunked encryption, to check what the store seals.

Written from the published page (https://c2sp.org/chunked-encryption) alone. It shares no code
and no constant with the C++ implementation, so a misreading of the page would have to be made
twice to go unseen. It favours being checked against the page over speed: a whole message in
memory, no streaming, one pass.

Instantiation: HKDF-Expand with SHA-256, AEAD_AES_256_GCM, an input key of 32 bytes.

    sealed := salt (24) || commitment (32) || chunk 0 || chunk 1 || ... || final chunk
    chunk  := AES-256-GCM of 16384 bytes of plaintext, the final chunk of fewer, then its tag (16)

As a command:

    decrypt.py KEY_HEX CONTEXT_HEX < sealed > plaintext

exits 0 when the message decrypts, 1 with one line on stderr and nothing on stdout when it is
refused, 2 when the arguments are malformed. CONTEXT_HEX may be the empty string.
"""

import argparse
import hmac
import sys
from typing import Iterator, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

AEAD_NAME = b"AEAD_AES_256_GCM"
KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16

SALT_BYTES = 24
COMMITMENT_BYTES = 32
HEADER_BYTES = SALT_BYTES + COMMITMENT_BYTES

CHUNK_BYTES = 16 * 1024
SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES
CHUNK_COUNT_MAX = 2**38


class DecryptError(Exception):
    """A sealed message was refused. Its text holds lengths and positions, never contents."""


class TooShort(DecryptError):
    """The message cannot hold a salt and a commitment ("Implementation notes": < 56 bytes)."""


class Truncated(DecryptError):
    """No sealed message has this length.

    Either the last chunk is not shorter than 16 KiB, so the end is missing ("Message
    chunking"), or what follows the last whole chunk is shorter than a tag ("Implementation
    notes").
    """


class TooLong(DecryptError):
    """The chunk counter reached 2^38 ("Message chunking")."""


class CommitmentMismatch(DecryptError):
    """Not this input key, salt and context, or an altered header ("Key derivation")."""


class AuthenticationFailed(DecryptError):
    """A chunk was altered, moved, or comes from another message ("AEAD usage")."""


class Derived(NamedTuple):
    """What one message's salt and context make of an input key ("Key derivation")."""

    key: bytes
    base_nonce: bytes
    commitment: bytes


def derive(
    input_key: bytes,
    salt: bytes,
    context: bytes,
    hash_algorithm: hashes.HashAlgorithm = hashes.SHA256(),
) -> Derived:
    """Expands an input key (32 bytes) for the message with this salt (24 bytes) and context.

    Section "Key derivation". The hash is a parameter because the published test vectors of
    the scheme use SHA-512. Raises ValueError for an input key or salt of another length.
    """
    if len(input_key) != KEY_BYTES:
        raise ValueError(f"input_key is {len(input_key)} bytes, must be {KEY_BYTES} bytes")
    if len(salt) != SALT_BYTES:
        raise ValueError(f"salt is {len(salt)} bytes, must be {SALT_BYTES} bytes")
    expanded = HKDFExpand(
        algorithm=hash_algorithm,
        length=KEY_BYTES + NONCE_BYTES + COMMITMENT_BYTES,
        info=b"c2sp.org/chunked-encryption@v1+" + AEAD_NAME + b"\x00" + salt + context,
    ).derive(input_key)
    return Derived(
        key=expanded[:KEY_BYTES],
        base_nonce=expanded[KEY_BYTES : KEY_BYTES + NONCE_BYTES],
        commitment=expanded[KEY_BYTES + NONCE_BYTES :],
    )


def chunk_nonce(base_nonce: bytes, number: int) -> bytes:
    """The base nonce XOR the chunk number, big-endian and as wide ("AEAD usage")."""
    if number >= CHUNK_COUNT_MAX:
        raise TooLong(f"chunk number is {number}, limit is {CHUNK_COUNT_MAX - 1}")
    width = len(base_nonce)
    return (int.from_bytes(base_nonce, "big") ^ number).to_bytes(width, "big")


def split_chunks(body: bytes) -> Iterator[bytes]:
    """Yields the sealed chunks that follow the header; the last one is the short one.

    Sections "Message chunking" and "Implementation notes". A length that no message has is
    refused before the first chunk is yielded.
    """
    final_bytes = len(body) % SEALED_CHUNK_BYTES
    if final_bytes == 0:
        raise Truncated(f"chunks are {len(body)} bytes, the short final chunk is missing")
    if final_bytes < TAG_BYTES:
        raise Truncated(f"final chunk is {final_bytes} bytes, its tag alone is {TAG_BYTES} bytes")
    for offset in range(0, len(body), SEALED_CHUNK_BYTES):
        yield body[offset : offset + SEALED_CHUNK_BYTES]


def decrypt(
    input_key: bytes,
    context: bytes,
    sealed: bytes,
    hash_algorithm: hashes.HashAlgorithm = hashes.SHA256(),
) -> bytes:
    """Returns the plaintext of one sealed message, or none of it.

    The commitment is checked before any chunk is decrypted, as "Key derivation" demands.
    Raises TooShort, CommitmentMismatch, Truncated, AuthenticationFailed or TooLong, all of
    them DecryptError, and ValueError for an input key that is not 32 bytes.
    """
    if len(sealed) < HEADER_BYTES:
        raise TooShort(f"sealed message is {len(sealed)} bytes, its header is {HEADER_BYTES} bytes")
    salt = sealed[:SALT_BYTES]
    commitment = sealed[SALT_BYTES:HEADER_BYTES]
    derived = derive(input_key, salt, context, hash_algorithm)
    if not hmac.compare_digest(commitment, derived.commitment):
        raise CommitmentMismatch("commitment does not match the input key, salt and context")

    aead = AESGCM(derived.key)
    plaintext = bytearray()
    for number, chunk in enumerate(split_chunks(sealed[HEADER_BYTES:])):
        try:
            plaintext += aead.decrypt(chunk_nonce(derived.base_nonce, number), chunk, None)
        except InvalidTag:
            raise AuthenticationFailed(f"chunk {number} does not authenticate") from None
    return bytes(plaintext)


def _hex_argument(text: str) -> bytes:
    # argparse repeats the value of any other error, and the value may be a key.
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise argparse.ArgumentTypeError("not hexadecimal") from None


def _key_argument(text: str) -> bytes:
    key = _hex_argument(text)
    if len(key) != KEY_BYTES:
        raise argparse.ArgumentTypeError(f"key is {len(key)} bytes, must be {KEY_BYTES} bytes")
    return key


def main() -> int:
    parser = argparse.ArgumentParser(description="Decrypts one C2SP chunked-encryption message.")
    parser.add_argument("key", metavar="KEY_HEX", type=_key_argument)
    parser.add_argument("context", metavar="CONTEXT_HEX", type=_hex_argument)
    arguments = parser.parse_args()
    try:
        plaintext = decrypt(arguments.key, arguments.context, sys.stdin.buffer.read())
    except DecryptError as error:
        print(f"refused: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(plaintext)
    return 0


if __name__ == "__main__":
    sys.exit(main())
