//! Buffers that are used again: allocators keep more of large ones than is in use, where threads take turns.

use std::sync::{Arc, Mutex, PoisonError};

/// The size of a buffer, in bytes.
pub(crate) const SIZE: usize = 256 << 10;
/// How many unused ones are kept.
const KEPT: usize = 32;

/// Unused buffers.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Vec<Vec<u8>>>);

/// A buffer, which goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) bytes: Vec<u8>,
    home: Arc<Buffers>,
}

impl Buffers {
    /// An empty buffer.
    pub(crate) fn take(self: &Arc<Self>) -> Buffer {
        let unused = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = unused.unwrap_or_else(|| Vec::with_capacity(SIZE));
        Buffer { bytes, home: Arc::clone(self) }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut unused = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if unused.len() < KEPT {
            unused.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_and_empty() {
        let buffers = Arc::new(Buffers::default());
        let mut first = buffers.take();
        first.bytes.extend_from_slice(b"words");
        let place = first.bytes.as_ptr();
        drop(first);
        let again = buffers.take();
        assert_eq!((again.bytes.as_ptr(), again.bytes.len()), (place, 0));
        let many: Vec<_> = (0..KEPT + 10).map(|_| buffers.take()).collect();
        drop(many);
        assert_eq!(buffers.0.lock().unwrap().len(), KEPT);
    }
}
