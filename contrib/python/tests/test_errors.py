"""Every error number of graspy, and how it comes about; wrong arguments; what graspy does where it crashes."""

import socket
import subprocess

import cbor2
import pytest
from conftest import Thread, await_listener, eventually, negotiable, objective, place, unique


@pytest.fixture
def session(grasp, asa, other, raw_peer):
    """A function that opens a session with a peer that answers as it is told, and returns it with the objective."""
    made, _ = negotiable(grasp, asa, other, 1)

    def open_with(*rest):
        offer = lambda message: ([5, message[1], [made.name, 3, 5, 2]], *(rest or ("nothing",)))
        error, session, offered = grasp.req_negotiate(asa, made, raw_peer(offer), 10_000)
        assert error == 0
        return session, offered

    return open_with


def test_numbers_names_and_texts(grasp):
    names = vars(grasp.errors)
    assert list(names.values()) == list(range(40))
    assert len(grasp.etext) == 40
    assert (grasp.errors.dupASA, grasp.etext[5]) == (5, "Duplicate ASA name")
    assert (grasp.errors.sockErr, grasp.etext[39]) == (39, "Socket error sending gmessage")


def test_declined_1(grasp, asa, other, raw_peer):
    made, _ = negotiable(grasp, asa, other)
    peer = raw_peer(lambda message: [6, message[1], [102]])
    assert grasp.req_negotiate(asa, made, peer, 10_000) == (1, None, None)


def test_no_reply_2(grasp, asa, session):
    opened, _ = session()
    assert grasp.grecv(asa, opened, 50) == (2, None)


def test_unspec_3(grasp, asa):
    assert grasp.flood(asa, 0, "what") == 3
    assert grasp.flood(asa, 0) == 3
    assert grasp.flood(asa, 0, []) == 3
    large = objective(grasp, "synch", "x" * 3000)
    assert grasp.register_obj(asa, large) == 0
    assert grasp.flood(asa, 0, grasp.tagged_objective(large, None)) == 3, "graspy sends what nobody can receive"


def test_full_4_and_11(script):
    program = script(
        """
        import grasp
        grasp.skip_dialogue(silent=True)
        results = [grasp.register_asa(str(number)) for number in range(101)]
        print([error for error, _ in results].count(0), results[-1])
        asa = results[0][1]
        results = [grasp.register_obj(asa, grasp.objective(str(number))) for number in range(201)]
        print(results.count(0), results[-1])
        """
    )
    assert program.end() == (0, ["100 (4, None)", "200 11"])


def test_names_of_asas_5_6_7(grasp, asa):
    name = unique("twice")
    error, handle = grasp.register_asa(name)
    assert grasp.register_asa(name) == (5, None)
    assert grasp.deregister_asa(asa, name) == 7
    assert grasp.deregister_asa(handle, "nobody") == 6
    assert grasp.deregister_asa(handle, None) == 6
    assert grasp.deregister_asa(handle, name) == 0
    assert grasp.register_obj(handle, objective(grasp, None)) == 6


@pytest.mark.parametrize("handle", [None, "x", -1, 2**40, 0.5, object()])
def test_what_is_no_handle_is_nobodys_6(grasp, handle):
    synch, neg = objective(grasp, "synch"), objective(grasp, "neg")
    session = grasp._session_handle(1, None)
    assert grasp.register_obj(handle, synch) == 6
    assert grasp.deregister_obj(handle, synch) == 6
    assert grasp.discover(handle, synch, 100) == (6, [])
    assert grasp.req_negotiate(handle, neg, None, 100) == (6, None, None)
    assert grasp.negotiate_step(handle, session, neg, 100) == (6, None, None)
    assert grasp.negotiate_wait(handle, session, 100) == 6
    assert grasp.end_negotiate(handle, session, True) == 6
    assert grasp.send_invalid(handle, session) == 6
    assert grasp.listen_negotiate(handle, neg) == (6, None, None)
    assert grasp.stop_negotiate(handle, neg) == 6
    assert grasp.gsend(handle, session, 1) == 6
    assert grasp.grecv(handle, session, 100) == (6, None)
    assert grasp.synchronize(handle, synch, None, 100) == (6, None)
    assert grasp.listen_synchronize(handle, synch) == 6
    assert grasp.stop_synchronize(handle, synch) == 6
    assert grasp.flood(handle, 0, grasp.tagged_objective(synch, None)) == 6
    assert grasp.get_flood(handle, synch) == (6, None)
    assert grasp.expire_flood(handle, grasp.tagged_objective(synch, None)) == 6


