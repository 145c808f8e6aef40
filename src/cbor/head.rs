//! Heads of CBOR items (RFC 8949 §3): the initial byte and the argument that may follow it. The decoder and the scanner
//! read heads with the same two functions, so they cannot disagree.

use super::DecodeError;

/// The head of an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Head {
    /// The integer itself.
    Unsigned(u64),
    /// The integer is -1 minus this.
    Negative(u64),
    /// A byte string of this many bytes follows.
    Bytes(u64),
    /// A text string of this many bytes follows.
    Text(u64),
    /// This many items follow.
    Array(u64),
    /// This many pairs follow.
    Map(u64),
    /// The tagged item follows.
    Tag(u64),
    /// A simple value, including `false`, `true`, `null` and `undefined`.
    Simple(u8),
    /// A floating-point number; on the wire it has one of three widths.
    Float(f64),
    /// Chunks of bytes follow, up to a break.
    ByteChunks,
    /// Chunks of text follow, up to a break.
    TextChunks,
    /// Items follow, up to a break.
    OpenArray,
    /// Pairs follow, up to a break.
    OpenMap,
    /// Ends an item of indefinite length.
    Break,
}

impl Head {
    /// The number of argument bytes that follow the initial byte (RFC 8949 §3).
    #[inline(always)]
    pub(crate) const fn argument_length(initial: u8) -> Result<u8, DecodeError> {
        match (initial >> 5, initial & 0x1f) {
            (_, 0..=23) => Ok(0),
            (_, 24) => Ok(1),
            (_, 25) => Ok(2),
            (_, 26) => Ok(4),
            (_, 27) => Ok(8),
            (2..=5 | 7, 31) => Ok(0),
            _ => Err(DecodeError::malformed("reserved additional information")),
        }
    }

    /// The head with this initial byte and, if the initial byte needs one, this argument.
    #[inline(always)]
    pub(crate) fn new(initial: u8, following: u64) -> Result<Self, DecodeError> {
        let information = initial & 0x1f;
        let argument = if information < 24 { u64::from(information) } else { following };
        let indefinite = information == 31;
        Ok(match (initial >> 5, indefinite) {
            (0, false) => Self::Unsigned(argument),
            (1, false) => Self::Negative(argument),
            (2, false) => Self::Bytes(argument),
            (2, true) => Self::ByteChunks,
            (3, false) => Self::Text(argument),
            (3, true) => Self::TextChunks,
            (4, false) => Self::Array(argument),
            (4, true) => Self::OpenArray,
            (5, false) => Self::Map(argument),
            (5, true) => Self::OpenMap,
            (6, false) => Self::Tag(argument),
            (7, true) => Self::Break,
            (7, false) => Self::seventh(information, argument)?,
            _ => return Err(DecodeError::malformed("reserved additional information")),
        })
    }

    /// Whether other items are inside it, which chunks are not.
    #[inline]
    pub(crate) const fn has_items(self) -> bool {
        matches!(self, Self::Array(_) | Self::Map(_) | Self::Tag(_) | Self::OpenArray | Self::OpenMap)
    }

    /// Major type 7: simple values and floating-point numbers (RFC 8949 §3.3).
    fn seventh(information: u8, argument: u64) -> Result<Self, DecodeError> {
        let wrong = DecodeError::malformed("reserved simple value");
        match information {
            0..=23 => Ok(Self::Simple(information)),
            24 => match u8::try_from(argument) {
                Ok(simple @ 32..) => Ok(Self::Simple(simple)),
                _ => Err(wrong),
            },
            25 => u16::try_from(argument).map(|bits| Self::Float(widen(bits))).map_err(|_| wrong),
            26 => u32::try_from(argument)
                .map(|bits| Self::Float(f64::from(f32::from_bits(bits))))
                .map_err(|_| wrong),
            27 => Ok(Self::Float(f64::from_bits(argument))),
            _ => Err(wrong),
        }
    }
}

/// Reads heads and strings from a slice.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the beginning of `bytes`.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes that have not been read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads the next head.
    #[inline(always)]
    pub(crate) fn head(&mut self) -> Result<Head, DecodeError> {
        let (&initial, rest) = self.rest.split_first().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        let argument = match Head::argument_length(initial)? {
            0 => 0,
            1 => u64::from(u8::from_be_bytes(self.chunk()?)),
            2 => u64::from(u16::from_be_bytes(self.chunk()?)),
            4 => u64::from(u32::from_be_bytes(self.chunk()?)),
            _ => u64::from_be_bytes(self.chunk()?),
        };
        Head::new(initial, argument)
    }

    /// Reads `length` bytes.
    #[inline]
    pub(crate) fn take(&mut self, length: u64) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(length).map_err(|_| DecodeError::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn chunk<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }
}

