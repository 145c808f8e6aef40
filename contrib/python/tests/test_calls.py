"""Every call, with its arguments and the shape of its results, as in graspy."""

import copy
import ipaddress
import pickle

import pytest
from conftest import Thread, await_listener, negotiable, objective, place, unique


def test_an_asa_is_registered_under_a_number_and_deregistered(grasp):
    error, handle = grasp.register_asa("Briggs")
    assert (error, type(handle)) == (0, int)
    assert handle in [x.handle for x in grasp._asa_registry if x.name == "Briggs"]
    assert grasp.deregister_asa(handle, "Briggs") == 0
    assert "Briggs" not in [x.name for x in grasp._asa_registry]


def test_an_objective_is_registered_with_all_its_options(grasp, asa):
    locator = grasp.asa_locator(ipaddress.IPv6Address("fd00::7"), None, False)
    locator.port = 99
    made = objective(grasp, "synch", [1])
    options = dict(ttl=5000, discoverable=True, overlap=True, local=True, rapid=True, locators=[locator])
    assert grasp.register_obj(asa, made, **options) == 0
    (entry,) = (x for x in grasp._obj_registry if x.objective.name == made.name)
    assert (entry.asa_id, entry.overlap_OK, entry.discoverable, entry.local, entry.rapid) == ([asa], True, True, True, True)
    assert (entry.ttl, entry.protocol, entry.listening, entry.objective.value) == (5000, 6, 0, [1])
    assert [(x.locator, x.port) for x in entry.locators] == [(locator.locator, 99)]
    assert entry.port > 0
    assert grasp.deregister_obj(asa, made) == 0
    assert made.name not in [x.objective.name for x in grasp._obj_registry]


@pytest.mark.parametrize("ttl", [None, 0, -1, 5.5, "long", True])
def test_a_ttl_that_is_no_positive_integer_is_the_default(grasp, asa, ttl):
    made = objective(grasp, None)
    assert grasp.register_obj(asa, made, ttl) == 0
    assert [x.ttl for x in grasp._obj_registry if x.objective.name == made.name] == [600_000]


def test_the_registry_is_in_the_order_of_registration(grasp, asa):
    names = [unique("z"), unique("a"), unique("m")]
    for name in names:
        assert grasp.register_obj(asa, objective(grasp, None, name=name)) == 0
    assert [x.objective.name for x in grasp._obj_registry if x.objective.name in names] == names


def test_an_objective_of_another_asa_is_discovered(grasp, asa, other):
    made = objective(grasp, "synch")
    assert grasp.register_obj(other, made, discoverable=True) == 0
    error, found = grasp.discover(asa, made, 1000, flush=True, minimum_TTL=-1)
    assert error == 0
    (locator,) = found
    assert (locator.locator, locator.port) == (grasp._my_address, place(grasp, made.name).port)
    assert (locator.is_ipaddress, locator.is_fqdn, locator.is_uri, locator.protocol) == (True, False, False, 6)
    assert locator.diverted is False
    assert grasp.discover(asa, objective(grasp, "synch"), None, minimum_TTL=0) == (0, [])


def test_a_peer_agrees(grasp, asa, other):
    made, peer = negotiable(grasp, asa, other, ["NZD", 47])

    def accept():
        error, session, asked = grasp.listen_negotiate(other, made)
        assert (error, asked.value, asked.neg, asked.synch, asked.dry, asked.loop_count) == (
            (0, ["NZD", 47], True, False, False, 6)
        )
        assert session.id_source == ipaddress.IPv6Address(session.id_source).packed
        return grasp.end_negotiate(other, session, True)

    listener = Thread(accept)
    await_listener(grasp, made)
    error, session, result = grasp.req_negotiate(asa, made, peer, 10_000)
    assert (error, session) == (0, None)
    assert result is made, "the caller's own objective, as in graspy"
    assert listener.result() == 0


