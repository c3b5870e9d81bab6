//! The names of blocks and their files, and in which directory a file is (Spark 3.5, `BlockId` and
//! `ExecutorDiskUtils`).

use std::fmt;

/// A block of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Block {
    /// What a map task wrote for reduce tasks from `begin` up to, and without, `end`.
    Shuffle { shuffle: i32, map: i64, begin: i32, end: i32 },
    /// A partition of a cached RDD.
    Rdd { rdd: i32, partition: i32 },
}

/// Why a name is refused, in Spark's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadName(pub(crate) String);

/// Reads the names of blocks of one stream, which are all of one shuffle or all of cached RDDs.
pub(crate) fn blocks(names: &[String]) -> Result<Vec<Block>, BadName> {
    let mut blocks = Vec::with_capacity(names.len());
    let mut first = None;
    for name in names {
        let block = block(name)?;
        let shuffle = match block {
            Block::Shuffle { shuffle, .. } => Some(shuffle),
            Block::Rdd { .. } => None,
        };
        match *first.get_or_insert(shuffle) {
            expected if expected == shuffle => blocks.push(block),
            Some(expected) => {
                return Err(BadName(format!(
                    "java.lang.IllegalArgumentException: Expected shuffleId={expected}, got:{name}"
                )));
            }
            None => {
                return Err(BadName(format!(
                    "java.lang.IllegalArgumentException: Expected an RDD block, got:{name}"
                )));
            }
        }
    }
    Ok(blocks)
}

fn block(name: &str) -> Result<Block, BadName> {
    let unexpected = || {
        BadName(format!(
            "java.lang.IllegalArgumentException: Unexpected block id format: {}",
            shown(name)
        ))
    };
    // As Spark: ids of map tasks that are asked for by name have 32 bits.
    let number = |text: &str| {
        text.parse::<i32>().ok().filter(|number| *number >= 0).ok_or_else(|| {
            BadName(format!(
                "java.lang.NumberFormatException: For input string: \"{}\"",
                shown(text)
            ))
        })
    };
    let mut parts = name.splitn(5, '_');
    let parts = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
    match parts {
        [Some("shuffle"), Some(shuffle), Some(map), Some(reduce), None] => {
            let (shuffle, map, begin) = (number(shuffle)?, number(map)?.into(), number(reduce)?);
            Ok(Block::Shuffle { shuffle, map, begin, end: begin.saturating_add(1) })
        }
        [Some("rdd"), Some(rdd), Some(partition), None, None] => {
            Ok(Block::Rdd { rdd: number(rdd)?, partition: number(partition)? })
        }
        _ => Err(unexpected()),
    }
}

/// As much of a name as fits into a message.
fn shown(name: &str) -> String {
    name.chars().take(200).collect()
}

/// A file of a block manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileName<'a> {
    Index { shuffle: i32, map: i64 },
    Data { shuffle: i32, map: i64 },
    Checksums { shuffle: i32, map: i64, algorithm: &'a str },
    Rdd { rdd: i32, partition: i32 },
}

impl fmt::Display for FileName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index { shuffle, map } => write!(f, "shuffle_{shuffle}_{map}_0.index"),
            Self::Data { shuffle, map } => write!(f, "shuffle_{shuffle}_{map}_0.data"),
            Self::Checksums { shuffle, map, algorithm } => {
                write!(f, "shuffle_{shuffle}_{map}_0.checksum.{algorithm}")
            }
            Self::Rdd { rdd, partition } => write!(f, "rdd_{rdd}_{partition}"),
        }
    }
}

