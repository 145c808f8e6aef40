//! QUADS, the "quick and dirty security" of graspy: encrypts every message with a key that all nodes derive from one
//! shared password. It replaces an ACP where there is none (RFC 8990 §2.1); it is not standardized.
//!
//! Key: PBKDF2-HMAC-SHA256 of the password, 100000 rounds, constant salt, 32 bytes. Initialization vector: 16
//! consecutive bytes of the key, starting at index (first byte modulo 10). Message: AES-256-CBC with PKCS#7 padding,
//! with the same key and vector every time. The datagram or the stream contains only the ciphertext, without a length
//! or a mark. docs/security.md says how much security this gives.
//!
//! [`QuadsKeys`] seals what is sent and opens datagrams; [`QuadsReader`] finds messages in a TCP stream.
#![deny(clippy::as_conversions, clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]

use std::fmt;
use std::sync::Arc;

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use cbc::{Decryptor, Encryptor};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::wire::{DecodeError, ItemScanner, Limits, Progress};

/// The key and initialization vector that the nodes of a network share. All copies share one piece of memory, which is
/// wiped when the last copy is dropped.
///
/// ```
/// use grasp::QuadsKeys;
/// let keys = QuadsKeys::from_password("grasp").ok_or("empty password")?;
/// let sealed = keys.seal(&[0x81, 0x00]);
/// assert_eq!(sealed.len(), 16);
/// assert_eq!(keys.open(&sealed), Some(vec![0x81, 0x00]));
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone)]
pub struct QuadsKeys(Arc<Secret>);

struct Secret {
    key: Zeroizing<[u8; KEY]>,
    iv: Zeroizing<[u8; BLOCK]>,
}

impl QuadsKeys {
    /// Derives the keys from a password, with the same result as every other implementation of QUADS. `None` for the
    /// empty password, which means no encryption. Takes some hundredths of a second on purpose.
    #[must_use]
    pub fn from_password(password: &str) -> Option<Self> {
        if password.is_empty() {
            return None;
        }
        let mut key = Zeroizing::new([0; KEY]);
        pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &SALT, ROUNDS, key.as_mut_slice());
        let skip = usize::from(key.first().map_or(0, |first| first % 10));
        let mut iv = Zeroizing::new([0; BLOCK]);
        for (to, from) in iv.iter_mut().zip(key.iter().skip(skip)) {
            *to = *from;
        }
        Some(Self(Arc::new(Secret { key, iv })))
    }

    /// Makes the keys from a key and an initialization vector that come from elsewhere, such as a key file.
    #[must_use]
    pub fn from_parts(mut key: [u8; 32], mut iv: [u8; 16]) -> Self {
        let keys = Self(Arc::new(Secret { key: Zeroizing::new(key), iv: Zeroizing::new(iv) }));
        key.zeroize();
        iv.zeroize();
        keys
    }

    /// Encrypts a message. The result is 1 to 16 bytes longer, so that its length is a multiple of 16.
    #[must_use]
    pub fn seal(&self, message: &[u8]) -> Vec<u8> {
        Encryptor::<Aes256>::new(self.key().into(), self.iv().into()).encrypt_padded_vec::<Pkcs7>(message)
    }

    /// Decrypts a whole datagram. Ignores an incomplete block at its end, as graspy does. `None` if there is no
    /// complete block or the padding is wrong: then the sender has other keys, or the bytes were changed. `Some` does
    /// not prove that a node with these keys sealed the message.
    #[must_use]
    pub fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (blocks, _stray) = sealed.as_chunks::<BLOCK>();
        self.decryptor().decrypt_padded_vec::<Pkcs7>(blocks.as_flattened()).ok()
    }

    /// Returns a reader of messages from a TCP stream, each within the limits.
    #[must_use]
    pub fn reader(&self, limits: Limits) -> QuadsReader {
        QuadsReader {
            decryptor: self.decryptor(),
            keys: self.clone(),
            scanner: ItemScanner::new(limits),
            block: [0; BLOCK],
            filled: 0,
            plain: Vec::new(),
            end: None,
            failed: None,
        }
    }

    pub(super) fn key(&self) -> &[u8; KEY] {
        &self.0.key
    }

    pub(super) fn iv(&self) -> &[u8; BLOCK] {
        &self.0.iv
    }

    fn decryptor(&self) -> Decryptor<Aes256> {
        Decryptor::new(self.key().into(), self.iv().into())
    }
}

