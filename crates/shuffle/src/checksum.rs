//! The checksums that Spark writes beside shuffle files (`spark.shuffle.checksum.algorithm`).

use crc_fast::{CrcAlgorithm, Digest};
use simd_adler32::Adler32;

/// How a checksum is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Adler32,
    Crc32,
    /// Spark 4.0 and later.
    Crc32c,
}

impl Algorithm {
    /// The algorithm that Spark calls so.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        [Self::Adler32, Self::Crc32, Self::Crc32c].into_iter().find(|known| known.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Adler32 => "ADLER32",
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
        }
    }

    pub(crate) fn begin(self) -> Checksum {
        match self {
            Self::Adler32 => Checksum::Adler(Adler32::new()),
            Self::Crc32 => Checksum::Crc(Box::new(Digest::new(CrcAlgorithm::Crc32IsoHdlc))),
            Self::Crc32c => Checksum::Crc(Box::new(Digest::new(CrcAlgorithm::Crc32Iscsi))),
        }
    }
}

/// A checksum of what was seen so far.
pub(crate) enum Checksum {
    Adler(Adler32),
    Crc(Box<Digest>),
}

impl Checksum {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Adler(sum) => sum.write(bytes),
            Self::Crc(sum) => sum.update(bytes),
        }
    }

    /// As Java has it: 32 bits without a sign.
    pub(crate) fn finish(self) -> i64 {
        match self {
            Self::Adler(sum) => sum.finish().into(),
            Self::Crc(sum) => i64::from(sum.finalize() as u32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_java() {
        for (name, expected) in
            [("ADLER32", 0x091E_01DE), ("CRC32", 0xCBF4_3926), ("CRC32C", 0xE306_9283)]
        {
            let mut sum = Algorithm::of_name(name).unwrap().begin();
            sum.update(b"12345");
            sum.update(b"6789");
            assert_eq!(sum.finish(), expected, "{name}");
        }
        assert_eq!(Algorithm::of_name("MD5"), None);
        assert_eq!(Algorithm::of_name("adler32"), None);
    }
}