impl<'a> FileName<'a> {
    /// The file that this names, if it is one of a shuffle or of a cached RDD.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if let Some(rest) = name.strip_prefix("rdd_") {
            let (rdd, partition) = rest.split_once('_')?;
            let both = is_number(rdd) && is_number(partition);
            return both.then_some(Self::Rdd {
                rdd: rdd.parse().ok()?,
                partition: partition.parse().ok()?,
            });
        }
        let (ids, kind) = name.strip_prefix("shuffle_")?.split_once('.')?;
        let (shuffle, map) = ids.strip_suffix("_0")?.split_once('_')?;
        if !is_number(shuffle) || !is_number(map) {
            return None;
        }
        let (shuffle, map) = (shuffle.parse().ok()?, map.parse().ok()?);
        match kind {
            "index" => Some(Self::Index { shuffle, map }),
            "data" => Some(Self::Data { shuffle, map }),
            _ => {
                let algorithm = kind.strip_prefix("checksum.")?;
                let is_word = !algorithm.is_empty()
                    && algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric());
                is_word.then_some(Self::Checksums { shuffle, map, algorithm })
            }
        }
    }
}

/// Where a file is: the number of its local directory, and its path in it.
pub(crate) fn place(name: &str, local_dirs: usize, sub_dirs: u32) -> (usize, String) {
    // `String.hashCode` counts UTF-16 units; names are ASCII.
    let hash = name
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    // Java has no absolute value of the smallest number.
    let hash = if hash == i32::MIN { 0 } else { hash.unsigned_abs() as usize };
    let sub_dir = (hash / local_dirs) % sub_dirs as usize;
    (hash % local_dirs, format!("{sub_dir:02x}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_where_spark_puts_them() {
        for (name, one, two) in [
            ("shuffle_0_0_0.index", "30", (0, "38")),
            ("shuffle_0_0_0.data", "0c", (0, "26")),
            ("shuffle_7_12345_0.index", "3a", (0, "1d")),
            ("rdd_3_17", "21", (1, "10")),
        ] {
            assert_eq!(place(name, 1, 64), (0, format!("{one}/{name}")));
            assert_eq!(place(name, 2, 64), (two.0, format!("{}/{name}", two.1)));
        }
        // Its hash is -2147483648.
        assert_eq!(place("polygenelubricants", 3, 64).0, 0);
    }

    #[test]
    fn files_are_named_as_they_are_read_and_nothing_else_is_a_file() {
        for name in [
            "shuffle_0_4294967296_0.index",
            "shuffle_1_2_0.data",
            "shuffle_1_2_0.checksum.ADLER32",
            "rdd_1_2",
        ] {
            assert_eq!(FileName::parse(name).unwrap().to_string(), name);
        }
        for name in [
            "",
            "..",
            "/etc/passwd",
            "../rdd_1_2",
            "rdd_1_2/..",
            "rdd_1_",
            "rdd_-1_2",
            "rdd_+1_2",
            "shuffle_1_2_3.data",
            "shuffle_1_2_0.checksum.",
            "shuffle_1_2_0.checksum.a/b",
            "shuffle_1_2_0.data.tmp",
            "temp_shuffle_1",
            "broadcast_0_piece0",
            "rdd_99999999999_1",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn names_of_a_stream_are_refused_in_sparks_words() {
        let read = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            blocks(&names).map_err(|BadName(text)| text)
        };
        let block = Block::Shuffle { shuffle: 0, map: 1, begin: 2, end: 3 };
        assert_eq!(read(&["shuffle_0_1_2"]), Ok(vec![block]));
        assert_eq!(read(&["rdd_1_2"]), Ok(vec![Block::Rdd { rdd: 1, partition: 2 }]));
        assert_eq!(read(&[]), Ok(Vec::new()));
        for (names, text) in [
            (
                &["shuffle_0_4294967296_0"][..],
                "NumberFormatException: For input string: \"4294967296\"",
            ),
            (&["shuffle_0_0_0", "shuffle_1_0_0"], "Expected shuffleId=0, got:shuffle_1_0_0"),
            (&["rdd_0_0", "shuffle_1_0_0"], "Expected an RDD block, got:shuffle_1_0_0"),
            (&["../../etc/passwd"], "Unexpected block id format: ../../etc/passwd"),
            (&["broadcast_0_piece0"], "Unexpected block id format: broadcast_0_piece0"),
            (&["shuffle_0_1_2_3"], "Unexpected block id format"),
            (&["rdd_-1_0"], "NumberFormatException"),
        ] {
            let error = read(names).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
