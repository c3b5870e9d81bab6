//! A streaming JSON reader that returns the elements of one array as they arrive, so that a response about ten
//! thousand tasks is never in memory as a whole.

use anymaster_core::{Error, Result};

/// The longest element that is accepted, in bytes.
const LONGEST: usize = 16 * 1024 * 1024;

/// Finds the objects in `{"wanted": [{…}, {…}], …}`.
#[derive(Debug)]
pub(super) struct ArrayElements {
    wanted: &'static str,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// The last string in the outermost object: before an array, its name.
    name: Vec<u8>,
    is_wanted: bool,
    element: Vec<u8>,
    has_begun: bool,
}

impl ArrayElements {
    pub(super) fn new(wanted: &'static str) -> Self {
        Self {
            wanted,
            depth: 0,
            in_string: false,
            is_escaped: false,
            name: Vec::new(),
            is_wanted: false,
            element: Vec::new(),
            has_begun: false,
        }
    }

    /// Reads more of the response; calls `tell` with each complete element.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        mut tell: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        for byte in bytes {
            let was_inside = self.is_wanted && self.depth > 2;
            self.step(*byte);
            let is_inside = self.is_wanted && self.depth > 2;
            if was_inside || is_inside {
                self.element.push(*byte);
            }
            if was_inside && !is_inside {
                tell(&self.element)?;
                self.element.clear();
            }
            if self.element.len() > LONGEST || self.name.len() > LONGEST {
                return Err(Error::protocol("an element of a response of Mesos is too long"));
            }
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ if self.depth == 1 => self.name.push(byte),
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                if self.depth == 1 {
                    self.name.clear();
                }
            }
            b'{' | b'[' => {
                if self.depth == 1 {
                    self.is_wanted = byte == b'[' && self.name == self.wanted.as_bytes();
                }
                self.depth += 1;
                self.has_begun = true;
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// Checks that the response was complete.
    pub(super) fn finish(&self) -> Result<()> {
        if self.has_begun && self.depth == 0 && !self.in_string {
            return Ok(());
        }
        Err(Error::unavailable("a response of Mesos is incomplete"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(text: &str, size: usize) -> Result<Vec<String>> {
        let (mut elements, mut found) = (ArrayElements::new("tasks"), Vec::new());
        for piece in text.as_bytes().chunks(size) {
            elements.push(piece, |bytes| {
                found.push(String::from_utf8(bytes.to_vec()).unwrap());
                Ok(())
            })?;
        }
        elements.finish().map(|()| found)
    }

    #[test]
    fn elements_are_found_however_the_response_is_split() {
        let text = r#"{"no": [{"a": 1}], "x": "tasks", "y": {"tasks": [{"b": 2}]},
            "tasks": [{"id": "}]\"[{", "of": [{}, [1]]}, {"ü": "\\"} , {}], "tasksx": [{"c": 3}]}"#;
        for size in [1, 2, 3, 7, text.len()] {
            assert_eq!(
                elements(text, size).unwrap(),
                [r#"{"id": "}]\"[{", "of": [{}, [1]]}"#, r#"{"ü": "\\"}"#, "{}"]
            );
        }
        assert!(elements(r#"{"tasks":[]}"#, 4).unwrap().is_empty());
        for broken in ["", r#"{"tasks":["#, r#"{"tasks":[{"a"#, r#"{"x"#] {
            assert!(elements(broken, 5).is_err(), "{broken}");
        }
    }
}
