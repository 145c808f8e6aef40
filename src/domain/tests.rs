//! Membership, against everything that a peer may show. Certificates that our authority does not issue are made by another crate.

#![allow(clippy::indexing_slicing, reason = "a panic of a test is its failure")]

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};
use rustls_pki_types::CertificateDer;
use x509_cert::der::Encode as _;
use x509_cert::der::asn1::{Any, Ia5StringRef, ObjectIdentifier, Utf8StringRef};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{GeneralName, OtherName};

use super::*;

const DOMAIN: &str = "acp.example.com";
const HERE: &str = "fd89b714f3db00000200000064000000@acp.example.com";
const PEER: &str = "fd89b714f3db00000200000064000001+area51@acp.example.com";
const DAY: Duration = Duration::from_secs(86_400);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn authority() -> Authority {
    Authority::create(DOMAIN, Algorithm::P256, now() - DAY, 3650 * DAY).unwrap()
}

fn rules() -> Rules {
    Rules::at(now(), Role::Client)
}

/// A certificate for a new key.
fn issued(authority: &Authority, text: &str) -> (Certificate, PrivateKey) {
    let key = PrivateKey::generate(Algorithm::P256).unwrap();
    let name = name(text);
    let issue = Issue { name: &name, key: key.public(), label: None, now: now(), lifetime: 90 * DAY };
    (authority.issue(&issue).unwrap(), key)
}

fn revoked(certificate: &Certificate) -> Vec<Revoked> {
    vec![Revoked { serial: certificate.serial(), since: now() }]
}

/// This node, with these lists.
fn here(authority: &Authority, lists: Vec<RevocationList>) -> Credentials {
    let (certificate, key) = issued(authority, HERE);
    Credentials::new(vec![certificate], key, vec![authority.certificate().clone()], lists).unwrap()
}

fn checked(here: &Credentials, certificate: &Certificate, rules: &Rules) -> Result<Member, NotMember> {
    here.check(&[certificate.der().clone()], rules)
}

/// An authority of another crate, at the bottom of a chain of `below` others.
struct Other {
    issuer: Issuer<'static, KeyPair>,
    /// From the lowest authority up to one below the anchor.
    chain: Vec<CertificateDer<'static>>,
    anchor: Certificate,
}

impl Other {
    fn new(below: usize) -> Self {
        Self::with(below, |_| {})
    }

    /// `changed` changes the authorities below the anchor.
    fn with(below: usize, changed: impl Fn(&mut CertificateParams)) -> Self {
        let (params, key) = (authority_params(0), KeyPair::generate().unwrap());
        let anchor = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
        let (mut issuer, mut chain) = (Issuer::new(params, key), Vec::new());
        for number in 1..=below {
            let (mut params, key) = (authority_params(number), KeyPair::generate().unwrap());
            changed(&mut params);
            chain.insert(0, params.signed_by(&key, &issuer).unwrap().der().clone());
            issuer = Issuer::new(params, key);
        }
        Self { issuer, chain, anchor }
    }

    /// A node that trusts it.
    fn trusting(&self) -> Credentials {
        let (certificate, key) = issued(&authority(), HERE);
        Credentials::new(vec![certificate], key, vec![self.anchor.clone()], Vec::new()).unwrap()
    }

    /// The chain of a node.
    fn node(&self, params: &CertificateParams) -> Vec<CertificateDer<'static>> {
        let certificate = params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap();
        [vec![certificate.der().clone()], self.chain.clone()].concat()
    }

    fn checked(&self, params: &CertificateParams) -> Result<Member, NotMember> {
        self.trusting().check(&self.node(params), &rules())
    }
}

fn authority_params(number: usize) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn node_params(names: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "node");
    let id = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.8.10");
    let other = |name: &&str| {
        let value = Any::from(Ia5StringRef::new(*name).unwrap());
        GeneralName::OtherName(OtherName { type_id: id, value })
    };
    params.custom_extensions = vec![san(names.iter().map(other).collect())];
    params
}

fn san(names: Vec<GeneralName>) -> CustomExtension {
    CustomExtension::from_oid_content(&[2, 5, 29, 17], SubjectAltName(names).to_der().unwrap())
}

