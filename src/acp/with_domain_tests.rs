//! A domain in place of an ACP: certificates are valid by the calendar, which the engine else never looks at.

use super::*;
use crate::domain::{Algorithm, Authority};

/// An ACP that goes down at any time.
#[derive(Debug, Default)]
struct Acp(AtomicBool);

impl Substrate for Acp {
    fn status(&self) -> AcpStatus {
        if self.0.load(Ordering::Relaxed) { AcpStatus::Secure } else { AcpStatus::Down }
    }

    fn interfaces(&self) -> Option<Vec<String>> {
        Some(vec!["acp0".to_owned()])
    }
}

/// Else the engine would take the interfaces of the one, and secure their traffic as the other says.
#[test]
fn between_two_looks_of_the_engine_one_of_both_answers_all_it_asks() {
    let now = std::time::SystemTime::now();
    let authority = Authority::create("acp.example.com", Algorithm::P256, now, 86_400 * SECOND).unwrap();
    let name = "0@acp.example.com".parse().unwrap();
    let kept = Arc::new(Kept::new(authority.credentials(&name, now).unwrap()));
    let acp = Arc::new(Acp::default());
    let fallback = Fallback::new(acp.clone(), kept);
    let answers = || (fallback.interfaces().is_some(), fallback.uses_tls(), fallback.neighbours());
    let (by_acp, by_domain) =
        ((true, false, Neighbours::Datagrams), (false, true, Neighbours::SecuredConnections));
    fallback.observe(&|_| true);
    assert_eq!(answers(), by_domain);
    acp.0.store(true, Ordering::Relaxed);
    assert_eq!(answers(), by_domain, "the engine has not looked");
    fallback.observe(&|_| true);
    assert_eq!((answers(), fallback.status()), (by_acp, AcpStatus::Secure));
    acp.0.store(false, Ordering::Relaxed);
    assert_eq!((answers(), fallback.status()), (by_acp, AcpStatus::Down), "nothing is sent meanwhile");
    fallback.observe(&|_| true);
    assert_eq!((answers(), fallback.status()), (by_domain, AcpStatus::Secure));
    acp.0.store(true, Ordering::Relaxed);
    fallback.observe(&|_| false);
    assert_eq!(answers(), by_domain, "it has no interface");
}

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);
