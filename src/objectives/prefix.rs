//! An IPv6 or IPv4 prefix, and the arithmetic of halves: every prefix can be divided into two halves, and two halves
//! form the prefix again.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The number of the IP version, as used in messages.
    #[must_use]
    pub const fn version(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    /// How many bits an address has.
    #[must_use]
    pub const fn width(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IPv{}", self.version())
    }
}

/// A prefix. Bits beyond its length are zero.
///
/// Prefixes are ordered by family, then length, then address: the shorter, and so larger, ones first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    family: Family,
    length: u8,
    /// The address from the highest bit down; IPv4 has zeros after its 32 bits.
    bits: u128,
}

/// Why something is not a valid prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixError {
    /// The length exceeds that of an address.
    Length,
    /// More bytes than an address has.
    Size,
    /// Bits beyond the length are set ("covert" bits, which RFC 9164 §4 forbids).
    CovertBits,
    /// Not an address, a slash and a number.
    Syntax,
}

impl Prefix {
    /// Creates a prefix from the bytes of its address; zeros at the end may be missing.
    ///
    /// # Errors
    /// See [`PrefixError`].
    pub fn from_bytes(family: Family, length: u8, bytes: &[u8]) -> Result<Self, PrefixError> {
        if length > family.width() {
            return Err(PrefixError::Length);
        }
        if bytes.len() > usize::from(family.width() / 8) {
            return Err(PrefixError::Size);
        }
        let mut all = [0; 16];
        all[..bytes.len()].copy_from_slice(bytes);
        let prefix = Self { family, length, bits: u128::from_be_bytes(all) };
        if prefix.bits & !mask(length) != 0 {
            return Err(PrefixError::CovertBits);
        }
        Ok(prefix)
    }

    /// The bytes of the whole address: 4 or 16.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.bits.to_be_bytes()[..usize::from(self.family.width() / 8)].to_vec()
    }

    /// The address family.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.family
    }

    /// The length in bits.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// The lower and the upper half. A single address has no halves.
    #[must_use]
    pub fn halves(&self) -> Option<(Self, Self)> {
        (self.length < self.family.width()).then(|| {
            let lower = Self { length: self.length + 1, ..*self };
            (lower, Self { bits: self.bits | bit(lower.length), ..lower })
        })
    }

    /// The prefix of which this is a half, and its other half. `None` for the prefix of length 0.
    #[must_use]
    pub fn parent_and_sibling(&self) -> Option<(Self, Self)> {
        let shorter = self.length.checked_sub(1)?;
        let sibling = Self { bits: self.bits ^ bit(self.length), ..*self };
        Some((Self { length: shorter, bits: self.bits & mask(shorter), ..*self }, sibling))
    }

    /// Whether `other` is this prefix or a part of it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.family == other.family
            && self.length <= other.length
            && other.bits & mask(self.length) == self.bits
    }

    /// Whether the two have an address in common: then one contains the other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other) || other.contains(self)
    }

    /// The number of subnets of this length in it; 0 if it is smaller than one.
    #[must_use]
    pub fn subnets(&self, length: u8) -> u128 {
        length.checked_sub(self.length).map_or(0, |bits| 1_u128.checked_shl(bits.into()).unwrap_or(u128::MAX))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.family {
            Family::V6 => write!(f, "{}/{}", Ipv6Addr::from_bits(self.bits), self.length),
            Family::V4 => {
                let [a, b, c, d, ..] = self.bits.to_be_bytes();
                write!(f, "{}/{}", Ipv4Addr::new(a, b, c, d), self.length)
            }
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, length) = text.split_once('/').ok_or(PrefixError::Syntax)?;
        let length = length.parse().map_err(|_| PrefixError::Syntax)?;
        match address.parse().map_err(|_| PrefixError::Syntax)? {
            std::net::IpAddr::V4(address) => Self::from_bytes(Family::V4, length, &address.octets()),
            std::net::IpAddr::V6(address) => Self::from_bytes(Family::V6, length, &address.octets()),
        }
    }
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "prefix length out of range",
            Self::Size => "prefix longer than an address",
            Self::CovertBits => "covert bits in prefix",
            Self::Syntax => "a prefix is an address, a slash and a length, such as 2001:db8::/32",
        })
    }
}

impl std::error::Error for PrefixError {}

/// A mask with the first `length` bits set.
fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(u32::from(128 - length.min(128))).unwrap_or(0)
}

/// The bit that distinguishes the upper half from the lower half in a prefix of this length.
fn bit(length: u8) -> u128 {
    1_u128.checked_shl(u32::from(128 - length.min(128))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn text_and_bytes_are_two_forms_of_the_same() {
        for text in ["2001:db8::/32", "::/0", "::1/128", "10.0.0.0/8", "0.0.0.0/0", "10.1.2.3/32"] {
            let given = prefix(text);
            assert_eq!(given.to_string(), text);
            assert_eq!(Prefix::from_bytes(given.family(), given.length(), &given.bytes()), Ok(given));
        }
        assert_eq!(prefix("10.16.0.0/12").bytes(), [10, 16, 0, 0]);
        assert_eq!(Prefix::from_bytes(Family::V4, 12, &[10, 16]), Ok(prefix("10.16.0.0/12")));
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        assert_eq!("10.0.0.1/8".parse::<Prefix>(), Err(PrefixError::CovertBits));
        assert_eq!("10.0.0.0/33".parse::<Prefix>(), Err(PrefixError::Length));
        assert_eq!("::/129".parse::<Prefix>(), Err(PrefixError::Length));
        assert_eq!("::".parse::<Prefix>(), Err(PrefixError::Syntax));
        assert_eq!(Prefix::from_bytes(Family::V4, 8, &[10, 0, 0, 0, 0]), Err(PrefixError::Size));
    }

    #[test]
    fn halves_make_the_whole() {
        for text in ["::/0", "2001:db8::/32", "2001:db8::/127", "0.0.0.0/0", "10.0.0.0/31"] {
            let whole = prefix(text);
            let (lower, upper) = whole.halves().unwrap();
            assert!(
                lower < upper && !lower.overlaps(&upper) && whole.contains(&lower) && whole.contains(&upper)
            );
            assert_eq!(lower.parent_and_sibling(), Some((whole, upper)));
            assert_eq!(upper.parent_and_sibling(), Some((whole, lower)));
        }
        assert_eq!(prefix("10.0.0.1/32").halves(), None);
        assert_eq!(prefix("::1/128").halves(), None);
        assert_eq!(prefix("::/0").parent_and_sibling(), None);
    }

    #[test]
    fn families_never_overlap() {
        assert!(!prefix("::/0").overlaps(&prefix("0.0.0.0/0")));
        assert!(prefix("10.0.0.0/8").overlaps(&prefix("10.255.0.0/16")));
        assert!(!prefix("10.0.0.0/9").overlaps(&prefix("10.128.0.0/9")));
    }

    #[test]
    fn sizes_are_counted_in_subnets() {
        assert_eq!(prefix("2001:db8::/57").subnets(64), 128);
        assert_eq!(prefix("2001:db8::/65").subnets(64), 0);
        assert_eq!(prefix("10.0.0.0/20").subnets(24), 16);
        assert_eq!(prefix("::/0").subnets(128), u128::MAX);
    }
}