#[test]
fn a_member_is_told_by_name_serial_and_end() {
    for algorithm in Algorithm::ALL {
        let authority = Authority::create("ACP.example.com", algorithm, now(), 3650 * DAY).unwrap();
        let list = authority.revocation_list(&[], 1, now(), DAY).unwrap();
        let (here, (peer, _)) = (here(&authority, vec![list]), issued(&authority, PEER));
        for role in [Role::Client, Role::Server] {
            let rules = Rules::at(now(), role).secure_channel(true).revocation(Revocation::Required);
            let member = checked(&here, &peer, &rules).unwrap();
            assert_eq!(member.name.to_string(), PEER);
            assert_eq!((&member.serial, member.until), (&peer.serial(), now() + 90 * DAY));
            assert_eq!(member.revocation, RevocationState::Good);
        }
        here.check_own(&rules()).unwrap();
        assert_eq!(authority.domain(), DOMAIN);
        assert!(authority.certificate().is_authority() && !peer.is_authority());
    }
}

#[test]
fn an_authority_is_itself_again_from_its_parts() {
    let made = authority();
    let key = || PrivateKey::from_pkcs8(made.key().pkcs8().secret_pkcs8_der()).unwrap();
    let again = Authority::from_parts(key(), made.certificate().clone()).unwrap();
    assert_eq!(again.domain(), DOMAIN);
    let (peer, _) = issued(&again, PEER);
    checked(&here(&made, Vec::new()), &peer, &rules()).unwrap();
    let other = authority();
    let mixed = Authority::from_parts(key(), other.certificate().clone());
    assert!(matches!(mixed, Err(AuthorityError::OtherKey)), "{mixed:?}");
    let (node, key) = issued(&made, PEER);
    assert!(matches!(Authority::from_parts(key, node), Err(AuthorityError::NoAuthority)));
}

#[test]
fn what_an_authority_must_not_issue_it_refuses() {
    let authority = authority();
    let key = PrivateKey::generate(Algorithm::Ed25519).unwrap();
    let long = "x".repeat(65);
    let issue = |text: &str, label, now| {
        let name = name(text);
        let issue = Issue { name: &name, key: key.public(), label, now, lifetime: DAY };
        authority.issue(&issue).map_err(|error| error.to_string())
    };
    assert_eq!(
        issue("0@example.com", None, now()),
        Err("0@example.com is not a name in the domain acp.example.com".into())
    );
    assert!(issue("0@ACP.example.com", None, now()).is_ok());
    let end = authority.certificate().valid_until();
    assert!(issue(PEER, None, end).unwrap_err().contains("make a new one"));
    assert!(issue(PEER, None, now() - 2 * DAY).unwrap_err().contains("clock"));
    assert!(issue(PEER, Some(&long), now()).unwrap_err().contains("64"));
    // No longer than the authority itself.
    let late = issue(PEER, Some("late"), end - DAY / 2).unwrap();
    assert_eq!((late.valid_until(), late.label().as_deref()), (end, Some("late")));
    let refused = Authority::create("acp_example", Algorithm::P256, now(), DAY);
    assert!(matches!(refused, Err(AuthorityError::Domain(DomainError::Characters))));
}

#[test]
fn without_a_certificate_nobody_is_a_member() {
    let here = here(&authority(), Vec::new());
    assert_eq!(here.check(&[], &rules()), Err(NotMember::NoCertificate));
    for garbage in [&b""[..], b"garbage", &[0x30, 0x82], &[0x30, 0x03, 0x02, 0x01, 0x05]] {
        assert_eq!(here.check(&[CertificateDer::from(garbage)], &rules()), Err(NotMember::Malformed));
    }
    let (peer, _) = issued(&authority(), PEER);
    for cut in 0..peer.der().len() {
        let part = CertificateDer::from(&peer.der()[..cut]);
        assert_eq!(here.check(&[part], &rules()), Err(NotMember::Malformed), "{cut}");
    }
}

#[test]
fn a_member_of_another_authority_is_none_even_with_its_name() {
    let (authority, other) = (authority(), authority());
    let here = here(&authority, Vec::new());
    let (peer, _) = issued(&other, PEER);
    let refused = checked(&here, &peer, &rules()).unwrap_err();
    assert!(
        matches!(&refused, NotMember::UnknownIssuer { issuer } if issuer.contains("DC=acp")),
        "{refused:?}"
    );
    // One that takes the name of the authority.
    let (mut params, key) = (authority_params(0), KeyPair::generate().unwrap());
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "authority 0");
    let forger = Issuer::new(params, key);
    let honest = Other::new(0);
    let forged = node_params(&[PEER]).signed_by(&KeyPair::generate().unwrap(), &forger).unwrap();
    let refused = honest.trusting().check(&[forged.der().clone()], &rules()).unwrap_err();
    assert!(matches!(refused, NotMember::Signature { .. }), "{refused:?}");
}

