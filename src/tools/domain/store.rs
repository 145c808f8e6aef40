//! The authority of a domain, in a directory: its key, its certificate, the revocation list, and an index of what it has issued.
//!
//! The index is the truth: a certificate is in it before anybody gets it, and a revocation before the list that tells it. So
//! whatever is interrupted, the next `grasp domain crl` makes the list right.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::files::{Directory, For, read};
use crate::domain::credentials::{MOST, certificates, list, trusted};
use crate::domain::{
    Authority, AuthorityError, Certificate, CredentialsError, Issue, NodeName, PrivateKey, PublicKey,
    RevocationList, Revoked, Serial,
};
use crate::tools::failure::{Failure, Status};
use crate::tools::output::hex;

pub(super) const KEY: &str = "authority.key";
pub(super) const CERTIFICATE: &str = "authority.crt";
pub(super) const ANCHORS: &str = "anchors.crt";
pub(super) const LIST: &str = "domain.crl";
const INDEX: &str = "issued.json";

/// In bytes: some 50,000 certificates.
const MOST_INDEX: usize = 16 * 1024 * 1024;
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// How long the index remembers what is over and not revoked.
const REMEMBERED: Duration = Duration::from_secs(90 * 86_400);

/// What an authority has issued.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Index {
    /// Of this form.
    version: u32,
    /// That of the newest revocation list.
    list_number: u64,
    pub(super) issued: Vec<Issued>,
}

/// A certificate that was issued. Times are seconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Issued {
    pub(super) serial: String,
    /// The serial number of the node's first certificate: it is the same in all that renew it.
    pub(super) node: String,
    pub(super) name: String,
    pub(super) label: String,
    /// The identifier of its key, in hexadecimal digits.
    pub(super) key: String,
    from: u64,
    until: u64,
    revoked: Option<u64>,
}

impl Issued {
    pub(super) fn until(&self) -> SystemTime {
        at(self.until)
    }

    pub(super) fn revoked(&self) -> Option<SystemTime> {
        self.revoked.map(at)
    }

    /// In a word.
    pub(super) fn state(&self, now: SystemTime) -> &'static str {
        match self.revoked {
            Some(_) => "revoked",
            None if self.until() < now => "over",
            None => "valid",
        }
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What everybody may know of an authority, for those who only look.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) certificate: Certificate,
    pub(super) list: Result<RevocationList, Failure>,
    pub(super) index: Index,
}

impl Looked {
    pub(super) fn at(directory: &Directory) -> Result<Self, Failure> {
        let own = directory.own();
        let certificate = first(certificates(&directory.file(CERTIFICATE), 1, own))?;
        let list = list(&directory.file(LIST), own).map_err(unusable);
        Ok(Self { certificate, list, index: index(directory)? })
    }
}

/// An authority that can sign, and is this process's alone.
#[derive(Debug)]
pub(super) struct Store {
    directory: Directory,
    authority: Authority,
    index: Index,
}

impl Store {
    /// Makes one for a domain.
    pub(super) fn create(directory: Directory, authority: Authority) -> Result<Self, Failure> {
        for name in [CERTIFICATE, KEY] {
            if directory.has(name) {
                let path = directory.file(name);
                let what = match name {
                    KEY => {
                        "without a certificate: get that from the backup, or remove the directory if making it was interrupted"
                    }
                    _ => "and is left alone: choose another directory",
                };
                return Err(Failure::usage(format!("{} is there {what}", path.display())));
            }
        }
        let index = Index { version: 1, list_number: 0, issued: Vec::new() };
        let mut store = Self { directory, authority, index };
        let key = store.authority.key().to_pem().map_err(|error| Failure::usage(error.to_string()))?;
        store.directory.write(KEY, key.as_bytes(), For::Owner)?;
        let certificate = store.authority.certificate().to_pem();
        store.directory.write(ANCHORS, certificate.as_bytes(), For::All)?;
        let now = SystemTime::now();
        store.write_list(now, LIST_DAYS)?;
        // Last: with it, it is an authority.
        store.directory.write(CERTIFICATE, certificate.as_bytes(), For::All)?;
        Ok(store)
    }

