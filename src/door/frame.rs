//! Frames: a length (u32, little-endian), then that many bytes.

use super::message::{MAX_FRAME, Response};
use crate::jose::PublicKeyError;
use crate::memory::Distrust;
use serde::Serialize;

/// Why a stream of frames is broken.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME`].
    #[error("expected a frame of at most {MAX_FRAME} bytes, found {0}")]
    TooLong(usize),
    /// A message that cannot be serialized: a defect.
    #[error("the message cannot be written: {0}")]
    Encoding(serde_json::Error),
    /// Another message in place of an answer.
    #[error("expected an answer, found something else")]
    NoAnswer,
    /// A checkpoint that the memory refuses.
    #[error("{0}")]
    Checkpoint(Distrust),
    /// A key of the signer that cannot be read.
    #[error("a key of the signer: {0}")]
    Key(PublicKeyError),
    /// The peer closed the connection, or a system error.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Appends one message to `out`; after an error `out` is as before.
pub(crate) fn append(out: &mut Vec<u8>, message: &impl Serialize) -> Result<(), FrameError> {
    framed(out, |out| serde_json::to_writer(out, message).map_err(FrameError::Encoding))
}

/// Appends one answer to `out`; after an error `out` is as before.
pub(crate) fn append_answer(out: &mut Vec<u8>, answer: &Response) -> Result<(), FrameError> {
    framed(out, |out| {
        answer.encode(out);
        Ok(())
    })
}

fn framed(
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), FrameError>,
) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let written = body(out).and_then(|()| match out.len() - start - 4 {
        length if length <= MAX_FRAME => u32::try_from(length).map_err(|_| FrameError::TooLong(length)),
        length => Err(FrameError::TooLong(length)),
    });
    match written {
        Ok(length) => {
            if let Some(head) = out.get_mut(start..start + 4) {
                head.copy_from_slice(&length.to_le_bytes());
            }
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// Length of the body after this head.
pub(crate) fn length(head: [u8; 4]) -> Result<usize, FrameError> {
    match usize::try_from(u32::from_le_bytes(head)).unwrap_or(usize::MAX) {
        length if length > MAX_FRAME => Err(FrameError::TooLong(length)),
        length => Ok(length),
    }
}

/// The body of the first frame, `None` if it is incomplete.
pub(crate) fn first(bytes: &[u8]) -> Result<Option<&[u8]>, FrameError> {
    let Some((head, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    Ok(rest.get(..length(*head)?))
}

/// Received bytes, split into frames.
#[derive(Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    read: usize,
}

impl Frames {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.read = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let rest = self.bytes.get(self.read..).unwrap_or_default();
        let Some(frame) = first(rest)? else { return Ok(None) };
        self.read += 4 + frame.len();
        Ok(Some(frame))
    }
}

pub(crate) fn read_one<T: serde::de::DeserializeOwned>(
    mut stream: impl std::io::Read,
) -> Result<T, FrameError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut body = vec![0; length(head)?];
    stream.read_exact(&mut body)?;
    serde_json::from_slice(&body).map_err(FrameError::Encoding)
}

pub(crate) fn write_one(mut stream: impl std::io::Write, message: &impl Serialize) -> Result<(), FrameError> {
    let mut out = Vec::new();
    append(&mut out, message)?;
    Ok(stream.write_all(&out)?)
}

#[cfg(test)]
mod tests {
    use super::super::message::Outcome;
    use super::*;

    #[test]
    fn frames_are_complete_for_any_split_of_the_bytes() {
        let mut wire = Vec::new();
        for text in ["a", "bb", ""] {
            append(&mut wire, &text).unwrap();
        }
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        for byte in wire {
            frames.push(&[byte]);
            while let Some(frame) = frames.next().unwrap() {
                seen.push(String::from_utf8(frame.to_vec()).unwrap());
            }
        }
        assert_eq!(seen, ["\"a\"", "\"bb\"", "\"\""]);
    }

    #[test]
    fn an_answer_that_is_too_long_leaves_nothing_behind() {
        let answer = |length| Response { number: 1, outcome: Outcome::Done { body: "x".repeat(length) } };
        let mut wire = vec![7];
        assert!(matches!(
            append_answer(&mut wire, &answer(MAX_FRAME - 8)),
            Err(FrameError::TooLong(found)) if found == MAX_FRAME + 1
        ));
        assert_eq!(wire, [7]);
        append_answer(&mut wire, &answer(MAX_FRAME - 9)).unwrap();
        assert_eq!(wire.len(), 1 + 4 + MAX_FRAME);
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_it_is_awaited() {
        let mut frames = Frames::default();
        frames.push(&u32::MAX.to_le_bytes());
        assert!(matches!(frames.next(), Err(FrameError::TooLong(_))));
    }
}
