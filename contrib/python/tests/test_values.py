"""Values are what cbor2 makes of them: compared with it byte by byte."""

import datetime
import decimal
import enum
import fractions
import ipaddress
import math
import random
import re
import uuid
from collections import OrderedDict, defaultdict, namedtuple

import cbor2
import pytest
from conftest import Thread, await_listener, negotiable, objective, place


class Colour(enum.IntEnum):
    RED = 3


class Name(str):
    pass


Point = namedtuple("Point", "x y")
UTC = datetime.timezone.utc

KINDS = [
    *(None, True, False, 0, 1, -1, 23, 24, 255, 256, 65535, 65536, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1),
    *(-24, -25, -(2**63), -(2**63) - 1, -(2**64), 2**64, -(2**64) - 1, 2**127, 2**128, 10**60, -(10**60)),
    *(0.0, -0.0, 1.5, 0.1, 1e300, 5e-324, 1024.0, 3.4e38, math.inf, -math.inf),
    *("", "text", "größer 漢字 🙂", "a\0b", "x" * 300, Name("sub")),
    *(b"", b"bytes", b"\x82\x01\x02", bytes(300), bytearray(b"array")),
    *([], [1, 2, 3], (), (1, "two"), [[], [[1]], {}], Point(1, 2), ["NZD", 47]),
    *({}, {"a": 1}, {1: "x", b"k": None, -5: True, "n": {}}, {(1, 2): 3}, {(1, (2,)): 3}, {1.5: 2, None: 1}),
    *(OrderedDict([("z", 1), ("a", 2)]), {"list": [{"deep": (1,)}]}),
    *(cbor2.undefined, cbor2.CBORSimpleValue(0), cbor2.CBORSimpleValue(99), cbor2.CBORSimpleValue(255)),
    *(cbor2.CBORTag(24, b"\x01"), cbor2.CBORTag(4711, [1, "x"]), cbor2.CBORTag(2**40, cbor2.CBORTag(6, {}))),
    *(datetime.datetime(2026, 8, 21, 12, 30, 1, 5, tzinfo=UTC), datetime.date(2026, 8, 21)),
    *(decimal.Decimal("273.15"), decimal.Decimal("-1E+5"), fractions.Fraction(1, 3), uuid.UUID(int=7)),
    *({1, 2, 3}, frozenset(["a"]), set(), re.compile("a+b"), [None, {cbor2.undefined: (2**70,)}]),
]

ADDRESSES = {
    "d83650fe800000000000000000000000000001": ipaddress.ip_address("fe80::1"),
    "d8344401020304": ipaddress.ip_address("1.2.3.4"),
    "d8368218204420010db8": ipaddress.ip_network("2001:db8::/32"),
    "d8348208410a": ipaddress.ip_network("10.0.0.0/8"),
    "d83482440a00000108": ipaddress.ip_interface("10.0.0.1/8"),
}


KNOWS_RFC9164 = cbor2.dumps(ipaddress.ip_address("::"))[:2] == b"\xd8\x36"


def floats_shortened(value):
    """What cbor2 would write with every float in CBOR's preferred form (RFC 8949 §4.1), in which the engine writes it."""
    if type(value) is float:
        return cbor2.dumps(value, canonical=True)
    if type(value) in (list, tuple):
        return _head(4, len(value)) + b"".join(map(floats_shortened, value))
    if type(value) is dict:
        pairs = (floats_shortened(part) for pair in value.items() for part in pair)
        return _head(5, len(value)) + b"".join(pairs)
    return cbor2.dumps(value)


def _head(major, number):
    head = bytearray(cbor2.dumps(number))
    head[0] |= major << 5
    return bytes(head)


def same(one, other):
    """Equal, of the same types, to the last bit."""
    return type(one) is type(other) and cbor2.dumps(one) == cbor2.dumps(other)


def label(value):
    return f"{type(value).__name__} {value!r}"[:40]


@pytest.mark.parametrize("value", KINDS, ids=label)
def test_a_value_is_sent_and_received_as_cbor2_does_it(grasp, value):
    sent, received = grasp._grasp._round_trip(value)
    assert sent == floats_shortened(value)
    assert same(received, cbor2.loads(cbor2.dumps(value)))


