#!/usr/bin/python3
"""Checks sealed messages against the published page, through the independent decryptor.

    decrypt_test.py [SEAL_TOOL] [--seed N] [--vectors FILE]

SEAL_TOOL is the C++ sealer, run as `SEAL_TOOL KEY_HEX CONTEXT_HEX < plaintext > sealed`. The
same checks run against the sealer of reference_seal.py, so that the decryptor is itself under test:
Project Wycheproof's published vectors come first, then RFC 5869's for the hand-written HKDF.
FILE is Wycheproof's c2sp_chunked_encryption_aes_256_gcm_test.json, to run all of it.

Every number below is written out from the page again instead of imported from decrypt.py: a
wrong constant there must fail here.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import unittest
import zlib
from typing import NamedTuple, Optional, Type

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import decrypt
from cryptography.hazmat.primitives import hashes
from reference_seal import reference_expand, reference_seal

OPTIONS = argparse.Namespace()  # Filled by main().

# Around every boundary of the format: the header, a chunk, a storage segment, and (last) the
# chunk number that no longer fits one byte.
PLAINTEXT_BYTES = (
    (0, 1, 2, 55, 56, 57, 16367, 16383, 16384, 16385, 32767, 32768, 32769)
    + (65535, 65536, 65537, 1048575, 1048576, 1048577)
    + (256 * 16384 - 1, 256 * 16384, 256 * 16384 + 1, 257 * 16384 + 1)
)
CONTEXT_BYTES = (0, 7, 300)

# Tampering needs fewer shapes: one short chunk, an empty final one, a full chunk less one byte
# at the end, and several chunks.
TAMPERED_BYTES = (0, 1, 100, 16384, 32767, 40000, 1048576)


class Vector(NamedTuple):
    """One case of Wycheproof's c2sp_chunked_encryption_aes_256_gcm_test.json (SHA-512)."""

    tc_id: int
    context: bytes
    sealed_deflated: str
    plaintext_bytes: int = 0
    plaintext_sha512: str = ""
    refused_as: Optional[Type[decrypt.DecryptError]] = None


