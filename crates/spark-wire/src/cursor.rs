//! Reads numbers (big-endian) and bytes from a slice.

use crate::error::{Result, WireError};

#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        if self.remaining() < count {
            return Err(WireError::malformed(format!(
                "it ends after {} bytes, where {count} more are announced",
                self.bytes.len()
            )));
        }
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// A length that is written as an `int`.
    pub(crate) fn length(&mut self) -> Result<usize> {
        let length = self.i32()?;
        usize::try_from(length)
            .map_err(|_| WireError::malformed(format!("a length of {length} bytes")))
    }

    /// How many elements follow, each of at least `width` bytes: no more than there are bytes for.
    pub(crate) fn count(&mut self, width: usize) -> Result<usize> {
        let count = self.length()?;
        if count > self.remaining() / width {
            return Err(WireError::malformed(format!(
                "{count} elements are announced in {} bytes",
                self.remaining()
            )));
        }
        Ok(count)
    }

    /// A text in UTF-8 behind its length in bytes.
    pub(crate) fn text(&mut self) -> Result<String> {
        let length = self.length()?;
        let text = std::str::from_utf8(self.take(length)?)
            .map_err(|_| WireError::malformed("a text that is not UTF-8"))?;
        Ok(text.to_owned())
    }
}