impl fmt::Debug for QuadsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QuadsKeys(..)")
    }
}

impl PartialEq for QuadsKeys {
    /// Takes the same time no matter where the keys differ.
    fn eq(&self, other: &Self) -> bool {
        let ours = self.key().iter().chain(self.iv());
        let theirs = other.key().iter().chain(other.iv());
        ours.zip(theirs).fold(0, |differences, (our, their)| differences | (our ^ their)) == 0
    }
}

impl Eq for QuadsKeys {}

/// Finds messages in an encrypted TCP stream. The encryption hides the length of a message, so each block is decrypted
/// as soon as it arrives and its plaintext is scanned for the end of the CBOR item. The position of the end gives the
/// length of the padding. Looks at each byte once and keeps at most one message.
///
/// ```
/// use grasp::{QuadsKeys, wire::Limits};
/// let keys = QuadsKeys::from_parts([1; 32], [2; 16]);
/// let mut reader = keys.reader(Limits::default());
/// let stream = [keys.seal(&[0x81, 0x00]), keys.seal(&[0x81, 0x07])].concat();
/// let first = reader.feed(&stream)?.ok_or("more bytes are needed")?;
/// assert_eq!(first.message, [0x81, 0x00]);
/// let second = reader.feed(first.rest)?.ok_or("more bytes are needed")?;
/// assert_eq!(second.message, [0x81, 0x07]);
/// assert!(second.rest.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct QuadsReader {
    keys: QuadsKeys,
    decryptor: Decryptor<Aes256>,
    scanner: ItemScanner,
    /// Ciphertext that is not a complete block yet: the first `filled` bytes.
    block: [u8; BLOCK],
    filled: usize,
    /// The decrypted part of the current message.
    plain: Vec<u8>,
    /// Where the message ends in `plain`, if known.
    end: Option<usize>,
    failed: Option<DecodeError>,
}

/// A message from a [`QuadsReader`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The decrypted message.
    pub message: Vec<u8>,
    /// Those of the fed bytes that follow the message, still encrypted: the beginning of the next one. Feed them again
    /// when the next message is wanted.
    pub rest: &'a [u8],
}

impl QuadsReader {
    /// Takes the next piece of the stream, and returns a message once it is complete with its padding. The reader is
    /// then ready for the next message. The caller decides how long to wait for more bytes.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`], [`DecodeError::TooDeep`] or [`DecodeError::Malformed`]: the decrypted bytes are not a
    /// message within the limits, or their padding is wrong, as happens with other keys. The stream cannot be resumed;
    /// the error stays the same.
    pub fn feed<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Opened<'a>>, DecodeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.advance(bytes).inspect_err(|error| {
            self.failed = Some(error.clone());
            self.plain.zeroize();
        })
    }

    /// Whether no byte of a next message was fed: if so, nothing is lost when the stream ends.
    #[must_use]
    pub const fn is_between_messages(&self) -> bool {
        self.filled == 0 && self.plain.is_empty() && self.failed.is_none()
    }

    fn advance<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Opened<'a>>, DecodeError> {
        let mut rest = bytes;
        while let Some(mut block) = self.next_block(&mut rest) {
            self.decryptor.decrypt_block((&mut block).into());
            self.plain.extend_from_slice(&block);
            if self.end.is_none()
                && let Progress::Complete(end) = self.scanner.feed(&block)?
            {
                self.end = Some(end);
            }
            if let Some(end) = self.end
                && let Some(padding) = self.plain.get(end..).filter(|padding| !padding.is_empty())
            {
                // The item ended in this block, or it filled the block before: the padding is complete.
                if !padding.iter().all(|byte| usize::from(*byte) == padding.len()) {
                    return Err(DecodeError::Malformed { what: "wrong padding of an encrypted message" });
                }
                let mut message = std::mem::take(&mut self.plain);
                message.truncate(end);
                self.begin();
                return Ok(Some(Opened { message, rest }));
            }
        }
        Ok(None)
    }

    /// Takes the next complete block, if there is one; otherwise keeps the partial block.
    fn next_block(&mut self, rest: &mut &[u8]) -> Option<[u8; BLOCK]> {
        if self.filled == 0
            && let Some((block, behind)) = rest.split_first_chunk()
        {
            *rest = behind;
            return Some(*block);
        }
        let room = self.block.get_mut(self.filled..).unwrap_or_default();
        let (taken, behind) = rest.split_at(room.len().min(rest.len()));
        for (to, from) in room.iter_mut().zip(taken) {
            *to = *from;
        }
        *rest = behind;
        self.filled = self.filled.saturating_add(taken.len());
        (self.filled == BLOCK).then(|| {
            self.filled = 0;
            self.block
        })
    }

    /// Prepares for the next message, which starts again with the initialization vector.
    fn begin(&mut self) {
        self.decryptor = self.keys.decryptor();
        self.scanner.reset();
        self.end = None;
    }
}

