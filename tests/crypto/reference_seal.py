"""Seals as C2SP chunked encryption says, with a salt that the caller chooses: for tests and vectors.

Written from the published page, and shares nothing with decrypt.py.
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def reference_expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand with SHA-256, from RFC 5869, section 2.3."""
    output, block = b"", b""
    while len(output) < length:
        counter = bytes([len(output) // 32 + 1])
        block = hmac.new(key, block + info + counter, hashlib.sha256).digest()
        output += block
    return output[:length]


def reference_seal(key: bytes, context: bytes, plaintext: bytes, salt: bytes) -> bytes:
    """Seals by the page, with the primitives and the nonce rule that decrypt.py does not use."""
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    expanded = reference_expand(key, info, 76)
    chunk_key, base_nonce, commitment = expanded[:32], expanded[32:44], expanded[44:]
    sealed = salt + commitment
    for number in range(len(plaintext) // 16384 + 1):
        # "the final 5 bytes of the base nonce are XOR'd with the chunk number"
        low = bytes(a ^ b for a, b in zip(base_nonce[7:], number.to_bytes(5, "big")))
        nonce = base_nonce[:7] + low
        encryptor = Cipher(algorithms.AES(chunk_key), modes.GCM(nonce)).encryptor()
        sealed += encryptor.update(plaintext[number * 16384 : (number + 1) * 16384])
        sealed += encryptor.finalize() + encryptor.tag
    return sealed
