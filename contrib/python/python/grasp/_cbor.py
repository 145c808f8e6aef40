"""cbor2 as the compiled part uses it, for what it does not convert itself. Imported when it is first needed.

cbor2 has known the tags of RFC 9164 for IP addresses (52 and 54) since version 6. For older versions, which are those for
Python 3.9, they are added here, so that both ends of a session understand each other.
"""

import ipaddress
import math

import cbor2


def _knows_rfc9164():
    return cbor2.dumps(ipaddress.IPv6Address("::"))[:2] == b"\xd8\x36"


_TAGS = {4: 52, 6: 54}
_INTERFACES = (ipaddress.IPv4Interface, ipaddress.IPv6Interface)
_ADDRESSES = (ipaddress.IPv4Address, ipaddress.IPv6Address)
_NETWORKS = (ipaddress.IPv4Network, ipaddress.IPv6Network)


def _tagged(value):
    """The same value with every IP address, interface and network as a tag of RFC 9164."""
    if isinstance(value, _INTERFACES):
        return cbor2.CBORTag(_TAGS[value.version], [value.ip.packed, value.network.prefixlen])
    if isinstance(value, _ADDRESSES):
        return cbor2.CBORTag(_TAGS[value.version], value.packed)
    if isinstance(value, _NETWORKS):
        prefix = value.network_address.packed.rstrip(b"\0")
        return cbor2.CBORTag(_TAGS[value.version], [value.prefixlen, prefix])
    if type(value) in (list, tuple):
        return type(value)(map(_tagged, value))
    if type(value) is dict:
        return {_tagged(key): _tagged(item) for key, item in value.items()}
    return value


def _from_tag(decoder, tag):
    """An IP address, interface or network from a tag of RFC 9164; any other tag as it is."""
    version = {52: 4, 54: 6}.get(tag.tag)
    if version is None:
        return tag
    size, content = {4: 4, 6: 16}[version], tag.value
    if isinstance(content, bytes):
        address = _ADDRESSES[version == 6](content)
        return address
    first, second = content
    if isinstance(first, int):
        if len(second) > math.ceil(first / 8):
            raise ValueError("the prefix is longer than its length")
        return _NETWORKS[version == 6]((second + bytes(size - len(second)), first))
    return _INTERFACES[version == 6]((first, second))


if _knows_rfc9164():
    dumps, loads = cbor2.dumps, cbor2.loads
else:

    def dumps(value):
        try:
            value = _tagged(value)
        except RecursionError:
            pass  # cbor2 says what is wrong with a value that contains itself.
        return cbor2.dumps(value)

    def loads(data):
        return cbor2.loads(data, tag_hook=_from_tag)
