//! Finds the messages in what a connection receives: a message ends where its CBOR item ends. Used by `tcp` and the fuzzers.

use crate::acp::{SealedReader, Whole};
use crate::registry::TransportError;
use crate::wire::{ItemScanner, Progress};

/// A message that is being reassembled.
#[derive(Debug)]
pub(crate) enum Assembly {
    Plain { scanner: ItemScanner, message: Vec<u8> },
    Sealed { reader: Box<dyn SealedReader>, started: bool },
}

impl Assembly {
    /// Adds the next piece. Returns the message once it is complete.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<Option<Whole>, TransportError> {
        match self {
            Self::Plain { scanner, message } => {
                message.extend_from_slice(piece);
                let Progress::Complete(end) = scanner.feed(piece).map_err(|_| TransportError::Broken)? else {
                    return Ok(None);
                };
                let rest = message.split_off(end.min(message.len()));
                Ok(Some(Whole { message: std::mem::take(message), rest }))
            }
            Self::Sealed { reader, started } => {
                *started |= !piece.is_empty();
                reader.feed(piece).map_err(|_| TransportError::Broken)
            }
        }
    }

    /// Whether nothing has been received yet.
    #[cfg(feature = "_simulator")]
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Plain { message, .. } => message.is_empty(),
            Self::Sealed { started, .. } => !started,
        }
    }
}
