//! The input: hex, a hex dump, a capture, or plain messages.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};

use crate::wire::{ItemScanner, Progress, annotate};

use super::capture::{self, Report};
use super::file;
use super::{Options, Record};

/// The source of the input.
pub(super) enum Source {
    Hex(Vec<u8>),
    Reader(Box<dyn Read + Send>),
}

/// Interprets the words of the command line: standard input, a file, or hex.
pub(super) fn open(words: &[String]) -> Result<Source, Box<dyn Error>> {
    match words {
        [] => return Ok(Source::Reader(Box::new(io::stdin()))),
        [one] if one == "-" => return Ok(Source::Reader(Box::new(io::stdin()))),
        [path] => match File::open(path) {
            Ok(file) => return Ok(Source::Reader(Box::new(file))),
            // Hex is not a file name, and often too long for one.
            Err(_) if from_hex(path).is_some() => {}
            Err(error) => return Err(format!("{path:?} is neither a file ({error}) nor hex").into()),
        },
        _ => {}
    }
    let text = words.join(" ");
    match from_hex(&text).as_deref() {
        Some([piece]) => Ok(Source::Hex(piece.bytes.clone())),
        _ => Err(format!("{text:?} is not hex").into()),
    }
}

pub(super) fn decode(
    mut input: impl Read + Send,
    options: &Options,
    show: &mut dyn FnMut(Record),
) -> Result<Report, Box<dyn Error>> {
    let mut magic = Vec::new();
    (&mut input).take(4).read_to_end(&mut magic)?;
    if file::is_capture(&magic) {
        return capture::decode(magic, input, options, show);
    }
    if let [0x1f, 0x8b, 8, _] | [0x28, 0xb5, 0x2f, 0xfd] = magic.as_slice() {
        return Err("the input is compressed: decompress it first (gunzip, zstd -d)".into());
    }
    let mut bytes = magic;
    input.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len())? > LARGEST {
        return Err(format!("more than {LARGEST} bytes, and no capture").into());
    }
    let pieces = std::str::from_utf8(&bytes).ok().and_then(from_hex);
    let mut report = Report::default();
    match pieces {
        None => messages(&bytes, options, show),
        Some(pieces) => {
            for piece in pieces {
                // tcpdump -x shows packets starting with the IP header.
                if !piece.is_dump || !capture::packet(&piece.bytes, options, &mut report, show) {
                    messages(&piece.bytes, options, show);
                }
            }
        }
    }
    Ok(report)
}

/// Reads consecutive messages, encrypted or not.
fn messages(bytes: &[u8], options: &Options, show: &mut dyn FnMut(Record)) {
    if let Some(keys) = options.keys.as_ref().filter(|_| !super::stream::looks_like_grasp(bytes)) {
        let mut reader = keys.reader(options.limits);
        let mut rest = bytes;
        while let Ok(Some(opened)) = reader.feed(rest) {
            rest = opened.rest;
            let annotation = annotate(&opened.message, &options.limits);
            show(Record { encrypted: true, ..Record::new(opened.message, annotation) });
        }
        if rest.len() < bytes.len() {
            if !rest.is_empty() {
                let annotation = annotate(rest, &options.limits);
                let remark = Some("not decrypted".to_owned());
                show(Record { remark, ..Record::new(rest.to_vec(), annotation) });
            }
            return;
        }
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = match ItemScanner::new(options.limits).feed(rest) {
            Ok(Progress::Complete(length)) => length,
            _ => rest.len(),
        };
        let (message, behind) = rest.split_at(length.min(rest.len()));
        show(Record::new(message.to_vec(), annotate(message, &options.limits)));
        rest = behind;
    }
}

/// Bytes that were given in hex.
struct Piece {
    bytes: Vec<u8>,
    /// Whether they followed offsets of the form `0x0010:`, as written by tcpdump.
    is_dump: bool,
}

/// Parses hex digits with blanks, commas, colons and `0x` between them, or a dump by xxd, `hexdump -C` or `tcpdump -x`.
/// A dump that starts again at offset 0 is another piece. `None` for anything else.
fn from_hex(text: &str) -> Option<Vec<Piece>> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut in_dump, mut squeezed) = (false, None);
    // The limit for the bytes of all omitted lines together.
    let mut left_out = usize::try_from(LARGEST).ok()?;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        // A line equal to the one before it, repeated up to the offset that follows.
        if in_dump && line == "*" {
            squeezed = Some(pieces.last()?.bytes.last_chunk::<16>().copied()?);
            continue;
        }
        // hexdump ends with the offset of the end.
        let end = u64::from_str_radix(line, 16).ok().filter(|_| in_dump && line.len() == 8);
        let (offset, digits) = end.map_or_else(|| split_offset(line), |end| (Some((end, false)), ""));
        in_dump |= offset.is_some();
        if let (Some(repeated), Some((offset, _)), Some(piece)) = (squeezed.take(), offset, pieces.last_mut())
        {
            let size = usize::try_from(offset).ok()?.saturating_sub(piece.bytes.len());
            left_out = left_out.checked_sub(size)?;
            piece.bytes.extend(repeated.iter().cycle().take(size));
        }
        let starts = pieces.is_empty() || offset.is_some_and(|(offset, _)| offset == 0);
        if starts {
            pieces.push(Piece { bytes: Vec::new(), is_dump: offset.is_some_and(|(_, tcpdump)| tcpdump) });
        }
        match hex_line(digits) {
            Some(bytes) => pieces.last_mut()?.bytes.extend(bytes),
            // tcpdump's line about the packet.
            None if offset.is_none() && pieces.last().is_some_and(|it| it.is_dump || it.bytes.is_empty()) => {
            }
            None => return None,
        }
    }
    pieces.retain(|piece| !piece.bytes.is_empty());
    if pieces.is_empty() { None } else { Some(pieces) }
}