#[test]
fn what_a_wrong_clock_explains_says_so() {
    let authority = authority();
    let (here, (peer, _)) = (here(&authority, Vec::new()), issued(&authority, PEER));
    let at = |now| checked(&here, &peer, &Rules::at(now, Role::Server)).map(drop);
    let early = at(now() - DAY / 2).unwrap_err();
    assert_eq!(
        early,
        NotMember::NotYetValid { from: now() - Duration::from_secs(300), now: now() - DAY / 2 }
    );
    assert_eq!(
        early.to_string(),
        "not yet valid, but from 2027-01-15T07:55:00Z on: this node's clock says 2027-01-14T20:00:00Z, is it right?"
    );
    let late = at(now() + 91 * DAY).unwrap_err();
    assert_eq!(late, NotMember::Expired { until: now() + 90 * DAY, now: now() + 91 * DAY });
    let before = at(SystemTime::UNIX_EPOCH).unwrap_err();
    assert!(matches!(before, NotMember::NoAnchor { .. }), "{before:?}");
    for error in [early, late, before] {
        assert!(error.may_be_the_clock() && error.to_string().contains("is it right?"), "{error}");
    }
    // To the second.
    let end = peer.valid_until();
    assert_eq!(at(end), Ok(()));
    assert!(at(end + Duration::from_secs(1)).is_err());
    assert!(!NotMember::SelfSigned.may_be_the_clock());
}

#[test]
fn a_certificate_is_due_when_half_of_its_time_is_over() {
    let (peer, _) = issued(&authority(), PEER);
    let half = peer.valid_from() + (90 * DAY + Duration::from_secs(300)) / 2;
    assert!(!peer.is_due(half - Duration::from_secs(1)) && peer.is_due(half));
    assert!(!peer.is_due(SystemTime::UNIX_EPOCH));
}

#[test]
fn who_is_on_a_list_is_no_member_however_old_the_list() {
    let authority = authority();
    let (peer, _) = issued(&authority, PEER);
    let (bystander, _) = issued(&authority, PEER);
    let list = authority.revocation_list(&revoked(&peer), 7, now(), DAY).unwrap();
    assert_eq!((list.number(), list.made(), list.next()), (Some(7), now(), Some(now() + DAY)));
    assert_eq!(list.revoked().collect::<Vec<_>>(), revoked(&peer));
    let here = here(&authority, vec![list]);
    for later in [Duration::ZERO, 30 * DAY] {
        let rules = Rules::at(now() + later, Role::Client);
        let refused = checked(&here, &peer, &rules).unwrap_err();
        assert_eq!(refused, NotMember::Revoked { serial: peer.serial() });
    }
    let state =
        |later| checked(&here, &bystander, &Rules::at(now() + later, Role::Client)).unwrap().revocation;
    assert_eq!((state(DAY / 2), state(2 * DAY)), (RevocationState::Good, RevocationState::ListOver));
    let required = Rules::at(now() + 2 * DAY, Role::Client).revocation(Revocation::Required);
    let refused = checked(&here, &bystander, &required).unwrap_err();
    assert!(refused.may_be_the_clock() && refused.to_string().contains("grasp domain crl"), "{refused}");
}

#[test]
fn a_list_of_another_authority_says_nothing() {
    let (authority, other) = (authority(), authority());
    let (peer, _) = issued(&authority, PEER);
    let list = other.revocation_list(&revoked(&peer), 1, now(), DAY).unwrap();
    let here = here(&authority, vec![list]);
    assert_eq!(checked(&here, &peer, &rules()).unwrap().revocation, RevocationState::NoList);
    let refused = checked(&here, &peer, &rules().revocation(Revocation::Required)).unwrap_err();
    assert!(!refused.may_be_the_clock() && refused.to_string().contains("no revocation list"), "{refused}");
    let without = self::here(&authority, Vec::new());
    assert_eq!(checked(&without, &peer, &rules()).unwrap().revocation, RevocationState::NoList);
}

