//! `grasp domain init`, `request` and `issue`.

use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use serde_json::json;

use super::files::{Directory, For};
use super::store::{ANCHORS, CERTIFICATE, DAY, LIST, Store, refused, request as read_request, unusable};
use super::{Init, Issue, Kind, Named, Request, say};
use crate::domain::{
    AcpAddress, Authority, Certificate, Credentials, CredentialsError, Files, NodeName, PrivateKey, Role,
    Rules, Shown,
};
use crate::tools::command::Options;
use crate::tools::failure::{Failure, Outcome, Status};

pub(super) const NODE_KEY: &str = "node.key";
pub(super) const NODE: &str = "node.crt";
const REQUEST: &str = "node.csr";

/// `grasp domain init`
pub(super) fn init(verb: &Init, options: &Options, out: &mut dyn Write) -> Outcome {
    let now = SystemTime::now();
    let made = Authority::create(&verb.name, verb.algorithm.into(), now, DAY * verb.days);
    let authority = made.map_err(|error| Failure::usage(format!("{}: {error}", verb.name)))?;
    // Nobody else has to see what an authority issues.
    let directory = Directory::make(&verb.domain, 0o700)?.lock(options.timeout)?;
    let store = Store::create(directory, authority)?;
    let certificate = store.authority().certificate();
    let (domain, until) = (store.authority().domain(), Shown(certificate.valid_until()).to_string());
    let directory = verb.domain.display();
    let sentence = format!(
        "{directory} is the authority of {domain}, valid until {until}: guard {directory}/authority.key, and back the directory up"
    );
    let object = json!({ "domain": domain, "directory": directory.to_string(), "valid_until": until });
    say(options, out, &sentence, &object)
}

/// `grasp domain request`
pub(super) fn request(verb: &Request, options: &Options, out: &mut dyn Write) -> Outcome {
    let name = verb.named.in_domain(&verb.domain)?;
    let directory = node_directory(&verb.out, options)?;
    let key = match keys(&directory)?.into_iter().next() {
        Some(key) => key,
        None => new_key(&directory, verb.algorithm)?,
    };
    let request =
        crate::domain::Request::new(&key, &name).map_err(|error| Failure::usage(error.to_string()))?;
    directory.write(REQUEST, request.to_pem().as_bytes(), For::All)?;
    let path = directory.file(REQUEST);
    let sentence = format!(
        "{} asks for {name}: take it to the authority (grasp domain issue --csr), and bring node.crt, {ANCHORS} and {LIST} back to {}",
        path.display(),
        directory.path().display()
    );
    say(options, out, &sentence, &json!({ "request": path.display().to_string(), "name": name.to_string() }))
}

/// `grasp domain issue`
pub(super) fn issue(verb: &Issue, options: &Options, out: &mut dyn Write) -> Outcome {
    let mut store = Store::open(&verb.at.domain, options.timeout)?;
    let request = verb.csr.as_deref().map(read_request).transpose()?;
    let name = name(verb, request.as_ref(), &store)?;
    let label = label(verb);
    let directory = node_directory(&verb.out, options)?;
    if directory.has(NODE) {
        let text = format!(
            "{} is there: grasp domain renew makes a new certificate for the same name",
            directory.file(NODE).display()
        );
        return Err(Failure::usage(text));
    }
    let own = keys(&directory)?;
    let public = match &request {
        Some(request) => {
            let public = request.public_key().clone();
            if !own.is_empty() && own.iter().all(|key| key.public() != &public) {
                let text =
                    format!("{} is another key than that of the request", directory.file(NODE_KEY).display());
                return Err(Failure::usage(text));
            }
            public
        }
        None => match own.first() {
            Some(key) => key.public().clone(),
            None => new_key(&directory, verb.algorithm)?.public().clone(),
        },
    };
    let certificate = store.issue(&name, &public, (&label, verb.lasting.days), None)?;
    deliver(&mut store, &directory, &certificate)?;
    let until = Shown(certificate.valid_until()).to_string();
    let sentence = format!(
        "{} is {name}, valid until {until}; renew it before {}",
        directory.path().display(),
        Shown(half(&certificate))
    );
    let object = json!({
        "name": name.to_string(),
        "label": label,
        "serial": certificate.serial().to_string(),
        "directory": directory.path().display().to_string(),
        "valid_until": until,
    });
    say(options, out, &sentence, &object)
}

/// When half of the lifetime of a certificate is over.
pub(super) fn half(certificate: &Certificate) -> SystemTime {
    let (from, until) = (certificate.valid_from(), certificate.valid_until());
    from + until.duration_since(from).unwrap_or_default() / 2
}

