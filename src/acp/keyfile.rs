//! Key files for QUADS: text files that only their owner may read. `quadsmaker` creates them, the engine reads them at
//! start.
//!
//! ```text
//! # Lines like this one are comments.
//! key = 64 hexadecimal digits
//! iv = 32 hexadecimal digits
//! ```
//!
//! `key = No key` means no encryption. graspy's own key file, `quadsk.py`, can be read too; its lines are assignments
//! in Python:
//!
//! ```text
//! key=b'32 bytes'
//! iv=b'16 bytes'
//! ```
#![deny(clippy::as_conversions, clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]

use std::fmt::{self, Write as _};
use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use super::quads::{BLOCK, KEY, QuadsKeys};
use crate::private_file;
pub use crate::private_file::KeyFileError;

/// The format in which a key file is written. Both formats can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Hexadecimal digits.
    #[default]
    Hex,
    /// graspy's `quadsk.py`, which it imports from its working directory.
    Python,
}

/// Creates a key file that only its owner can read and write (mode 0600). Without keys, the file says "No key": no
/// encryption.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if a file of this name exists; it is left alone, so that a key in use is not
/// overwritten. Any other error of creating and writing the file; a partly written file is removed.
pub fn write(path: impl AsRef<Path>, keys: Option<&QuadsKeys>, form: Form) -> io::Result<()> {
    let mut text = Zeroizing::new(String::with_capacity(MOST));
    text.push_str(HEADING);
    let values = keys.map(|keys| [keys.key().as_slice(), keys.iv()]);
    for (number, name) in ["key", "iv"].into_iter().enumerate() {
        let value = values.and_then(|values| values.get(number).copied());
        // Writing to a string does not fail.
        let _ = match (form, value) {
            (Form::Hex, Some(value)) => writeln!(text, "{name} = {}", Hex(value)),
            (Form::Hex, None) if name == "key" => writeln!(text, "{name} = {NO_KEY}"),
            (Form::Hex, None) => Ok(()),
            (Form::Python, Some(value)) => writeln!(text, "{name}=b'{}'", python::Escaped(value)),
            (Form::Python, None) => writeln!(text, "{name}='{NO_KEY}'"),
        };
    }
    private_file::create(path.as_ref(), text.as_bytes())
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Reads a key file. `Ok(None)` if it says "No key".
///
/// # Errors
/// [`KeyFileError`]. A retry helps once somebody has corrected the file.
pub fn read(path: impl AsRef<Path>) -> Result<Option<QuadsKeys>, KeyFileError> {
    read_as(path.as_ref(), rustix::process::geteuid().as_raw())
}

fn read_as(path: &Path, own: u32) -> Result<Option<QuadsKeys>, KeyFileError> {
    let bytes = private_file::read_as(path, MOST, own)?;
    let malformed = |(line, what)| KeyFileError::Malformed { path: path.to_owned(), line, what };
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed((0, "it is no UTF-8 text")))?;
    parse(text).map_err(malformed)
}

/// Parses the keys; on failure returns the line number and what is wrong with the line.
fn parse(text: &str) -> Result<Option<QuadsKeys>, (usize, &'static str)> {
    let (mut key, mut iv, mut no_key) = (None, None, false);
    let quoted = format!("'{NO_KEY}'");
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or((number, "it is no \"name = value\""))?;
        match (name.trim(), value.trim()) {
            ("key", _) if key.is_some() || no_key => return Err((number, "a second key")),
            ("iv", _) if iv.is_some() => return Err((number, "a second iv")),
            ("key", said) if said == NO_KEY || said == quoted => no_key = true,
            // graspy writes "No key" twice.
            ("iv", said) if said == quoted => {}
            ("key", literal) if python::is_literal(literal) => {
                key = Some(python::bytes::<KEY>(literal).ok_or((number, "the key is not 32 bytes"))?);
            }
            ("iv", literal) if python::is_literal(literal) => {
                iv = Some(python::bytes::<BLOCK>(literal).ok_or((number, "the iv is not 16 bytes"))?);
            }
            ("key", digits) => {
                key = Some(from_hex::<KEY>(digits).ok_or((number, "the key is not 64 hexadecimal digits"))?);
            }
            ("iv", digits) => {
                iv = Some(from_hex::<BLOCK>(digits).ok_or((number, "the iv is not 32 hexadecimal digits"))?);
            }
            _ => return Err((number, "neither key nor iv")),
        }
    }
    match (key, iv) {
        (None, None) if no_key => Ok(None),
        (Some(key), Some(iv)) => Ok(Some(QuadsKeys::from_parts(*key, *iv))),
        (None, Some(_)) if no_key => Err((0, "an iv without a key")),
        (None, _) => Err((0, "no key")),
        (Some(_), None) => Err((0, "no iv")),
    }
}

