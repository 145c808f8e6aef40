//! `grasp domain show`: what is in a file, or in the directory of a node or an authority.

use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value as Json, json};

use super::Show;
use super::files::{Directory, read};
use super::issue::{NODE, half};
use super::store::{CERTIFICATE, LIST, Looked};
use crate::domain::{
    CERTIFICATE_LIMIT, CHAIN_LIMIT, Certificate, LIST_LIMIT, Request, RevocationList, Shown,
};
use crate::tools::command::Options;
use crate::tools::failure::{Failure, Outcome};
use crate::tools::output::{Table, hex, json_line};
use crate::tools::plain;

/// `grasp domain show`
pub(super) fn show(verb: &Show, options: &Options, out: &mut dyn Write) -> Outcome {
    let path = &verb.path;
    if !path.is_dir() {
        return file(path, options, out);
    }
    let directory = Directory::open(path)?;
    if directory.has(CERTIFICATE) {
        return authority(&directory, options, out);
    }
    if !directory.has(NODE) {
        let text = format!(
            "{} is the directory of no node and no authority: it has neither {NODE} nor {CERTIFICATE}",
            path.display()
        );
        return Err(Failure::usage(text));
    }
    for name in [NODE, LIST] {
        file(&directory.file(name), options, out)?;
    }
    Ok(())
}