/// Writes the files of a node but for its key; the certificate last. If the key is there, they must work.
pub(super) fn deliver(store: &mut Store, directory: &Directory, certificate: &Certificate) -> Outcome {
    refresh(store, directory)?;
    directory.write(NODE, certificate.to_pem().as_bytes(), For::All)?;
    if !directory.has(NODE_KEY) {
        return Ok(());
    }
    let credentials =
        Credentials::load_as(&Files::in_directory(directory.path()), directory.own()).map_err(unusable)?;
    let rules = Rules::at(SystemTime::now(), Role::Client);
    credentials
        .check_own(&rules)
        .map(drop)
        .map_err(|error| Failure::usage(format!("what was issued does not work: {error}")))
}

/// Brings the anchors and the revocation list of a node up to date.
pub(super) fn refresh(store: &mut Store, directory: &Directory) -> Outcome {
    let list = store.current_list(SystemTime::now())?;
    directory.write(ANCHORS, &store.anchors()?, For::All)?;
    directory.write(LIST, list.to_pem().as_bytes(), For::All)
}

/// The directory of a node, made if need be, for this process alone.
fn node_directory(path: &Path, options: &Options) -> Result<Directory, Failure> {
    let directory = Directory::make(path, 0o755)?;
    if directory.has(CERTIFICATE) {
        let text =
            format!("{} is the directory of an authority: a node needs one of its own", path.display());
        return Err(Failure::usage(text));
    }
    directory.lock(options.timeout)
}

/// The keys of a node: none, one, or two while one is replaced.
pub(super) fn keys(directory: &Directory) -> Result<Vec<PrivateKey>, Failure> {
    match directory.has(NODE_KEY) {
        false => Ok(Vec::new()),
        true => directory.keys(NODE_KEY).map_err(CredentialsError::Key).map_err(unusable),
    }
}

fn new_key(directory: &Directory, kind: Kind) -> Result<PrivateKey, Failure> {
    let failed = |error: crate::domain::KeyError| Failure::usage(error.to_string());
    let key = PrivateKey::generate(kind.into()).map_err(failed)?;
    directory.write(NODE_KEY, key.to_pem().map_err(failed)?.as_bytes(), For::Owner)?;
    Ok(key)
}

/// The name to certify: that of the request, or that of the options; if both say one, they have to be the same.
fn name(verb: &Issue, request: Option<&crate::domain::Request>, store: &Store) -> Result<NodeName, Failure> {
    let domain = store.authority().domain();
    let asked = request.and_then(|request| request.node_name());
    let is_given = verb.named.address.is_some() || verb.named.rsub.is_some();
    let Some(asked) = asked else { return verb.named.in_domain(domain) };
    let given = verb.named.in_domain(domain)?;
    if !asked.same_domain(&given) {
        return Err(refused(crate::domain::AuthorityError::OtherDomain {
            name: asked.to_string(),
            domain: domain.to_owned(),
        }));
    }
    let subdomain = asked.routing_subdomain().unwrap_or_default();
    // Without extensions, which nobody has defined yet.
    let asked = NodeName::new(asked.address(), subdomain, domain);
    let asked = asked.map_err(|error| Failure::new(Status::Refused, error.to_string()))?;
    if is_given && asked != given {
        let text = format!(
            "the request is for {asked}, not for {given}: leave --address and --rsub out, or make another request"
        );
        return Err(Failure::new(Status::Refused, text));
    }
    Ok(asked)
}

/// What people call the node.
fn label(verb: &Issue) -> String {
    let from_directory = || {
        let name = verb.out.file_name().and_then(|name| name.to_str());
        let usable = |name: &&str| name.chars().count() <= 64;
        name.filter(usable).unwrap_or_default().to_owned()
    };
    verb.label.clone().unwrap_or_else(from_directory)
}

impl Named {
    fn in_domain(&self, domain: &str) -> Result<NodeName, Failure> {
        let address = self.address.unwrap_or(AcpAddress::Zero);
        NodeName::new(address, self.rsub.as_deref().unwrap_or_default(), domain)
            .map_err(|error| Failure::usage(error.to_string()))
    }
}

/// The certificate of a node's directory.
pub(super) fn certificate_of(directory: &Directory) -> Result<Certificate, Failure> {
    let path = directory.file(NODE);
    super::store::first(crate::domain::credentials::certificates(
        &path,
        crate::domain::CHAIN_LIMIT,
        directory.own(),
    ))
}