impl fmt::Debug for QuadsReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Shows neither keys nor cleartext.
        f.debug_struct("QuadsReader")
            .field("decrypted", &self.plain.len())
            .field("end", &self.end)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Drop for QuadsReader {
    fn drop(&mut self) {
        self.plain.zeroize();
    }
}

/// Bytes in a key.
pub(super) const KEY: usize = 32;
/// Bytes in a block and in an initialization vector.
pub(super) const BLOCK: usize = 16;
/// The salt of all QUADS implementations.
const SALT: [u8; 16] =
    [0xf4, 0x74, 0x52, 0x6a, 0x2e, 0x74, 0xac, 0xce, 0xe1, 0x89, 0xf1, 0xfb, 0xc1, 0xc3, 0x4c, 0xeb];
const ROUNDS: u32 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(text.get(at..at + 2).unwrap(), 16).unwrap())
            .collect()
    }

    /// The keys for the password "grasp", without the wait.
    fn grasp() -> QuadsKeys {
        let key = hex("acf9db472b6a2971185024fd566bc5ce190bc2309e3b36315835c696f6ece89d");
        let iv = hex("db472b6a2971185024fd566bc5ce190b");
        QuadsKeys::from_parts(key.try_into().unwrap(), iv.try_into().unwrap())
    }

    /// An array with one string: a message of any length from 3; also one of 2 bytes.
    fn message(length: usize) -> Vec<u8> {
        let filled = |head: &[u8], length| {
            let mut message = head.to_vec();
            message.resize(length, b'x');
            message
        };
        match length {
            0..=2 => vec![0x81, 0x00],
            3..=25 => filled(&[0x81, 0x5e + u8::try_from(length).unwrap()], length),
            26..=258 => filled(&[0x81, 0x78, u8::try_from(length - 3).unwrap()], length),
            _ => {
                let [.., high, low] = (length - 4).to_be_bytes();
                filled(&[0x81, 0x79, high, low], length)
            }
        }
    }

    /// Reads everything through one reader, in pieces of `piece` bytes.
    fn read_in_pieces(stream: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, DecodeError> {
        let mut reader = grasp().reader(Limits::default());
        let mut messages = Vec::new();
        for mut piece in stream.chunks(piece) {
            while let Some(opened) = reader.feed(piece)? {
                messages.push(opened.message);
                piece = opened.rest;
            }
        }
        assert!(reader.is_between_messages());
        Ok(messages)
    }

    #[test]
    fn the_password_gives_the_keys_that_graspy_derives() {
        assert_eq!(QuadsKeys::from_password("grasp"), Some(grasp()));
        let other = QuadsKeys::from_password("Grüße, 世界 🔑").unwrap();
        assert_eq!(
            other.key().to_vec(),
            hex("84f317f88d03b37a6773ebfa4a7deab098f420647242699549867840495b8662")
        );
        assert_eq!(other.iv().to_vec(), hex("17f88d03b37a6773ebfa4a7deab098f4"));
        assert_ne!(other, grasp());
        assert_eq!(QuadsKeys::from_password(""), None);
    }

    #[test]
    fn messages_are_sealed_as_graspy_seals_them_and_opened_again() {
        for (plain, sealed) in [
            ("8100", "d66e172dd96b768af24a1fa1668c137d"),
            (
                "84011a00d4d7485020010db8f000baaa28ccdc4c970367818463455831050200",
                "5517ac6a09ddd5224d57ae306f6981c2a0c02b0c0a64c73ae44865f058e93328d7ec62e5069df63c6e8912af117fffa1",
            ),
        ] {
            assert_eq!(grasp().seal(&hex(plain)), hex(sealed));
            assert_eq!(grasp().open(&hex(sealed)), Some(hex(plain)));
            assert_eq!(read_in_pieces(&hex(sealed), 7), Ok(vec![hex(plain)]));
        }
    }

    #[test]
    fn every_length_comes_back_from_a_datagram_and_from_a_stream() {
        for length in (2..=64).chain([200, 2000, 2048]) {
            let message = message(length);
            let sealed = grasp().seal(&message);
            assert_eq!(message.len(), length);
            assert_eq!(sealed.len(), (length / 16 + 1) * 16);
            assert_eq!(grasp().open(&sealed).as_ref(), Some(&message));
            assert_eq!(read_in_pieces(&sealed, sealed.len()), Ok(vec![message]), "{length}");
        }
        assert_eq!(grasp().open(&grasp().seal(&[])), Some(vec![]));
    }

    #[test]
    fn a_stray_partial_block_behind_a_datagram_is_ignored() {
        let mut sealed = grasp().seal(&[0x81, 0x00]);
        for stray in 0..15 {
            sealed.push(stray);
            assert_eq!(grasp().open(&sealed), Some(vec![0x81, 0x00]));
        }
        sealed.push(15);
        assert_eq!(grasp().open(&sealed), None, "now it is a block with wrong padding");
        assert_eq!(grasp().open(&[]), None);
        assert_eq!(grasp().open(&[0; 15]), None);
    }

    #[test]
    fn a_stream_may_be_cut_anywhere() {
        let messages = [message(2), message(15), message(16), message(17), message(31), message(32)];
        let stream: Vec<u8> = messages.iter().flat_map(|message| grasp().seal(message)).collect();
        for piece in 1..=stream.len() {
            assert_eq!(read_in_pieces(&stream, piece), Ok(messages.to_vec()), "pieces of {piece}");
        }
        // Every way to cut the first three messages into three pieces.
        let sealed = stream.get(..16 + 16 + 32).unwrap();
        for first in 0..=sealed.len() {
            for second in first..=sealed.len() {
                let mut reader = grasp().reader(Limits::default());
                let mut found = Vec::new();
                for range in [0..first, first..second, second..sealed.len()] {
                    let mut piece = sealed.get(range).unwrap();
                    while let Some(opened) = reader.feed(piece).unwrap() {
                        found.push(opened.message);
                        piece = opened.rest;
                    }
                }
                assert_eq!(found, messages.get(..3).unwrap(), "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn two_messages_in_one_piece_come_one_by_one_and_an_incomplete_one_waits() {
        let stream = [grasp().seal(&message(20)), grasp().seal(&message(40))].concat();
        let mut reader = grasp().reader(Limits::default());
        assert!(reader.is_between_messages());
        let first = reader.feed(&stream).unwrap().unwrap();
        assert_eq!((first.message, first.rest.len()), (message(20), 48));
        assert!(reader.is_between_messages());
        let (most, last) = first.rest.split_at(47);
        assert_eq!(reader.feed(most), Ok(None));
        assert!(!reader.is_between_messages());
        assert_eq!(reader.feed(last).unwrap().unwrap().message, message(40));
        // The item is complete, but its padding is one more block.
        let sealed = grasp().seal(&message(16));
        assert_eq!(reader.feed(sealed.get(..31).unwrap()), Ok(None));
        assert_eq!(reader.feed(sealed.get(31..).unwrap()).unwrap().unwrap().message, message(16));
    }

    #[test]
    fn limits_hold_for_the_cleartext() {
        let limits = Limits { size: 32, ..Limits::default() };
        let mut reader = grasp().reader(limits);
        assert_eq!(reader.feed(&grasp().seal(&message(32))).unwrap().unwrap().message, message(32));
        assert_eq!(reader.feed(&grasp().seal(&message(33))), Err(DecodeError::TooLarge { limit: 32 }));
        assert_eq!(reader.feed(&grasp().seal(&message(2))), Err(DecodeError::TooLarge { limit: 32 }));
        assert!(!reader.is_between_messages());
        // A message that never says how long it is: chunks without an end.
        let mut endless = vec![0x9f];
        endless.resize(1 << 16, 0x00);
        let sealed = grasp().seal(&endless);
        let mut reader = grasp().reader(limits);
        for piece in sealed.chunks(5) {
            let result = reader.feed(piece);
            assert!(reader.plain.len() <= limits.size + BLOCK);
            assert!(matches!(result, Ok(None) | Err(DecodeError::TooLarge { .. })), "{result:?}");
        }
        assert!(reader.failed.is_some());
        let deep = vec![0x81; 100];
        let result = grasp().reader(Limits::default()).feed(&grasp().seal(&deep)).map(|_| ());
        assert_eq!(result, Err(DecodeError::TooDeep { limit: 32 }));
    }

    #[test]
    fn changed_padding_is_refused_byte_by_byte() {
        // In CBC, a changed bit in one block changes the same bit of the next block: here, of the padding.
        let sealed = grasp().seal(&message(20));
        for at in 4..16 {
            for bit in 0..8 {
                let mut changed = sealed.clone();
                *changed.get_mut(at).unwrap() ^= 1 << bit;
                // The first block is garbage; only datagrams get as far as the padding.
                assert_eq!(grasp().open(&changed), None, "byte {at}, bit {bit}");
            }
        }
        // In a stream: a message that ends in its first block, with padding that is not PKCS#7.
        for (padding, right) in [([14; 14], true), ([13; 14], false), ([0; 14], false)] {
            let mut block = message(2);
            block.extend(padding);
            let sealed = grasp().seal(&block);
            let result = grasp()
                .reader(Limits::default())
                .feed(sealed.get(..16).unwrap())
                .map(|opened| opened.is_some());
            assert_eq!(result.is_ok(), right, "{padding:?}");
        }
    }

    #[test]
    fn other_keys_and_garbage_neither_panic_nor_pass() {
        // A simple generator, so that every run uses the same bytes.
        let mut state = 8990_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let [byte, ..] = state.to_be_bytes();
            byte
        };
        let mut opened = 0;
        for round in 0..2000 {
            let garbage: Vec<u8> = (0..round % 100).map(|_| next()).collect();
            let other = QuadsKeys::from_parts(std::array::from_fn(|_| next()), grasp().iv().to_owned());
            let sealed = grasp().seal(&message(2 + round % 70));
            for bytes in [&garbage, &sealed] {
                opened += usize::from(other.open(bytes).is_some());
                let mut reader = other.reader(Limits::default());
                let result = reader.feed(bytes);
                // Anything may decrypt to an item of one byte, but not with correct padding.
                assert!(!matches!(result, Ok(Some(_))), "{result:?}");
            }
        }
        // Padding of one byte is correct in one of 256 cases.
        assert!(opened < 50, "{opened} of 4000");
    }

    #[test]
    fn what_holds_a_key_is_wiped_when_dropped() {
        // Checks types, not bytes, because dropped memory cannot be inspected without `unsafe`. This does not compile
        // if a crate lacks a feature.
        const fn wiped<T: zeroize::ZeroizeOnDrop>() {}
        wiped::<Encryptor<Aes256>>();
        wiped::<Decryptor<Aes256>>();
        wiped::<Zeroizing<[u8; KEY]>>();
    }

    #[test]
    fn nothing_shows_the_keys() {
        let keys = grasp();
        let mut reader = keys.reader(Limits::default());
        reader.feed(keys.seal(&message(100)).get(..32).unwrap()).unwrap();
        assert_eq!(format!("{keys:?} {keys:#?}"), "QuadsKeys(..) QuadsKeys(..)");
        assert_eq!(format!("{reader:?}"), "QuadsReader { decrypted: 32, end: None, failed: None, .. }");
    }
}