/// Rows and an object that say the same.
struct Facts(Vec<(&'static str, String)>, Json);

impl Facts {
    fn print(&self, options: &Options, out: &mut dyn Write) -> Outcome {
        if options.json {
            return Ok(json_line(&self.1, out)?);
        }
        let mut table = Table::unnamed();
        for (name, text) in &self.0 {
            table.row([(*name).to_owned(), text.clone()]);
        }
        Ok(table.print(out)?)
    }
}

/// What is in a file in PEM.
fn file(path: &Path, options: &Options, out: &mut dyn Write) -> Outcome {
    let text = read(path, 2 * LIST_LIMIT)?;
    let is = |label: &[u8]| text.windows(label.len()).any(|part| part == label);
    let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", path.display()));
    if is(b"BEGIN CERTIFICATE REQUEST") || is(b"BEGIN NEW CERTIFICATE REQUEST") {
        let request = Request::from_pem(&text).map_err(|error| wrong(&error))?;
        return asked(&request).print(options, out);
    }
    if is(b"BEGIN X509 CRL") {
        let list = RevocationList::from_pem(&text).map_err(|error| wrong(&error))?;
        return revoked(&list).print(options, out);
    }
    if text.len() > 2 * CHAIN_LIMIT * CERTIFICATE_LIMIT {
        return Err(wrong(&"it is too large"));
    }
    let all = Certificate::all_from_pem(&text, CHAIN_LIMIT).map_err(|error| wrong(&error))?;
    all.iter().try_for_each(|certificate| certified(certificate).print(options, out))
}

fn certified(certificate: &Certificate) -> Facts {
    let now = SystemTime::now();
    let name = certificate.node_name();
    let (from, until) =
        (Shown(certificate.valid_from()).to_string(), Shown(certificate.valid_until()).to_string());
    let due = Shown(half(certificate)).to_string();
    let state = match () {
        () if now < certificate.valid_from() => "not yet valid",
        () if now > certificate.valid_until() => "not valid any more",
        () if certificate.is_authority() => "valid",
        () if certificate.is_due(now) => "valid, and due for renewal",
        () => "valid",
    };
    let algorithm = certificate.public_key().algorithm();
    let algorithm = algorithm.map_or_else(|| "of another kind".to_owned(), |known| known.to_string());
    let mut rows = vec![("certificate", certificate.serial().to_string())];
    match &name {
        Ok(name) => rows.push(("node", name.to_string())),
        Err(_) if certificate.is_authority() => rows.push(("authority", certificate.subject())),
        Err(error) => rows.push(("node", format!("none: {error}"))),
    }
    if let Some(label) = certificate.label().filter(|_| name.is_ok()) {
        rows.push(("label", label));
    }
    rows.push(("valid", format!("from {from} until {until}")));
    rows.push(("state", state.to_owned()));
    if name.is_ok() {
        rows.push(("renewal", format!("from {due} on")));
    }
    rows.push(("key", format!("{algorithm}, {}", hex(&certificate.public_key().identifier()))));
    rows.push(("issued by", certificate.issuer()));
    let object = json!({
        "type": "certificate",
        "serial": certificate.serial().to_string(),
        "name": name.ok().map(|name| name.to_string()),
        "label": certificate.label(),
        "subject": certificate.subject(),
        "issuer": certificate.issuer(),
        "authority": certificate.is_authority(),
        "valid_from": from,
        "valid_until": until,
        "due": due,
        "state": state,
        "algorithm": algorithm,
        "key": hex(&certificate.public_key().identifier()),
    });
    Facts(rows, object)
}

fn revoked(list: &RevocationList) -> Facts {
    let number = list.number().map_or_else(|| "without a number".to_owned(), |number| number.to_string());
    let made = Shown(list.made()).to_string();
    let until = list.next().map(|next| Shown(next).to_string());
    let is_over = list.next().is_some_and(|next| next < SystemTime::now());
    let mut rows = vec![
        ("list", number),
        ("made", made.clone()),
        (
            "good",
            format!(
                "until {}{}",
                until.as_deref().unwrap_or("for ever"),
                if is_over { ": over" } else { "" }
            ),
        ),
        ("issued by", list.issuer()),
    ];
    let each = list.revoked().map(|one| (one.serial.to_string(), Shown(one.since).to_string()));
    let each: Vec<_> = each.collect();
    rows.extend(each.iter().map(|(serial, since)| ("revoked", format!("{serial} since {since}"))));
    if each.is_empty() {
        rows.push(("revoked", "nothing".to_owned()));
    }
    let each: Vec<_> =
        each.iter().map(|(serial, since)| json!({ "serial": serial, "since": since })).collect();
    let object = json!({
        "type": "list", "number": list.number(), "made": made, "until": until, "over": is_over,
        "issuer": list.issuer(), "revoked": each,
    });
    Facts(rows, object)
}

fn asked(request: &Request) -> Facts {
    let name = request.node_name().map(ToString::to_string);
    let algorithm =
        request.public_key().algorithm().map(|algorithm| algorithm.to_string()).unwrap_or_default();
    let key = hex(&request.public_key().identifier());
    let rows = vec![
        ("request", name.clone().unwrap_or_else(|| "without the name of a node".to_owned())),
        ("key", format!("{algorithm}, {key}")),
    ];
    Facts(rows, json!({ "type": "request", "name": name, "algorithm": algorithm, "key": key }))
}

fn authority(directory: &Directory, options: &Options, out: &mut dyn Write) -> Outcome {
    let Looked { certificate, list, index } = Looked::at(directory)?;
    let now = SystemTime::now();
    let own = certified(&certificate);
    let list = list.map(|list| revoked(&list)).map_err(|error| error.to_string());
    if options.json {
        let issued: Vec<_> = index
            .issued
            .iter()
            .map(|one| {
                json!({
                    "serial": one.serial, "name": one.name, "label": one.label, "key": one.key,
                    "valid_until": Shown(one.until()).to_string(), "state": one.state(now),
                    "revoked": one.revoked().map(|since| Shown(since).to_string()),
                })
            })
            .collect();
        let list = list.map_or_else(|error| json!({ "error": error }), |list| list.1);
        return Ok(json_line(
            &json!({ "type": "authority", "certificate": own.1, "list": list, "issued": issued }),
            out,
        )?);
    }
    own.print(options, out)?;
    writeln!(out)?;
    match list {
        Ok(list) => list.print(options, out)?,
        Err(error) => writeln!(out, "list  none: {error} (grasp domain crl writes it)")?,
    }
    writeln!(out)?;
    if index.issued.is_empty() {
        return Ok(writeln!(out, "nothing was issued yet")?);
    }
    let mut table = Table::new(&["LABEL", "NODE", "SERIAL", "VALID UNTIL", "STATE"]);
    for one in &index.issued {
        let until = Shown(one.until()).to_string();
        table.row([
            plain(&one.label),
            plain(&one.name),
            plain(&one.serial),
            until,
            one.state(now).to_owned(),
        ]);
    }
    Ok(table.print(out)?)
}