VECTOR_KEY = b"YELLOW SUBMARINE YELLOW SUBMARIN"
VECTORS = (
    Vector(
        tc_id=3,
        context=b"",
        sealed_deflated=(
            "78daecc0312b05010000e0ab33889449c9a0cb22b9ba89943f70a5fc02db1918582c6e757465a0db6eb1"
            "1ad5a52e1383b2dca26c66a4647b75f55ebdf733def27d4f7ff71fd7e9db7137b778b1558707cdd27cf2"
            "70d4177b2f7751f738d80e376f9ed7aaaf7c793dfa0d47ef2797b3e57ed6bf3601000000000000000000"
            "00000000000030750bc9613ffc6cafd232cb57ebd3b320de5d29cedbf876a7da18ff7fffcc4c020000ff"
            "ffea552abb"
        ),
        plaintext_bytes=16385,
        plaintext_sha512=(
            "db9e441f318209d02c8eaedfa94be7a08d3414057835c80ecea2deb0b16438ff"
            "97ae6dac13a749efe4a24686b01dc0dfab756703e810cc164466cd5cce99b3e8"
        ),
    ),
    Vector(
        tc_id=6,
        context=b"",
        sealed_deflated=(
            "78daecc0ad4a0301000060c560f019c49faca0ed821ea2588c62100541cc2746413841835a7c018b2007"
            "6a325dd4032d8eb5856361db2d6d6c8b2b838ded3156beeff3fce3e4eb20e9fcf5aaedb07ffb589b1f65"
            "7190fee7f16f763d3bdcf9ce8aabe5d74a145e5e1cdd6fad6c2c1ebead8d8b87c60c0000000000000000"
            "0000000000000030759bfb7bc7ade6dcfa69ba5abf7bff79d92e3d07e585a7ddbcbb743648a29b490000"
            "00ffff4eef2f3b"
        ),
        plaintext_bytes=16384,
        plaintext_sha512=(
            "d787e0bf39e0d2e9a707b94bc77329f665286160744507f0fac9608e33a98994"
            "b6d9dd4a43a6326287d32b2e15d76e0de6a8818689698bee2ca419bf9bbedc02"
        ),
    ),
    Vector(
        tc_id=10,
        context=b"test\x00context",
        sealed_deflated=(
            "78da004f00b0ff12ede102c3ef730da4f3d4dbfaf11003683238315befe73b21ebb2246ac19f3a7d50ab"
            "d2a5a365f7652bda670814dbc883ce618256d2d513bd238c2c0dded7614d52bef77bc04273656df97a29"
            "4323010000ffff7d862843"
        ),
        plaintext_bytes=7,
        plaintext_sha512=(
            "e85f32a85f1d4f7c9b2d36d20eca8435d81253e7075e9dea069eb1b6da48daf9"
            "2ef1797367b520d8a46c4f72cecb85b1daff8887fcb41721d39943d1952fc180"
        ),
    ),
    Vector(
        tc_id=31,
        context=b"",
        sealed_deflated=(
            "78daecc0a17281010000e0ed05f6005bd8edb6b6b2956db7b2b6853581843b89eaee0fff398993088222"
            "f93d8042f0272fa0090402f5578838e73194efdb546ebb0fe7f1f772300c82bfb7ed7ba691faa9dd3ff6"
            "abedf818164abf51b957ff9f4df7f364158f16e9fccbd35df6949bdc0000000000000000000000000000"
            "000057f7997c1cc2d7a8b34e76cf5fc556f3120000ffffbcaa2611"
        ),
        refused_as=decrypt.Truncated,
    ),
    Vector(
        tc_id=34,
        context=b"",
        sealed_deflated=(
            "78daecdcb12a45710080f1534a741ec0a04efe3c00990c1225ca7a504a2906ab4506965327ca2486a374"
            "46456723d90d32a0cc6770e77bbbe3ad5b77b90f701fe02cbfdf237c0ff01dbe26559c3d577b5f9fe36f"
            "fb633383a993cdb5ed89bc9d5fc5e7df8b2fa1683d4e86cbdbf9bb9b8f68753ded1e87d9d02b37220000"
            "00000000000000000000000000a0710b3fe5fbce569adc4fef1e9cce5d3c290200000000000000000000"
            "0000000000cd1bf901d4d7ff47cbfd87ecf7af385baa3b2bc3000000ffffe4982ed9"
        ),
        refused_as=decrypt.AuthenticationFailed,
    ),
    Vector(
        tc_id=35,
        context=b"",
        sealed_deflated=(
            "78daecc0b14a02010080e10b228a1b8a86a3a0a1a5836a6aaa088a16c1d11344ee0144e516dd1474921b"
            "4451dc0e0e074f47c15b1c047510444407e11427411741bd07d0451fc3e5ff7ce65feeedcb5f09ba4fb7"
            "f6cffda3e7a56eadf4853ccf8c5b69b9faf11d9abd679f3b37e2fe6a197525eb226cc636ca3a2f000000"
            "000000000000000000000000000000000000000080b3536dedb84b4da46bdd68174b8991508b0c7b4eb7"
            "6c4cbdc9bb57ed212e0cd4df8373d914b7fd8652f8fc0f9c020000ffffa0f7328c"
        ),
        refused_as=decrypt.AuthenticationFailed,
    ),
)