/// Writes a head in the shortest form (RFC 8949 §4.1).
pub(crate) fn put(out: &mut Vec<u8>, major: Major, argument: u64) {
    let major = major.bits();
    match (u8::try_from(argument), u16::try_from(argument), u32::try_from(argument)) {
        (Ok(small @ ..=23), ..) => out.push(major | small),
        (Ok(byte), ..) => out.extend([major | 24, byte]),
        (_, Ok(short), _) => {
            out.push(major | 25);
            out.extend(short.to_be_bytes());
        }
        (_, _, Ok(long)) => {
            out.push(major | 26);
            out.extend(long.to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend(argument.to_be_bytes());
        }
    }
}

/// Writes a head whose argument is a length or a number of items.
pub(crate) fn put_length(out: &mut Vec<u8>, major: Major, length: usize) {
    put(out, major, u64::try_from(length).unwrap_or(u64::MAX));
}

/// Replaces the first byte with a head that has this length. One byte is nearly always enough.
pub(crate) fn replace_first(out: &mut Vec<u8>, major: Major, length: usize) {
    match (u8::try_from(length), out.first_mut()) {
        (Ok(small @ ..=23), Some(first)) => *first = major.bits() | small,
        _ => {
            let mut head = Vec::new();
            put_length(&mut head, major, length);
            out.splice(..out.len().min(1), head);
        }
    }
}

/// Writes a simple value. 24 to 31 cannot be written (RFC 8949 §3.3): `undefined` replaces them.
pub(crate) fn put_simple(out: &mut Vec<u8>, simple: u8) {
    match simple {
        24..=31 => put(out, Major::Simple, u64::from(UNDEFINED)),
        _ => put(out, Major::Simple, u64::from(simple)),
    }
}

/// Writes a floating-point number in the shortest form that keeps its value (RFC 8949 §4.1); any NaN
/// becomes the 16-bit quiet one.
pub(crate) fn put_float(out: &mut Vec<u8>, number: f64) {
    let bits = if number.is_nan() { 0x7ff8 << 48 } else { number.to_bits() };
    if let Some(half) = narrow(bits, 5, 10).and_then(|half| u16::try_from(half).ok()) {
        out.push(0xf9);
        out.extend(half.to_be_bytes());
    } else if let Some(single) = narrow(bits, 8, 23).and_then(|single| u32::try_from(single).ok()) {
        out.push(0xfa);
        out.extend(single.to_be_bytes());
    } else {
        out.push(0xfb);
        out.extend(bits.to_be_bytes());
    }
}

/// The value of a 16-bit floating-point number.
fn widen(half: u16) -> f64 {
    let mantissa = f64::from(half & 0x3ff);
    let magnitude = match half >> 10 & 0x1f {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (mantissa + 1024.0) * 2f64.powi(i32::from(exponent).saturating_sub(25)),
    };
    if half >> 15 == 0 { magnitude } else { -magnitude }
}

/// The bits of a 64-bit floating-point number in a format with this many bits of exponent and mantissa; `None` if that
/// format cannot express the number.
fn narrow(bits: u64, exponent_bits: u32, mantissa_bits: u32) -> Option<u64> {
    let all_ones = 1u64.checked_shl(exponent_bits)?.checked_sub(1)?;
    let bias = i64::try_from(all_ones >> 1).ok()?;
    let sign = (bits >> 63).checked_shl(exponent_bits.checked_add(mantissa_bits)?)?;
    let exponent = i64::try_from(bits >> 52 & 0x7ff).ok()?;
    let mantissa = bits & 0xf_ffff_ffff_ffff;
    let surplus = 52u32.checked_sub(mantissa_bits)?;
    let shortened = |mantissa: u64, by: u32| {
        let short = mantissa.checked_shr(by)?;
        (short.checked_shl(by)? == mantissa).then_some(short)
    };
    if exponent == 0 {
        // Zero, or a number too small for any other format.
        return (mantissa == 0).then_some(sign);
    }
    if exponent == 0x7ff {
        return Some(sign | all_ones.checked_shl(mantissa_bits)? | shortened(mantissa, surplus)?);
    }
    let exponent = exponent.checked_sub(1023)?.checked_add(bias)?;
    if exponent >= i64::try_from(all_ones).ok()? {
        None
    } else if let Some(exponent) = u64::try_from(exponent).ok().filter(|exponent| *exponent > 0) {
        Some(sign | exponent.checked_shl(mantissa_bits)? | shortened(mantissa, surplus)?)
    } else {
        // Subnormal in that format: the leading one becomes explicit, and every step below 1 costs a bit.
        let below = u32::try_from(1i64.checked_sub(exponent)?).ok()?;
        Some(sign | shortened(mantissa | 1 << 52, surplus.checked_add(below)?)?)
    }
}

/// The major types that have an argument to write (RFC 8949 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Major {
    Unsigned,
    Negative,
    Bytes,
    Text,
    Array,
    Map,
    Tag,
    Simple,
}