fn from_hex<const N: usize>(digits: &str) -> Option<Zeroizing<[u8; N]>> {
    let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !odd.is_empty() {
        return None;
    }
    let mut bytes = Zeroizing::new([0; N]);
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let value = char::from(*high).to_digit(16)? << 4 | char::from(*low).to_digit(16)?;
        *byte = u8::try_from(value).ok()?;
    }
    Some(bytes)
}

/// Byte strings as Python prints them (with `repr`).
mod python {
    use std::fmt;

    use zeroize::Zeroizing;

    /// How a literal begins. Python uses double quotes if the string contains single ones.
    const OPENING: [&str; 2] = ["b'", "b\""];

    /// Whether the text is meant as a byte string literal.
    pub(super) fn is_literal(text: &str) -> bool {
        OPENING.into_iter().any(|opening| text.starts_with(opening))
    }

    /// The content between the quotation marks, all of it in ASCII.
    pub(super) struct Escaped<'a>(pub(super) &'a [u8]);

    impl fmt::Display for Escaped<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
        }
    }

    /// The bytes of a literal, if there are exactly `N`.
    pub(super) fn bytes<const N: usize>(literal: &str) -> Option<Zeroizing<[u8; N]>> {
        let inside = OPENING.into_iter().find_map(|opening| {
            let closing = opening.strip_prefix('b')?;
            literal.strip_prefix(opening)?.strip_suffix(closing)
        })?;
        let mut bytes = Zeroizing::new([0; N]);
        let mut places = bytes.iter_mut();
        let mut characters = inside.chars();
        while let Some(character) = characters.next() {
            let byte = match character {
                '\\' => escaped(&mut characters)?,
                other => u8::try_from(other).ok().filter(u8::is_ascii)?,
            };
            *places.next()? = byte;
        }
        places.next().is_none().then_some(bytes)
    }

    fn escaped(characters: &mut impl Iterator<Item = char>) -> Option<u8> {
        let byte = match characters.next()? {
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            mark @ ('\\' | '\'' | '"') => u8::try_from(mark).ok()?,
            'x' => {
                let mut digit = || characters.next()?.to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            _ => return None,
        };
        Some(byte)
    }
}