def test_both_make_offers_and_one_declines(grasp, asa, other):
    made, peer = negotiable(grasp, asa, other, 100)

    def haggle():
        error, session, asked = grasp.listen_negotiate(other, made)
        asked.value = 50
        error, session, asked = grasp.negotiate_step(other, session, asked, 10_000)
        assert (error, asked.value, asked.loop_count) == (0, 75, 4)
        assert grasp.negotiate_wait(other, session, 20_000) == 0
        return grasp.end_negotiate(other, session, False, reason="You are mean!")

    listener = Thread(haggle)
    await_listener(grasp, made)
    error, session, offer = grasp.req_negotiate(asa, made, peer, 10_000)
    assert (error, offer.value, offer.loop_count, offer.name) == (0, 50, 5, made.name)
    assert offer is not made
    offer.value = 75
    assert grasp.negotiate_step(asa, session, offer, 10_000) == (1, None, "You are mean!")
    assert listener.result() == 0


def test_a_session_for_messages(grasp, asa, other):
    made, peer = negotiable(grasp, asa, other)

    def echo():
        error, session, asked = grasp.listen_negotiate(other, made)
        while True:
            error, message = grasp.grecv(other, session, 10_000)
            if error or message == [grasp.M_INVALID, session.id_value, "No information"]:
                return error
            assert grasp.gsend(other, session, message) == 0

    listener = Thread(echo)
    await_listener(grasp, made)
    error, session, nothing = grasp.req_negotiate(asa, made, peer, 10_000, noloop=True)
    assert (error, nothing) == (grasp.errors.noReply, None)
    for message in ("text", b"abc", [1, {"two": 3.5}], None):
        assert grasp.gsend(asa, session, message) == 0
        assert grasp.grecv(asa, session, 10_000) == (0, message)
    assert grasp.send_invalid(asa, session) == 0
    assert listener.result() == 0, "what ends the session arrives as a message"


def test_listening_stops(grasp, asa):
    made = objective(grasp, "neg")
    assert grasp.register_obj(asa, made) == 0
    listener = Thread(grasp.listen_negotiate, asa, made)
    await_listener(grasp, made)
    assert grasp.stop_negotiate(asa, made) == 0
    assert listener.result() == (grasp.errors.noSession, None, None)


def test_a_value_is_synchronized(grasp, asa, other):
    made = objective(grasp, "synch", {"a": [1, 2]})
    assert grasp.register_obj(other, made) == 0
    assert grasp.listen_synchronize(other, made) == 0
    error, found = grasp.synchronize(asa, made, place(grasp, made.name), 10_000)
    assert (error, found.value, found.synch, found.loop_count) == (0, {"a": [1, 2]}, True, 5)
    made.value = "new"
    assert grasp.listen_synchronize(other, made) == 0
    error, found = grasp.synchronize(asa, made, None, 10_000)
    assert (error, found.value) == (0, "new"), "without a locator it is discovered"
    assert grasp.stop_synchronize(other, made) == 0
    assert grasp.synchronize(asa, made, place(grasp, made.name), 10_000) == (grasp.errors.noListener, None)


