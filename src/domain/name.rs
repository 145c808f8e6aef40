//! The name of a node in its certificate (RFC 8994 §6.2.2): its address in the ACP, its routing subdomain, its domain.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The name of a node, which its certificate carries (RFC 8994 §6.2.2).
///
/// ```text
/// acp-node-name = local-part "@" acp-domain-name
/// local-part = [ acp-address ] [ "+" rsub extensions ]
/// acp-address = 32HEXDIG / "0"
/// rsub = [ <subdomain> ]              ; RFC 1034, section 3.5
/// acp-domain-name = <domain>          ; RFC 1034, section 3.5
/// extensions = *( "+" extension )
/// extension = 1*etext                 ; ALPHA, DIGIT and !#$%&'*-/=?^_`{|}~
/// ```
///
/// It prints as it stands in a certificate, with the digits of the address in lower case, which is recommended.
///
/// ```
/// use grasp::domain::{AcpAddress, NodeName};
///
/// let name: NodeName = "fd89b714f3db00000200000064000000+area51.research@acp.example.com".parse()?;
/// assert_eq!(name.address(), AcpAddress::Ip("fd89:b714:f3db:0:200:0:6400:0".parse()?));
/// assert_eq!((name.routing_subdomain(), name.domain()), (Some("area51.research"), "acp.example.com"));
/// assert!(name.same_domain(&"@ACP.Example.com".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeName {
    address: AcpAddress,
    /// What follows the first plus sign, up to the next; it may be empty.
    routing_subdomain: Option<String>,
    extensions: Vec<String>,
    domain: String,
}

/// The address of a node in the ACP, as its name has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AcpAddress {
    /// It is left out: the node is a member of the domain, but no neighbour in it (RFC 8994 §6.2.3, rule 5).
    Omitted,
    /// `0`: the node gets its address in another way.
    Zero,
    /// This one.
    Ip(Ipv6Addr),
}

impl NodeName {
    /// Makes a name of its parts. The routing subdomain is left out if it is empty.
    ///
    /// # Errors
    /// If the domain or the routing subdomain is none. A retry does not help.
    pub fn new(address: AcpAddress, routing_subdomain: &str, domain: &str) -> Result<Self, NodeNameError> {
        is_domain(domain).map_err(NodeNameError::Domain)?;
        let routing_subdomain = match routing_subdomain {
            "" => None,
            some => {
                is_domain(some).map_err(NodeNameError::RoutingSubdomain)?;
                Some(some.to_owned())
            }
        };
        Ok(Self { address, routing_subdomain, extensions: Vec::new(), domain: domain.to_owned() })
    }

    /// The address in the ACP.
    #[must_use]
    pub const fn address(&self) -> AcpAddress {
        self.address
    }

    /// The routing subdomain, which divides the addresses of a domain and has no meaning for membership. `None` if there is none,
    /// or an empty one.
    #[must_use]
    pub fn routing_subdomain(&self) -> Option<&str> {
        self.routing_subdomain.as_deref().filter(|subdomain| !subdomain.is_empty())
    }

    /// The extensions, which are for future standards and to be ignored.
    pub fn extensions(&self) -> impl Iterator<Item = &str> {
        self.extensions.iter().map(String::as_str)
    }

    /// The name of the domain, as it is written.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether both nodes are of one domain (RFC 8994 §6.2.3, rule 4). Capital and small letters are the same.
    #[must_use]
    pub fn same_domain(&self, other: &Self) -> bool {
        self.domain.eq_ignore_ascii_case(&other.domain)
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        let (local, domain) = text.split_once('@').ok_or(NodeNameError::NoDomain)?;
        is_domain(domain).map_err(NodeNameError::Domain)?;
        let mut parts = local.split('+');
        let address = AcpAddress::parse(parts.next().unwrap_or_default())?;
        let routing_subdomain = parts.next();
        if let Some(subdomain) = routing_subdomain.filter(|subdomain| !subdomain.is_empty()) {
            is_domain(subdomain).map_err(NodeNameError::RoutingSubdomain)?;
        }
        let extensions: Vec<String> = parts.map(str::to_owned).collect();
        if !extensions.iter().all(|extension| is_extension(extension)) {
            return Err(NodeNameError::Extension);
        }
        let routing_subdomain = routing_subdomain.map(str::to_owned);
        Ok(Self { address, routing_subdomain, extensions, domain: domain.to_owned() })
    }
}