/// The first line of every key file that is written.
const HEADING: &str = "\
# A QUADS key for GRASP. Who can read it can read and forge all messages of the network.
";
/// Stands in place of a key: no encryption.
const NO_KEY: &str = "No key";
/// In bytes; larger than any key file needs to be.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::fs::Mode;

    use super::*;
    use crate::private_file::ROOT;

    /// A new directory, removed when it is dropped.
    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("grasp-keyfile-{}-{number}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self, text: &str, mode: u32) -> PathBuf {
            let path = self.0.join("file.key");
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn keys() -> QuadsKeys {
        QuadsKeys::from_parts([0xab; 32], std::array::from_fn(|at| u8::try_from(at).unwrap()))
    }

    fn text() -> String {
        format!("key = {}\niv = 000102030405060708090a0b0c0d0e0f\n", "ab".repeat(32))
    }

    #[test]
    fn what_is_written_is_read_again_and_is_nobody_elses() {
        let directory = Directory::new();
        let path = directory.0.join("quadsk.key");
        write(&path, Some(&keys()), Form::Hex).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(read(&path).unwrap(), Some(keys()));
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{HEADING}{}", text()));
        for (number, form) in [Form::Hex, Form::Python].into_iter().enumerate() {
            let path = directory.0.join(format!("none{number}.key"));
            write(&path, None, form).unwrap();
            assert_eq!(read(&path).unwrap(), None);
            let path = directory.0.join(format!("some{number}.key"));
            write(&path, Some(&keys()), form).unwrap();
            assert_eq!(read(&path).unwrap(), Some(keys()));
        }
    }

    #[test]
    fn graspys_own_file_is_read_as_it_is() {
        // What Python writes: printable text unescaped, in the quotation marks that need fewer escapes.
        let every: Vec<u8> = (0x09..0x29).collect();
        let key: [u8; KEY] = every.as_slice().try_into().unwrap();
        let text = r##"key=b'\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f !"#$%&\'('
iv=b"'\\0123456789abcd"
"##;
        let expected = QuadsKeys::from_parts(key, *b"'\\0123456789abcd");
        assert_eq!(parse(text), Ok(Some(expected)));
        assert_eq!(parse("#How to avoid the prompt:\r\nkey='No key'\r\niv='No key'\r\n"), Ok(None));
        let iv = format!("iv=b'{}'\n", "i".repeat(16));
        for literal in [
            format!("b'{}'", "k".repeat(31)),
            format!("b'{}'", "k".repeat(33)),
            format!("b'{}", "k".repeat(32)),
            format!("b'{}\"", "k".repeat(32)),
            format!("b'{}\\'", "k".repeat(31)),
            format!("b'{}\\xg0'", "k".repeat(31)),
            format!("b'{}ä'", "k".repeat(31)),
            "b'".to_owned(),
        ] {
            let refused = parse(&format!("key={literal}\n{iv}"));
            assert_eq!(refused, Err((1, "the key is not 32 bytes")), "{literal}");
        }
    }

    #[test]
    fn a_file_of_another_user_is_refused_with_what_to_do() {
        let directory = Directory::new();
        let path = directory.file(&text(), 0o600);
        let mut owner = rustix::process::geteuid().as_raw();
        if owner == ROOT {
            // Everybody trusts root's files, so root gives this one away.
            owner = 12345;
            std::os::unix::fs::chown(&path, Some(owner), None).unwrap();
        }
        let error = read_as(&path, 54321).unwrap_err();
        assert!(
            matches!(error, KeyFileError::Foreign { owner: shown, own: 54321, .. } if shown == owner),
            "{error:?}"
        );
        assert!(error.to_string().contains("chown 54321 "), "{error}");
        assert_eq!(read_as(&path, owner).unwrap(), Some(keys()));
    }

    #[test]
    fn a_file_that_is_there_is_not_overwritten_even_through_a_link() {
        let directory = Directory::new();
        let path = directory.file("precious", 0o600);
        let write = |path: &Path| write(path, Some(&keys()), Form::Hex);
        assert_eq!(write(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let link = directory.0.join("link.key");
        std::os::unix::fs::symlink(directory.0.join("nowhere"), &link).unwrap();
        assert_eq!(write(&link).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(!directory.0.join("nowhere").exists());
        let lost = write(&directory.0.join("no/such/directory")).unwrap_err();
        assert_eq!(lost.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_that_others_can_read_or_write_is_refused_with_what_to_do() {
        let directory = Directory::new();
        for mode in [0o640, 0o620, 0o604, 0o602, 0o666, 0o644] {
            let path = directory.file(&text(), mode);
            let error = read(&path).unwrap_err();
            assert!(matches!(error, KeyFileError::Exposed { mode: shown, .. } if shown == mode), "{error:?}");
            assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
            assert!(!error.to_string().contains("abab"));
        }
        for mode in [0o600, 0o400, 0o700] {
            assert_eq!(read(directory.file(&text(), mode)).unwrap(), Some(keys()));
        }
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let directory = Directory::new();
        assert!(matches!(read(&directory.0), Err(KeyFileError::NotAFile { .. })));
        assert!(matches!(read("/dev/null"), Err(KeyFileError::NotAFile { .. })));
        let pipe = directory.0.join("pipe");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(read(&pipe), Err(KeyFileError::NotAFile { .. })));
        let error = read(directory.0.join("missing")).unwrap_err();
        assert!(matches!(&error, KeyFileError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound));
        assert!(error.source().is_some());
    }

    #[test]
    fn spaces_comments_and_capitals_do_not_matter() {
        let loose = text().to_uppercase().replace("KEY = ", "\u{20}key=  ").replace("IV", "# hello\n\r\n iv");
        assert_eq!(parse(&loose), Ok(Some(keys())));
        assert_eq!(parse("# nothing\nkey = No key"), Ok(None));
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let key = format!("key = {}\n", "ab".repeat(32));
        let iv = format!("iv = {}\n", "cd".repeat(16));
        let long = "#".repeat(MOST + 1);
        for (text, line, what) in [
            (String::new(), 0, "no key"),
            (iv.clone(), 0, "no key"),
            (key.clone(), 0, "no iv"),
            (format!("{iv}key = No key\n"), 0, "an iv without a key"),
            (format!("{key}{key}{iv}"), 2, "a second key"),
            (format!("{key}key = No key\n{iv}"), 2, "a second key"),
            (format!("{key}{iv}{iv}"), 3, "a second iv"),
            (format!("{key}iv\n"), 2, "it is no \"name = value\""),
            (format!("{key}{iv}salt = 12\n"), 3, "neither key nor iv"),
            ("key = no key".to_owned(), 1, "the key is not 64 hexadecimal digits"),
            (key.replacen('a', "g", 1), 1, "the key is not 64 hexadecimal digits"),
            (key.replacen('a', "+", 1), 1, "the key is not 64 hexadecimal digits"),
            (key.replacen("ab", "", 1), 1, "the key is not 64 hexadecimal digits"),
            (key.replacen("ab", "ä", 1), 1, "the key is not 64 hexadecimal digits"),
            (iv.replacen('c', "", 1), 1, "the iv is not 32 hexadecimal digits"),
            (long, 0, "it is too large"),
        ] {
            let directory = Directory::new();
            match read(directory.file(&text, 0o600)) {
                Err(KeyFileError::Malformed { line: found, what: said, .. }) => {
                    assert_eq!((found, said), (line, what), "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        let directory = Directory::new();
        let path = directory.file("", 0o600);
        fs::write(&path, [0xff, 0xfe]).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.ends_with("is malformed: it is no UTF-8 text"), "{error}");
    }
}
