//! The file in which a NodeManager leaves the logs of an application's containers (Hadoop 3.4, `TFile`, `BCFile`,
//! `AggregatedLogFormat`). No I/O.

use anymaster_core::{Error, Result};

/// What a file ends with.
const MAGIC: [u8; 16] = [
    0xd1, 0x11, 0xd3, 0x68, 0x91, 0xb5, 0xd7, 0xb6, 0x39, 0xdf, 0x41, 0x40, 0x92, 0xba, 0xe1, 0x50,
];
/// Before it: where the index of the index is, and two numbers of its version.
const TRAILER: usize = 8 + 4 + MAGIC.len();
/// The index of blocks.
const BLOCKS: &str = "data:BCFile.index";
/// The only way of writing blocks that is read: as they are.
const PLAIN: &str = "none";

/// The logs of a container: the name of each, and what is in it.
pub(crate) type ContainerLogs = Vec<(String, Vec<u8>)>;

/// The logs of a container; `None` if the file has none of it.
pub(crate) fn logs_of(file: &[u8], container: &str) -> Result<Option<ContainerLogs>> {
    for block in blocks(file)? {
        let mut rest = Bytes(block);
        while !rest.0.is_empty() {
            let length = rest.number()?;
            let key = Bytes(rest.take(length)?).text()?;
            let value = rest.chunks()?;
            if key == container {
                return logs(&value).map(Some);
            }
        }
    }
    Ok(None)
}

fn logs(value: &[u8]) -> Result<ContainerLogs> {
    let (mut rest, mut logs) = (Bytes(value), Vec::new());
    while !rest.0.is_empty() {
        let name = rest.text()?;
        let length: i64 = rest.text()?.parse().map_err(|_| damaged())?;
        logs.push((name, rest.take(length)?.to_vec()));
    }
    Ok(logs)
}

fn blocks(file: &[u8]) -> Result<Vec<&[u8]>> {
    let trailer = file.len().checked_sub(TRAILER).ok_or_else(damaged)?;
    if !file.ends_with(&MAGIC) {
        return Err(damaged());
    }
    let (begin, _) = file[trailer..].split_first_chunk().ok_or_else(damaged)?;
    let begin = usize::try_from(u64::from_be_bytes(*begin)).map_err(|_| damaged())?;
    let mut index = Bytes(file.get(begin..trailer).ok_or_else(damaged)?);
    let within = |offset: i64, size: i64| {
        let (offset, size) = (usize::try_from(offset).ok()?, usize::try_from(size).ok()?);
        file.get(offset..offset.checked_add(size)?)
    };
    for _ in 0..index.number()? {
        let (name, algorithm) = (index.string()?, index.string()?);
        let (offset, size, _) = (index.number()?, index.number()?, index.number()?);
        if name != BLOCKS {
            continue;
        }
        plain(&algorithm)?;
        let mut list = Bytes(within(offset, size).ok_or_else(damaged)?);
        plain(&list.string()?)?;
        let mut blocks = Vec::new();
        for _ in 0..list.number()? {
            let (offset, size, _) = (list.number()?, list.number()?, list.number()?);
            blocks.push(within(offset, size).ok_or_else(damaged)?);
        }
        return Ok(blocks);
    }
    Err(damaged())
}

fn plain(algorithm: &str) -> Result<()> {
    match algorithm {
        PLAIN => Ok(()),
        other => Err(Error::unsupported(format!("aggregated logs that are compressed by {other}"))
            .with_hint("yarn logs -applicationId shows them")),
    }
}

fn damaged() -> Error {
    Error::protocol("a file of aggregated logs is damaged, or of another format")
}