@pytest.mark.parametrize("sent", ADDRESSES)
def test_addresses_are_tags_of_rfc_9164(grasp, sent):
    """From cbor2 6 on. Older ones have tags of their own, with graspy too."""
    address = ADDRESSES[sent]
    encoded = bytes.fromhex(sent) if KNOWS_RFC9164 else cbor2.dumps(address)
    assert grasp._grasp._round_trip(address) == (encoded, cbor2.loads(encoded))
    nested, received = grasp._grasp._round_trip({"a": [address]})
    assert nested == b"\xa1\x61a\x81" + encoded
    assert same(received["a"][0], cbor2.loads(encoded))


def test_not_a_number_stays_one(grasp):
    sent, received = grasp._grasp._round_trip([math.nan])
    assert sent.hex() == "81f97e00"
    assert math.isnan(received[0])


def random_value(draw, depth=0):
    kinds = ["none", "bool", "int", "big", "float", "text", "bytes", "simple", "tag"]
    if depth < 4:
        kinds += ["list", "tuple", "dict", "set"] * 2
    kind = draw.choice(kinds)
    inner = lambda: random_value(draw, depth + 1)
    if kind == "none":
        return draw.choice([None, cbor2.undefined])
    if kind == "bool":
        return draw.random() < 0.5
    if kind == "int":
        return draw.randint(-(2 ** draw.randint(1, 64)), 2 ** draw.randint(1, 64) - 1)
    if kind == "big":
        return draw.randint(-(2**200), 2**200)
    if kind == "float":
        return draw.choice([draw.uniform(-1, 1), draw.uniform(-1e300, 1e300), float(draw.randint(-99, 99)), 2.0**-24])
    if kind == "text":
        return "".join(chr(draw.choice([65, 233, 0x6F22, 0x1F642, 0])) for _ in range(draw.randint(0, 9)))
    if kind == "bytes":
        return draw.randbytes(draw.randint(0, 9)) if hasattr(draw, "randbytes") else bytes(draw.randint(0, 9))
    if kind == "simple":
        return cbor2.CBORSimpleValue(draw.choice([*range(20), *range(32, 256)]))
    if kind == "tag":
        return cbor2.CBORTag(draw.randint(60_000, 2**63), random_value(draw, 5))
    if kind in ("list", "tuple"):
        items = [inner() for _ in range(draw.randint(0, 5))]
        return items if kind == "list" else tuple(items)
    if kind == "set":
        return {draw.randint(0, 99) for _ in range(draw.randint(0, 5))}
    keys = lambda: draw.choice([draw.randint(0, 999), draw.uniform(0, 1), str(draw.random()), draw.random() < 0.5, (1, 2)])
    return {keys(): inner() for _ in range(draw.randint(0, 5))}


def test_two_thousand_random_values(grasp):
    kinds = set()
    for seed in range(2000):
        value = random_value(random.Random(seed))
        sent, received = grasp._grasp._round_trip(value)
        assert same(received, cbor2.loads(cbor2.dumps(value))), (seed, value)
        assert len(sent) <= len(cbor2.dumps(value)), (seed, value)
        kinds.add(type(value))
    assert len(kinds) > 10


def test_received_bytes_of_any_form_are_as_cbor2_reads_them(grasp, asa, other, raw_peer):
    """Forms that we never send: indefinite lengths, long heads, double keys, tags of all kinds, shared references."""
    made, _ = negotiable(grasp, asa, other)
    forms = """
        5f4101ff 7f6161ff 9f01ff bf616101ff 1800 190001 1b0000000000000001 3b7fffffffffffffff fa3fc00000 f93e00 f98000
        a2616101616102 a18001 a1a001 d81c80 82d81c8101d81d00 c11a5f5e1000 c1fb41d452d9e2800000 c249010000000000000000
        c3420100 c48221196ab3 c5822003 d81e820103 d90102820101 d9d9f7820102 d82550000102030405060708090a0b0c0d0e0f
        d8368218204420010db8 d83482410a08 f820 f0 e0 f7 d818420102 d90103a10102 a1f97e0001
    """.split()
    read = 0
    for form in forms:
        data = bytes.fromhex(form)
        try:
            expected = (0, cbor2.loads(data))
        except Exception:
            expected = (24, None)
        peer = raw_peer(lambda message: ([5, message[1], [made.name, 3, 5, 2]], data))
        error, session, _ = grasp.req_negotiate(asa, made, peer, 10_000)
        result = grasp.grecv(asa, session, 10_000)
        assert result[0] == expected[0] and same(result[1], expected[1]), form
        read += result[0] == 0
        if result[0] == 0:
            grasp.end_negotiate(asa, session, False)
    assert read > 30