/// Returns the offset at the beginning of a dump line, whether it is in tcpdump's style, and the digits.
fn split_offset(line: &str) -> (Option<(u64, bool)>, &str) {
    if let Some((offset, digits)) = line.split_once(": ") {
        let tcpdump = offset.strip_prefix("0x");
        let number = tcpdump.unwrap_or(offset);
        if number.len() >= 4
            && let Ok(number) = u64::from_str_radix(number, 16)
        {
            // Two blanks separate the digits from the characters.
            let digits = digits.trim_start();
            return (Some((number, tcpdump.is_some())), digits.split("  ").next().unwrap_or(digits));
        }
    }
    // hexdump -C: eight digits, two blanks, and the characters between bars.
    if let Some((offset, digits)) = line.split_once("  ")
        && offset.len() == 8
        && let Ok(number) = u64::from_str_radix(offset, 16)
    {
        return (Some((number, false)), digits.split('|').next().unwrap_or(digits));
    }
    (None, line)
}

fn hex_line(line: &str) -> Option<Vec<u8>> {
    let line = line.strip_prefix("h'").and_then(|line| line.strip_suffix('\'')).unwrap_or(line);
    let mut digits = Vec::with_capacity(line.len());
    for word in line.split([' ', '\t', ',', ':', ';']) {
        let word = word.strip_prefix("0x").or_else(|| word.strip_prefix("\\x")).unwrap_or(word);
        for character in word.chars() {
            digits.push(u8::try_from(character.to_digit(16)?).ok()?);
        }
    }
    let (pairs, odd) = digits.as_chunks::<2>();
    odd.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// The largest input that is not a capture: 16 MiB.
const LARGEST: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn hex(text: &str) -> Option<Vec<Vec<u8>>> {
        from_hex(text).map(|pieces| pieces.into_iter().map(|piece| piece.bytes).collect())
    }

    #[test]
    fn hex_is_taken_in_many_spellings() {
        let message = Some(vec![vec![0x83, 7, 1, 0x18, 0x64]]);
        for text in [
            "8307011864",
            " 83 07 01\n18 64\n",
            "0x8307011864",
            "0x83, 0x07, 0x01, 0x18, 0x64",
            "83:07:01:18:64",
            "h'8307011864'",
            "00000000: 8307 0118 64                             .....",
            "00000000  83 07 01 18 64                                    |....d|\n",
            "00000000  83 07 01 18 64                                    |....d|\n00000005\n",
        ] {
            assert_eq!(hex(text), message, "{text}");
        }
        for text in ["", "8", "83zz", "[7, 1, 100]", "hello"] {
            assert_eq!(hex(text), None, "{text}");
        }
    }

    #[test]
    fn lines_that_a_dump_leaves_out_are_there() {
        let zeros = "00000000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n*\n";
        let ended =
            [zeros, "00000030  01                                                |.|\n00000031\n"].concat();
        let bytes = [vec![0; 48], vec![1]].concat();
        assert_eq!(hex(&ended), Some(vec![bytes.clone()]), "hexdump -C");
        assert_eq!(hex(&[zeros, "00000030"].concat()), Some(vec![vec![0; 48]]));
        let xxd = "00000000: 0000 0000 0000 0000 0000 0000 0000 0000  ................\n*\n00000030: 01  .\n";
        assert_eq!(hex(xxd), Some(vec![bytes]), "xxd -a");
        for wrong in [
            &[zeros, "ffffffff"].concat(),
            &[zeros, "00ffffff"].concat().repeat(2),
            "00000000  83\n*\n00000010",
        ] {
            assert_eq!(hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_dump_of_packets_has_a_piece_for_each() {
        let dump = "12:00:00 IP6 a > b: UDP\n\t0x0000:  6000 0001 `...\n\t0x0010:  02\n12:00:01 IP6 b > a\n\t0x0000:  6003\n";
        let dump = dump.replace(" `...", "  `...");
        assert_eq!(hex(&dump), Some(vec![vec![0x60, 0, 0, 1, 2], vec![0x60, 3]]));
    }
}
