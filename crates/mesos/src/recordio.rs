//! RecordIO: each record is its length in decimal digits, a line feed, and so many bytes.

use anymaster_core::{Error, Result};
use bytes::{Buf as _, BytesMut};

/// The longest record: offers of all agents come in one.
const MAX_RECORD: usize = 64 << 20;
/// How many digits its length has at most.
const MAX_DIGITS: usize = 8;

/// Takes records out of a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct RecordIo {
    /// Of the record that has begun.
    length: Option<usize>,
}

impl RecordIo {
    /// The next record, once all of it is there; takes it out.
    pub(crate) fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<BytesMut>> {
        let length = match self.length {
            Some(length) => length,
            None => match length(bytes)? {
                Some(length) => *self.length.insert(length),
                None => return Ok(None),
            },
        };
        if bytes.len() < length {
            bytes.reserve(length - bytes.len());
            return Ok(None);
        }
        self.length = None;
        Ok(Some(bytes.split_to(length)))
    }

    /// As [`decode`](Self::decode), when no more is to come.
    pub(crate) fn decode_eof(&mut self, bytes: &mut BytesMut) -> Result<Option<BytesMut>> {
        match self.decode(bytes)? {
            Some(record) => Ok(Some(record)),
            None if bytes.is_empty() && self.length.is_none() => Ok(None),
            None => {
                Err(Error::unavailable("the master's stream broke off in the middle of a record"))
            }
        }
    }
}

/// The length of the next record, once it is there; takes it out.
fn length(bytes: &mut BytesMut) -> Result<Option<usize>> {
    let wrong = || Error::protocol("the master's stream has no length where a record begins");
    let Some(end) = bytes.iter().take(MAX_DIGITS + 1).position(|byte| *byte == b'\n') else {
        return if bytes.len() > MAX_DIGITS { Err(wrong()) } else { Ok(None) };
    };
    let digits = bytes.split_to(end);
    bytes.advance(1);
    let digits = std::str::from_utf8(&digits).map_err(|_| wrong())?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let length: usize = digits.parse().map_err(|_| wrong())?;
    if length > MAX_RECORD {
        return Err(Error::protocol(format!("the master sends a record of {length} bytes")));
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(pieces: &[&[u8]]) -> Result<Vec<Vec<u8>>> {
        let (mut decoder, mut bytes, mut records) =
            (RecordIo::default(), BytesMut::new(), Vec::new());
        for piece in pieces {
            bytes.extend_from_slice(piece);
            while let Some(record) = decoder.decode(&mut bytes)? {
                records.push(record.to_vec());
            }
        }
        while let Some(record) = decoder.decode_eof(&mut bytes)? {
            records.push(record.to_vec());
        }
        Ok(records)
    }

    #[test]
    fn what_is_no_record_is_refused() {
        assert_eq!(records(&[b"3\nabc0\n1\nx"]).unwrap(), [&b"abc"[..], b"", b"x"]);
        for wrong in ["x\n", "-1\nx", "\nx", "123456789", "99999999\n", " 3\nabc"] {
            let error = records(&[wrong.as_bytes()]).unwrap_err();
            assert_eq!(error.kind(), anymaster_core::ErrorKind::Protocol, "{wrong}");
        }
        let error = records(&[b"5\nabc"]).unwrap_err();
        assert!(error.message().contains("in the middle of a record"), "{error}");
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            texts in proptest::collection::vec("[a-z\n]{0,40}", 0..6),
            cuts in proptest::collection::vec(0_usize..200, 0..8),
        ) {
            let whole: String =
                texts.iter().map(|text| format!("{}\n{text}", text.len())).collect();
            let mut cuts: Vec<_> = cuts.into_iter().filter(|at| *at < whole.len()).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> =
                cuts.windows(2).map(|cut| &whole.as_bytes()[cut[0]..cut[1]]).collect();
            let found = records(&pieces).unwrap();
            prop_assert_eq!(found, texts.iter().map(|text| text.as_bytes()).collect::<Vec<_>>());
        }
    }
}