impl AcpAddress {
    fn parse(text: &str) -> Result<Self, NodeNameError> {
        match text {
            "" => Ok(Self::Omitted),
            "0" => Ok(Self::Zero),
            // `from_str_radix` would take a sign, too.
            digits if digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                let bits = u128::from_str_radix(digits, 16).map_err(|_| NodeNameError::Address)?;
                Ok(Self::Ip(Ipv6Addr::from_bits(bits)))
            }
            _ => Err(NodeNameError::Address),
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            AcpAddress::Omitted => {}
            AcpAddress::Zero => f.write_str("0")?,
            AcpAddress::Ip(address) => write!(f, "{:032x}", address.to_bits())?,
        }
        for part in self.routing_subdomain.iter().chain(&self.extensions) {
            write!(f, "+{part}")?;
        }
        write!(f, "@{}", self.domain)
    }
}

/// Why a text is no name of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeNameError {
    /// There is no `@`.
    NoDomain,
    /// The address is neither 32 hexadecimal digits, nor `0`, nor left out.
    Address,
    /// The name of the domain is none.
    Domain(DomainError),
    /// The routing subdomain is no name of a domain.
    RoutingSubdomain(DomainError),
    /// An extension is empty, or has a character that it must not have.
    Extension,
}

/// Why a text is no name of a domain (RFC 1034 §3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DomainError {
    /// It, or a label in it, is empty.
    Empty,
    /// It is longer than 253 octets.
    Long,
    /// A label is longer than 63 octets.
    LongLabel,
    /// A label begins with something else than a letter, ends with something else than a letter or digit, or has something else
    /// than letters, digits and hyphens in it.
    Characters,
}

impl fmt::Display for DomainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it, or a part of it between two dots, is empty",
            Self::Long => "it is longer than 253 characters",
            Self::LongLabel => "a part of it between two dots is longer than 63 characters",
            Self::Characters => {
                "each part of it has to begin with a letter, to end with a letter or digit, and to have only letters, digits and hyphens in it"
            }
        })
    }
}

impl std::error::Error for DomainError {}

impl fmt::Display for NodeNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDomain => f.write_str("it has no @ with the name of a domain behind it"),
            Self::Address => f.write_str("the address is neither 32 hexadecimal digits nor 0"),
            Self::Domain(error) => write!(f, "the name of the domain is malformed: {error}"),
            Self::RoutingSubdomain(error) => write!(f, "the routing subdomain is malformed: {error}"),
            Self::Extension => f.write_str("an extension is empty, or has a character that it must not have"),
        }
    }
}

impl std::error::Error for NodeNameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Domain(error) | Self::RoutingSubdomain(error) => Some(error),
            _ => None,
        }
    }
}

/// Checks a name of a domain, or a subdomain in the words of RFC 1034 §3.5, which lets a label begin with a letter only. The lengths
/// are those of its §3.1: 255 octets on the wire are 253 characters.
pub(crate) fn is_domain(name: &str) -> Result<(), DomainError> {
    if name.len() > 253 {
        return Err(DomainError::Long);
    }
    name.split('.').try_for_each(|label| {
        let (Some(first), Some(last)) = (label.bytes().next(), label.bytes().next_back()) else {
            return Err(DomainError::Empty);
        };
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !first.is_ascii_alphabetic() || !last.is_ascii_alphanumeric() || !label.bytes().all(inside) {
            return Err(DomainError::Characters);
        }
        if label.len() > 63 { Err(DomainError::LongLabel) } else { Ok(()) }
    })
}