def sealed_length(plaintext_bytes: int) -> int:
    return 56 + plaintext_bytes + 16 * (plaintext_bytes // 16384 + 1)


def refusal_by_length(length: int) -> Type[decrypt.DecryptError]:
    """How a message with an intact header and a changed length has to be refused."""
    if length < 56:
        return decrypt.TooShort
    if (length - 56) % 16400 < 16:
        return decrypt.Truncated
    return decrypt.AuthenticationFailed


def chunks_of(sealed: bytes) -> list:
    return [sealed[at : at + 16400] for at in range(56, len(sealed), 16400)]


class Case(unittest.TestCase):
    def setUp(self):
        self.random = random.Random(f"{OPTIONS.seed} {self.id()}")

    def assert_refused(self, expected, key, context, sealed, what):
        what = f"{what}, {len(sealed)} sealed bytes"
        try:
            decrypt.decrypt(key, context, sealed)
        except decrypt.DecryptError as error:
            self.assertIs(type(error), expected, what)
            return
        self.fail(f"accepted: {what}")


class Published(Case):
    def test_wycheproof_vectors_hold(self):
        for vector in VECTORS:
            with self.subTest(tc_id=vector.tc_id):
                sealed = zlib.decompress(bytes.fromhex(vector.sealed_deflated))
                arguments = (VECTOR_KEY, vector.context, sealed, hashes.SHA512())
                if vector.refused_as is not None:
                    with self.assertRaises(vector.refused_as):
                        decrypt.decrypt(*arguments)
                    continue
                plaintext = decrypt.decrypt(*arguments)
                self.assertEqual(len(plaintext), vector.plaintext_bytes)
                digest = hashlib.sha512(plaintext).hexdigest()
                self.assertEqual(digest, vector.plaintext_sha512)

    def test_every_wycheproof_vector_holds(self):
        if OPTIONS.vectors is None:
            self.skipTest("no --vectors FILE")
        with open(OPTIONS.vectors, encoding="ascii") as file:
            (group,) = json.load(file)["testGroups"]
        self.assertEqual((group["aead"], group["sha"]), ("AEAD_AES_256_GCM", "SHA-512"))
        for test in group["tests"]:
            with self.subTest(tc_id=test["tcId"]):
                self.check_vector(test)

    def check_vector(self, test):
        key, context = bytes.fromhex(test["key"]), bytes.fromhex(test["ctx"])
        sealed = zlib.decompress(bytes.fromhex(test["ct"]))
        if test["result"] == "invalid":
            with self.assertRaises((decrypt.DecryptError, ValueError)):
                decrypt.decrypt(key, context, sealed, hashes.SHA512())
            return
        plaintext = decrypt.decrypt(key, context, sealed, hashes.SHA512())
        self.assertEqual(len(plaintext), test["msgLength"])
        self.assertEqual(hashlib.sha512(plaintext).hexdigest(), test["msgSha512"])

    def test_reference_expand_matches_rfc_5869(self):
        # Appendix A.1, test case 1.
        key = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
        output = bytes.fromhex(
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
        )
        self.assertEqual(reference_expand(key, bytes(range(0xF0, 0xFA)), 42), output)


class Decryptor(Case):
    def test_derives_key_then_nonce_then_commitment(self):
        key, salt, context = (self.random.randbytes(n) for n in (32, 24, 9))
        info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
        derived = decrypt.derive(key, salt, context)
        self.assertEqual([len(part) for part in derived], [32, 12, 32])
        self.assertEqual(b"".join(derived), reference_expand(key, info, 76))

    def test_other_key_and_salt_sizes_are_refused(self):
        for length in (0, 16, 31, 33, 64):
            with self.assertRaises(ValueError):
                decrypt.derive(bytes(length), bytes(24), b"")
        for length in (0, 23, 25, 32):
            with self.assertRaises(ValueError):
                decrypt.derive(bytes(32), bytes(length), b"")

    def test_the_chunk_counter_stops_at_its_limit(self):
        self.assertEqual(decrypt.chunk_nonce(bytes(12), 2**38 - 1).hex(), "0" * 14 + "3fffffffff")
        self.assertEqual(decrypt.chunk_nonce(b"\xff" * 12, 257).hex(), "f" * 20 + "fefe")
        with self.assertRaises(decrypt.TooLong):
            decrypt.chunk_nonce(bytes(12), 2**38)

    def test_a_sealed_chunk_after_the_final_one_is_refused(self):
        key, salt = self.random.randbytes(32), self.random.randbytes(24)
        longer = chunks_of(reference_seal(key, b"", bytes(32768 + 9), salt))
        shorter = reference_seal(key, b"", bytes(16384 + 5), salt)
        self.assert_refused(
            decrypt.AuthenticationFailed, key, b"", shorter + longer[2], "a chunk too many"
        )


class CommandLine(Case):
    def run_decrypt(self, key_hex, context_hex, sealed):
        command = [sys.executable, decrypt.__file__, key_hex, context_hex]
        return subprocess.run(command, input=sealed, capture_output=True, check=False)

    def test_decrypts_standard_input(self):
        key, context, plaintext = (self.random.randbytes(n) for n in (32, 5, 20000))
        for given in (context, b""):
            sealed = reference_seal(key, given, plaintext, self.random.randbytes(24))
            done = self.run_decrypt(key.hex(), given.hex(), sealed)
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            self.assertEqual(done.stdout, plaintext)

    def test_a_refusal_is_one_line_and_no_plaintext(self):
        key, plaintext = self.random.randbytes(32), self.random.randbytes(20000)
        sealed = reference_seal(key, b"", plaintext, self.random.randbytes(24))
        for damaged in (b"", sealed[:-1], sealed[: 56 + 16400], bytes(24) + sealed[24:]):
            done = self.run_decrypt(key.hex(), "", damaged)
            self.assertEqual((done.returncode, done.stdout), (1, b""))
            self.assertEqual(done.stderr.count(b"\n"), 1)
            self.assertTrue(done.stderr.endswith(b"\n"))

    def test_malformed_arguments_are_not_repeated(self):
        secret = self.random.randbytes(31).hex()
        for key_hex in (secret, secret + "zz"):
            done = self.run_decrypt(key_hex, "", b"")
            self.assertEqual((done.returncode, done.stdout), (2, b""))
            self.assertNotIn(secret.encode(), done.stderr)


class SealedMessages:
    """What holds for every message that `seal` makes, whoever sealed it."""

    def seal(self, key: bytes, context: bytes, plaintext: bytes) -> bytes:
        raise NotImplementedError

    def make(self, plaintext_bytes):
        key = self.random.randbytes(32)
        context = self.random.randbytes(self.random.choice(CONTEXT_BYTES))
        return key, context, self.seal(key, context, self.random.randbytes(plaintext_bytes))

    def each_tampered(self):
        for plaintext_bytes in TAMPERED_BYTES:
            yield self.make(plaintext_bytes)

    def test_every_size_follows_the_page_to_the_byte(self):
        for plaintext_bytes in PLAINTEXT_BYTES:
            for context_bytes in CONTEXT_BYTES:
                with self.subTest(plaintext_bytes=plaintext_bytes, context_bytes=context_bytes):
                    key, context, plaintext = (
                        self.random.randbytes(n) for n in (32, context_bytes, plaintext_bytes)
                    )
                    sealed = self.seal(key, context, plaintext)
                    self.assertEqual(len(sealed), sealed_length(plaintext_bytes))
                    # assertTrue: a failed assertEqual would spend minutes on a diff.
                    self.assertTrue(decrypt.decrypt(key, context, sealed) == plaintext)
                    self.assertTrue(
                        sealed == reference_seal(key, context, plaintext, sealed[:24])
                    )

    def test_the_same_input_gets_another_salt_each_time(self):
        key = self.random.randbytes(32)
        sealed = [self.seal(key, b"context", b"plaintext") for _ in range(20)]
        for start, end in ((0, 24), (24, 56), (56, 65), (65, 81)):
            self.assertEqual(len({message[start:end] for message in sealed}), len(sealed))

    def test_a_truncated_message_is_refused(self):
        for key, context, sealed in self.each_tampered():
            boundaries = [0, 24, 56, *range(56, len(sealed), 16400), len(sealed)]
            for boundary in boundaries:
                for length in (boundary + off for off in (-17, -16, -15, -1, 0, 1, 15, 16, 17)):
                    if 0 <= length < len(sealed):
                        self.assert_refused(
                            refusal_by_length(length), key, context, sealed[:length], "cut"
                        )

    def test_an_extended_message_is_refused(self):
        for key, context, sealed in self.each_tampered():
            last = chunks_of(sealed)[-1]
            extensions = [b"\0", bytes(15), bytes(16), self.random.randbytes(16400), last]
            extensions.append(chunks_of(sealed)[0])
            for extension in extensions:
                extended = sealed + extension
                self.assert_refused(
                    refusal_by_length(len(extended)), key, context, extended, "extended"
                )

    def test_a_moved_dropped_or_repeated_chunk_is_refused(self):
        for key, context, sealed in self.each_tampered():
            header, chunks = sealed[:56], chunks_of(sealed)
            full_count = len(chunks) - 1
            changed = []
            for at in range(full_count):
                changed.append(chunks[:at] + chunks[at + 1 :])
                changed.append(chunks[:at] + [chunks[at]] + chunks[at:])
            for at in range(full_count - 1):
                swapped = list(chunks)
                swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]
                changed.append(swapped)
            for tampered in changed:
                self.assert_refused(
                    decrypt.AuthenticationFailed, key, context, header + b"".join(tampered), "moved"
                )

    def test_parts_of_another_message_are_refused(self):
        key, context = self.random.randbytes(32), self.random.randbytes(7)
        plaintext = self.random.randbytes(40000)
        one, other = (self.seal(key, context, plaintext) for _ in range(2))
        for at in range(3):
            chunks = chunks_of(one)
            chunks[at] = chunks_of(other)[at]
            mixed = one[:56] + b"".join(chunks)
            self.assert_refused(
                decrypt.AuthenticationFailed, key, context, mixed, f"chunk {at} of another"
            )
        self.assert_refused(
            decrypt.AuthenticationFailed, key, context, other[:56] + one[56:], "header"
        )
        self.assert_refused(
            decrypt.CommitmentMismatch, key, context, other[:24] + one[24:], "salt"
        )

    def test_a_flipped_bit_is_refused(self):
        for key, context, sealed in self.each_tampered():
            for bit in self.bits_to_flip(sealed):
                damaged = bytearray(sealed)
                damaged[bit // 8] ^= 1 << bit % 8
                expected = (
                    decrypt.CommitmentMismatch if bit < 56 * 8 else decrypt.AuthenticationFailed
                )
                self.assert_refused(expected, key, context, bytes(damaged), f"bit {bit}")

    def bits_to_flip(self, sealed):
        """All of a small message; else the header, every tag and some of the rest."""
        if len(sealed) < 1000:
            return range(8 * len(sealed))
        ends = [*range(56 + 16400, len(sealed), 16400), len(sealed)]
        places = [*range(56), *(end - back for end in ends for back in range(1, 17))]
        places += [self.random.randrange(56, len(sealed)) for _ in range(200)]
        return [8 * place + self.random.randrange(8) for place in places]

    def test_another_key_or_context_is_refused(self):
        for key, context, sealed in self.each_tampered():
            other_key = bytearray(key)
            other_key[self.random.randrange(32)] ^= 1 << self.random.randrange(8)
            contexts = [context + b"\0", b"\0" + context]
            if context:
                contexts += [b"", context[:-1], context[1:]]
            attempts = [(bytes(other_key), context), *((key, changed) for changed in contexts)]
            for tried_key, tried_context in attempts:
                self.assert_refused(
                    decrypt.CommitmentMismatch, tried_key, tried_context, sealed, "not its key"
                )


class ReferenceSealer(SealedMessages, Case):
    def seal(self, key, context, plaintext):
        return reference_seal(key, context, plaintext, self.random.randbytes(24))


class SealTool(SealedMessages, Case):
    def setUp(self):
        super().setUp()
        if OPTIONS.seal_tool is None:
            self.skipTest("no SEAL_TOOL")

    def seal(self, key, context, plaintext):
        command = [OPTIONS.seal_tool, key.hex(), context.hex()]
        done = subprocess.run(command, input=plaintext, capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("seal_tool", metavar="SEAL_TOOL", nargs="?")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--vectors", metavar="FILE")
    _, rest = parser.parse_known_args(namespace=OPTIONS)
    print(f"seed: {OPTIONS.seed}", file=sys.stderr)
    unittest.main(argv=[sys.argv[0], *rest])


if __name__ == "__main__":
    main()
