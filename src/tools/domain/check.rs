//! `grasp domain check`: whether the files of a node work, by the check of the engine.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Check;
use super::files::{Directory, read};
use super::issue::half;
use crate::domain::{
    AcpAddress, CERTIFICATE_LIMIT, CHAIN_LIMIT, Certificate, Credentials, Files, Member, NotMember,
    Revocation, RevocationState, Role, Rules, Shown,
};
use crate::tools::command::Options;
use crate::tools::doctor::{Diagnosis, tell};
use crate::tools::failure::{Failure, Outcome};

/// `grasp domain check`
pub(super) fn check(verb: &Check, options: &Options, out: &mut dyn Write) -> Outcome {
    let directory = Directory::open(&verb.node)?;
    let now = SystemTime::now();
    let files = Files::in_directory(directory.path());
    let found = match Credentials::load_as(&files, directory.own()) {
        Ok(credentials) => {
            let mut found = vec![Diagnosis::fine(
                "files",
                "the key, the certificate, the anchors and the list fit together",
            )];
            found.extend(own(&credentials, now));
            if let Some(peer) = &verb.peer {
                found.push(other(&credentials, peer, now)?);
            }
            found
        }
        Err(error) => {
            vec![Diagnosis::wrong("files", error.to_string(), "grasp domain issue or renew writes them")]
        }
    };
    tell(&found, options.json, out)
}

/// A member in both roles.
fn member(
    credentials: &Credentials,
    chain: &[rustls_pki_types::CertificateDer<'_>],
    now: SystemTime,
) -> Result<Member, NotMember> {
    credentials.check(chain, &Rules::at(now, Role::Client))?;
    credentials.check(chain, &Rules::at(now, Role::Server))
}

/// What the node would find about itself.
fn own(credentials: &Credentials, now: SystemTime) -> Vec<Diagnosis> {
    let certificate = credentials.certificate();
    let mut found = Vec::new();
    match member(credentials, credentials.chain(), now) {
        Ok(member) => {
            found.push(Diagnosis::fine("member", format!("this node is {}", member.name)));
            found.push(list(credentials, member.revocation, now));
        }
        Err(error) => {
            found.push(Diagnosis::wrong("member", format!("this node is none: {error}"), advice(&error)))
        }
    }
    if credentials.name().address() == AcpAddress::Omitted {
        let text = "the name has no address: others take this node for a member, and not for a neighbour";
        found.push(Diagnosis::odd("address", text, "grasp domain issue --address 0, unless that is meant"));
    }
    let until = Shown(certificate.valid_until());
    match certificate.is_due(now) {
        false => found.push(Diagnosis::fine(
            "lifetime",
            format!("until {until}, to be renewed from {} on", Shown(half(certificate))),
        )),
        true if certificate.valid_until() < now => {}
        true => found.push(Diagnosis::odd(
            "lifetime",
            format!("more than half of it is over, it ends at {until}"),
            "grasp domain renew",
        )),
    }
    let year = Duration::from_secs(365 * 86_400);
    for anchor in credentials.anchors() {
        if anchor.valid_until() < now + year {
            let text = format!("{} ends at {}", anchor.subject(), Shown(anchor.valid_until()));
            found.push(Diagnosis::odd("authority", text, "make a new one (grasp domain init), and have all nodes trust both meanwhile: docs/operations.md"));
        }
    }
    found
}

fn list(credentials: &Credentials, state: RevocationState, now: SystemTime) -> Diagnosis {
    let newest = credentials.lists().first().and_then(|list| Some((list.number()?, list.next()?)));
    match (state, newest) {
        (RevocationState::Good, Some((number, next))) => {
            Diagnosis::fine("list", format!("revocation list {number}, good until {}", Shown(next)))
        }
        (RevocationState::Good, None) => Diagnosis::fine("list", "there is a revocation list"),
        (RevocationState::ListOver, _) => {
            let why = NotMember::RevocationUnknown { state, now };
            Diagnosis::wrong(
                "list",
                why.to_string(),
                "grasp domain crl where the authority is, then renew --if-needed, or copy domain.crl",
            )
        }
        (RevocationState::NoList, _) => Diagnosis::wrong(
            "list",
            "there is no revocation list of this node's authority",
            "copy domain.crl from the authority",
        ),
    }
}

/// What the node would find about a peer with this certificate.
fn other(credentials: &Credentials, path: &Path, now: SystemTime) -> Result<Diagnosis, Failure> {
    let text = read(path, 2 * CHAIN_LIMIT * CERTIFICATE_LIMIT)?;
    let chain = Certificate::all_from_pem(&text, CHAIN_LIMIT)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let chain: Vec<_> = chain.iter().map(|certificate| certificate.der().clone()).collect();
    let neighbour = Rules::at(now, Role::Client).secure_channel(true).revocation(Revocation::IfKnown);
    Ok(match member(credentials, &chain, now) {
        Ok(member) if credentials.check(&chain, &neighbour).is_ok() => {
            Diagnosis::fine("peer", format!("{} is a member, and may be a neighbour", member.name))
        }
        Ok(member) => Diagnosis::odd(
            "peer",
            format!("{} is a member, but no neighbour: its name has no address", member.name),
            "grasp domain issue --address 0, unless that is meant",
        ),
        Err(error) => {
            Diagnosis::wrong("peer", format!("{} is no member: {error}", path.display()), advice(&error))
        }
    })
}

/// What to do.
const fn advice(error: &NotMember) -> &'static str {
    match error {
        NotMember::Expired { .. } => "grasp domain renew, if the clock is right",
        NotMember::NotYetValid { .. } => "set the clock, here or where the certificate was issued",
        NotMember::NoAnchor { .. } => "set the clock, or get anchors.crt from the authority again",
        NotMember::UnknownIssuer { .. } | NotMember::Signature { .. } | NotMember::SelfSigned => {
            "both nodes need certificates of one authority, and its certificate in anchors.crt: grasp domain show FILE tells whose it is"
        }
        NotMember::Revoked { .. } => {
            "if the node is to be a member again: grasp domain issue, in a new directory"
        }
        NotMember::OtherDomain { .. } => {
            "one node is one of another domain: each domain needs certificates of its own"
        }
        NotMember::RevocationUnknown { .. } | NotMember::ListSignature => {
            "grasp domain crl where the authority is, and copy domain.crl"
        }
        _ => "grasp domain issue makes a certificate that works",
    }
}