/// What is left to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: i64) -> Result<&'a [u8]> {
        let count = usize::try_from(count).map_err(|_| damaged())?;
        self.0.split_off(..count).ok_or_else(damaged)
    }

    fn unsigned(&mut self, bytes: i64) -> Result<i64> {
        Ok(self.take(bytes)?.iter().fold(0, |value, byte| value << 8 | i64::from(*byte)))
    }

    /// An integer of variable length, of a kind that only these files have (`Utils.readVLong`).
    fn number(&mut self) -> Result<i64> {
        let first = i64::from(self.take(1)?[0].cast_signed());
        match first {
            -32.. => Ok(first),
            -72..=-33 => Ok((first + 52) << 8 | self.unsigned(1)?),
            -104..=-73 => Ok((first + 88) << 16 | self.unsigned(2)?),
            -120..=-105 => Ok((first + 112) << 24 | self.unsigned(3)?),
            _ => {
                let bytes = self.take(first + 129)?;
                let sign = if bytes[0] >= 0x80 { -1 } else { 0 };
                Ok(bytes.iter().fold(sign, |value, byte| value << 8 | i64::from(*byte)))
            }
        }
    }

    /// A text of which the length is such an integer.
    fn string(&mut self) -> Result<String> {
        let length = self.number()?;
        self.take(length).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// A text of which the length has two bytes.
    fn text(&mut self) -> Result<String> {
        let length = self.unsigned(2)?;
        self.take(length).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// A value in pieces, of which all but the last have a negative length.
    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let length = self.number()?;
            all.extend_from_slice(self.take(length.checked_abs().ok_or_else(damaged)?)?);
            if length >= 0 {
                return Ok(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
    }

    fn string(text: &str) -> Vec<u8> {
        [&[text.len() as u8], text.as_bytes()].concat()
    }

    /// A number of three bytes.
    fn number(value: usize) -> Vec<u8> {
        let value = value as i64;
        vec![(-88 + (value >> 16)) as u8, (value >> 8) as u8, value as u8]
    }

    fn file() -> Vec<u8> {
        let mut value = [text("stdout"), text("3"), b"abc".to_vec()].concat();
        value.extend([text("stderr"), text("0")].concat());
        let (first, second) = value.split_at(4);
        let record = |key: &str| {
            let key = text(key);
            // In two pieces.
            [&[key.len() as u8][..], &key, &[-4_i8 as u8], first, &[second.len() as u8], second]
                .concat()
        };
        let block = [record("VERSION"), record("container_1")].concat();
        let list =
            [string(PLAIN), vec![1], number(0), number(block.len()), number(block.len())].concat();
        let index = [
            vec![1],
            string(BLOCKS),
            string(PLAIN),
            number(block.len()),
            number(list.len()),
            number(list.len()),
        ]
        .concat();
        let begin = ((block.len() + list.len()) as u64).to_be_bytes();
        [&block[..], &list, &index, &begin, &[0, 1, 0, 0], &MAGIC].concat()
    }

    #[test]
    fn the_logs_of_a_container_are_found() {
        let file = file();
        let logs = logs_of(&file, "container_1").unwrap().unwrap();
        assert_eq!(
            logs,
            [("stdout".to_owned(), b"abc".to_vec()), ("stderr".to_owned(), Vec::new())]
        );
        assert_eq!(logs_of(&file, "container_2").unwrap(), None);
    }

    #[test]
    fn numbers_are_those_of_hadoop() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x7f], 127),
            (&[0xe0], -32),
            (&[0xcc, 0x80], 128),
            (&[0xa8, 0x80, 0x00], 32_768),
            (&[0x90, 0x80, 0x00, 0x00], 8_388_608),
            (&[0x84, 0xff, 0xff, 0xff, 0xff, 0xfe], -2),
        ] {
            assert_eq!(Bytes(bytes).number().unwrap(), value, "{bytes:x?}");
        }
    }

    #[test]
    fn a_damaged_file_is_told() {
        let whole = file();
        assert!(logs_of(&[], "c").is_err() && logs_of(&whole[1..], "c").is_err());
        for at in 0..whole.len() {
            let mut other = whole.clone();
            other[at] ^= 0x55;
            // Whatever it is, it is no panic.
            let _ = logs_of(&other, "container_1");
        }
        let packed = String::from_utf8_lossy(&whole).into_owned();
        assert!(packed.contains(PLAIN));
    }
}