def test_values_are_flooded(grasp, asa, other):
    one, two = objective(grasp, "synch", 1), objective(grasp, "synch", b"\x82\x01\x02")
    for made in (one, two):
        assert grasp.register_obj(other, made) == 0
    locator = grasp.asa_locator(ipaddress.IPv6Address("fd00::1"), None, False)
    locator.is_ipaddress, locator.port, locator.protocol = True, 0, 41
    assert grasp.flood(other, 60_000, grasp.tagged_objective(one, None), grasp.tagged_objective(two, locator)) == 0
    error, (first,) = grasp.get_flood(asa, one)
    assert (error, first.objective.value, first.source.locator, first.source.port) == (0, 1, None, 7017)
    error, (second,) = grasp.get_flood(asa, two)
    assert second.objective.value == b"\x82\x01\x02"
    assert (second.source.locator, second.source.protocol, second.source.port) == (locator.locator, 41, 0)
    import time

    assert 58 <= second.source.expire - time.monotonic() <= 60
    # The same object each time, also in the cache, so that a program can mark it.
    second.method = "BRSKI_JP"
    assert grasp.get_flood(asa, two)[1][0] is second
    assert second in grasp._flood_cache
    # A list, as RFC 8991 has it; a new value is a new object.
    two.value = "newer"
    assert grasp.flood(other, 0, [grasp.tagged_objective(two, locator)]) == 0
    error, (newer,) = grasp.get_flood(asa, two)
    assert (newer.objective.value, newer.source.expire) == ("newer", 0)
    assert newer is not second
    # One may forget it.
    assert grasp.expire_flood(asa, first) == 0
    assert grasp.get_flood(asa, one) == (0, [])
    assert 0 < first.source.expire <= time.monotonic()
    assert grasp.expire_flood(asa, grasp.tagged_objective(two, None)) == 0, "one that is unknown is none"
    assert grasp.get_flood(asa, two)[1] == [newer]


def test_a_flood_with_the_unspecified_address_is_for_the_link(grasp, asa):
    made = objective(grasp, "synch", 1)
    assert grasp.register_obj(asa, made) == 0
    locator = grasp.asa_locator(grasp._unspec_address, 0, False)
    locator.is_ipaddress = True
    assert grasp.flood(asa, 10_000, grasp.tagged_objective(made, locator)) == 0
    assert made.loop_count == 1, "as in graspy"
    name = grasp.asa_locator("peer.example.org", None, False)
    name.is_fqdn = True
    made.loop_count = 6
    assert grasp.flood(asa, 10_000, grasp.tagged_objective(made, name)) == 0
    assert made.loop_count == 6
    flooded = {x.source.locator: x.source for x in grasp.get_flood(asa, made)[1]}
    assert flooded["peer.example.org"].is_fqdn
    assert not flooded["peer.example.org"].is_ipaddress


def test_objects_are_plain_python(grasp):
    made = objective(grasp, "neg", [1, 2])
    made.sync = True  # Misspelt, by one program.
    assert made == made and made != objective(grasp, "neg", [1, 2])
    clone = copy.deepcopy(made)
    assert clone.value == made.value and clone.value is not made.value and clone.sync
    assert pickle.loads(pickle.dumps(made)).name == made.name
    assert repr(made).startswith("<grasp.objective object")
    locator = grasp.asa_locator(None, 5, True)
    assert (locator.protocol, locator.port, locator.expire, locator.ifi, locator.diverted) == (6, 7017, 0, 5, True)
    assert vars(grasp.tagged_objective(made, locator)) == {"objective": made, "source": locator}


def test_what_was_received_is_of_our_classes(grasp, asa, other):
    made = objective(grasp, "synch", 1)
    assert grasp.register_obj(other, made, discoverable=True) == 0
    assert grasp.listen_synchronize(other, made) == 0
    assert type(grasp.discover(asa, made, 1000)[1][0]) is grasp.asa_locator
    assert type(grasp.synchronize(asa, made, None, 10_000)[1]) is grasp.objective


def test_graspi_gives_the_reason_a_place_of_its_own(grasp, asa, other, raw_peer):
    import graspi

    made, _ = negotiable(grasp, asa, other, 1)
    declined = raw_peer(lambda message: [6, message[1], [102, "no"]])
    assert graspi.request_negotiate(asa, made, declined, 10_000) == (1, None, None, "no")
    accepted = raw_peer(lambda message: [6, message[1], [101]])
    assert graspi.request_negotiate(asa, made, accepted, 10_000) == (0, None, made, None)
    closed = raw_peer(lambda message: "close")
    assert graspi.request_negotiate(asa, made, closed, 10_000) == (23, None, None, None)
    offered = raw_peer(lambda message: [5, message[1], [made.name, 3, 5, 2]])
    error, session, offer, reason = graspi.request_negotiate(asa, made, offered, 10_000)
    assert (error, offer.value, reason) == (0, 2, None)
    offer.loop_count = 1
    assert graspi.negotiate_step(asa, session, offer, 10_000) == (21, None, None, None)
    assert graspi.end_negotiate(asa, session, False) == 0
    assert graspi.grasp is grasp
    assert graspi.errors is grasp.errors