/// `1*etext`
fn is_extension(text: &str) -> bool {
    let is_etext = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*-/=?^_`{|}~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_etext)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 8994 §6.2.2.
    const EXAMPLE: &str = "fd89b714f3db00000200000064000000+area51.research@acp.example.com";

    fn refused(text: &str) -> NodeNameError {
        text.parse::<NodeName>().expect_err(text)
    }

    #[test]
    fn the_example_of_the_rfc_is_read_and_written() {
        let name: NodeName = EXAMPLE.parse().unwrap();
        assert_eq!(name.address(), AcpAddress::Ip("fd89:b714:f3db:0:200:0:6400:0".parse().unwrap()));
        assert_eq!(name.routing_subdomain(), Some("area51.research"));
        assert_eq!(name.extensions().count(), 0);
        assert_eq!(name.domain(), "acp.example.com");
        assert_eq!(name.to_string(), EXAMPLE);
        let same = NodeName::new(name.address(), "area51.research", "acp.example.com").unwrap();
        assert_eq!(same, name);
    }

    #[test]
    fn every_part_may_be_left_out_and_is_written_as_it_was_read() {
        for (text, address, subdomain, extensions) in [
            ("@example", AcpAddress::Omitted, None, 0),
            ("0@example", AcpAddress::Zero, None, 0),
            ("+@example", AcpAddress::Omitted, None, 0),
            ("0+@example", AcpAddress::Zero, None, 0),
            ("0+a@example", AcpAddress::Zero, Some("a"), 0),
            ("++e@example", AcpAddress::Omitted, None, 1),
            ("0+a.b-c+1!#$%&'*-/=?^_`{|}~+x@e1-x.example", AcpAddress::Zero, Some("a.b-c"), 2),
        ] {
            let name: NodeName = text.parse().expect(text);
            let parts = (name.address(), name.routing_subdomain(), name.extensions().count());
            assert_eq!(parts, (address, subdomain, extensions), "{text}");
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn digits_of_an_address_may_be_capital_and_are_written_small() {
        let capital = EXAMPLE.replacen("fd89b714f3db", "FD89b714F3DB", 1);
        assert_eq!(capital.parse::<NodeName>().unwrap().to_string(), EXAMPLE);
    }

    #[test]
    fn domains_are_the_same_in_small_and_capital_letters() {
        let name = |text: &str| text.parse::<NodeName>().unwrap();
        assert!(name("0@ACP.Example.com").same_domain(&name(EXAMPLE)));
        assert!(!name("0@example.com").same_domain(&name(EXAMPLE)));
        assert!(!name("0+acp@example.com").same_domain(&name(EXAMPLE)), "a subdomain belongs to the address");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let digits = "fd89b714f3db00000200000064000000";
        let (cut, long) = (&digits[1..], format!("{digits}0"));
        let colon = format!("fd89:{}", &digits[5..]);
        let sign = format!("+{}@a", "0".repeat(31));
        assert_eq!(refused(&sign), NodeNameError::RoutingSubdomain(DomainError::Characters));
        for address in [cut, &long, &colon, "00", "1", " 0", "fd89::1", &"g".repeat(32), &"é".repeat(16)] {
            assert_eq!(refused(&format!("{address}@a")), NodeNameError::Address, "{address}");
        }
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        let label = "a".repeat(63);
        let most = format!("{label}.{label}.{label}.{}", &label[2..]);
        assert_eq!(most.len(), 253);
        assert!(format!("0+{most}@{most}").parse::<NodeName>().is_ok());
        for (domain, why) in [
            ("", DomainError::Empty),
            (".", DomainError::Empty),
            ("a..b", DomainError::Empty),
            (".a", DomainError::Empty),
            ("a.", DomainError::Empty),
            (&format!("{most}a"), DomainError::Long),
            (&format!("{label}a"), DomainError::LongLabel),
            ("-a", DomainError::Characters),
            ("a-", DomainError::Characters),
            ("a.1b", DomainError::Characters),
            ("a_b", DomainError::Characters),
            ("a b", DomainError::Characters),
            ("a@b", DomainError::Characters),
            ("ä", DomainError::Characters),
            ("a\n", DomainError::Characters),
            ("a\0", DomainError::Characters),
        ] {
            assert_eq!(refused(&format!("0@{domain}")), NodeNameError::Domain(why), "{domain}");
            if !domain.is_empty() && !domain.contains('@') {
                let subdomain = format!("0+{domain}@a");
                assert_eq!(refused(&subdomain), NodeNameError::RoutingSubdomain(why), "{domain}");
            }
        }
        assert_eq!(refused(""), NodeNameError::NoDomain);
        assert_eq!(refused("acp.example.com"), NodeNameError::NoDomain);
    }

    #[test]
    fn what_is_no_extension_is_refused() {
        for extension in ["", "a.b", "a b", "a\"", "a(b)", "ä", "a,", "a:", "a\u{7f}"] {
            assert_eq!(refused(&format!("0+a+{extension}@a")), NodeNameError::Extension, "{extension:?}");
        }
        assert_eq!(refused("0+a++e@a"), NodeNameError::Extension);
    }
}