def test_flags_8_9_15_32(grasp, asa):
    both = objective(grasp, "neg")
    both.synch = True
    dry = objective(grasp, "dry")
    dry_synch = objective(grasp, "synch")
    dry_synch.dry = True
    bare, neg = objective(grasp, None), objective(grasp, "neg")
    assert [grasp.register_obj(asa, x) for x in (both, dry_synch, dry)] == [8, 8, 9]
    assert grasp.discover(asa, both, 100) == (8, [])
    for one in (both, bare, neg):
        tagged = grasp.tagged_objective(one, None)
        expected = 8 if one is both else 32
        assert grasp.flood(asa, 0, tagged) == expected
        assert grasp.listen_synchronize(asa, one) == expected
    assert grasp.get_flood(asa, neg) == (32, None)
    assert grasp.synchronize(asa, neg, None, 100) == (32, None)
    assert grasp.register_obj(asa, bare) == 0
    assert grasp.req_negotiate(asa, bare, None, 100) == (15, None, None)
    assert grasp.negotiate_step(asa, grasp._session_handle(1, None), bare, 100) == (15, None, None)
    assert grasp.register_obj(asa, neg) == 0
    neg.discoverable = False
    assert grasp.listen_negotiate(asa, neg) == (15, None, None)


def test_ownership_12_13_14(grasp, asa, other):
    neg, synch = objective(grasp, "neg"), objective(grasp, "synch")
    for made in (neg, synch):
        assert grasp.register_obj(other, made, overlap=True) == 0
        assert grasp.register_obj(asa, made) == 12
        assert grasp.deregister_obj(asa, made) == 13
    assert grasp.deregister_obj(asa, objective(grasp, None)) == 14
    assert grasp.discover(asa, neg, 100) == (13, [])
    assert grasp.req_negotiate(asa, neg, None, 100) == (13, None, None)
    assert grasp.listen_negotiate(asa, neg) == (13, None, None)
    assert grasp.stop_negotiate(asa, neg) == 13
    assert grasp.listen_synchronize(asa, synch) == 13
    assert grasp.flood(asa, 0, grasp.tagged_objective(synch, None)) == 13


def test_no_security_16(script):
    program = script(
        """
        import grasp
        grasp.skip_dialogue(be_dull=True, silent=True)
        error, asa = grasp.register_asa("dull")
        neg, synch = grasp.objective("N"), grasp.objective("S")
        neg.neg = synch.synch = True
        print([grasp.register_obj(asa, one) for one in (neg, synch)])
        session = grasp._session_handle(1, None)
        print(grasp.req_negotiate(asa, neg, None, 10)[0], grasp.negotiate_step(asa, session, neg, 10)[0],
              grasp.negotiate_wait(asa, session, 10), grasp.end_negotiate(asa, session, True),
              grasp.send_invalid(asa, session), grasp.listen_negotiate(asa, neg)[0], grasp.gsend(asa, session, 1),
              grasp.grecv(asa, session, 10)[0], grasp.synchronize(asa, synch, None, 10)[0],
              grasp.listen_synchronize(asa, synch))
        print(grasp.flood(asa, 10000, grasp.tagged_objective(synch, None)), synch.loop_count)
        synch.loop_count = 6
        print(grasp.discover(asa, synch, 100), synch.loop_count, grasp.get_flood(asa, synch)[0], grasp.DULL)
        """
    )
    status, lines = program.end()
    assert lines == ["[0, 0]", " ".join(["16"] * 10), "0 1", "(0, []) 1 0 True"]
    assert status == 0


def test_nobody_is_there_17_18_33_34(grasp, asa, other):
    neg, peer = negotiable(grasp, asa, other)
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        peer.port = server.getsockname()[1]
    assert grasp.req_negotiate(asa, neg, None, 100) == (17, None, None)
    assert grasp.req_negotiate(asa, neg, peer, 100) == (18, None, None)
    synch = objective(grasp, "synch")
    assert grasp.synchronize(asa, synch, None, 100) == (33, None)
    assert grasp.synchronize(asa, synch, peer, 100) == (34, None)


def test_sessions_19_20(grasp, asa, other):
    neg, _ = negotiable(grasp, asa, other)
    for session, expected in ((grasp._session_handle(1, None), 19), (grasp._session_handle(asa, None), 20)):
        assert grasp.negotiate_step(asa, session, neg, 100) == (expected, None, None)
        assert grasp.negotiate_wait(asa, session, 100) == expected
        assert grasp.end_negotiate(asa, session, True) == expected
        assert grasp.send_invalid(asa, session, "why") == expected
        assert grasp.gsend(asa, session, 1) == expected
        assert grasp.grecv(asa, session, 100) == (expected, None)