impl Major {
    const fn bits(self) -> u8 {
        match self {
            Self::Unsigned => 0,
            Self::Negative => 1 << 5,
            Self::Bytes => 2 << 5,
            Self::Text => 3 << 5,
            Self::Array => 4 << 5,
            Self::Map => 5 << 5,
            Self::Tag => 6 << 5,
            Self::Simple => 7 << 5,
        }
    }
}

/// The simple value `false` (RFC 8949 §3.3).
pub(crate) const FALSE: u8 = 20;
/// The simple value `true`.
pub(crate) const TRUE: u8 = 21;
/// The simple value `null`.
pub(crate) const NULL: u8 = 22;
/// The simple value `undefined`.
pub(crate) const UNDEFINED: u8 = 23;

#[cfg(test)]
mod tests {
    use super::*;

    fn float(number: f64) -> Vec<u8> {
        let mut out = Vec::new();
        put_float(&mut out, number);
        out
    }

    #[test]
    fn heads_are_written_in_the_shortest_form_and_read_back() {
        for (argument, length) in [
            (0, 1),
            (23, 1),
            (24, 2),
            (255, 2),
            (256, 3),
            (65535, 3),
            (65536, 5),
            (1 << 32, 9),
            (u64::MAX, 9),
        ] {
            let mut out = Vec::new();
            put(&mut out, Major::Unsigned, argument);
            assert_eq!(out.len(), length, "{argument}");
            assert_eq!(Reader::new(&out).head(), Ok(Head::Unsigned(argument)));
        }
    }

    #[test]
    fn long_forms_of_small_numbers_are_read() {
        assert_eq!(Reader::new(&[0x1b, 0, 0, 0, 0, 0, 0, 0, 5]).head(), Ok(Head::Unsigned(5)));
        assert_eq!(Reader::new(&[0x99, 0, 2]).head(), Ok(Head::Array(2)));
    }

    #[test]
    fn reserved_heads_are_malformed() {
        for initial in (0..=7u8).flat_map(|major| (28..=30u8).map(move |info| major << 5 | info)) {
            assert!(matches!(Reader::new(&[initial]).head(), Err(DecodeError::Malformed { .. })));
        }
        for initial in [0x1f, 0x3f, 0xdf] {
            assert!(matches!(Reader::new(&[initial]).head(), Err(DecodeError::Malformed { .. })));
        }
        assert!(matches!(Reader::new(&[0xf8, 31]).head(), Err(DecodeError::Malformed { .. })));
        assert_eq!(Reader::new(&[0xf8, 32]).head(), Ok(Head::Simple(32)));
    }

    /// The examples of RFC 8949, appendix A.
    #[test]
    fn floats_take_the_shortest_form() {
        let examples: [(f64, &[u8]); 16] = [
            (0.0, &[0xf9, 0, 0]),
            (-0.0, &[0xf9, 0x80, 0]),
            (1.0, &[0xf9, 0x3c, 0]),
            (1.1, &[0xfb, 0x3f, 0xf1, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9a]),
            (1.5, &[0xf9, 0x3e, 0]),
            (65504.0, &[0xf9, 0x7b, 0xff]),
            (65536.0, &[0xfa, 0x47, 0x80, 0, 0]),
            (100_000.0, &[0xfa, 0x47, 0xc3, 0x50, 0]),
            (3.402_823_466_385_288_6e38, &[0xfa, 0x7f, 0x7f, 0xff, 0xff]),
            (1.0e300, &[0xfb, 0x7e, 0x37, 0xe4, 0x3c, 0x88, 0, 0x75, 0x9c]),
            (5.960_464_477_539_063e-8, &[0xf9, 0, 1]),
            (0.000_061_035_156_25, &[0xf9, 4, 0]),
            (-4.0, &[0xf9, 0xc4, 0]),
            (f64::INFINITY, &[0xf9, 0x7c, 0]),
            (f64::NEG_INFINITY, &[0xf9, 0xfc, 0]),
            (f64::NAN, &[0xf9, 0x7e, 0]),
        ];
        for (number, bytes) in examples {
            assert_eq!(float(number), bytes, "{number}");
        }
    }

    #[test]
    fn every_half_and_many_singles_survive() {
        for half in 0..=u16::MAX {
            let number = widen(half);
            let bytes = float(number);
            if number.is_nan() {
                assert_eq!(bytes, [0xf9, 0x7e, 0]);
            } else {
                assert_eq!(bytes, [&[0xf9], half.to_be_bytes().as_slice()].concat());
            }
        }
        for step in 0..100_000u32 {
            let single = f32::from_bits(step.wrapping_mul(42_949));
            let bytes = float(f64::from(single));
            let Ok(Head::Float(read)) = Reader::new(&bytes).head() else { panic!("{bytes:?}") };
            assert!(bytes.len() <= 5 && (read == f64::from(single) || single.is_nan()), "{single}");
        }
    }
}
