//! Checks whether an objective agrees with its definition, and says in sentences what ASAs of others are likely to have got
//! wrong. Called by ASAs and by `tools`.

use std::fmt;

use super::{Known, Rules, SRV, SRV_EST};
use crate::plain::Plain;
use crate::types::{Locator, Objective, TaggedObjective};

/// What is wrong with an objective, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub aspect: Aspect,
    /// What is wrong and what to do. Safe for terminals.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Not as its definition says, but others understand it.
    Odd,
    /// Others do not find it, or do not understand it.
    Wrong,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Aspect {
    /// The name.
    Name,
    /// The loop count.
    LoopCount,
    /// The flags.
    Flags,
    /// The value.
    Value,
    /// The address of the locator, or that there is none.
    Locator,
    /// The transport protocol of the locator.
    Protocol,
}

/// How far an objective may have come when it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hops {
    /// It is about to be sent.
    None,
    /// It was received. Relays may have lowered its loop count.
    Some,
}

/// Returns what is wrong with a flooded objective, or with one that is about to be flooded. Of an objective that is not known
/// here only the name is checked.
#[must_use]
pub fn check(tagged: &TaggedObjective, hops: Hops) -> Vec<Finding> {
    let TaggedObjective { objective, source } = tagged;
    let mut findings: Vec<_> = check_name(&objective.name).into_iter().collect();
    let Some(known) = Known::of(&objective.name) else { return findings };
    let rules = known.rules();
    findings.extend(check_flags(objective, &rules));
    findings.extend(check_loop_count(objective, &rules, hops));
    if let Err(error) = known.describe(&objective.value) {
        findings.push(finding(
            Severity::Wrong,
            Aspect::Value,
            objective,
            &format!("{error} ({})", rules.source),
        ));
    }
    if source.locator.is_none() && rules.needs_locator {
        let text = format!("has no locator: nobody knows where it is ({})", rules.source);
        findings.push(finding(Severity::Wrong, Aspect::Locator, objective, &text));
    }
    if let Some(locator) = &source.locator {
        findings.extend(check_scope(objective, locator, &rules));
        let unusual =
            source.protocol.filter(|it| !rules.protocols.is_empty() && !rules.protocols.contains(it));
        if let Some(protocol) = unusual {
            let text = format!(
                "has a locator for {protocol}, which its definition does not permit ({})",
                rules.source
            );
            findings.push(finding(Severity::Wrong, Aspect::Protocol, objective, &text));
        }
    }
    findings
}

fn finding(severity: Severity, aspect: Aspect, objective: &Objective, text: &str) -> Finding {
    Finding { severity, aspect, text: format!("{} {text}", Plain(&objective.name)) }
}

/// Checks whether a name differs from a well-known one only in case, or by a hyphen in place of an underscore: names are
/// compared byte by byte (RFC 8990 §2.10.1), so nobody would find it.
#[must_use]
pub fn check_name(name: &str) -> Option<Finding> {
    let alike = |one: &str, other: &str| {
        let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
        plain(one) == plain(other)
    };
    let right = match name.get(..SRV.len()) {
        Some(begin) if begin != SRV && begin.eq_ignore_ascii_case(SRV) => {
            Some(format!("{SRV}{}", name.get(SRV.len()..).unwrap_or_default()))
        }
        _ => {
            let names = Known::ALL.iter().map(|known| known.name()).chain([SRV_EST]);
            names.into_iter().find(|known| *known != name && alike(known, name)).map(str::to_owned)
        }
    }?;
    let text = format!(
        "{} is not {}: names are compared letter by letter, and nobody who looks for {} finds it",
        Plain(name),
        Plain(&right),
        Plain(&right)
    );
    Some(Finding { severity: Severity::Wrong, aspect: Aspect::Name, text })
}

fn check_flags(objective: &Objective, rules: &Rules) -> Option<Finding> {
    let kind = |negotiated| if negotiated { "negotiated" } else { "synchronized" };
    if objective.neg != rules.negotiated || objective.synch == rules.negotiated {
        let is = match (objective.neg, objective.synch) {
            (false, false) => "neither negotiated nor synchronized",
            (true, true) => "both negotiated and synchronized",
            (negotiated, _) => kind(negotiated),
        };
        let text =
            format!("is {is} by its flags, and should be {} ({})", kind(rules.negotiated), rules.source);
        return Some(finding(Severity::Wrong, Aspect::Flags, objective, &text));
    }
    let is_superfluous = objective.discoverable && !rules.discoverable;
    let text = format!(
        "has the flag of an objective that can be discovered, and should not have it ({})",
        rules.source
    );
    is_superfluous.then(|| finding(Severity::Odd, Aspect::Flags, objective, &text))
}

fn check_loop_count(objective: &Objective, rules: &Rules, hops: Hops) -> Option<Finding> {
    let (is, should) = (objective.loop_count, rules.loop_count);
    if !rules.strict_loop_count || is == should {
        return None;
    }
    let (severity, why) = match (should, hops) {
        (1, _) => (Severity::Wrong, "it must not leave the link"),
        (_, Hops::None) => (Severity::Wrong, "it does not reach the whole domain"),
        // No network has so many hops between two nodes.
        (_, Hops::Some) if is < MANY => {
            (Severity::Odd, "it began with a lower one than that, and does not reach the whole domain")
        }
        (_, Hops::Some) => return None,
    };
    let text = format!("has the loop count {is}, and should have {should}: {why} ({})", rules.source);
    Some(finding(severity, Aspect::LoopCount, objective, &text))
}

/// A flood that began with 255 and has a lower loop count than this would have passed more relays than any network has.
const MANY: u8 = 128;

fn check_scope(objective: &Objective, locator: &Locator, rules: &Rules) -> Option<Finding> {
    let Locator::Ipv6(address) = locator else { return None };
    let text = match (address.is_unicast_link_local(), rules.link_local?) {
        (true, false) => {
            "has a link-local address, which cannot be reached from beyond the link: announce a ULA or a global address"
        }
        (false, true) => {
            "has an address of more than link scope, which a node without such an address cannot reach"
        }
        _ => return None,
    };
    let text = format!("{text} ({})", rules.source);
    Some(finding(Severity::Wrong, Aspect::Locator, objective, &text))
}