    /// Opens one that is there.
    pub(super) fn open(path: &Path, patience: Option<u32>) -> Result<Self, Failure> {
        let directory = Directory::open(path)?;
        if !directory.has(CERTIFICATE) {
            let text = format!(
                "{} is no authority of a domain (it has no {CERTIFICATE}): grasp domain init makes one",
                path.display()
            );
            return Err(Failure::usage(text));
        }
        if directory.others_may_write() {
            let text = format!(
                "others than its owner can write into {path}, and so take the authority over: restrict it (chmod 700 {path}), and look whether something was changed",
                path = path.display()
            );
            return Err(Failure::usage(text));
        }
        let directory = directory.lock(patience)?;
        let own = directory.own();
        let certificate = first(certificates(&directory.file(CERTIFICATE), 1, own))?;
        let key = PrivateKey::all_from_file(&directory.file(KEY), own);
        let key = key.map_err(CredentialsError::Key).map_err(unusable)?.into_iter().next();
        let key = key.ok_or_else(|| Failure::usage("there is no key"))?;
        let authority = Authority::from_parts(key, certificate)
            .map_err(|error| Failure::usage(format!("{}: {error}", directory.path().display())))?;
        let index = index(&directory)?;
        Ok(Self { directory, authority, index })
    }

    pub(super) const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Issues a certificate, and remembers it; as a later one of a node that has one.
    pub(super) fn issue(
        &mut self,
        name: &NodeName,
        key: &PublicKey,
        (label, days): (&str, u32),
        node: Option<&str>,
    ) -> Result<Certificate, Failure> {
        let now = SystemTime::now();
        let label_given = Some(label).filter(|label| !label.is_empty());
        let issue = Issue { name, key, label: label_given, now, lifetime: DAY * days };
        let certificate = self.authority.issue(&issue).map_err(refused)?;
        // What is revoked is never forgotten: a clock that was ahead for a day would make it valid again.
        self.index.issued.retain(|one| {
            one.revoked.is_some() || one.until().checked_add(REMEMBERED).is_none_or(|end| end > now)
        });
        let serial = certificate.serial().to_string();
        self.index.issued.push(Issued {
            node: node.map_or_else(|| serial.clone(), str::to_owned),
            serial,
            name: name.to_string(),
            label: label.to_owned(),
            key: hex(&key.identifier()),
            from: seconds(certificate.valid_from()),
            until: seconds(certificate.valid_until()),
            revoked: None,
        });
        self.write_index()?;
        Ok(certificate)
    }

    /// What is known of a certificate that this authority has issued.
    pub(super) fn known(&self, certificate: &Certificate) -> Option<&Issued> {
        let serial = certificate.serial().to_string();
        let key = hex(&certificate.public_key().identifier());
        self.index.issued.iter().find(|one| one.serial == serial && one.key == key)
    }

    pub(super) fn issued(&self) -> &[Issued] {
        &self.index.issued
    }

    /// Revokes those with these serial numbers, and writes the list.
    pub(super) fn revoke(&mut self, serials: &[String]) -> Result<RevocationList, Failure> {
        let now = SystemTime::now();
        for one in self.index.issued.iter_mut().filter(|one| serials.contains(&one.serial)) {
            one.revoked.get_or_insert_with(|| seconds(now));
        }
        self.write_list(now, LIST_DAYS)
    }

