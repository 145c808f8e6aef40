//! The bounds of one node, made from its configuration.

use crate::bounds::{Bounds, Cause, Neighbour, Quota, RateLimit};
use crate::config::{Config, Rate};

/// A rate that no peer can reach.
const UNLIMITED: Rate = Rate::new(u32::MAX, u32::MAX);

/// How many neighbours this node tries to connect with at a time.
const OPENINGS: usize = 32;
/// How often it tries: all together, and one address.
const OPENING_RATE: Rate = Rate::new(32, 128);
const OPENING_RATE_EACH: Rate = Rate::new(1, 4);
/// How many connections one neighbour has on a link, with those that are ending: of the engines of its host. What is certified counts,
/// since a member has as many addresses as it likes.
const CONNECTIONS_OF_ONE: usize = 8;

/// How much work one node may have in progress, and how often it acts for others.
#[derive(Debug)]
pub(super) struct Quotas {
    pub(super) discoveries: Lane,
    pub(super) floods: Lane,
    /// Open relays by the neighbour that asked.
    pub(super) relays: Quota<Neighbour>,
    /// Responses in progress, by asker.
    pub(super) responses: Quota<Neighbour>,
    /// Responses in progress to askers that were not reached before.
    pub(super) strangers: Quota<()>,
    pub(super) discovery_rate: RateLimit<Neighbour>,
    /// Each initiator behind a neighbour gets half of the neighbour's rate.
    pub(super) discovery_cause_rate: RateLimit<Cause>,
    pub(super) flood_rate: RateLimit<Neighbour>,
    pub(super) flood_cause_rate: RateLimit<Cause>,
    pub(super) response_rate: RateLimit<Neighbour>,
    pub(super) stranger_rate: RateLimit<()>,
    /// Handshakes of TLS with peers that have not authenticated before.
    pub(super) handshake_rate: RateLimit<Neighbour>,
    /// Neighbours that this node is connected with, by link.
    pub(super) neighbours: Quota<u32>,
    /// Their connections, by link and certificate, or address where nothing is certified.
    pub(super) connections: Quota<(u32, String)>,
    /// Attempts to connect with neighbours that were no members before.
    pub(super) stranger_openings: Openings,
    /// The same for members, so that invented neighbours keep nobody away.
    pub(super) member_openings: Openings,
}

/// Attempts to connect with neighbours.
#[derive(Debug)]
pub(super) struct Openings {
    /// Those in progress, by link.
    pub(super) open: Quota<u32>,
    /// How often it is tried: announcements cost their sender nothing, and may be in another's name.
    pub(super) rate: RateLimit<Neighbour>,
}

impl Openings {
    fn new() -> Self {
        Self {
            open: Quota::new(Bounds { all: OPENINGS, each: OPENINGS / 2 }),
            rate: RateLimit::new(OPENING_RATE, OPENING_RATE_EACH),
        }
    }
}

/// A queue of one kind of message, discoveries or floods, before they are handled. A neighbour gets at most half of it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) entries: Quota<Neighbour>,
    pub(super) bytes: Quota<Neighbour>,
}

impl Lane {
    fn new(entries: usize, bytes: usize) -> Self {
        let half = |all: usize| Quota::new(Bounds { all, each: all.div_ceil(2) });
        Self { entries: half(entries), bytes: half(bytes) }
    }
}

fn half(rate: Rate) -> Rate {
    Rate::new(rate.per_second.div_ceil(2), rate.burst.div_ceil(2))
}

impl Quotas {
    pub(super) fn new(config: &Config) -> Self {
        let lane = || Lane::new(config.multicast_queue, config.multicast_queue_size / 2);
        let (stranger, handshakes) = (config.stranger_response_rate, config.stranger_handshake_rate);
        Self {
            discoveries: lane(),
            floods: lane(),
            relays: Quota::new(Bounds { all: config.relay_limit, each: config.relays_per_neighbour }),
            responses: Quota::new(Bounds { all: config.responder_limit, each: config.responders_per_asker }),
            strangers: Quota::new(Bounds::all(config.responders_for_strangers)),
            discovery_rate: RateLimit::new(
                config.discovery_relay_rate,
                config.neighbour_discovery_relay_rate,
            ),
            discovery_cause_rate: RateLimit::new(UNLIMITED, half(config.neighbour_discovery_relay_rate)),
            flood_rate: RateLimit::new(config.flood_relay_rate, config.neighbour_flood_relay_rate),
            flood_cause_rate: RateLimit::new(UNLIMITED, half(config.neighbour_flood_relay_rate)),
            response_rate: RateLimit::new(config.response_rate, config.asker_response_rate),
            stranger_rate: RateLimit::new(stranger, stranger),
            handshake_rate: RateLimit::new(handshakes, half(half(handshakes))),
            neighbours: Quota::new(Bounds { all: usize::MAX, each: config.neighbours_per_link }),
            connections: Quota::new(Bounds { all: usize::MAX, each: CONNECTIONS_OF_ONE }),
            stranger_openings: Openings::new(),
            member_openings: Openings::new(),
        }
    }
}
