//! Writes JSON exactly as Jackson's pretty printer does, which Spark's daemons use.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// A value as Spark's daemons write it: `"key" : value`, arrays on one line, objects on several.
pub fn to_string(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, Jackson::default());
    // Cannot fail: it writes to memory, and all keys are strings.
    let _ = value.serialize(&mut serializer);
    String::from_utf8(bytes).unwrap_or_default()
}

#[derive(Default)]
struct Jackson {
    depth: usize,
    is_empty: bool,
}

impl Jackson {
    fn new_line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b"  "))
    }
}

impl Formatter for Jackson {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b" " } else { b", " })
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b" ]")
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        self.is_empty = true;
        writer.write_all(b"{")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        self.new_line(writer)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b" : ")
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.is_empty = false;
        Ok(())
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        if self.is_empty {
            writer.write_all(b" }")
        } else {
            self.new_line(writer)?;
            writer.write_all(b"}")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn output_equals_that_of_spark() {
        let value = json!({"a": [], "b": {}, "c": [1, {"d": "x\ny"}], "e": {"f": null}});
        assert_eq!(
            to_string(&value),
            "{\n  \"a\" : [ ],\n  \"b\" : { },\n  \"c\" : [ 1, {\n    \"d\" : \"x\\ny\"\n  } ],\n  \
             \"e\" : {\n    \"f\" : null\n  }\n}"
        );
    }
}