#[test]
fn the_newest_list_counts() {
    let authority = authority();
    let (peer, _) = issued(&authority, PEER);
    let old = authority.revocation_list(&[], 1, now(), DAY).unwrap();
    let new = authority.revocation_list(&revoked(&peer), 2, now(), DAY).unwrap();
    for lists in [vec![old.clone(), new.clone()], vec![new, old]] {
        let here = here(&authority, lists);
        assert_eq!((here.lists().len(), here.lists()[0].number()), (1, Some(2)));
        assert!(matches!(checked(&here, &peer, &rules()), Err(NotMember::Revoked { .. })));
    }
}

#[test]
fn a_list_with_another_signature_is_refused() {
    let authority = authority();
    let list = authority.revocation_list(&[], 1, now(), DAY).unwrap();
    assert_eq!(RevocationList::from_pem(list.to_pem().as_bytes()).unwrap().number(), Some(1));
    let mut der = list.der().to_vec();
    let last = der.len() - 1;
    der[last] ^= 1;
    let forged = RevocationList::from_der(&der).unwrap();
    let (certificate, key) = issued(&authority, HERE);
    let refused =
        Credentials::new(vec![certificate], key, vec![authority.certificate().clone()], vec![forged]);
    assert!(matches!(refused, Err(CredentialsError::ListSignature { .. })), "{refused:?}");
}

#[test]
fn a_forged_list_of_an_authority_below_the_anchor_opens_no_door() {
    // Whose key a node learns from the peer only.
    let other = Other::new(1);
    let params = node_params(&[PEER]);
    let list = |by: &Issuer<'_, KeyPair>, serial: u64| {
        let day = Duration::from_secs(86_400);
        let time = |at: SystemTime| at.into();
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: time(now()),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: time(now()),
            next_update: time(now() + day),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        RevocationList::from_der(params.signed_by(by).unwrap().der()).unwrap()
    };
    let check = |list: RevocationList, serial: u64| {
        let (certificate, key) = issued(&authority(), HERE);
        let trusting =
            Credentials::new(vec![certificate], key, vec![other.anchor.clone()], vec![list]).unwrap();
        let mut params = params.clone();
        params.serial_number = Some(SerialNumber::from(serial));
        trusting.check(&other.node(&params), &rules()).map(|member| member.revocation)
    };
    // The anchor has issued no list.
    assert_eq!(check(list(&other.issuer, 5), 6), Ok(RevocationState::NoList));
    assert!(matches!(check(list(&other.issuer, 5), 5), Err(NotMember::Revoked { .. })));
    let forger = Issuer::new(authority_params(1), KeyPair::generate().unwrap());
    assert_eq!(check(list(&forger, 5), 6), Err(NotMember::ListSignature));
}

#[test]
fn who_signs_himself_is_no_member() {
    let here = here(&authority(), Vec::new());
    let own = node_params(&[PEER]).self_signed(&KeyPair::generate().unwrap()).unwrap();
    assert_eq!(here.check(&[own.der().clone()], &rules()), Err(NotMember::SelfSigned));
}

#[test]
fn a_certificate_names_one_node_of_this_domain() {
    let other = Other::new(0);
    assert_eq!(other.checked(&node_params(&[PEER])).unwrap().name.to_string(), PEER);
    let refused = |params: &CertificateParams| other.checked(params).unwrap_err();
    let mut none = node_params(&[]);
    none.custom_extensions.clear();
    let missing = NotMember::NodeName(NodeNameInCertificate::Missing);
    assert_eq!(refused(&none), missing);
    let host = GeneralName::DnsName(x509_cert::der::asn1::Ia5String::new("a.example.com").unwrap());
    none.custom_extensions = vec![san(vec![host])];
    assert_eq!(refused(&none), missing, "names of hosts are no names of nodes");
    assert_eq!(refused(&node_params(&[PEER, PEER])), NotMember::NodeName(NodeNameInCertificate::Several));
    let malformed = refused(&node_params(&["fd89@acp.example.com"]));
    assert_eq!(malformed, NotMember::NodeName(NodeNameInCertificate::Invalid(NodeNameError::Address)));
    assert!(malformed.to_string().contains("32 hexadecimal digits"), "{malformed}");
    // The type is IA5String, not UTF8String.
    let value = Any::from(Utf8StringRef::new(PEER).unwrap());
    let type_id = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.8.10");
    none.custom_extensions = vec![san(vec![GeneralName::OtherName(OtherName { type_id, value })])];
    assert_eq!(refused(&none), NotMember::NodeName(NodeNameInCertificate::Malformed));
    none.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0x01, 0xff])];
    assert!(matches!(refused(&none), NotMember::NodeName(_) | NotMember::Malformed), "{:?}", refused(&none));
    let (own, theirs) = (DOMAIN.to_owned(), "example.com".to_owned());
    assert_eq!(refused(&node_params(&["0@example.com"])), NotMember::OtherDomain { own, theirs });
    assert!(other.checked(&node_params(&["0@ACP.EXAMPLE.com"])).is_ok());
}