    /// Writes the list of what is revoked, with the next number.
    pub(super) fn write_list(&mut self, now: SystemTime, days: u32) -> Result<RevocationList, Failure> {
        self.index.list_number = self.index.list_number.saturating_add(1);
        self.write_index()?;
        // A certificate that is over need not be told, but after one list more (RFC 5280 §3.3).
        let is_told = |one: &&Issued| one.until().checked_add(DAY * 2 * days).is_none_or(|end| end > now);
        let revoked = self.index.issued.iter().filter(is_told).filter_map(|one| {
            Some(Revoked { serial: one.serial.parse::<Serial>().ok()?, since: one.revoked()? })
        });
        let revoked: Vec<_> = revoked.collect();
        let list = self.authority.revocation_list(&revoked, self.index.list_number, now, DAY * days);
        let list = list.map_err(refused)?;
        self.directory.write(LIST, list.to_pem().as_bytes(), For::All)?;
        Ok(list)
    }

    /// The list, made anew if half of its time is over or it does not tell everything.
    pub(super) fn current_list(&mut self, now: SystemTime) -> Result<RevocationList, Failure> {
        let there = list(&self.directory.file(LIST), self.directory.own()).ok();
        let good = there.filter(|list| {
            let until = list.next().unwrap_or(SystemTime::UNIX_EPOCH);
            let half = until.duration_since(list.made()).unwrap_or_default() / 2;
            let is_young = now.duration_since(list.made()).is_ok_and(|age| age < half);
            is_young
                && list.number() == Some(self.index.list_number)
                && list.is_signed_by(self.authority.certificate())
        });
        match good {
            Some(list) => Ok(list),
            None => self.write_list(now, LIST_DAYS),
        }
    }

    /// The file of anchors that nodes get: the authority, and what its operator has added.
    pub(super) fn anchors(&self) -> Result<Vec<u8>, Failure> {
        let (path, own) = (self.directory.file(ANCHORS), self.directory.own());
        let all = certificates(&path, MOST, own).map_err(unusable)?;
        if !all.contains(self.authority.certificate()) {
            let text = format!("{} lacks the certificate of this authority ({CERTIFICATE})", path.display());
            return Err(Failure::usage(text));
        }
        Ok(all.iter().map(Certificate::to_pem).collect::<String>().into_bytes())
    }

    fn write_index(&self) -> Result<(), Failure> {
        let text =
            serde_json::to_vec_pretty(&self.index).map_err(|error| Failure::usage(error.to_string()))?;
        if text.len() > MOST_INDEX {
            return Err(Failure::usage(format!("{} is full", self.directory.file(INDEX).display())));
        }
        self.directory.write(INDEX, &text, For::Owner)
    }
}

/// For how many days a revocation list is good.
pub(super) const LIST_DAYS: u32 = 30;

fn index(directory: &Directory) -> Result<Index, Failure> {
    let path = directory.file(INDEX);
    let text = trusted(&path, MOST_INDEX, directory.own()).map_err(unusable)?;
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("{} cannot be used: {why}; get it from the backup", path.display()))
    };
    let index: Index = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
    match index.version {
        1 => Ok(index),
        _ => Err(wrong(&"it is of another version of grasp")),
    }
}

pub(super) fn first(all: Result<Vec<Certificate>, CredentialsError>) -> Result<Certificate, Failure> {
    let first = all.map_err(unusable)?.into_iter().next();
    first.ok_or_else(|| Failure::usage("there is no certificate"))
}

/// Something on this machine cannot be used.
pub(super) fn unusable(error: CredentialsError) -> Failure {
    Failure::usage(error.to_string())
}

/// The authority does not do that.
pub(super) fn refused(error: AuthorityError) -> Failure {
    Failure::new(Status::Refused, error.to_string())
}

/// A request for a certificate, from a file.
pub(super) fn request(path: &Path) -> Result<crate::domain::Request, Failure> {
    let text = read(path, 2 * crate::domain::CERTIFICATE_LIMIT)?;
    crate::domain::Request::from_pem(&text)
        .map_err(|error| Failure::new(Status::Refused, format!("{}: {error}", path.display())))
}