def test_an_engine_says_what_it_knows(grasp, network):
    assert isinstance(grasp._my_address, ipaddress.IPv6Address)
    assert grasp._session_locator == grasp._my_address
    assert len(grasp._session_locator.packed) == 16
    ((index, address),) = grasp._ll_zone_ids
    assert type(index) is int and address.is_link_local
    assert grasp._relay_needed is False
    assert (grasp._secure, grasp._crypto, grasp._grasp_initialised, grasp.DULL) == (True, False, True, False)
    assert 0 <= grasp._prng.randint(0, 3) <= 3
    with pytest.raises(AttributeError):
        grasp._nothing
    import graspi

    with pytest.raises(AttributeError):
        graspi._prng


def test_registries_are_printed(grasp, asa, other, capsys):
    made = objective(grasp, "synch", ["flooded"])
    assert grasp.register_obj(other, made, discoverable=True) == 0
    assert grasp.flood(other, 0, grasp.tagged_objective(made, None)) == 0
    grasp.dump_all()
    full = capsys.readouterr().out
    for text in (str(grasp._my_address), str(other), made.name, "['flooded']", "Discovery cache", "Session ID cache"):
        assert text in full
    grasp.dump_all(partial=True)
    partial = capsys.readouterr().out
    assert made.name in partial and "ASA registry" not in partial


def test_the_switches_for_tests(grasp, asa, other, raw_peer):
    made, _ = negotiable(grasp, asa, other, 1)

    def answer(message):
        return [5, message[1], [made.name, 3, 5, 2]], "nothing"

    error, session, offer = grasp.req_negotiate(asa, made, raw_peer(answer), 10_000)
    grasp._make_badmess = True
    assert grasp.negotiate_step(asa, session, offer, 200)[0] == grasp.errors.noNegReply
    shared = objective(grasp, "synch")
    assert grasp.register_obj(other, shared, discoverable=True) == 0
    assert len(grasp.discover(asa, shared, 200)[1]) == 1
    grasp._test_divert = True
    try:
        assert grasp._test_divert is True
        assert grasp.discover(asa, shared, 200) == (0, []), "it answers from the cache only"
    finally:
        grasp._test_divert = False
    assert len(grasp.discover(asa, shared, 200)[1]) == 1


def test_a_message_is_taken_apart(grasp, capsys):
    message = grasp._parse_msg([9, 7, bytes(16), 1000, [["EX1", 5, 3, [1]], [103, bytes(15) + b"\1", 6, 99]]])
    assert (message.mtype, message.id_value, message.ttl) == (grasp.M_FLOOD, 7, 1000)
    (flooded,) = message.flood_list
    assert (flooded.obj.name, flooded.obj.synch, flooded.obj.loop_count, flooded.obj.value) == ("EX1", True, 3, [1])
    assert (flooded.loco.otype, flooded.loco.locator, flooded.loco.port) == (103, bytes(15) + b"\1", 99)
    divert = [100, [103, bytes(16), 6, 1], [105, "name", 6, 2]]
    message = grasp._parse_msg([2, 7, bytes(16), 0, divert])
    assert [option.locator for option in message.options[0].embedded] == [bytes(16), "name"]
    assert grasp._parse_msg([6, 1, [102, "why"]]).options[0].reason == "why"
    assert grasp._parse_msg([7, 1, 500]).ttl == 500
    grasp._mess_check = True
    try:
        assert grasp._parse_msg([5, 1]) is None
    finally:
        grasp._mess_check = False
    assert "Message parsing error:" in capsys.readouterr().out