@pytest.mark.parametrize("count", [1, 0, -5])
def test_loops_are_exhausted_21(grasp, asa, session, count):
    opened, offer = session()
    offer.loop_count = count
    assert grasp.negotiate_step(asa, opened, offer, 100) == (21, None, None)
    assert grasp.end_negotiate(asa, opened, False) == 0, "the session is still open"


def test_the_connection_breaks_22_29_30_39(grasp, asa, session):
    for call, expected in (
        (lambda opened, offer: grasp.negotiate_step(asa, opened, offer, 10_000)[0], 22),
        (lambda opened, offer: grasp.negotiate_wait(asa, opened, 1000), 29),
        (lambda opened, offer: grasp.end_negotiate(asa, opened, True), 30),
        (lambda opened, offer: grasp.send_invalid(asa, opened), 30),
        (lambda opened, offer: grasp.gsend(asa, opened, 1), 39),
    ):

        def until_the_reset_is_there():
            opened, offer = session("reset")
            return call(opened, offer) == expected

        eventually(f"error {expected}", until_the_reset_is_there)


@pytest.mark.parametrize(
    ("answer", "negotiation", "value"),
    [
        (lambda message: "close", 23, 35),
        (lambda message: b"\xff\xff", 24, 24),
        (lambda message: [5, message[1], ["another", 3, 5, 2]], 25, 37),
        (lambda message: [6, message[1], [99]], 26, 37),
        (lambda message: "nothing", 27, 36),
        (lambda message: [99, message[1], "what?"], 28, 37),
        (lambda message: [8, message[1] ^ 1, ["x", 5, 5, 2]], 28, 37),
        (lambda message: "text", 28, 37),
    ],
)
def test_wrong_answers(grasp, asa, other, raw_peer, answer, negotiation, value):
    neg, _ = negotiable(grasp, asa, other)
    # Long enough for an answer on a busy machine; the one that does not come is not waited for as long.
    timeout = 200 if negotiation == grasp.errors.noNegReply else 10_000
    assert grasp.req_negotiate(asa, neg, raw_peer(answer), timeout) == (negotiation, None, None)
    assert grasp.synchronize(asa, objective(grasp, "synch"), raw_peer(answer), timeout) == (value, None)


WRONG_DATE = cbor2.dumps(cbor2.CBORTag(0, 5))


def test_a_value_that_cbor2_cannot_decode_24(grasp, asa, other, raw_peer, session):
    """The engine does not judge what a tag may contain; graspy's cbor2 does."""
    neg, peer = negotiable(grasp, asa, other)
    name = cbor2.dumps(neg.name)
    offer = lambda message: b"\x83\x05" + cbor2.dumps(message[1]) + b"\x84" + name + b"\x03\x05" + WRONG_DATE
    assert grasp.req_negotiate(asa, neg, raw_peer(offer), 10_000) == (24, None, None)
    synch = objective(grasp, "synch")
    value = lambda message: (
        b"\x83\x08" + cbor2.dumps(message[1]) + b"\x84" + cbor2.dumps(synch.name) + b"\x05\x05" + WRONG_DATE
    )
    assert grasp.synchronize(asa, synch, raw_peer(value), 10_000) == (24, None)
    opened, _ = session(WRONG_DATE)
    assert grasp.grecv(asa, opened, 10_000) == (24, None)
    assert grasp.grecv(asa, opened, 10_000) == (19, None)
    # Who listens is not told: the peer is refused, and the next one heard.
    listener = Thread(grasp.listen_negotiate, other, neg)
    request = b"\x83\x03\x01\x84" + name + b"\x03\x05"
    await_listener(grasp, neg)
    with socket.create_connection((str(peer.locator), peer.port)) as connection:
        connection.sendall(request + WRONG_DATE)
        assert cbor2.loads(connection.recv(100))[0] == grasp.M_END
    await_listener(grasp, neg)
    with socket.create_connection((str(peer.locator), peer.port)) as connection:
        connection.sendall(request + b"\x07")
        error, _, asked = listener.result()
        assert (error, asked.value) == (0, 7)


