"""A member of a domain that negotiates by GRASP in TLS, written from docs/domain-profile.md.

    tls_peer.py DIRECTORY DOMAIN ask ADDRESS PORT     ask twice, on two connections
    tls_peer.py DIRECTORY DOMAIN answer COUNT         answer so many requests; prints the port

DIRECTORY has node.crt, node.key, anchors.crt and domain.crl. What is negotiated is EX3: one asks for 10, is offered 5, asks for 7 and
gets it. Only Python's standard library is needed.
"""

import random
import socket
import ssl
import sys

M_REQ_NEG, M_NEGOTIATE, M_END, O_ACCEPT = 3, 5, 6, 101
NEGOTIABLE = 1 << 0 | 1 << 1
LOOP_COUNT = 6
TIMEOUT = 20
# 1.3.6.1.5.5.7.8.10, with its tag and length.
NODE_NAME = bytes.fromhex("06082b0601050507080a")


class Incomplete(Exception):
    """More of the item has to come."""


def head(major, number):
    """The first bytes of a CBOR item."""
    for length, code in ((0, number), (1, 24), (2, 25), (4, 26), (8, 27)):
        if number < (24 if length == 0 else 1 << 8 * length):
            return bytes([major << 5 | code]) + (number.to_bytes(length, "big") if length else b"")
    raise ValueError(number)


def encode(item):
    """Integers, texts and arrays are all that is needed."""
    if isinstance(item, int):
        return head(0, item) if item >= 0 else head(1, -1 - item)
    if isinstance(item, str):
        return head(3, len(item.encode())) + item.encode()
    return head(4, len(item)) + b"".join(map(encode, item))


def decode(data, at=0):
    """An item, and where it ends."""

    def take(count):
        nonlocal at
        if at + count > len(data):
            raise Incomplete
        at += count
        return data[at - count : at]

    first = take(1)[0]
    major, number = first >> 5, first & 31
    if number >= 28:
        raise ValueError("not needed here: an indefinite length")
    if number >= 24:
        number = int.from_bytes(take(1 << number - 24), "big")
    if major == 0:
        return number, at
    if major == 1:
        return -1 - number, at
    if major in (2, 3):
        text = take(number)
        return (text.decode() if major == 3 else text), at
    if major == 4:
        items = []
        for _ in range(number):
            item, at = decode(data, at)
            items.append(item)
        return items, at
    raise ValueError("not needed here: major type %d" % major)


class Stream:
    """GRASP in a TLS connection: one item after the other."""

    def __init__(self, tls):
        self.tls, self.data = tls, b""

    def send(self, *message):
        self.tls.sendall(encode(message))

    def receive(self, kind, session=None):
        while True:
            try:
                message, end = decode(self.data)
                break
            except Incomplete:
                more = self.tls.recv(4096)
                if not more:
                    raise EOFError("the peer has closed") from None
                self.data += more
        self.data = self.data[end:]
        assert message[0] == kind and session in (None, message[1]), message
        return message


def context(directory, protocol):
    """What both roles have in common: TLS 1.3, certificates of both sides, revocation lists, no names in the hello."""
    made = ssl.SSLContext(protocol)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_cert_chain(directory + "/node.crt", directory + "/node.key")
    made.load_verify_locations(directory + "/anchors.crt")
    made.load_verify_locations(directory + "/domain.crl")
    made.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF | ssl.VERIFY_X509_STRICT
    return made


def der(data, at=0):
    """A DER value: its tag, its content, and where it ends."""
    tag, length, at = data[at], data[at + 1], at + 2
    if length >= 128:
        count = length - 128
        length, at = int.from_bytes(data[at : at + count], "big"), at + count
    return tag, data[at : at + length], at + length


def node_name(certificate):
    """The only otherName id-on-AcpNodeName: [0] { OID, [0] { IA5String } }. Whatever has the bytes of the OID is taken for one."""
    assert certificate.count(NODE_NAME) == 1, "not one name of a node"
    at = certificate.index(NODE_NAME) + len(NODE_NAME)
    tag, explicit, _ = der(certificate, at)
    assert tag == 0xA0, tag
    tag, text, _ = der(explicit)
    assert tag == 0x16, tag
    return text.decode("ascii")


def check(tls, domain):
    """The peer is a member of the domain: TLS has checked its certificate, its name remains."""
    name = node_name(tls.getpeercert(True))
    assert name.partition("@")[2].lower() == domain.lower(), name
    print("secured", name, tls.version(), "resumed=%s" % tls.session_reused, flush=True)


def objective(value):
    return ["EX3", NEGOTIABLE, LOOP_COUNT, value]


def ask(directory, domain, address, port):
    client, session = context(directory, ssl.PROTOCOL_TLS_CLIENT), None
    for _ in range(2):
        with socket.create_connection((address, int(port)), TIMEOUT) as tcp:
            with client.wrap_socket(tcp, session=session) as tls:
                check(tls, domain)
                stream, number = Stream(tls), random.getrandbits(32)
                stream.send(M_REQ_NEG, number, objective(10))
                assert stream.receive(M_NEGOTIATE, number)[2][3] == 5
                stream.send(M_NEGOTIATE, number, objective(7))
                assert stream.receive(M_END, number)[2] == [O_ACCEPT]
                print("agreed 7", flush=True)
                # The ticket has come before the first message.
                session = tls.session


def answer(directory, domain, count):
    server, named = context(directory, ssl.PROTOCOL_TLS_SERVER), []
    server.sni_callback = lambda _tls, name, _context: named.append(name)
    with socket.create_server(("::", 0), family=socket.AF_INET6) as listener:
        print("port", listener.getsockname()[1], flush=True)
        for _ in range(int(count)):
            tcp, _ = listener.accept()
            tcp.settimeout(TIMEOUT)
            with server.wrap_socket(tcp, server_side=True) as tls:
                check(tls, domain)
                stream = Stream(tls)
                _, number, asked = stream.receive(M_REQ_NEG)
                assert asked[0] == "EX3" and asked[3] == 10, asked
                stream.send(M_NEGOTIATE, number, objective(5))
                assert stream.receive(M_NEGOTIATE, number)[2][3] == 7
                stream.send(M_END, number, [O_ACCEPT])
                print("agreed 7", flush=True)
                # The engine closes first, with close_notify.
                assert tls.recv(1) == b""
    assert named == [None] * int(count), named


if __name__ == "__main__":
    directory, domain, role, *rest = sys.argv[1:]
    {"ask": ask, "answer": answer}[role](directory, domain, *rest)
