//! `grasp domain renew`, `revoke` and `crl`.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use serde_json::json;
use zeroize::Zeroizing;

use super::files::{Directory, For, read};
use super::issue::{NODE, NODE_KEY, certificate_of, deliver, half, keys, refresh};
use super::store::{Issued, Store};
use super::{Crl, Renew, Revoke, say};
use crate::domain::{
    AcpAddress, CERTIFICATE_LIMIT, CHAIN_LIMIT, Certificate, NodeName, PrivateKey, Serial, Shown,
};
use crate::tools::command::Options;
use crate::tools::failure::{Failure, Outcome, Status};

/// `grasp domain renew`: each of the nodes, whatever becomes of the others.
pub(super) fn renew(verb: &Renew, options: &Options, out: &mut dyn Write) -> Outcome {
    let mut store = Store::open(&verb.at.domain, options.timeout)?;
    let (mut renewed, mut failed): (bool, Option<Failure>) = (false, None);
    for path in &verb.nodes {
        match one(verb, &mut store, path, options, out) {
            Ok(is_renewed) => renewed |= is_renewed,
            Err(failure) => {
                let failure = failure.about(path.display());
                if let Some(first) = failed.replace(failure) {
                    // The last one is said in the end.
                    writeln!(std::io::stderr(), "grasp: {first}")?;
                }
            }
        }
    }
    match (failed, renewed) {
        (Some(failure), _) => Err(failure),
        (None, true) => Ok(()),
        (None, false) => Err(Failure::nothing("")),
    }
}

/// Whether it was renewed.
fn one(
    verb: &Renew,
    store: &mut Store,
    path: &Path,
    options: &Options,
    out: &mut dyn Write,
) -> Result<bool, Failure> {
    let directory = Directory::open(path)?;
    if !directory.has(NODE) {
        return Err(Failure::usage(format!("it is not the directory of a node: it has no {NODE}")));
    }
    let directory = directory.lock(options.timeout)?;
    let old = certificate_of(&directory)?;
    let Some(known) = store.known(&old).cloned() else {
        let text = format!(
            "{} was not issued by this authority, or is long over: grasp domain issue makes another one in another directory",
            directory.file(NODE).display()
        );
        return Err(Failure::new(Status::Refused, text));
    };
    if let Some(since) = known.revoked() {
        let text = format!("the certificate is revoked since {}, and not renewed", Shown(since));
        return Err(Failure::new(Status::Refused, text));
    }
    if verb.if_needed && !old.is_due(SystemTime::now()) {
        refresh(store, &directory)?;
        let (until, due) = (Shown(old.valid_until()).to_string(), Shown(half(&old)).to_string());
        let sentence = format!("{} is not due before {due}", path.display());
        let object = json!({ "directory": path.display().to_string(), "renewed": false, "due": due, "valid_until": until });
        say(options, out, &sentence, &object)?;
        return Ok(false);
    }
    // The name that was certified, whatever the file says.
    let name: NodeName =
        known.name.parse().map_err(|error| Failure::usage(format!("{}: {error}", known.name)))?;
    let certificate = with_key(verb, store, &directory, &old, &name, &known)?;
    let until = Shown(certificate.valid_until()).to_string();
    let sentence = format!("{} is {name}, now valid until {until}", path.display());
    let object = json!({
        "directory": path.display().to_string(),
        "renewed": true,
        "name": known.name,
        "serial": certificate.serial().to_string(),
        "valid_until": until,
    });
    say(options, out, &sentence, &object)?;
    Ok(true)
}

/// Issues and writes the certificate. While the key is replaced, its file has both, so that the files fit together whenever they are
/// read.
fn with_key(
    verb: &Renew,
    store: &mut Store,
    directory: &Directory,
    old: &Certificate,
    name: &NodeName,
    known: &Issued,
) -> Result<Certificate, Failure> {
    let there = keys(directory)?;
    let failed = |error: crate::domain::KeyError| Failure::usage(error.to_string());
    let current = there.iter().find(|key| key.public() == &old.public_key());
    let new = match verb.new_key {
        false => None,
        true => match current {
            Some(key) => Some(PrivateKey::generate(key.algorithm()).map_err(failed)?),
            None => {
                let text = format!(
                    "{} is not here: the node itself makes a new key (grasp domain request)",
                    directory.file(NODE_KEY).display()
                );
                return Err(Failure::usage(text));
            }
        },
    };
    let public = new.as_ref().map_or_else(|| old.public_key(), |key| key.public().clone());
    let certificate = store.issue(name, &public, (&known.label, verb.lasting.days), Some(&known.node))?;
    if let (Some(new), Some(current)) = (&new, current) {
        let both = [new.to_pem().map_err(failed)?, current.to_pem().map_err(failed)?];
        let both = Zeroizing::new(both.iter().map(|key| key.as_str()).collect::<String>());
        directory.write(NODE_KEY, both.as_bytes(), For::Owner)?;
    }
    deliver(store, directory, &certificate)?;
    let only = new.as_ref().or(current).filter(|_| new.is_some() || there.len() > 1);
    if let Some(only) = only {
        directory.write(NODE_KEY, only.to_pem().map_err(failed)?.as_bytes(), For::Owner)?;
    }
    Ok(certificate)
}