#[test]
fn a_neighbour_has_an_address_and_another_member_needs_none() {
    let authority = authority();
    let here = here(&authority, Vec::new());
    for (text, is_neighbour) in [("@acp.example.com", false), ("0@acp.example.com", true), (PEER, true)] {
        let (peer, _) = issued(&authority, text);
        assert!(checked(&here, &peer, &rules()).is_ok());
        let neighbour = checked(&here, &peer, &rules().secure_channel(true)).map(drop);
        assert_eq!(neighbour, if is_neighbour { Ok(()) } else { Err(NotMember::NoAddress) }, "{text}");
    }
}

#[test]
fn a_chain_has_some_authorities_and_not_thirty() {
    for below in [1, 2, 3] {
        assert!(Other::new(below).checked(&node_params(&[PEER])).is_ok(), "{below}");
    }
    // The anchor may come with it.
    let other = Other::new(1);
    let mut chain = other.node(&node_params(&[PEER]));
    chain.push(other.anchor.der().clone());
    assert!(other.trusting().check(&chain, &rules()).is_ok());
    chain.remove(1);
    let refused = other.trusting().check(&chain, &rules());
    assert!(matches!(refused, Err(NotMember::UnknownIssuer { .. })), "{refused:?}");
    assert_eq!(Other::new(29).checked(&node_params(&[PEER])), Err(NotMember::TooMany { count: 30 }));
    assert_eq!(Other::new(7).checked(&node_params(&[PEER])), Err(NotMember::PathTooLong));
    let narrow = Other::with(2, |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    assert_eq!(narrow.checked(&node_params(&[PEER])), Err(NotMember::PathTooLong));
}

#[test]
fn of_authorities_with_one_name_two_are_tried_and_not_every_path_through_seven() {
    let other = Other::new(1);
    let impostor = |number| {
        let (params, key) = (authority_params(number), KeyPair::generate().unwrap());
        params.self_signed(&key).unwrap().der().clone()
    };
    // One that is being replaced, or that two others have signed.
    let mut chain = other.node(&node_params(&[PEER]));
    chain.insert(1, impostor(1));
    assert!(other.trusting().check(&chain, &rules()).is_ok());
    // All have the name of the anchor, and each might have signed each.
    let stranger = Issuer::new(authority_params(0), KeyPair::generate().unwrap());
    let leaf = node_params(&[PEER]).signed_by(&KeyPair::generate().unwrap(), &stranger).unwrap();
    let chain: Vec<_> =
        std::iter::once(leaf.der().clone()).chain((1..CHAIN_LIMIT).map(|_| impostor(0))).collect();
    let refused = other.trusting().check(&chain, &rules());
    assert!(
        matches!(refused, Err(NotMember::Signature { .. } | NotMember::UnknownIssuer { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_large_certificate_is_not_even_read() {
    let other = Other::new(1);
    let mut chain = other.node(&node_params(&[PEER]));
    let large = CertificateDer::from(vec![0x30; 1 << 20]);
    let refused = Err(NotMember::TooLarge { bytes: 1 << 20 });
    chain.insert(1, large.clone());
    assert_eq!(other.trusting().check(&chain, &rules()), refused);
    assert_eq!(other.trusting().check(&[large], &rules()), refused);
}

#[test]
fn keys_are_used_for_what_they_are_for() {
    let other = Other::new(0);
    let with = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = node_params(&[PEER]);
        change(&mut params);
        other.checked(&params).map(drop)
    };
    assert_eq!(with(&|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]), Ok(()));
    assert_eq!(
        with(&|params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
        Err(NotMember::Usage)
    );
    let purpose = |purpose| with(&|params| params.extended_key_usages = vec![Clone::clone(&purpose)]);
    assert_eq!(purpose(ExtendedKeyUsagePurpose::ClientAuth), Ok(()));
    assert_eq!(purpose(ExtendedKeyUsagePurpose::ServerAuth), Err(NotMember::Usage));
    assert_eq!(purpose(ExtendedKeyUsagePurpose::CodeSigning), Err(NotMember::Usage));
    // An authority is no node, and a node no authority.
    let authority = with(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(authority, Err(NotMember::AuthorityAsNode));
    let (here, own) = (here(&self::authority(), Vec::new()), self::authority());
    assert_eq!(checked(&here, own.certificate(), &rules()), Err(NotMember::AuthorityAsNode));
    let node = Other::with(1, |params| params.is_ca = IsCa::ExplicitNoCa);
    assert_eq!(node.checked(&node_params(&[PEER])), Err(NotMember::NodeAsAuthority));
    let signs_nothing = Other::with(1, |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    assert_eq!(signs_nothing.checked(&node_params(&[PEER])), Err(NotMember::NodeAsAuthority));
}

#[test]
fn an_extension_that_is_critical_and_unknown_is_not_ignored() {
    let other = Other::new(0);
    let mut params = node_params(&[PEER]);
    let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 32473, 1], vec![0x05, 0x00]);
    params.custom_extensions.push(unknown.clone());
    assert!(other.checked(&params).is_ok());
    unknown.set_criticality(true);
    params.custom_extensions.pop();
    params.custom_extensions.push(unknown);
    assert!(matches!(other.checked(&params), Err(NotMember::Invalid { .. })));
}

#[test]
fn credentials_fit_together() {
    let authority = authority();
    let anchor = || vec![authority.certificate().clone()];
    let (certificate, key) = issued(&authority, HERE);
    let (node, other_key) = issued(&authority, HERE);
    let made = |chain: &[&Certificate], key, anchors| {
        let chain = chain.iter().map(|one| (*one).clone()).collect();
        Credentials::new(chain, key, anchors, Vec::new()).map_err(|error| error.to_string())
    };
    let refused = |made: Result<Credentials, String>, text: &str| {
        let error = made.unwrap_err();
        assert!(error.contains(text), "{error}");
    };
    let again = || PrivateKey::from_pkcs8(key.pkcs8().secret_pkcs8_der()).unwrap();
    refused(made(&[&certificate], other_key, anchor()), "not that of its key");
    refused(made(&[], again(), anchor()), "no certificate");
    refused(made(&[&certificate], again(), Vec::new()), "no anchor");
    refused(made(&[&certificate], again(), vec![node]), "not the certificate of an authority");
    refused(made(&[&certificate; 9], again(), anchor()), "more than 8 certificates in the chain");
    let own = PrivateKey::from_pkcs8(authority.key().pkcs8().secret_pkcs8_der()).unwrap();
    refused(made(&[authority.certificate()], own, anchor()), "no name of a node");
    let good = made(&[&certificate], again(), anchor()).unwrap();
    let shown = format!("{good:?}");
    assert!(shown.contains(HERE) && !shown.contains("PrivateKey"), "{shown}");
}

#[test]
fn a_request_is_read_if_its_key_has_signed_it() {
    for algorithm in Algorithm::ALL {
        let key = PrivateKey::generate(algorithm).unwrap();
        let request = Request::new(&key, &name(PEER)).unwrap();
        let again = Request::from_pem(request.to_pem().as_bytes()).unwrap();
        assert_eq!((again.node_name(), again.public_key()), (Some(&name(PEER)), key.public()));
    }
    let key = KeyPair::generate().unwrap();
    let mut params = node_params(&[PEER]);
    let other = |params: &CertificateParams| params.serialize_request(&key).unwrap().der().to_vec();
    let whole = other(&params);
    assert_eq!(Request::from_der(&whole).unwrap().node_name(), Some(&name(PEER)));
    let at = whole.windows(4).position(|part| part == b"area").unwrap();
    let mut changed = whole.clone();
    changed[at] = b'b';
    assert_eq!(Request::from_der(&changed), Err(RequestError::Signature));
    params.custom_extensions.clear();
    assert_eq!(Request::from_der(&other(&params)).unwrap().node_name(), None);
    let two = other(&node_params(&[PEER, HERE]));
    assert_eq!(Request::from_der(&two), Err(RequestError::Name(NodeNameInCertificate::Several)));
    assert!(matches!(
        Request::from_der(&[0x30; 20_000]),
        Err(RequestError::Malformed(MalformedError::TooLarge))
    ));
    assert!(matches!(Request::from_pem(b"nothing"), Err(RequestError::Malformed(MalformedError::None(_)))));
    for cut in 0..whole.len() {
        assert!(Request::from_der(&whole[..cut]).is_err(), "{cut}");
    }
}
