//! Every setting of an engine, with its default and the source of that default, in groups, each with a getter. Programs
//! build a [`Config`]; the parts of the engine read it.

mod bounds;
mod by_name;
pub(crate) mod environment;
mod kinds;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::constants::{GRASP_DEF_MAX_SIZE, GRASP_DEF_TIMEOUT};

pub use bounds::Adjusted;
use by_name::Written;
pub use by_name::{Setting, SettingError};
pub(crate) use kinds::Pcap;
pub use kinds::{Rate, Relay};

use crate::acp::Acp;
use crate::types::Value;

macro_rules! settings {
    ($(
        #[doc = $about:literal]
        $group:ident: $Group:ident {
            $(
                $(#[doc = $doc:literal])* $(#[cfg($feature:meta)])?
                $name:ident: $type:ty = $default:expr $(=> $seen:ty, $how:expr)?;
            )*
        }
    )*) => {
        /// The settings of an [`Engine`](crate::Engine). Begin with [`Config::new`]; every setter takes and
        /// returns the whole, so that calls chain. The getters are in groups, as `config.times().connect_timeout()`.
        /// When an engine starts, it replaces a value outside the supported range by the nearest supported one, with a
        /// warning: [`Engine::adjusted`](crate::Engine::adjusted).
        ///
        /// ```
        /// let config = grasp::Config::new().listen_self(true).objective_ttl(10_000);
        /// assert!(config.role().listen_self() && config.times().objective_ttl() == 10_000);
        /// ```
        #[derive(Clone, Debug)]
        pub struct Config {
            $($($(#[cfg($feature)])? pub(crate) $name: $type,)*)*
            pub(crate) pcap: Pcap,
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($($(#[cfg($feature)])? $name: $default,)*)* pcap: Pcap::Environment }
            }
        }

        $(
            #[doc = concat!("# Settings: ", $about)]
            impl Config {
                $($(#[doc = $doc])* $(#[cfg($feature)])? #[must_use] pub fn $name(mut self, $name: $type) -> Self { self.$name = $name; self })*
            }

            #[doc = concat!($about, " One group of the getters of [`Config`].")]
            #[derive(Clone, Copy, Debug)]
            pub struct $Group<'a>(&'a Config);

            impl<'a> $Group<'a> {
                $(getter! { $(#[cfg($feature)])? $name: $type $(=> $seen, $how)? })*
            }
        )*

        /// # Getters, by group
        impl Config {
            $(
                #[doc = concat!("The getters of: ", $about)]
                #[must_use]
                pub const fn $group(&self) -> $Group<'_> { $Group(self) }
            )*
        }

        /// # Settings by name
        impl Config {
            /// All settings, described, in groups: for programs that read them from a file.
            #[must_use]
            pub fn settings() -> Vec<Setting> {
                Vec::from([$($(
                    $(#[cfg($feature)])?
                    Setting {
                        group: stringify!($group),
                        group_about: $about.trim_ascii(),
                        name: stringify!($name),
                        about: concat!($($doc),*).trim_ascii(),
                        permitted: <$type>::permitted(Self::range(stringify!($name))),
                    },
                )*)*])
            }

            /// The value of a setting, by its name, as [`set`](Self::set) takes it. `None` if there is no such setting, or if a
            /// [`Value`] cannot represent it.
            #[must_use]
            pub fn get(&self, name: &str) -> Option<Value> {
                $($(
                    $(#[cfg($feature)])?
                    if name == stringify!($name) {
                        return self.$name.write();
                    }
                )*)*
                None
            }

            /// The same with another value; `None` if it is of another type.
            fn with_value(mut self, name: &str, value: &Value) -> Option<Self> {
                $($(
                    $(#[cfg($feature)])?
                    if name == stringify!($name) {
                        self.$name = <$type>::read(value)?;
                    }
                )*)*
                Some(self)
            }
        }
    };
}

macro_rules! getter {
    ($(#[cfg($feature:meta)])? $name:ident: $type:ty) => {
        #[doc = concat!("What [`Config::", stringify!($name), "`] was set to.")]
        $(#[cfg($feature)])?
        #[must_use]
        pub const fn $name(&self) -> $type { self.0.$name }
    };
    ($(#[cfg($feature:meta)])? $name:ident: $type:ty => $seen:ty, $how:expr) => {
        #[doc = concat!("What [`Config::", stringify!($name), "`] was set to.")]
        $(#[cfg($feature)])?
        #[must_use]
        pub fn $name(&self) -> $seen { let how: fn(&'a Config) -> $seen = $how; how(self.0) }
    };
}

settings! {
    /// What kind of node the engine is.
    role: Role {
        /// What secures the traffic. Defaults to [`Acp::Environment`], which is the layer 2 ACP, as in graspy, unless
        /// the environment has keys.
        acp: Acp = Acp::Environment => &'a Acp, |config| &config.acp;
        /// Run as a DULL instance (RFC 8990 §2.5.2): on `dull_links` interfaces, and with nothing that
        /// goes further than the link. Such an engine shares no data with others of the process.
        /// [`DullInstances`](crate::DullInstances) runs one on each link. Defaults to off.
        dull: bool = false;
        /// How many interfaces a DULL instance uses: the first permitted ones. Defaults to 1 (RFC 8990 §2.5.2). graspy
        /// uses all: the ASAs of all links then know what is flooded on one.
        dull_links: usize = 1;
        /// The objectives that a DULL instance handles, by name; others are dropped (RFC 8990 §2.5.2). Defaults to
        /// all, for experiments: in production, name those of the insecure service.
        dull_objectives: Option<Vec<String>> = None => Option<&'a [String]>, |config| config.dull_objectives.as_deref();
        /// Handle the engine's own multicasts, so that an ASA discovers even its own objectives (graspy's
        /// `listen_self`). Several ASAs or processes on one host do not need this. Defaults to off.
        listen_self: bool = false;
        /// Let floods of the objective GraspConfig change the limits on message sizes (graspy's `figging`, its Configger).
        /// Defaults to on.
        figging: bool = true;
        /// Negotiate in rapid mode (RFC 8990 §2.5.5.1): `req_negotiate` without a peer sends its wish with the
        /// discovery, and an objective registered as rapid answers it at once while an ASA listens. Defaults to
        /// off (§2.5.4.5).
        rapid_negotiation: bool = false;
        /// Answer discoveries of rapid synchronization objectives with M_SYNCH in place of M_RESPONSE (RFC 8990
        /// §2.5.6.3). Defaults to off: the value goes into the M_RESPONSE, which graspy understands too. Both are
        /// always accepted.
        rapid_synch_message: bool = false;
    }
    /// Which interfaces are used.
    links: Links {
        /// The interfaces to use, by name. Defaults to all that are up and have a link-local address.
        interfaces: Option<Vec<String>> = None => Option<&'a [String]>, |config| config.interfaces.as_deref();
        /// The interfaces not to use, by name. Defaults to none.
        exclude_interfaces: Vec<String> = Vec::new() => &'a [String], |config| &config.exclude_interfaces;
        /// Start even if there is no usable interface yet. Defaults to off: then the start fails.
        wait_for_interfaces: bool = false;
        /// The largest number of interfaces to use. Others are left out, with a warning. Defaults to 256: each takes four
        /// descriptors and three threads.
        interface_limit: usize = 256;
        /// How many descriptors the interfaces leave to sessions and to the rest of the program, but no more than half of the
        /// limit of the process. Interfaces that do not fit are left out, with a warning. Defaults to 256.
        reserved_descriptors: usize = 256;
        /// Raise the process's soft limit on open files if it is too low for the interfaces and `reserved_descriptors`, up to
        /// the hard limit, and no further than they need. Turn it off in a program that uses select(2). Defaults to on.
        raise_descriptor_limit: bool = true;
        /// How often interfaces and addresses are checked. Defaults to 2 s; graspy takes 10 s.
        watch_interval: Duration = Duration::from_secs(2);
    }
    /// How long things take.
    times: Times {
        /// The timeout of negotiation and synchronization in milliseconds, if a call gives none. Defaults to
        /// 60000 (RFC 8990 §2.6).
        default_timeout: u32 = GRASP_DEF_TIMEOUT;
        /// Whether a discovery asks near nodes first: with the loop counts 1, 2, 4 and so on, 50 ms for each hop, as long as half of the
        /// time of the hops is left for the question with the whole loop count. The timeout stays the same. What is near is found with few
        /// messages, and nodes behind it are not asked; what is far takes more of both. Defaults to off; docs/scaling.md has what it saves.
        expanding_discovery: bool = false;
        /// How long connecting to a peer and sending a request may take. Defaults to 5 s, as in graspy.
        connect_timeout: Duration = Duration::from_secs(5);
        /// How long connecting to an asker and sending a response may take, and how long the asker then has to close the
        /// connection before it is reset. Defaults to 2 s; graspy's 1 s is over when the first lost packet is sent again.
        response_timeout: Duration = Duration::from_secs(2);
        /// How long a connected peer may take to send its complete request or response. Defaults to 3 s.
        request_deadline: Duration = Duration::from_secs(3);
        /// How long a request waits for a listener that has just returned with another request. Defaults to
        /// 1 s; graspy refuses at once, so that a busy server loses peers between two calls.
        listen_grace: Duration = Duration::from_secs(1);
        /// How long a session stays open after its peer has closed the connection and left nothing unread, so that its ASA can
        /// notice. Defaults to 10 s, checked every `watch_interval`. graspy keeps such a session until its ASA ends it.
        abandoned_after: Duration = Duration::from_secs(10);
        /// The longest total time that a peer gets by M_WAIT before its next other message, in milliseconds, however often
        /// it asks. Defaults to one hour.
        wait_limit: u32 = 3_600_000;
        /// How long discovered locators of this node's objectives are valid, in milliseconds, if a registration does
        /// not say. Defaults to 600000, which is what graspy sends (RFC 8990 §2.8.5).
        objective_ttl: u32 = 600_000;
    }
    /// How large messages are, in bytes.
    sizes: Sizes {
        /// The largest unicast message in bytes, sent or received. Defaults to 2048 (RFC 8990 §2.6). GraspConfig may
        /// change it while the engine runs.
        unicast_size: usize = GRASP_DEF_MAX_SIZE;
        /// The largest multicast message accepted, in bytes. Defaults to 2048, as in graspy. GraspConfig may change it
        /// while the engine runs.
        multicast_size: usize = GRASP_DEF_MAX_SIZE;
        /// The largest multicast message sent, in bytes. Defaults to 1232: an IPv6 packet of 1280 bytes is never
        /// fragmented (RFC 8990 §2.5.3).
        multicast_send_size: usize = 1232;
        /// How deep CBOR may be nested in a received message. Defaults to 32; 128 at most.
        nesting: usize = 32;
    }
    /// Limits on what exists at the same time, and on responses.
    limits: Limits {
        /// How many ASAs may be registered. Defaults to 100, as in graspy.
        asa_limit: usize = 100;
        /// How many objectives may be registered. Defaults to 200, as in graspy.
        objective_limit: usize = 200;
        /// How many sessions may be open. Defaults to 10000; graspy remembers 1100.
        session_limit: usize = 10_000;
        /// How many of the open sessions may have been opened by one peer, by its address. Defaults to 256. Peers on this
        /// machine are not counted.
        sessions_per_peer: usize = 256;
        /// How many requests may wait for a listener, per objective, beyond one for each thread that listens. Defaults to
        /// 64; graspy queues 5.
        request_queue: usize = 64;
        /// How many of these requests may be from one peer, by its address. Defaults to 32. Peers on this machine are not
        /// counted.
        requests_per_peer: usize = 32;
        /// How many multicasts may wait to be handled. Defaults to 1000; graspy queues 100.
        multicast_queue: usize = 1000;
        /// How much memory the multicasts that wait to be handled may take, in bytes. Defaults to 8 MiB.
        multicast_queue_size: usize = 8 << 20;
        /// How many responses may wait for one discovery. Defaults to 32; graspy queues 10.
        response_queue: usize = 32;
        /// How many connections may wait for their first message. Defaults to 256; the peer that has most makes room, with
        /// the connection that has waited longest.
        reader_limit: usize = 256;
        /// How many responses may be on their way at the same time. Defaults to 64.
        responder_limit: usize = 64;
        /// How many responses to one asker may be on their way at the same time. Defaults to 8.
        responders_per_asker: usize = 8;
        /// How many responses may be on their way at the same time to askers that no response has reached before: invented
        /// addresses must not delay the answers to known askers. Defaults to 32.
        responders_for_strangers: usize = 32;
        /// How many responses are sent. Defaults to 500 a second, 2000 at once: each takes a connection, whose port is in use
        /// until the asker has closed the connection, for `response_timeout` at most.
        response_rate: Rate = Rate::new(500, 2000);
        /// How many responses are sent to one asker. Defaults to 200 a second, 1000 at once.
        asker_response_rate: Rate = Rate::new(200, 1000);
        /// How many responses are sent to all askers together that no response has reached before: their addresses may be
        /// invented. Defaults to 50 a second, 100 at once.
        stranger_response_rate: Rate = Rate::new(50, 100);
        /// How many peers that have not authenticated before may begin to do so, where TLS secures connections: each costs this node
        /// half a millisecond of a processor, whoever the peer is. A quarter for each address. Defaults to 100 a second, 400 at once.
        stranger_handshake_rate: Rate = Rate::new(100, 400);
        /// How many neighbours on one link this node is connected with, where connections carry multicasts
        /// ([`Neighbours`](crate::acp::Neighbours)). Others are refused. Defaults to 128.
        neighbours_per_link: usize = 128;
        /// How many bytes may wait for one such neighbour; then its oldest flood goes, first one of the same objective. Defaults to
        /// 256 KiB.
        neighbour_queue_size: usize = 256 << 10;
    }
    /// How much is remembered about other nodes.
    caches: Caches {
        /// How many objectives the discovery cache holds; the least recently used goes. Defaults to 500, as in graspy.
        discovery_cache_limit: usize = 500;
        /// How much memory the discovery cache may take, in bytes; the least recently used objective goes. Defaults to 8 MiB.
        /// A neighbour that asks and answers itself can fill it.
        discovery_cache_size: usize = 8 << 20;
        /// How many locators the discovery cache holds for one objective, and a discovery collects. Defaults to 32; graspy has
        /// no limit.
        locators_limit: usize = 32;
        /// How many entries the flood cache holds; the oldest goes. Defaults to 2000; graspy holds 100.
        flood_cache_limit: usize = 2000;
        /// How many entries of the flood cache may have come from one neighbour; its oldest goes. Defaults to 1000.
        neighbour_flood_cache_limit: usize = 1000;
        /// How much memory the values in the flood cache may take, in bytes; the oldest goes. Defaults to 16 MiB. Values of
        /// many small items take up to 32 times their size on the wire.
        flood_cache_size: usize = 16 << 20;
        /// How much memory the values in the flood cache that have come from one neighbour may take, in bytes. Defaults to
        /// 8 MiB.
        neighbour_flood_cache_size: usize = 8 << 20;
        /// How long locators and flooded values of other nodes are kept at most, in milliseconds, whatever lifetime they
        /// announce. Defaults to one hour. Their ASAs repeat what is to stay (RFC 8990 §2.5.4.3, §2.5.6.2).
        learned_ttl_limit: u32 = 3_600_000;
    }
    /// How much is relayed.
    relaying: Relaying {
        /// Whether the engine relays. Defaults to once per host ([`Relay`]): ten engines on one host would multiply everything by ten.
        /// graspy relays in every process.
        relay: Relay = Relay::OncePerHost;
        /// How many relayed discoveries may be open. Defaults to 64.
        relay_limit: usize = 64;
        /// How many of these may be from one neighbour. Defaults to 32.
        relays_per_neighbour: usize = 32;
        /// For how many milliseconds a relayed discovery, while it is open, stands for equal ones of other initiators: those are not relayed everywhere, but
        /// wait for its answers, and are relayed only if none has come after 50 ms. Equal are discoveries with the same name and flags and no
        /// larger loop count. Defaults to 0: each discovery is relayed. docs/scaling.md has what it saves.
        merge_window: u32 = 0;
        /// After how many locators a relay passes on no more answers to one discovery; at least 1. Defaults to 32, as many as a
        /// discovery collects by default.
        relay_answers: usize = 32;
        /// How many relayed discoveries and floods are remembered to recognise duplicates. Defaults to 10000.
        relay_memory: usize = 10_000;
        /// How many discoveries are relayed. Defaults to 100 a second, 300 at once; docs/defaults.md has the
        /// calculation. graspy has no limit.
        discovery_relay_rate: Rate = Rate::new(100, 300);
        /// How many discoveries of one neighbour are relayed. Defaults to 50 a second, 150 at once.
        neighbour_discovery_relay_rate: Rate = Rate::new(50, 150);
        /// How many floods are relayed. Defaults to 200 a second, 2000 at once. graspy has no limit.
        flood_relay_rate: Rate = Rate::new(200, 2000);
        /// How many floods of one neighbour are relayed. Defaults to 100 a second, 1000 at once.
        neighbour_flood_relay_rate: Rate = Rate::new(100, 1000);
    }
    /// What is printed, written and shown.
    output: Output {
        /// Detailed diagnostics in `ttprint` (graspy's `test_mode`). Defaults to off.
        test_mode: bool = false;
        /// Print what is wrong with received messages (graspy's `_mess_check`), 60 times a minute at most. Defaults to off: they
        /// are only counted.
        diagnose: bool = false;
        /// Print nothing at all (graspy's `silent`). Defaults to off.
        silent: bool = false;
        /// The engine's name in the log and in the file name of its capture. Defaults to the host's name.
        name: Option<String> = None => Option<&'a str>, |config| config.name.as_deref();
        /// Whether the packets in the capture begin with an Ethernet header, which graspy's gparseg.py needs; it is made up
        /// like the other headers. The environment variable `GRASP_PCAP_ETHERNET`, if it is set and not empty, turns this on,
        /// too. Defaults to `false`: the packets begin with the IP header.
        pcap_ethernet: bool = false;
        /// Whether messages that TLS secures are in the clear in the capture. The environment variable `GRASP_PCAP_CLEAR`, if it is
        /// set and not empty, turns this on, too. Defaults to `false`: the capture has the records of TLS as they are on the wire.
        pcap_clear: bool = false;
        /// Whether to append the secrets of TLS connections to the file that the environment variable `SSLKEYLOGFILE` names, as
        /// Wireshark reads them: whoever reads that file can decrypt the connections. Without the variable it has no effect, and
        /// the variable has none without it. The file is made for its owner only; one that others can read or write, that is a
        /// link, or that belongs to somebody else, is not written to. A warning in the log says so at each start. Defaults to
        /// `false`.
        tls_key_log: bool = false;
        /// Where to serve the page of speech bubbles, as `init_bubble_text` does for the engine of the process. Only with
        /// the feature `bubbles`. Defaults to nowhere.
        #[cfg(feature = "bubbles")]
        bubbles: Option<crate::Bubbles> = None => Option<&'a crate::Bubbles>, |config| config.bubbles.as_ref();
    }
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Captures all sent and received messages in a file, in the format pcapng, which Wireshark opens. Messages are
    /// written as they are on the wire: sealed in a QUADS domain, and as records of TLS on connections that TLS secures, unless
    /// [`Config::pcap_clear`] asks for their messages. Their IP, UDP and TCP headers are made up. The name of the
    /// node is added to the file name: `grasp.pcapng` becomes `grasp-n1.pcapng`, or `grasp-n1.2.pcapng` if that exists. No
    /// file is overwritten, and only the owner can read it. The path of a pipe or a device is used as it is. If this is not
    /// called, the environment variable `GRASP_PCAP` may name the file; with `None` there is no capture, whatever the
    /// environment says.
    #[must_use]
    pub fn pcap(mut self, pcap: Option<PathBuf>) -> Self {
        self.pcap = pcap.map_or(Pcap::Off, Pcap::File);
        self
    }

    /// The engine's name.
    pub(crate) fn node_name(&self) -> String {
        self.name.clone().unwrap_or_else(host_name)
    }

    /// Whether a DULL instance handles an objective (RFC 8990 §2.5.2). Always `true` in other engines.
    pub(crate) fn permits(&self, name: &str) -> bool {
        let listed = |names: &Vec<String>| names.iter().any(|permitted| permitted == name);
        !self.dull || self.dull_objectives.as_ref().is_none_or(listed)
    }
}

impl<'a> Output<'a> {
    /// The file that [`Config::pcap`] was set to. In a configuration of an engine that runs
    /// ([`Engine::config`](crate::Engine::config)), this includes what the environment says.
    #[must_use]
    pub fn pcap(&self) -> Option<&'a Path> {
        self.0.pcap.file()
    }
}

/// The host's name, as the system gives it.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { NAMELESS.to_owned() } else { name.to_owned() }
}

/// The name of an engine on a host without a name.
const NAMELESS: &str = "node";