/// `grasp domain revoke`
pub(super) fn revoke(verb: &Revoke, options: &Options, out: &mut dyn Write) -> Outcome {
    let mut store = Store::open(&verb.at.domain, options.timeout)?;
    let mut serials = Vec::new();
    for which in &verb.which {
        serials.extend(meant(which, &store)?);
    }
    let list = store.revoke(&serials)?;
    let (number, revoked) = (list.number().unwrap_or_default(), list.revoked().count());
    let sentence = format!(
        "revoked {}; list {number} in {} has to reach every node (grasp domain renew --if-needed, or copy it as {})",
        serials.join(", "),
        verb.at.domain.join(super::store::LIST).display(),
        super::store::LIST
    );
    say(options, out, &sentence, &json!({ "serials": serials, "list": number, "revoked": revoked }))
}

/// The serial numbers of what somebody means: a serial number or a file is one certificate; a directory, a label or a name is a
/// node, all of whose certificates are meant, those too that were renewed.
fn meant(which: &str, store: &Store) -> Result<Vec<String>, Failure> {
    let path = Path::new(which);
    let of_node = |node: &str| -> Vec<String> {
        store.issued().iter().filter(|one| one.node == node).map(|one| one.serial.clone()).collect()
    };
    if path.exists() {
        let file = if path.is_dir() { path.join(NODE) } else { path.to_owned() };
        let text = read(&file, 2 * CHAIN_LIMIT * CERTIFICATE_LIMIT)?;
        let all = Certificate::all_from_pem(&text, CHAIN_LIMIT)
            .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
        let known = all.first().and_then(|certificate| store.known(certificate));
        let foreign = || Failure::nothing(format!("{} was not issued by this authority", file.display()));
        let known = known.ok_or_else(foreign)?;
        return Ok(if path.is_dir() { of_node(&known.node) } else { vec![known.serial.clone()] });
    }
    let serial = which.parse::<Serial>().ok().map(|serial| serial.to_string());
    if let Some(one) = store.issued().iter().find(|one| Some(&one.serial) == serial.as_ref()) {
        return Ok(vec![one.serial.clone()]);
    }
    let now = SystemTime::now();
    let named = |one: &&Issued| (one.name == which || one.label == which) && one.state(now) != "over";
    let nodes: BTreeSet<_> = store.issued().iter().filter(named).map(|one| one.node.as_str()).collect();
    if nodes.is_empty() {
        let text = format!(
            "{which} is no serial number, file, label or name of what was issued here (grasp domain show)"
        );
        return Err(Failure::nothing(text));
    }
    // A name with an address is that of one node, however often it got a first certificate; another name or a label need not be.
    let is_address = which.parse().is_ok_and(|name: NodeName| matches!(name.address(), AcpAddress::Ip(_)));
    if !is_address && nodes.len() > 1 {
        let serials: Vec<_> = store.issued().iter().filter(named).map(|one| one.serial.as_str()).collect();
        let text = format!(
            "{which} is several nodes: say which by directory or serial number: {}",
            serials.join(", ")
        );
        return Err(Failure::usage(text));
    }
    Ok(nodes.into_iter().flat_map(of_node).collect())
}

/// `grasp domain crl`
pub(super) fn crl(verb: &Crl, options: &Options, out: &mut dyn Write) -> Outcome {
    let mut store = Store::open(&verb.at.domain, options.timeout)?;
    let list = store.write_list(SystemTime::now(), verb.days)?;
    let (number, revoked) = (list.number().unwrap_or_default(), list.revoked().count());
    let until = list.next().map(|next| Shown(next).to_string()).unwrap_or_default();
    let path = verb.at.domain.join(super::store::LIST);
    let sentence = format!("{} is list {number}, good until {until}, with {revoked} revoked", path.display());
    say(options, out, &sentence, &json!({ "list": number, "until": until, "revoked": revoked }))
}