def test_a_second_session_of_the_same_identifier_is_refused(grasp, asa, other, network, script):
    """graspy returns 31 then, and the peer waits in vain. Here the peer is refused, and the ASA goes on listening."""
    neg, peer = negotiable(grasp, asa, other)
    listener = Thread(lambda: [grasp.listen_negotiate(other, neg)[0] for _ in range(2)])
    await_listener(grasp, neg)
    program = script(
        """
        import cbor2, socket, sys
        connections = []
        for number in (4711, 4711, 4712):
            connections.append(socket.create_connection((sys.argv[2], int(sys.argv[3]))))
            connections[-1].sendall(cbor2.dumps([3, number, [sys.argv[1], 3, 5, 2]]))
            if number == 4711:
                heard = connections[-1].recv(100)
                print(cbor2.loads(heard) if heard else "closed")
        sys.stdin.read()
        """,
        neg.name,
        peer.locator,
        peer.port,
        node=network[1],
        stdin=subprocess.PIPE,
    )
    # The first session is answered, and stays open.
    eventually("the first request is heard", lambda: any(x.id_value == 4711 for x in grasp._session_id_cache))
    (opened,) = (x for x in grasp._session_id_cache if x.id_value == 4711)
    # The program goes on once it has heard this.
    await_listener(grasp, neg)
    assert grasp.negotiate_wait(other, grasp._session_handle(4711, opened.id_source), 60_000) == 0
    program.wait_for("[7, 4711, 60000]")
    program.wait_for("closed")
    assert listener.result() == [0, 0]
    assert grasp.etext[grasp.errors.IDclash] == "Incoming request Session ID clash"
    program.process.stdin.close()
    assert program.end()[0] == 0


def test_invalid_locators_38(grasp, asa):
    made = objective(grasp, "synch")
    assert grasp.register_obj(asa, made) == 0
    locator = grasp.asa_locator(grasp._my_address, None, False)
    assert grasp.flood(asa, 0, grasp.tagged_objective(made, locator)) == 38, "no flag says what it is"
    locator.is_ipaddress = True
    locator.port = None
    assert grasp.flood(asa, 0, grasp.tagged_objective(made, locator)) == 38


NOT_TEXT = [None, 5, b"name", ["name"]]


@pytest.mark.parametrize("name", NOT_TEXT)
def test_names_must_be_text(grasp, asa, name):
    with pytest.raises(TypeError, match="must be text"):
        grasp.register_asa(name)
    with pytest.raises(TypeError, match="name of an objective must be text"):
        grasp.register_obj(asa, grasp.objective(name))


@pytest.mark.parametrize("wrong", [None, 5, "objective", [], {}])
def test_what_is_no_objective(grasp, asa, wrong):
    session = grasp._session_handle(1, None)
    for call in (
        lambda: grasp.register_obj(asa, wrong),
        lambda: grasp.deregister_obj(asa, wrong),
        lambda: grasp.discover(asa, wrong, 10),
        lambda: grasp.req_negotiate(asa, wrong, None, 10),
        lambda: grasp.negotiate_step(asa, session, wrong, 10),
        lambda: grasp.listen_negotiate(asa, wrong),
        lambda: grasp.stop_negotiate(asa, wrong),
        lambda: grasp.synchronize(asa, wrong, None, 10),
        lambda: grasp.listen_synchronize(asa, wrong),
        lambda: grasp.stop_synchronize(asa, wrong),
        lambda: grasp.get_flood(asa, wrong),
        lambda: grasp.flood(asa, 0, grasp.tagged_objective(wrong, None)),
    ):
        with pytest.raises(TypeError, match="an objective is needed"):
            call()


@pytest.mark.parametrize("wrong", [None, 5, "session", []])
def test_what_is_no_session(grasp, asa, wrong):
    for call in (
        lambda: grasp.negotiate_step(asa, wrong, objective(grasp, "neg"), 10),
        lambda: grasp.negotiate_wait(asa, wrong, 10),
        lambda: grasp.end_negotiate(asa, wrong, True),
        lambda: grasp.send_invalid(asa, wrong),
        lambda: grasp.gsend(asa, wrong, 1),
        lambda: grasp.grecv(asa, wrong, 10),
    ):
        with pytest.raises(TypeError, match="a session handle is needed"):
            call()


@pytest.mark.parametrize("wrong", ["5000", [], object(), True, float("nan")])
def test_what_is_no_time(grasp, asa, other, wrong):
    made, peer = negotiable(grasp, asa, other)
    session = grasp._session_handle(1, None)
    for call in (
        lambda: grasp.discover(asa, made, wrong),
        lambda: grasp.req_negotiate(asa, made, peer, wrong),
        lambda: grasp.negotiate_step(asa, session, made, wrong),
        lambda: grasp.negotiate_wait(asa, session, wrong),
        lambda: grasp.grecv(asa, session, wrong),
        lambda: grasp.synchronize(asa, objective(grasp, "synch"), peer, wrong),
        lambda: grasp.flood(asa, wrong, grasp.tagged_objective(objective(grasp, "synch"), None)),
    ):
        with pytest.raises(TypeError, match="milliseconds|negative"):
            call()


