//! `grasp domain`: the authority of a domain of certificates, and the files of its nodes, for operators without a registrar. What is
//! checked is checked by the same code as in an engine (`crate::domain`).
//!
//! | file | what |
//! |---|---|
//! | `files` | directories: locks, modes, owners, files that are never half written |
//! | `store` | the authority in its directory, and the index of what it has issued |
//! | `issue` | `init`, `request`, `issue` |
//! | `renew` | `renew`, `revoke`, `crl` |
//! | `show`, `check` | looking at files; whether they work |

mod check;
mod files;
mod issue;
mod renew;
mod show;
mod store;

use std::io::Write;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::command::Options;
use super::failure::Outcome;
use crate::domain::{AcpAddress, Algorithm};

/// What is to be done with a domain.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Domain {
    /// Make the authority of a domain in a new directory: its key, its certificate, an empty revocation list
    ///
    /// Whoever has authority.key can make members of the domain: the directory belongs on a machine that is well guarded, and into
    /// an encrypted backup.
    Init(Init),
    /// Issue a certificate for a node, with a new key, or with that of a request (--csr)
    ///
    /// The directory gets node.crt, anchors.crt and domain.crl, and, without --csr, node.key. The node needs all of them.
    Issue(Issue),
    /// On a node: make its key, and a request for its certificate, so that the key never leaves the node
    ///
    /// The authority issues the certificate with `grasp domain issue --csr node.csr`. If the directory has a key, it is kept.
    Request(Request),
    /// Issue new certificates for nodes, with the same names; their revocation lists and anchors are brought up to date, too
    ///
    /// It is for where the authority is. Nodes elsewhere get node.crt, anchors.crt and domain.crl from the directory here: all of
    /// them are public. With --if-needed, for timers, the exit status is 1 if no certificate was due.
    Renew(Renew),
    /// Revoke certificates, and write the revocation list, which has to reach all nodes then
    Revoke(Revoke),
    /// Write the revocation list anew: it is good for some time only
    Crl(Crl),
    /// Show a certificate, a request, a revocation list, a node's directory, or an authority with what it has issued
    Show(Show),
    /// Check whether the files of a node work, as the node itself would, and say what to do if not
    ///
    /// The exit status is 1 if something is wrong.
    Check(Check),
}

#[derive(Args, Clone, Debug)]
pub(super) struct Init {
    /// The name of the domain, as acp.example.com
    #[arg(value_name = "NAME")]
    name: String,
    /// The directory to make
    #[arg(long, value_name = "DIR")]
    domain: PathBuf,
    /// The kind of key
    #[arg(long, value_enum, default_value_t)]
    algorithm: Kind,
    /// For how many days the authority is valid
    #[arg(long, value_name = "N", default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

/// A kind of key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// ECDSA on P-256, which every node supports
    #[default]
    P256,
    /// ECDSA on P-384
    P384,
    /// Ed25519
    Ed25519,
}

impl From<Kind> for Algorithm {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::P256 => Self::P256,
            Kind::P384 => Self::P384,
            Kind::Ed25519 => Self::Ed25519,
        }
    }
}

/// The directory of the authority.
#[derive(Args, Clone, Debug)]
struct At {
    /// The directory of the authority, which `grasp domain init` has made
    #[arg(long, value_name = "AUTHORITY")]
    domain: PathBuf,
}

/// The name of a node, but for the domain.
#[derive(Args, Clone, Debug)]
struct Named {
    /// The address of the node in the ACP; 0: it gets one in another way; none: it is a member, but no neighbour [default: 0]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    address: Option<AcpAddress>,
    /// The routing subdomain of its address (RFC 8994 §6.2.2), which few domains have
    #[arg(long, value_name = "NAME")]
    rsub: Option<String>,
}

fn address(text: &str) -> Result<AcpAddress, String> {
    match text {
        "0" => Ok(AcpAddress::Zero),
        "none" => Ok(AcpAddress::Omitted),
        text => match text.parse::<Ipv6Addr>() {
            Ok(address) => Ok(AcpAddress::Ip(address)),
            Err(_) => Err("neither an IPv6 address nor 0 nor none".to_owned()),
        },
    }
}

#[derive(Args, Clone, Debug)]
pub(super) struct Issue {
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    named: Named,
    /// The request of the node; its name is taken from there, if it has one
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,
    /// The directory to write into; it is made if its parent is there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What people call the node, in lists and in the certificate's subject [default: the name of the directory]
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    #[command(flatten)]
    lasting: Lasting,
    /// The kind of a new key
    #[arg(long, value_enum, default_value_t, conflicts_with = "csr")]
    algorithm: Kind,
}

/// The lifetime of a certificate.
#[derive(Args, Clone, Debug)]
struct Lasting {
    /// For how many days the certificate is valid, 365 at most; renew it when half of them are over
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=365))]
    days: u32,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Request {
    /// The name of the domain, as acp.example.com
    #[arg(value_name = "NAME")]
    domain: String,
    #[command(flatten)]
    named: Named,
    /// The directory to write node.key and node.csr into; it is made if its parent is there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The kind of a new key
    #[arg(long, value_enum, default_value_t)]
    algorithm: Kind,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Renew {
    /// The directories of the nodes, here where the authority is
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<PathBuf>,
    #[command(flatten)]
    at: At,
    /// Only when half of the certificate's lifetime is over
    #[arg(long)]
    if_needed: bool,
    /// With a new key; else with the same
    #[arg(long)]
    new_key: bool,
    #[command(flatten)]
    lasting: Lasting,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Revoke {
    /// One certificate, by its serial number or a file; or all certificates of a node, by its directory, label or name
    #[arg(value_name = "WHICH", required = true)]
    which: Vec<String>,
    #[command(flatten)]
    at: At,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Crl {
    #[command(flatten)]
    at: At,
    /// For how many days the list is good
    #[arg(long, value_name = "N", default_value_t = store::LIST_DAYS, value_parser = clap::value_parser!(u32).range(1..=365))]
    days: u32,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Show {
    /// A file, or the directory of a node or an authority
    #[arg(value_name = "PATH")]
    path: PathBuf,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Check {
    /// The directory of the node
    #[arg(value_name = "NODE")]
    node: PathBuf,
    /// Check the certificate in this file, too, as that of a peer
    #[arg(long, value_name = "FILE")]
    peer: Option<PathBuf>,
}

impl Domain {
    pub(super) fn run(&self, options: &Options, out: &mut dyn Write) -> Outcome {
        match self {
            Self::Init(verb) => issue::init(verb, options, out),
            Self::Issue(verb) => issue::issue(verb, options, out),
            Self::Request(verb) => issue::request(verb, options, out),
            Self::Renew(verb) => renew::renew(verb, options, out),
            Self::Revoke(verb) => renew::revoke(verb, options, out),
            Self::Crl(verb) => renew::crl(verb, options, out),
            Self::Show(verb) => show::show(verb, options, out),
            Self::Check(verb) => check::check(verb, options, out),
        }
    }
}

/// Says what was done: a sentence, or an object.
fn say(options: &Options, out: &mut dyn Write, sentence: &str, object: &serde_json::Value) -> Outcome {
    match options.json {
        true => super::output::json_line(object, out)?,
        false => writeln!(out, "{sentence}")?,
    }
    Ok(())
}
