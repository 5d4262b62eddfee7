"""deterministic_shuffle_v1 in plain Python: no dependency, written from the text in shuffle_v1.md.

It exists to check the Rust code and to show that the definition is complete.
Run it to print the golden vectors:  python3 shuffle_v1.py
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from typing import Any

MASK = 0xFFFFFFFF
LABEL = b"deterministic_shuffle_v1"  # exactly 24 bytes


def rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & MASK


def quarter_round(s: list[int], a: int, b: int, c: int, d: int) -> None:
    s[a] = (s[a] + s[b]) & MASK
    s[d] = rotate(s[d] ^ s[a], 16)
    s[c] = (s[c] + s[d]) & MASK
    s[b] = rotate(s[b] ^ s[c], 12)
    s[a] = (s[a] + s[b]) & MASK
    s[d] = rotate(s[d] ^ s[a], 8)
    s[c] = (s[c] + s[d]) & MASK
    s[b] = rotate(s[b] ^ s[c], 7)


def chacha_block(key: bytes, counter: int, stream: int, rounds: int) -> list[int]:
    """One block: sixteen 32-bit words. Counter and stream are 64 bits each (Bernstein's layout)."""
    start = list(struct.unpack("<4I", b"expand 32-byte k"))
    start += struct.unpack("<8I", key)
    start += struct.unpack("<4I", struct.pack("<QQ", counter, stream))
    s = list(start)
    for _ in range(rounds // 2):
        quarter_round(s, 0, 4, 8, 12)
        quarter_round(s, 1, 5, 9, 13)
        quarter_round(s, 2, 6, 10, 14)
        quarter_round(s, 3, 7, 11, 15)
        quarter_round(s, 0, 5, 10, 15)
        quarter_round(s, 1, 6, 11, 12)
        quarter_round(s, 2, 7, 8, 13)
        quarter_round(s, 3, 4, 9, 14)
    return [(x + y) & MASK for x, y in zip(s, start, strict=True)]


def words(seed: int) -> Iterator[int]:
    key = struct.pack("<Q", seed) + LABEL
    counter = 0
    while True:
        yield from chacha_block(key, counter, 0, 8)
        counter += 1


def shuffle(n: int, seed: int) -> list[int]:
    if n <= 0:
        raise ValueError("there are no items to plan")
    order = list(range(n))
    source = words(seed)
    for i in range(n - 1, 0, -1):
        mask = (1 << i.bit_length()) - 1
        j = next(source) & mask
        while j > i:
            j = next(source) & mask
        order[i], order[j] = order[j], order[i]
    return order


def input_plan(n: int, seed: int, warmup: int, batch: int) -> dict[str, Any]:
    if batch <= 0:
        raise ValueError("the parity batch size is 0")
    order = shuffle(n, seed)
    warm, timed = order[:warmup], order[warmup:]
    return {"warmup": warm, "batches": [timed[k : k + batch] for k in range(0, len(timed), batch)]}


def digest(plan: dict[str, Any]) -> str:
    text = json.dumps(plan, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def check_the_cipher() -> None:
    """Published test vectors: ChaCha20 of RFC 8439 (2.3.2, whose nonce we split), and ChaCha8."""
    key = bytes(range(32))
    # RFC 8439 has a 32-bit counter of 1 and the 96-bit nonce 00 00 00 09 00 00 00 4a 00 00 00 00.
    counter = 1 | int.from_bytes(bytes.fromhex("00000009"), "little") << 32
    stream = int.from_bytes(bytes.fromhex("0000004a00000000"), "little")
    assert chacha_block(key, counter, stream, 20)[:4] == [0xE4E7F110, 0x15593BD1, 0x1FDD0F50, 0xC47120A3]
    # draft-strombergson-chacha-test-vectors, TC1, 256-bit key of zeros, 8 rounds.
    first = struct.pack("<16I", *chacha_block(bytes(32), 0, 0, 8)).hex()
    assert first.startswith("3e00ef2f895f40d67f5bb8e81f09a5a1"), first


if __name__ == "__main__":
    check_the_cipher()
    source = words(42)
    print("seed 42, first words:", [next(source) for _ in range(4)])
    for n, seed in [(1, 0), (2, 0), (10, 7), (20, 42), (10, 2**64 - 1)]:
        print(f"n={n} seed={seed}:", *shuffle(n, seed))
    for n, seed in [(1000, 42), (100_000, 42)]:
        text = " ".join(map(str, shuffle(n, seed)))
        print(f"n={n} seed={seed}: sha256 of the numbers joined by spaces", hashlib.sha256(text.encode()).hexdigest())
    plan = input_plan(10, 7, 3, 4)
    print("plan n=10 seed=7 warmup=3 batch=4:", json.dumps(plan), digest(plan))
    print("plan n=100 seed=42 warmup=5 batch=16:", digest(input_plan(100, 42, 5, 16)))