def test_times_as_graspy_takes_them(grasp, asa, other):
    made, peer = negotiable(grasp, asa, other)
    session = grasp._session_handle(1, None)
    shared = objective(grasp, "synch")
    shared.loop_count = 1
    for time in (None, 0, False, -5, 0.5):
        assert grasp.discover(asa, shared, time) == (0, [])
    for time in (None, 0, False, 7.5, 10**12):
        assert grasp.negotiate_wait(asa, session, time) == 19
    with pytest.raises(TypeError, match="negative"):
        grasp.negotiate_wait(asa, session, -1)
    with pytest.raises(TypeError, match="grecv needs a timeout"):
        grasp.grecv(asa, session, None)
    assert grasp.register_obj(other, shared) == 0
    for ttl in (None, 0, -7, 60_000.5):
        assert grasp.flood(other, ttl, grasp.tagged_objective(shared, None)) == 0


@pytest.mark.parametrize("wrong", ["fd00::1", 5, b"x", object()])
def test_what_is_no_address(grasp, asa, other, wrong):
    made, _ = negotiable(grasp, asa, other)
    locator = grasp.asa_locator(wrong, None, False)
    with pytest.raises(TypeError, match="locator"):
        grasp.req_negotiate(asa, made, locator, 10)
    with pytest.raises(TypeError, match="locator"):
        grasp.register_obj(asa, objective(grasp, None), locators=[locator])


def test_counts_of_arguments(grasp, asa):
    for call in (
        lambda: grasp.register_asa(),
        lambda: grasp.discover(asa),
        lambda: grasp.req_negotiate(asa, objective(grasp, "neg"), None),
        lambda: grasp.grecv(asa, grasp._session_handle(1, None)),
        lambda: grasp.get_flood(asa, objective(grasp, "synch"), 5),
        lambda: grasp.register_obj(asa, objective(grasp, "neg"), lifetime=5),
        lambda: grasp.objective(),
        lambda: grasp.asa_locator(None),
    ):
        with pytest.raises(TypeError):
            call()


@pytest.mark.parametrize("count", [None, "6", 2.5])
def test_a_loop_count_must_be_an_integer(grasp, asa, count):
    made = objective(grasp, "neg")
    made.loop_count = count
    with pytest.raises(TypeError, match="loop_count"):
        grasp.register_obj(asa, made)


@pytest.mark.parametrize("value", [object(), {1: object()}, "\ud800", lambda: 0, [len]])
def test_a_value_that_cbor_cannot_express_is_not_sent(grasp, asa, other, session, value):
    made, peer = negotiable(grasp, asa, other)
    made.value = value
    sessions = len(grasp._session_id_cache)
    with pytest.raises(TypeError, match="CBOR cannot express this"):
        grasp.req_negotiate(asa, made, peer, 10)
    assert len(grasp._session_id_cache) == sessions, "nothing was sent"
    opened, offer = session()
    for call in (
        lambda: grasp.gsend(asa, opened, value),
        lambda: grasp.send_invalid(asa, opened, value),
        lambda: grasp.negotiate_step(asa, opened, made, 10),
    ):
        with pytest.raises(TypeError, match="CBOR cannot express this"):
            call()
    assert grasp.end_negotiate(asa, opened, True) == 0, "the session is open"
    shared = objective(grasp, "synch")
    assert grasp.register_obj(other, shared) == 0
    shared.value = value
    for call in (
        lambda: grasp.listen_synchronize(other, shared),
        lambda: grasp.flood(other, 0, grasp.tagged_objective(shared, None)),
    ):
        with pytest.raises(TypeError, match="CBOR cannot express this"):
            call()


def test_a_value_that_contains_itself(grasp, asa, session):
    endless = []
    endless.append(endless)
    opened, _ = session()
    with pytest.raises(TypeError, match="CBOR cannot express this list"):
        grasp.gsend(asa, opened, endless)


def test_before_grasp_runs_nobody_is_registered(script):
    program = script(
        """
        import grasp
        obj = grasp.objective("x")
        obj.synch = True
        print(grasp.get_flood(1, obj), grasp.discover(1, obj, 10), grasp._grasp_initialised)
        try:
            grasp._obj_registry
        except AttributeError as error:
            print(error)
        """
    )
    status, lines = program.end()
    assert lines[0] == "(6, None) (6, []) False"
    assert "register_asa() starts it" in lines[1]
    assert status == 0