@pytest.mark.parametrize(
    ("value", "on_the_wire"),
    [
        (b"\x82\x01\x02", cbor2.CBORTag(24, b"\x82\x01\x02")),
        (b"abc", cbor2.CBORTag(24, b"abc")),
        (b"hello", b"hello"),
        (b"", b""),
        ([b"\x01"], [b"\x01"]),
        (bytearray(b"\x01"), b"\x01"),
        (cbor2.CBORTag(24, b"\x01"), cbor2.CBORTag(24, b"\x01")),
    ],
    ids=label,
)
def test_bytes_that_are_cbor_travel_as_an_embedded_item(grasp, asa, other, raw_peer, value, on_the_wire):
    """graspy's habit, for the values of objectives only."""
    made, _ = negotiable(grasp, asa, other, value)
    seen = []

    def answer(message):
        seen.append(message)
        return [5, message[1], message[2]], "nothing"

    error, session, offer = grasp.req_negotiate(asa, made, raw_peer(answer), 10_000)
    assert same(seen[0][2][3], on_the_wire)
    unpacked = on_the_wire.value if isinstance(on_the_wire, cbor2.CBORTag) else on_the_wire
    assert same(offer.value, unpacked)
    assert grasp.end_negotiate(asa, session, True) == 0


def test_every_way_of_a_value(grasp, asa, other):
    """The kinds of above, in negotiation, synchronization, a flood, and messages."""
    made, peer = negotiable(grasp, asa, other)
    shared = objective(grasp, "synch")
    assert grasp.register_obj(other, shared) == 0

    def accept_and_echo():
        for _ in KINDS:
            error, session, asked = grasp.listen_negotiate(other, made)
            grasp.negotiate_step(other, session, asked, 10_000)

    listener = Thread(accept_and_echo)
    for value in KINDS:
        expected = cbor2.loads(cbor2.dumps(value))
        if isinstance(expected, cbor2.CBORTag) and expected.tag == 24:
            expected = expected.value
        made.value = shared.value = value
        await_listener(grasp, made)
        error, session, offer = grasp.req_negotiate(asa, made, peer, 10_000)
        assert error == 0 and same(offer.value, expected)
        assert grasp.end_negotiate(asa, session, True) == 0
        assert grasp.listen_synchronize(other, shared) == 0
        assert same(grasp.synchronize(asa, shared, place(grasp, shared.name), 10_000)[1].value, expected)
        assert grasp.flood(other, 0, grasp.tagged_objective(shared, None)) == 0
        assert same(grasp.get_flood(asa, shared)[1][0].objective.value, expected)
    listener.result()


def test_deep_values(grasp):
    def nested(levels):
        value = 7
        for _ in range(levels):
            value = [value]
        return value

    assert grasp._grasp._round_trip(nested(95))[1] == nested(95)
    assert grasp._grasp._round_trip(nested(120))[1] == nested(120)
    # Where cbor2 has no compiled part, it is the first to give up.
    with pytest.raises(TypeError, match="cannot be sent|CBOR cannot express"):
        grasp._grasp._round_trip(nested(200))


def test_large_messages(grasp, asa, other):
    made, peer = negotiable(grasp, asa, other, "x" * 60_000)
    listener = Thread(grasp.listen_negotiate, other, made)
    await_listener(grasp, made)
    error, session, _ = grasp.req_negotiate(asa, made, peer, 10_000, noloop=True)
    error, _, asked = listener.result()
    assert (error, asked.value) == (0, made.value)
    made.value = "x" * 70_000
    assert grasp.req_negotiate(asa, made, peer, 10_000) == (3, None, None)


def test_defaults_of_dicts_are_kept(grasp):
    counts = defaultdict(int)
    counts["a"] += 1
    assert grasp._grasp._round_trip(counts)[1] == {"a": 1}
    assert grasp._grasp._round_trip([Colour.RED.value])[1] == [3]
